//! The images that CRI has mounted into a container: Kubernetes' `image` volumes, from containerd 2.1
//! on.

use std::collections::BTreeMap;

use super::wire::{Container, Image};
use rootpin_trust::image::Digest;

/// Where CRI mounts them, below a folder of its own: the pod's ID, then the digest of the image's
/// index or manifest (containerd, `internal/cri/server/container_image_mount.go`).
const FOLDER: &str = "/image-volumes/";

/// The image volumes of a container: the key of each one's snapshot, which is the path where it is
/// mounted, and its image. A path into another pod's folder is the host's, as any `hostPath`.
pub(super) fn of(container: &Container) -> BTreeMap<String, Image> {
    let sources = container.mounts.iter().map(|mount| mount.source.as_str());
    let pod = container.pod_sandbox_id.as_str();
    sources.filter_map(|source| volume(source, pod)).collect()
}

fn volume(source: &str, pod: &str) -> Option<(String, Image)> {
    let (state, below) = source.split_once(&format!("{FOLDER}{pod}/"))?;
    // A pod may ask for a folder of the image.
    let hex = below.split('/').next().unwrap_or_default();
    let digest: Digest = format!("sha256:{hex}").parse().ok()?;
    let image = Image {
        digest: digest.to_string(),
        ..Image::default()
    };
    Some((format!("{state}{FOLDER}{pod}/{hex}"), image))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Mount;
    use super::*;

    #[test]
    fn an_image_volume_is_told_by_its_pods_folder_with_a_folder_of_it_or_without() {
        let hex = Digest::of(b"index").hex();
        let at = |path: &str| format!("/run/containerd/io.containerd.grpc.v1.cri/{path}");
        let sources = [
            at(&format!("image-volumes/pod/{hex}")),
            at(&format!("image-volumes/pod/{hex}/models/small")),
            at(&format!("image-volumes/other/{hex}")),
            at("image-volumes/pod/models"),
            "/etc/hosts".to_owned(),
        ];
        let mounts = sources.map(|source| Mount { source });
        let container = Container {
            pod_sandbox_id: "pod".to_owned(),
            mounts: mounts.to_vec(),
            ..Container::default()
        };
        let found: Vec<_> = of(&container).into_iter().collect();
        let [(key, image)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(*key, at(&format!("image-volumes/pod/{hex}")));
        assert_eq!(image.digest, format!("sha256:{hex}"));
    }
}

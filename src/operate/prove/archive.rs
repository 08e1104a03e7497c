//! An image as a file that engines load: an OCI layout that dockerd's older loaders read too.

use serde_json::{Value, json};

use super::Offer;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The index of the layout (OCI image-spec, "Image Layout"), which names the image as containerd's
/// importer and dockerd read it.
pub(super) fn index(offer: &Offer) -> Value {
    let manifest = &offer.image.manifest.descriptor;
    let names = json!({ "io.containerd.image.name": offer.name.to_string(), "org.opencontainers.image.ref.name": offer.canary.tag() });
    let listed = json!({
        "mediaType": manifest.media_type, "digest": manifest.digest.to_string(), "size": manifest.size, "annotations": names
    });
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed] })
}

/// The archive.
pub(super) fn archive(offer: &Offer) -> Vec<u8> {
    let place = |digest: rootpin_trust::image::Digest| format!("blobs/sha256/{}", digest.hex());
    let image = &offer.image;
    let (config, layer) = (
        place(image.config.descriptor.digest),
        place(image.layer.descriptor.digest),
    );
    let names =
        json!([{ "Config": config, "RepoTags": [offer.name.to_string()], "Layers": [layer] }]);
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        (
            "index.json".to_owned(),
            index(offer).to_string().into_bytes(),
        ),
        ("manifest.json".to_owned(), names.to_string().into_bytes()),
    ];
    files.extend(
        image
            .blobs()
            .map(|blob| (place(blob.descriptor.digest), blob.bytes.clone())),
    );
    tar(&files)
}

/// An archive of regular files.
pub(super) fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).unwrap_or_default());
        header.set_mode(0o644);
        // A Vec takes all bytes, and the names are short.
        let _ = builder.append_data(&mut header, name, bytes.as_slice());
    }
    builder.into_inner().unwrap_or_default()
}

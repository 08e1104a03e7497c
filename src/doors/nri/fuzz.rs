//! What containerd's NRI tells of containers, changed.

use prost::Message as _;

use super::wire::{Container, Mount, PodSandbox};
use super::{container_origin, rootfs, running, volumes};
use crate::fuzzing::try_reader;
use rootpin_trust::image::ImageRef;

const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea","sha256:1108e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea"]},"config":{"Labels":{"a":"b"}}}"#;

#[test]
fn no_container_that_nri_tells_of_makes_the_door_panic() {
    let digest = "0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea";
    let mount = |source: String| Mount { source };
    let container = Container {
        id: "a".to_owned(),
        pod_sandbox_id: "pod".to_owned(),
        mounts: vec![mount(format!(
            "/run/state/image-volumes/pod/{digest}/below"
        ))],
        ..Container::default()
    };
    assert_eq!(volumes::of(&container).len(), 1);
    try_reader("nri-container", &[&container.encode_to_vec()], |bytes| {
        if let Ok(container) = Container::decode(bytes) {
            let _ = (
                volumes::of(&container),
                running::who(&PodSandbox::default(), &container),
            );
        }
    });
}

#[test]
fn no_configuration_of_an_image_makes_the_door_panic() {
    assert!(rootfs::chain_id(CONFIG).unwrap().is_some());
    try_reader("image-configuration", &[CONFIG], |bytes| {
        let _ = rootfs::chain_id(bytes);
    });
}

#[test]
fn no_record_of_cri_s_makes_the_door_panic_or_gives_two_names() {
    let example = br#"{"Version":"v1","Metadata":{"ID":"a","ImageRef":"sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea","Config":{"image":{"image":"sha256:0908e1","user_specified_image":"r.example/app:v1"}}}}"#;
    let read = |bytes: &[u8]| container_origin::written(bytes).ok();
    assert!(read(example).is_some());
    try_reader("cri-record", &[example], |bytes| {
        if let Some((_, Some(name))) = read(bytes) {
            assert_eq!(name.to_string().parse::<ImageRef>().as_ref(), Ok(&name));
        }
    });
}

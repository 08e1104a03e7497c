//! Signatures that real skopeo and podman made.

use super::*;
use crate::image::ImageRef;

/// The index that podman pushed, of which [`IMAGE`] is a platform.
const INDEX: &str = "sha256:f431e779c549e3c6b84b66e66f5ce7afffef8cffdd38effd2576e3cd9316ec72";

fn naming(keys: &[&str]) -> CosignPins {
    CosignPins {
        binds_tag: Some(TagBinding::Reference),
        ..pins(keys, u64::try_from(keys.len()).unwrap())
    }
}

/// `signed`, or the refusal of a pull of these bytes by this name.
fn pulled(pins: &CosignPins, fixture: &str, name: &str, digest: &str) -> String {
    let name: ImageRef = name.parse().unwrap();
    let image = SignedImage {
        repository: &name.repository,
        digest: digest.parse().unwrap(),
        tag: name.tag.as_ref(),
        every_signer: false,
    };
    let outcome = verify(image, pins, &BTreeSet::new(), &files(fixture), Vec::new());
    match outcome.result {
        Ok(_) => "signed".to_owned(),
        Err(refusal) => {
            assert_eq!(refusal.code, Code::NoStatement, "{refusal}");
            refusal.to_string()
        }
    }
}

#[test]
fn each_tag_that_skopeo_signed_one_image_under_counts_for_the_keys_that_signed_it() {
    let pulled = |keys: &[&str], tag: &str| {
        let name = format!("127.0.0.1:5000/team/app:{tag}");
        pulled(&naming(keys), "skopeo-tags", &name, IMAGE)
    };
    for tag in ["v1", "v2"] {
        assert_eq!(pulled(&["skopeo"], tag), "signed", "{tag}");
    }
    // The tag v3 was moved to an image that is signed under the others.
    let moved = pulled(&["skopeo"], "v3");
    let why = "signed under the tags \"v1\", \"v2\", and not under tag v3";
    assert!(moved.contains(why), "{moved}");
    let both = ["skopeo", "skopeo-other"];
    assert_eq!(pulled(&both, "v1"), "signed");
    let one = pulled(&both, "v2");
    assert!(one.contains("not under tag v2"), "{one}");
    let stranger = pulled(&["podman"], "v1");
    assert!(stranger.contains("none of the pinned keys"), "{stranger}");
}

#[test]
fn the_name_that_skopeo_signed_counts_only_where_the_policy_binds_it() {
    let copy = "127.0.0.1:5000/team/copy:v1";
    let refused = pulled(&naming(&["skopeo"]), "skopeo-tags", copy, IMAGE);
    let why = "it is for \"127.0.0.1:5000/team/app:v";
    assert!(refused.contains(why), "{refused}");
    let unbound = pins(&["skopeo"], 1);
    assert_eq!(pulled(&unbound, "skopeo-tags", copy, IMAGE), "signed");
}

#[test]
fn an_image_that_skopeo_pushed_by_digest_alone_has_no_signed_tag() {
    let repository = "127.0.0.1:5000/team/app";
    for name in [format!("{repository}:v1"), format!("{repository}@{IMAGE}")] {
        let unbound = pins(&["skopeo"], 1);
        assert_eq!(pulled(&unbound, "skopeo-digest", &name, IMAGE), "signed");
        let refused = pulled(&naming(&["skopeo"]), "skopeo-digest", &name, IMAGE);
        let why = "it signs no docker-reference with repository and tag";
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn podman_signs_an_index_and_its_platforms_under_the_tag_of_the_index() {
    for (fixture, digest) in [("podman-index", INDEX), ("podman-platform", IMAGE)] {
        for pins in [naming(&["podman"]), pins(&["podman"], 1)] {
            let name = "127.0.0.1:5000/team/app:v1";
            assert_eq!(pulled(&pins, fixture, name, digest), "signed", "{fixture}");
        }
        let moved = "127.0.0.1:5000/team/app:v2";
        let refused = pulled(&naming(&["podman"]), fixture, moved, digest);
        assert!(refused.contains("not under tag v2"), "{refused}");
    }
    // A signature of the platform says nothing of the index.
    let name = "127.0.0.1:5000/team/app:v1";
    let refused = pulled(&pins(&["podman"], 1), "podman-platform", name, INDEX);
    assert!(refused.contains("for another digest"), "{refused}");
}

//! Tags: which signatures bind one, and an answer is for the tag that is asked for.

use super::*;
use crate::image::Tag;

fn tagged(seed: u8, tag: &str) -> SignatureFile {
    let annotations = format!(r#","annotations":{{"tag":"{tag}"}}"#);
    bundle(seed, &statement(SIGN, IMAGE, &annotations))
}

fn binding(threshold: u64) -> CosignPins {
    CosignPins {
        keys: vec![own_key(1), own_key(2)],
        binds_tag: Some(TagBinding::Annotation("tag".to_owned())),
        ..pins(&[], threshold)
    }
}

fn of_tag(pins: &CosignPins, tag: &str, files: &[SignatureFile]) -> SignatureOutcome {
    of_tag_under(&BTreeSet::new(), pins, tag, files)
}

/// The same while these keys are revoked.
fn of_tag_under(
    revoked: &BTreeSet<KeyId>,
    pins: &CosignPins,
    tag: &str,
    files: &[SignatureFile],
) -> SignatureOutcome {
    let (repository, tag): (_, Tag) = (repository(), tag.parse().unwrap());
    let image = SignedImage {
        repository: &repository,
        digest: IMAGE.parse().unwrap(),
        tag: Some(&tag),
        every_signer: false,
    };
    verify(image, pins, revoked, files, Vec::new())
}

fn only(annotation: &str) -> CosignPins {
    let binds_tag = Some(TagBinding::Annotation(annotation.to_owned()));
    CosignPins {
        binds_tag,
        ..pins(&["p256"], 1)
    }
}

#[test]
fn a_tag_is_bound_only_by_the_signed_text_that_the_policy_names() {
    for name in ["simple-annotated", "bundle-annotated"] {
        let collection = outcome(&only("tag"), &files(name)).result.unwrap();
        let collection = collection.get();
        assert!(collection.untagged.is_empty());
        assert_eq!(collection.targets.keys().collect::<Vec<_>>(), ["v1"]);
        assert_eq!(said(&only("other"), &files(name)), "no-statement");
    }
    for name in ["simple-p256", "bundle-p256"] {
        let refusal = outcome(&only("tag"), &files(name)).result.unwrap_err();
        assert_eq!(refusal.code, Code::NoStatement);
        assert!(refusal.hint.contains("-a tag=TAG"), "{refusal:?}");
    }
    let reference = CosignPins {
        binds_tag: Some(TagBinding::Reference),
        ..pins(&["p256"], 1)
    };
    let collection = outcome(&reference, &files("simple-reference"))
        .result
        .unwrap();
    assert_eq!(collection.get().targets.keys().collect::<Vec<_>>(), ["v1"]);
    // cosign 2 writes the repository alone, and a bundle no reference.
    for name in ["simple-p256", "bundle-p256"] {
        let refusal = outcome(&reference, &files(name)).result.unwrap_err();
        assert_eq!(refusal.code, Code::NoStatement);
        let command = "cosign sign --sign-container-identity 127.0.0.1:5000/team/app:TAG";
        assert!(refusal.hint.contains(command), "{refusal:?}");
        let of_cosign_3 = "cosign 3 also with --new-bundle-format=false";
        assert!(refusal.hint.contains(of_cosign_3), "{refusal:?}");
        // Whoever put something beside it says nothing more of it.
        let mut all = files(name);
        all.push(SignatureFile {
            bytes: b"{}".to_vec(),
            ..all[0].clone()
        });
        assert_eq!(said(&reference, &all), "no-statement");
    }
    let elsewhere = Repository::from_full("127.0.0.1:5000/team/other").unwrap();
    let image = SignedImage {
        repository: &elsewhere,
        digest: IMAGE.parse().unwrap(),
        tag: None,
        every_signer: false,
    };
    let files = files("simple-reference");
    assert!(
        verify(image, &reference, &BTreeSet::new(), &files, Vec::new())
            .result
            .is_err()
    );
}

#[test]
fn a_tag_needs_as_many_keys_as_the_image() {
    let same = [tagged(1, "v1"), tagged(2, "v1")];
    assert_eq!(said(&binding(2), &same), "signed");
    let different = [tagged(1, "v1"), tagged(2, "v2")];
    assert_eq!(said(&binding(2), &different), "no-statement");
    let both = outcome(&binding(1), &different).result.unwrap();
    assert_eq!(both.get().targets.len(), 2);
}

#[test]
fn enough_keys_of_one_tag_are_not_enough_for_another() {
    let files = [tagged(1, "v1"), tagged(1, "latest")];
    for tag in ["v1", "latest"] {
        let outcome = of_tag(&binding(1), tag, &files).result.unwrap();
        assert_eq!(outcome.get().targets.keys().collect::<Vec<_>>(), [tag]);
        assert!(outcome.get().untagged.is_empty());
    }
    let refusal = of_tag(&binding(1), "latest", &files[..1])
        .result
        .unwrap_err();
    assert_eq!(refusal.code, Code::NoStatement);
    assert!(
        refusal.found.contains("\"v1\", and not under tag latest"),
        "{refusal}"
    );
    assert!(refusal.hint.contains("cosign sign"), "{refusal}");
    // Two keys, and each of another tag.
    let files = [tagged(1, "v1"), tagged(2, "v1"), tagged(1, "latest")];
    assert!(of_tag(&binding(2), "v1", &files).result.is_ok());
    let refusal = of_tag(&binding(2), "latest", &files).result.unwrap_err();
    assert_eq!(refusal.code, Code::NoStatement);
}

#[test]
fn a_tag_that_only_a_revoked_key_may_have_signed_is_refused_as_revoked() {
    let files = [tagged(1, "v1"), tagged(2, "latest")];
    let of_tag = |tag| of_tag_under(&[own_key(2).id()].into(), &binding(1), tag, &files);
    assert!(of_tag("v1").result.is_ok());
    let refusal = of_tag("latest").result.unwrap_err();
    assert_eq!(refusal.code, Code::Revoked);
}

#[test]
fn a_root_that_binds_no_tag_answers_for_each_tag() {
    let pins = CosignPins {
        binds_tag: None,
        ..binding(1)
    };
    let outcome = of_tag(&pins, "latest", &[tagged(1, "v1")]).result.unwrap();
    assert!(outcome.get().targets.is_empty());
    assert_eq!(outcome.get().untagged.len(), 1);
}

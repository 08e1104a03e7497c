//! What the gate asks of containerd does not grow with its store; and it answers as if it had
//! listed all of it.

use containerd_client::services::v1::ApplyRequest;
use serde_json::json;
use tonic::Code;

use crate::containerd::{Blob, Held};
use crate::world::{Daemon, GUN, Image, World, blob};

const V1: &str = "r.test/team/app:v1";
const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
const IN_DEFAULT: (&str, &str) = ("containerd-namespace", "default");

fn answer(world: &World, message: ApplyRequest) -> (Code, String) {
    let status = world.unpack("gate", message, &[IN_DEFAULT]).unwrap_err();
    (status.code(), status.message().to_owned())
}

/// An index and a manifest as containerd labels what it pulled; its layers are unpacked and gone.
fn pulled_before(held: &mut Held, number: usize) {
    let labelled = |kind: &str, child: &str, document: Vec<u8>| Blob {
        labels: [(
            format!("containerd.io/gc.ref.content.{kind}.0"),
            child.to_owned(),
        )]
        .into(),
        ..blob(document)
    };
    let layer = blob(format!("layer {number}").into_bytes()).digest;
    let document = json!({"number": number}).to_string().into_bytes();
    let manifest = labelled("l", &layer, document);
    let document = json!({"index of": number}).to_string().into_bytes();
    let index = labelled("m", &manifest.digest, document);
    let name = format!("r.test/team/other{number}:v1");
    held.images.push((name, index.digest.clone()));
    held.blobs.extend([manifest, index]);
}

/// Requests and bytes of a question about a layer whose image was seen in a listing, in a store with
/// so many other images.
fn cost(name: &str, others: usize, annotations: &[(&str, &str)]) -> Option<(usize, usize)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world.containerd.hold("default", |held| {
        image.hold_as(held, V1);
        for number in 0..others {
            pulled_before(held, number);
        }
    });
    let _daemon = world.start();
    let message = || image.unpack_with(annotations);
    let (code, text) = answer(&world, message());
    assert_eq!(code, Code::Unimplemented, "{text}");
    // The daemon's self-check and its sweep ask too, but not at each of so many questions.
    let questions = (0..20).map(|_| {
        let (requests, bytes) = world.containerd.load();
        let (code, text) = answer(&world, message());
        assert_eq!(code, Code::Unimplemented, "{text}");
        let (later, sent) = world.containerd.load();
        (later - requests, sent - bytes)
    });
    questions.min()
}

#[test]
fn a_layer_of_an_image_that_was_listed_costs_the_same_with_two_thousand_images_as_with_one() {
    let manifest = Image::named("signed").manifest.digest;
    let annotated = [(IMAGE_REF, V1), (MANIFEST_DIGEST, manifest.as_str())];
    for (what, annotations) in [("recorded", &[][..]), ("annotated", &annotated)] {
        let Some(alone) = cost(&format!("g-one-{what}"), 0, annotations) else {
            return;
        };
        let among = cost(&format!("g-many-{what}"), 1999, annotations).unwrap();
        assert_eq!(alone, among, "requests and bytes, {what}");
        assert!(alone.0 <= 3 && alone.1 < 2000, "{what}: {alone:?}");
    }
}

/// Makes the question.
type Asked = fn(&Image) -> ApplyRequest;
/// A change of the host after its layer was allowed.
type Change = fn(&World, &Image);

/// The answer of a daemon that has allowed the layer twice before the change, and that of one which
/// starts after it and has seen no listing.
fn answers(name: &str, change: Change, message: fn(&Image) -> ApplyRequest) -> Option<[String; 2]> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    let daemon = world.start();
    for _ in 0..2 {
        assert_eq!(answer(&world, image.unpack()).0, Code::Unimplemented);
    }
    change(&world, &image);
    let stop = |daemon: Daemon| assert_eq!(daemon.stop().0, 0);
    let shown = |(code, text): (Code, String)| match code {
        Code::Unimplemented => "allowed".to_owned(),
        // The layer, then the code of the refusal.
        _ => text.split(": found ").next().unwrap().to_owned(),
    };
    let with_hints = shown(answer(&world, message(&image)));
    stop(daemon);
    let daemon = world.start();
    let without = shown(answer(&world, message(&image)));
    stop(daemon);
    Some([with_hints, without])
}

fn rename(world: &World, name: &str) {
    world.containerd.hold("default", |held| {
        name.clone_into(&mut held.images[0].0);
    });
}

fn annotated(name: &str, manifest: &str) -> ApplyRequest {
    Image::named("signed").unpack_with(&[(IMAGE_REF, name), (MANIFEST_DIGEST, manifest)])
}

#[test]
fn whatever_changed_since_a_listing_the_answer_is_that_of_a_new_listing() {
    let plain: Asked = Image::unpack;
    let none: Change = |_, _| {};
    let cases: [(&str, &str, Change, Asked); 10] = [
        ("nothing", "allowed", none, plain),
        (
            "the record has another name, which is not signed, and the ledger has the old one",
            "no-statement",
            |world, _| rename(world, &format!("{GUN}:v2")),
            plain,
        ),
        (
            "the record has a name that no rule covers",
            "no-rule",
            |world, _| rename(world, "r.other/app:v1"),
            plain,
        ),
        (
            "one more record with a name that no rule covers",
            "allowed",
            |world, image| {
                world.containerd.hold("default", |held| {
                    let name = "r.other/app:v1".to_owned();
                    held.images.insert(0, (name, image.index.digest.clone()));
                });
            },
            plain,
        ),
        (
            "the record stands for the manifest, which is not signed",
            "digest-mismatch",
            |world, image| {
                world.containerd.hold("default", |held| {
                    held.images[0].1.clone_from(&image.manifest.digest);
                });
            },
            plain,
        ),
        (
            "the index is gone",
            "refused",
            |world, image| {
                world.containerd.hold("default", |held| {
                    held.blobs.retain(|blob| blob.digest != image.index.digest);
                });
            },
            plain,
        ),
        (
            "the manifest is revoked",
            "revoked",
            |world, image| {
                let revoked = format!(
                    "{}[[revoked]]\ndigest = \"{}\"\nreason = \"test\"\n",
                    world.policy(),
                    image.manifest.digest
                );
                world.write_policy(&revoked);
                assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
            },
            plain,
        ),
        (
            "an annotation with a name that is not signed",
            "no-statement",
            none,
            |image| annotated(&format!("{GUN}:v2"), &image.manifest.digest),
        ),
        (
            "an annotation with the signed name and a manifest of other layers",
            "malformed",
            |world, _| {
                let other = Image::named("other");
                world.containerd.hold("default", |held| other.hold(held));
            },
            |_| annotated(V1, &Image::named("other").manifest.digest),
        ),
        (
            "an annotation with the signed name",
            "allowed",
            none,
            |image| annotated(V1, &image.manifest.digest),
        ),
    ];
    for (number, (what, wanted, change, message)) in cases.into_iter().enumerate() {
        let Some([with_hints, without]) = answers(&format!("g-hint-{number}"), change, message)
        else {
            return;
        };
        assert_eq!(with_hints, without, "{what}");
        assert!(with_hints.contains(wanted), "{what}: {with_hints}");
    }
}

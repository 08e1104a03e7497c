//! `[local] content = "allow"`: what it lets in, and what only looks as if it came from no
//! registry.

use containerd_client::services::v1::ApplyRequest;
use serde_json::json;
use tonic::Code;

use crate::containerd::{Blob, Held};
use crate::world::{Daemon, Image, World, blob};

const SOURCE: &str = "containerd.io/distribution.source.r.test";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A host whose policy lets local content in.
fn host(name: &str) -> Option<(World, Daemon)> {
    let world = World::new(name)?;
    world.write_policy(&(world.policy() + "[local]\ncontent = \"allow\"\n"));
    let daemon = world.start();
    Some((world, daemon))
}

/// What the gate says of a layer in a namespace: the code of a refusal.
fn said(world: &World, namespace: &str, message: ApplyRequest) -> String {
    let status = world
        .unpack("gate", message, &[("containerd-namespace", namespace)])
        .unwrap_err();
    match status.code() {
        Code::Unimplemented => "allowed".to_owned(),
        Code::FailedPrecondition => status
            .message()
            .split(": found ")
            .next()
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned(),
        _ => panic!("{status}"),
    }
}

fn label(blob: &mut Blob, name: &str, value: &str) {
    blob.labels.insert(name.to_owned(), value.to_owned());
}

/// What puts a sign on an image before a namespace holds it.
type Sign = fn(&mut Image, &mut Held);

#[test]
fn bytes_with_any_sign_of_a_registry_are_not_local() {
    let Some((world, _daemon)) = host("local-signs") else {
        return;
    };
    let signs: [(&str, &str, Sign); 14] = [
        ("none", "allowed", |_, _| {}),
        ("a source on the layer", "no-rule", |image, _| {
            label(
                &mut image.layer,
                "containerd.io/distribution.source.other.test",
                "x/y",
            );
        }),
        ("a source on the configuration", "no-rule", |image, _| {
            label(
                &mut image.config,
                "containerd.io/distribution.source.other.test",
                "x/y",
            );
        }),
        ("a source on the manifest", "no-rule", |image, _| {
            label(
                &mut image.manifest,
                "containerd.io/distribution.source.other.test",
                "x/y",
            );
        }),
        ("a source on the index", "no-rule", |image, _| {
            label(
                &mut image.index,
                "containerd.io/distribution.source.other.test",
                "x/y",
            );
        }),
        ("a source without a host", "no-rule", |image, _| {
            label(
                &mut image.layer,
                "containerd.io/distribution.source.",
                "x/y",
            );
        }),
        ("a source without a repository", "no-rule", |image, _| {
            label(&mut image.layer, "containerd.io/distribution.source.h", ",");
        }),
        ("a schema 1 layer", "no-rule", |image, _| {
            label(
                &mut image.layer,
                "containerd.io/docker.schema1.empty-layer",
                "false",
            );
        }),
        ("a converted schema 1 manifest", "no-rule", |image, held| {
            let converted = (
                "io.containerd.image/converted-docker-schema1".to_owned(),
                "sha256:0".to_owned(),
            );
            held.images.push((
                "other.test/x/y:v1".to_owned(),
                image.manifest.digest.clone(),
            ));
            held.image_labels
                .insert("other.test/x/y:v1".to_owned(), [converted].into());
        }),
        ("a record of no repository", "no-rule", |image, held| {
            held.images
                .push(("h:5000/:v1".to_owned(), image.index.digest.clone()));
        }),
        ("a layer that BuildKit fetched", "no-rule", |image, _| {
            label(&mut image.layer, "buildkit.io/blob/mediatype", GZIP);
        }),
        ("a layer that BuildKit made", "allowed", |image, _| {
            label(&mut image.layer, "buildkit.io/blob/mediatype", GZIP);
            label(&mut image.layer, "containerd.io/uncompressed", "sha256:0");
        }),
        ("a record that an archive made", "allowed", |image, held| {
            held.images
                .push(("other.test/x/y:v1".to_owned(), image.index.digest.clone()));
        }),
        (
            "an odd record that an import made",
            "allowed",
            |image, held| {
                held.images.push((
                    format!("import-2026-11-29@{}", image.index.digest),
                    image.index.digest.clone(),
                ));
            },
        ),
    ];
    for (number, (what, wanted, sign)) in signs.into_iter().enumerate() {
        let mut image = Image::named(what);
        let namespace = format!("n{number}");
        world.containerd.hold(&namespace, |held| {
            sign(&mut image, held);
            image.hold(held);
        });
        assert_eq!(said(&world, &namespace, image.unpack()), wanted, "{what}");
    }
}

#[test]
fn a_layer_of_which_no_manifest_is_here_is_local_unless_buildkit_fetched_it() {
    let Some((world, _daemon)) = host("local-alone") else {
        return;
    };
    let image = Image::named("committed");
    world
        .containerd
        .hold("moby", |held| held.blobs.push(image.layer.clone()));
    assert_eq!(
        said(&world, "moby", image.unpack()),
        "allowed",
        "as docker commit applies it"
    );
    let mut cached = Image::named("of a remote cache");
    label(&mut cached.layer, "buildkit.io/blob/mediatype", GZIP);
    let own = cached.layer.digest.clone();
    label(
        &mut cached.layer,
        &format!("containerd.io/gc.ref.content.blob-{own}"),
        &own,
    );
    world
        .containerd
        .hold("moby", |held| held.blobs.push(cached.layer.clone()));
    assert_eq!(said(&world, "moby", cached.unpack()), "no-rule");
}

/// An image that was built on another one, whose layer `BuildKit` compressed anew: linked as it
/// links them.
fn compressed_anew(original: &mut Image, name: &str) -> Image {
    let mut built = Image::named(name);
    link_as_compressed_anew(original, &mut built);
    built
}

fn link_as_compressed_anew(original: &mut Image, built: &mut Image) {
    label(&mut built.layer, "buildkit.io/blob/mediatype", GZIP);
    label(
        &mut built.layer,
        "containerd.io/uncompressed",
        &original.layer.digest,
    );
    label(&mut original.layer, "buildkit.io/blob/mediatype", GZIP);
    let (new, old) = (built.layer.digest.clone(), original.layer.digest.clone());
    label(
        &mut built.layer,
        &format!("containerd.io/gc.ref.content.blob-{old}"),
        &old,
    );
    label(
        &mut original.layer,
        &format!("containerd.io/gc.ref.content.blob-{new}"),
        &new,
    );
}

#[test]
fn a_layer_that_was_compressed_anew_is_local_only_where_what_it_was_made_of_may_be_unpacked() {
    let Some((world, _daemon)) = host("local-anew") else {
        return;
    };
    let signed = |name: &str| {
        let image = Image::named(name);
        world.sign(&image.index.digest);
        image
    };
    let (mut base, mut unsigned, mut built_here) = (
        signed("signed base"),
        Image::named("unsigned base"),
        Image::named("built"),
    );
    let cases: [(&str, &mut Image, bool, &str); 3] = [
        ("signed", &mut base, true, "allowed"),
        ("unsigned", &mut unsigned, true, "no-statement"),
        ("built", &mut built_here, false, "allowed"),
    ];
    for (namespace, original, fetched, wanted) in cases {
        let built = compressed_anew(original, &format!("built on {namespace}"));
        if fetched {
            // BuildKit labels documents and no layer.
            label(&mut original.manifest, SOURCE, "team/app");
            label(&mut original.index, SOURCE, "team/app");
        } else {
            label(
                &mut original.layer,
                "containerd.io/uncompressed",
                "sha256:0",
            );
        }
        world.containerd.hold(namespace, |held| {
            original.hold(held);
            built.hold(held);
        });
        assert_eq!(
            said(&world, namespace, built.unpack()),
            wanted,
            "{namespace}"
        );
    }
    // What it was made of is gone: nobody knows where it came from.
    let built = compressed_anew(&mut Image::named("collected"), "built on what is gone");
    world.containerd.hold("gone", |held| built.hold(held));
    assert_eq!(said(&world, "gone", built.unpack()), "no-rule");
    // Of more than are looked at, one may be a registry's.
    let mut built = Image::named("built on many");
    let many: Vec<Image> = (0..9)
        .map(|number| {
            let mut original = Image::named(&format!("one of many {number}"));
            link_as_compressed_anew(&mut original, &mut built);
            label(
                &mut original.layer,
                "containerd.io/uncompressed",
                "sha256:0",
            );
            original
        })
        .collect();
    world.containerd.hold("many", |held| {
        for original in &many {
            original.hold(held);
        }
        built.hold(held);
    });
    assert_eq!(said(&world, "many", built.unpack()), "no-rule");
}

#[test]
fn an_archive_that_claims_very_many_names_is_not_local() {
    let Some((world, _daemon)) = host("local-names") else {
        return;
    };
    let image = Image::named("many names").without_labels();
    let entry = |name: String| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.manifest.digest, "size": image.manifest.bytes.len(),
            "annotations": {"io.containerd.image.name": name},
        })
    };
    for (names, said_of_it) in [(10, "allowed"), (100, "no-rule")] {
        let entries: Vec<_> = (0..names)
            .map(|number| entry(format!("a.test/app:{number}")))
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries});
        world.containerd.clear();
        world.containerd.hold("default", |held| {
            held.blobs.extend([
                image.layer.clone(),
                image.config.clone(),
                image.manifest.clone(),
                blob(index.to_string().into_bytes()),
            ]);
        });
        assert_eq!(
            said(&world, "default", image.unpack()),
            said_of_it,
            "{names}"
        );
    }
}

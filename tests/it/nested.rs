//! Indexes over indexes: every level is judged, recorded and looked at where bytes are revoked.

use serde_json::Value;
use tonic::Code;

use crate::containerd::Blob;
use crate::world::{Daemon, GUN, Image, World, indexes_over};

/// A host that holds an image under so many indexes above its own, the highest signed; and its
/// daemon.
fn host(name: &str, above: usize) -> Option<(World, Daemon, Image, Vec<Blob>)> {
    let world = World::new(name)?;
    let image = Image::named("nested");
    let indexes = indexes_over(&image.index, above);
    let top = indexes.last().unwrap().digest.clone();
    world.sign(&top);
    world.containerd.hold("default", |held| {
        image.hold(held);
        held.blobs.extend(indexes.iter().cloned());
        held.images.push((format!("{GUN}:v1"), top));
    });
    let daemon = world.start_ready(&world.config());
    Some((world, daemon, image, indexes))
}

fn unpack(world: &World, image: &Image) -> (Code, String) {
    let status = world
        .unpack(
            "gate",
            image.unpack(),
            &[("containerd-namespace", "default")],
        )
        .unwrap_err();
    (status.code(), status.message().to_owned())
}

fn revoke(world: &World, digest: &str) {
    let revoked = format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"CVE-2030-1\"\n");
    world.write_policy(&format!("{}{revoked}", world.policy()));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
}

#[test]
fn a_layer_under_several_indexes_is_admitted_and_each_level_gets_a_row() {
    for above in [1, 2, 3] {
        let Some((world, _daemon, image, indexes)) = host(&format!("x-rows-{above}"), above) else {
            return;
        };
        let (code, text) = unpack(&world, &image);
        assert_eq!(code, Code::Unimplemented, "{above}: {text}");
        let (state, _) = world.rootpin_json(&["state", "show"]);
        let rows: Vec<&Value> = state["admitted"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["digest"])
            .collect();
        let levels = [&image.layer, &image.config, &image.manifest, &image.index];
        for blob in levels.into_iter().chain(&indexes) {
            assert!(
                rows.contains(&&Value::from(blob.digest.clone())),
                "{above}: {rows:?}"
            );
        }
    }
}

#[test]
fn indexes_that_are_nested_deeper_than_any_image_has_are_not_followed() {
    let Some((world, _daemon, image, _)) = host("x-deep", 4) else {
        return;
    };
    let (code, text) = unpack(&world, &image);
    assert_eq!(code, Code::FailedPrecondition, "{text}");
    assert!(text.contains(": no-rule: "), "{text}");
    let reason = "more images, indexes or names may be here than are looked at";
    assert!(text.contains(reason), "{text}");
}

/// What is under a name that a rule covers is not local because that name is out of reach.
#[test]
fn what_lies_deeper_than_is_followed_is_not_local() {
    let Some(world) = World::new("x-deep-local") else {
        return;
    };
    world.write_policy(&(world.policy() + "[local]\ncontent = \"allow\"\n"));
    let _daemon = world.start_ready(&world.config());
    for (above, code) in [
        (3, ": no-statement: "),
        (4, ": no-rule: "),
        (6, ": no-rule: "),
    ] {
        let image = Image::named(&format!("deep {above}"));
        let indexes = indexes_over(&image.index, above);
        world.containerd.clear();
        world.containerd.hold("default", |held| {
            image.hold(held);
            held.blobs.extend(indexes.iter().cloned());
            held.images
                .push((format!("{GUN}:v1"), indexes.last().unwrap().digest.clone()));
        });
        let (said, text) = unpack(&world, &image);
        assert_eq!(said, Code::FailedPrecondition, "{above}: {text}");
        assert!(text.contains(code), "{above}: {text}");
    }
}

#[test]
fn a_revoked_index_is_refused_at_every_level_by_the_gate_and_by_the_sweep() {
    let Some((world, _daemon, image, indexes)) = host("x-revoked", 3) else {
        return;
    };
    assert_eq!(unpack(&world, &image).0, Code::Unimplemented);
    for level in [&image.index].into_iter().chain(&indexes) {
        revoke(&world, &level.digest);
        let (code, text) = unpack(&world, &image);
        assert_eq!(code, Code::FailedPrecondition, "{}: {text}", level.digest);
        assert!(
            text.contains(": revoked: ") && text.contains(&level.digest),
            "{text}"
        );
        let (report, code) = world.rootpin_json(&["sweep"]);
        assert_eq!(code, 1, "{report}");
        assert_eq!(report["findings"][0]["code"], "revoked", "{report}");
    }
}

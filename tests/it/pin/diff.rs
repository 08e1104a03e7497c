//! What each source serves against what is pinned: four answers.

use std::fs;

use super::{fingerprint, rotated, tuf};
use crate::publisher::Key;
use crate::world::{GUN, World};

fn answer(world: &World, words: &[&str]) -> (String, i32) {
    let (value, code) = world.pin_json(&[&["diff"], words].concat());
    let results = value["results"].as_array().unwrap();
    assert_eq!(results.len(), 1, "{value}");
    (results[0]["answer"].as_str().unwrap().to_owned(), code)
}

fn told(answer: &str, code: i32) -> (String, i32) {
    (answer.to_owned(), code)
}

#[test]
fn a_notary_repository_is_known_new_changed_or_revoked() {
    let Some((world, _)) = rotated("p-diff") else {
        return;
    };
    assert_eq!(answer(&world, &[GUN]), told("new", 1));
    assert!(
        world
            .pin(&["diff", GUN])
            .out
            .contains(&Key::named("new root").id())
    );
    let new = Key::named("new root");
    assert_eq!(
        world
            .pin(&[
                "add",
                "acme",
                "--scan",
                GUN,
                "--fingerprint",
                &fingerprint(&new)
            ])
            .code,
        0
    );
    assert_eq!(answer(&world, &[GUN]), told("known", 0));
    let mut begun_anew = crate::publisher::Publisher::new(GUN);
    begun_anew.role("root").keys = vec![Key::named("attacker").certificate(GUN)];
    world.notary.publish(&begun_anew);
    assert_eq!(answer(&world, &[GUN]), told("changed", 1));
    assert_eq!(
        world
            .pin(&["revoke", &Key::named("attacker").id(), "--reason", "attack"])
            .code,
        0
    );
    assert_eq!(answer(&world, &[GUN]), told("revoked", 1));
    assert_eq!(answer(&world, &["r.test/team/none"]), told("unknown", 2));
    // A rule for a pattern names nobody to ask for.
    let (value, code) = world.pin_json(&["diff"]);
    assert_eq!((code, &value["not_asked"][0]), (0, &"r.test/team/*".into()));
    assert_eq!(world.pin(&["diff", "x.test/none"]).code, 2);
}

#[test]
fn a_tuf_repository_is_known_new_changed_or_revoked() {
    let Some(world) = World::new("p-diff-tuf") else {
        return;
    };
    fs::create_dir(world.path("tuf")).unwrap();
    let put = |version: u64, bytes: Vec<u8>| {
        fs::write(world.path(&format!("tuf/{version}.root.json")), bytes).unwrap();
    };
    put(1, tuf::root(1, &[1], &[1]));
    let url = format!("file://{}", world.path("tuf").display());
    let sum = rootpin_trust::image::Digest::of(&tuf::root(1, &[1], &[1])).hex();
    world.write_policy("version = 1\ndefault = \"deny\"\n");
    assert_eq!(
        world
            .pin(&[
                "add",
                "tuf",
                "--scan",
                &url,
                "--match",
                "r.test/*",
                "--fingerprint",
                &sum
            ])
            .code,
        0
    );
    assert_eq!(answer(&world, &[]), told("known", 0));
    put(2, tuf::root(2, &[1], &[1]));
    assert_eq!(answer(&world, &[]), told("known", 0));
    put(3, tuf::root(3, &[2], &[1, 2]));
    assert_eq!(answer(&world, &[]), told("new", 1));
    put(3, tuf::root(3, &[2], &[2]));
    assert_eq!(answer(&world, &[]), told("changed", 1));
    put(3, tuf::root(3, &[2], &[1, 2]));
    put(1, tuf::root(1, &[9], &[9]));
    assert_eq!(answer(&world, &[]), told("changed", 1));
    put(1, tuf::root(1, &[1], &[1]));
    let (value, _) = world.pin_json(&["diff"]);
    let unpinned = value["results"][0]["unpinned"][0].as_str().unwrap();
    assert_eq!(
        world.pin(&["revoke", unpinned, "--reason", "stolen"]).code,
        0
    );
    assert_eq!(answer(&world, &["r.test/app"]), told("revoked", 1));
    fs::remove_file(world.path("tuf/1.root.json")).unwrap();
    assert_eq!(answer(&world, &[]), told("unknown", 2));
}

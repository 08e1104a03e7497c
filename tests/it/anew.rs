//! `rootpin verify` asks the daemon: a person is told what the sources say now, and what the status,
//! the metrics and the explanation say of roots whose signatures are beside images.

use std::fs;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::cosign;
use crate::world::{GUN, Image, World};

/// A policy of a cosign root whose images are at the world's server.
fn cosign_policy(world: &World, more: &str) -> String {
    let repository = repository(world);
    let roots = world.path("policy/roots");
    fs::create_dir_all(&roots).unwrap();
    fs::write(roots.join("own.pub"), cosign::public_pem(1)).unwrap();
    format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own.pub\"]\n\
         [[rule]]\nmatch = \"{repository}\"\nroots = [\"own\"]\ntags = \"unbound\"\n{more}"
    )
}

fn repository(world: &World) -> String {
    format!("127.0.0.1:{}/team/app", world.notary.port)
}

/// Signs an image as cosign 2 does.
fn sign(world: &World, digest: &str) {
    let (payload, signature) = cosign::simple(&repository(world), digest, 1);
    let of = Digest::of(&payload).to_string();
    let layer = json!({ "mediaType": cosign::SIMPLE, "digest": of, "size": payload.len(),
        "annotations": { cosign::SIGNATURE: signature } });
    let manifest = json!({ "schemaVersion": 2, "layers": [layer] }).to_string();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let at = |rest: String| format!("/v2/team/app/{rest}");
    world.notary.serve(&at(format!("blobs/{of}")), payload);
    let tag = at(format!("manifests/sha256-{hex}.sig"));
    world.notary.serve(&tag, manifest.into_bytes());
}

fn code(answer: &Value) -> &str {
    answer["code"].as_str().unwrap_or("allowed")
}

#[test]
fn a_person_who_asks_after_a_no_is_told_of_what_was_signed_a_moment_ago() {
    let Some(world) = World::new("anew-notary") else {
        return;
    };
    let (old, new) = (Image::named("old"), Image::named("new"));
    let mut publisher = world.sign(&old.index.digest);
    let _daemon = world.start();
    let name = format!("{GUN}:v1@{}", new.index.digest);
    let (answer, _) = world.rootpin_json(&["verify", &name]);
    assert_eq!(code(&answer), "digest-mismatch", "{answer}");
    publisher.tag("v1", &new.index.digest, 7);
    publisher.tick();
    world.notary.publish(&publisher);
    let (answer, _) = world.rootpin_json(&["verify", &name]);
    assert_eq!(code(&answer), "allowed", "{answer}");
}

#[test]
fn a_signature_of_a_moment_ago_is_found_and_the_status_and_the_metrics_say_when() {
    let Some(world) = World::new("anew-cosign") else {
        return;
    };
    world.write_policy(&cosign_policy(&world, ""));
    let _daemon = world.start();
    let root = || {
        let (status, _) = world.rootpin_json(&["status"]);
        status["roots"][0].clone()
    };
    let row = root();
    assert_eq!(
        (&row["id"], &row["type"], &row["seen"]),
        (&json!("own"), &json!("cosign"), &Value::Null),
        "{row}"
    );
    assert_eq!(row["keys"].as_array().unwrap().len(), 1, "{row}");
    assert_eq!(row["binds"]["tag"], json!(false), "{row}");
    let image = Image::named("app");
    let name = format!("{}@{}", repository(&world), image.index.digest);
    let (answer, _) = world.rootpin_json(&["verify", &name]);
    assert_eq!(code(&answer), "no-statement", "{answer}");
    sign(&world, &image.index.digest);
    let (answer, _) = world.rootpin_json(&["verify", &name]);
    assert_eq!(code(&answer), "allowed", "{answer}");
    let row = root();
    let seen = row["seen"].as_str().unwrap();
    let text = world.rootpin(&["status"]).out;
    let line = format!(
        "signatures: own (cosign, 1 key, binds digest; not name, tag, freshness): the last one was found at {seen}"
    );
    assert!(text.contains(&line), "{text}");
    let metrics = world.rootpin(&["metrics"]).out;
    let at: jiff::Timestamp = seen.parse().unwrap();
    let sample = format!(
        "rootpin_signature_seen_seconds{{root=\"own\"}} {}",
        at.as_second()
    );
    assert!(metrics.contains(&sample), "{metrics}");
}

#[test]
fn an_explanation_names_the_revocation_that_took_a_root_s_key_away() {
    let Some(world) = World::new("anew-revoked") else {
        return;
    };
    let name = format!("{}:v1", repository(&world));
    let explained = |more: &str| {
        world.write_policy(&cosign_policy(&world, more));
        let policy = world.path("policy").display().to_string();
        let words = ["policy", "explain", &name, "--policy", &policy];
        let (value, _) = world.rootpin_json(&words);
        (
            value["roots"][0]["revoked_keys"].clone(),
            world.rootpin(&words).out,
        )
    };
    let (none, text) = explained("");
    assert_eq!(none, json!([]));
    assert!(!text.contains("revoked"), "{text}");
    let pem = cosign::public_pem(1);
    let key = rootpin_trust::key_file::public_keys(pem.as_bytes()).unwrap()[0].clone();
    // By each name that tools print of it.
    for named in key.names() {
        let (revoked, text) = explained(&format!(
            "[[revoked]]\nkey = \"{named}\"\nreason = \"the laptop was stolen\"\n"
        ));
        let wanted = json!([{ "key": key.id().to_string(), "reason": "the laptop was stolen" }]);
        assert_eq!(revoked, wanted, "{named}");
        assert!(text.contains("the laptop was stolen"), "{text}");
    }
}

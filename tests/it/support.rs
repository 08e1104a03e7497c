//! `rootpin support`: whole, bounded, root's alone, and without a secret.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::world::World;

const SECRET: &str = "planted-hunter2";

fn contents(file: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(std::fs::File::open(file).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, std::fs::File>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn an_archive_has_what_a_report_needs_and_no_planted_secret() {
    let Some(world) = World::new("s-support") else {
        return;
    };
    let config = format!(
        "# docker-password = \"{SECRET}\"\n# proxy http://user:{SECRET}@proxy.example\n{}",
        world.config()
    );
    let policy = world.policy();
    world.write_policy(&format!(
        "# token: {SECRET}\n# the word is {SECRET}\n{policy}"
    ));
    let fragment = format!(
        "# Authorization: Bearer {SECRET}\n[[revoked]]\ndigest = \"sha256:{}\"\nreason = \"kept-reason\"\n",
        "0".repeat(64)
    );
    std::fs::write(world.path("policy/policy.d/10.toml"), fragment).unwrap();
    let _daemon = world.start_ready(&config);
    world.verifier("r.test/team/app:v1", &format!("sha256:{}", "0".repeat(64)));
    let mut audit = std::fs::OpenOptions::new()
        .append(true)
        .open(world.path("audit.jsonl"))
        .unwrap();
    std::io::Write::write_all(
        &mut audit,
        format!("{{\"found\":\"https://u:{SECRET}@r.example\",\"password\":\"{SECRET}\"}}\n")
            .as_bytes(),
    )
    .unwrap();
    let (file, toml) = (world.path("out.tar"), world.path("rootpin.toml"));
    let words = [
        "support",
        "--config",
        toml.to_str().unwrap(),
        "--out",
        file.to_str().unwrap(),
    ];
    let (answer, code) = world.rootpin_json(&words);
    assert_eq!(code, 0, "{answer}");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let contents = contents(&file);
    for (name, text) in [
        ("about.txt", "\nkernel Linux "),
        ("rootpin.toml", "[[engine]]"),
        ("policy/policy.toml", "#\n#\nversion = 1"),
        ("policy/policy.d/10.toml", "kept-reason"),
        ("status.json", "\"doors\""),
        ("state.json", "\"version\""),
        ("metrics.txt", "rootpin_build_info"),
        ("doctor.json", "\"holes\""),
        ("audit-end.jsonl", "\"door\":\"verifier\""),
        ("log-end.txt", ""),
    ] {
        let found = contents.get(&format!("rootpin-support/{name}"));
        assert!(
            found.is_some_and(|found| found.contains(text)),
            "{name}: {found:?}"
        );
    }
    for (name, text) in &contents {
        assert!(!text.contains(SECRET), "{name}: {text}");
    }
    let again = world.rootpin(&words);
    assert_eq!(again.code, 2, "a file that is there is left: {again:?}");
}

#[test]
fn an_archive_is_made_while_the_daemon_is_down_and_says_so() {
    let Some(world) = World::new("s-down") else {
        return;
    };
    let (file, toml) = (world.path("out.tar"), world.path("rootpin.toml"));
    std::fs::write(&toml, world.config()).unwrap();
    let out = file.to_str().unwrap();
    let ended = world.rootpin(&[
        "support",
        "--config",
        toml.to_str().unwrap(),
        "--out",
        out,
        "--audit-lines",
        "1",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let contents = contents(&file);
    assert!(contents["rootpin-support/status.json"].contains("rootpind does not answer"));
    assert!(contents["rootpin-support/policy/policy.toml"].contains("version = 1"));
}

//! Somebody who may write to the registry but has no key, and publishers that break off at the
//! worst moment.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::registry::Registry;
use crate::repo::{Org, digest};

const PUBLISHERS: &str = "dev.rootpin.publishers";

type Tags = BTreeMap<String, Vec<u8>>;

/// An organisation whose repository is in a registry, with one tag signed.
struct Shelf {
    org: Org,
    registry: Registry,
}

impl Shelf {
    async fn founded() -> Self {
        let shelf = Self {
            org: Org::new(),
            registry: Registry::start().await,
        };
        let place = format!("oci://127.0.0.1:{}/trust/acme", shelf.registry.port);
        shelf.ok(
            "main",
            &["init", "--names", "r.test/**", "--publish", &place],
        );
        shelf.sign("main", "base");
        shelf
    }

    fn ok(&self, machine: &str, words: &[&str]) -> String {
        tokio::task::block_in_place(|| self.org.ok(machine, words))
    }

    fn json(&self, machine: &str, words: &[&str]) -> Value {
        tokio::task::block_in_place(|| self.org.json(machine, words))
    }

    fn sign(&self, machine: &str, tag: &str) -> Value {
        let signed = self.json(
            machine,
            &[
                "sign",
                &format!("r.test/app:{tag}"),
                "--digest",
                &digest(tag),
                "--length",
                "7",
            ],
        );
        assert_eq!(signed["outcome"], "published", "{signed}");
        signed
    }

    /// The tags that are signed.
    fn signed(&self, machine: &str) -> Vec<String> {
        let list = self.ok(machine, &["list"]);
        ["base", "a", "b", "c", "d"]
            .into_iter()
            .filter(|tag| list.contains(&format!("r.test/app:{tag}")))
            .map(str::to_owned)
            .collect()
    }

    /// A second machine with the same keys and another publisher's tag.
    fn second(&self) {
        self.second_sharing();
        let other = if self.main_tag() == "rootpin-f" {
            "e"
        } else {
            "f"
        };
        fs::write(self.org.path("other/publisher"), format!("{other}\n")).unwrap();
    }

    /// A second machine with the same keys and the same publisher's tag.
    fn second_sharing(&self) {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(self.org.path("main"))
            .arg(self.org.path("other"))
            .status()
            .unwrap();
        assert!(copied.success());
    }

    fn tags(&self) -> Tags {
        self.registry.held.lock().unwrap().tags.clone()
    }

    fn set(&self, tags: &Tags) {
        self.registry.held.lock().unwrap().tags.clone_from(tags);
    }

    fn main_tag(&self) -> String {
        format!(
            "rootpin-{}",
            fs::read_to_string(self.org.path("main/publisher"))
                .unwrap()
                .trim()
        )
    }
}

/// A manifest as of another publisher, that found what the first one has and wrote what the second
/// one has.
fn forged(found: &[u8], wrote: &[u8]) -> Vec<u8> {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let mut forged = read(wrote);
    for mut layer in read(found)["layers"].as_array().unwrap().clone() {
        layer["mediaType"] = json!("application/vnd.rootpin.found+json");
        forged["layers"].as_array_mut().unwrap().push(layer);
    }
    forged["annotations"][PUBLISHERS] = json!(r#"{"evil":[1,1]}"#);
    forged.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_state_that_somebody_shows_as_another_publisher_s_brings_no_revoked_tag_back() {
    let shelf = Shelf::founded().await;
    let before = shelf.tags()["latest"].clone();
    shelf.sign("main", "a");
    let with = shelf.tags()["latest"].clone();
    shelf.ok("main", &["revoke", "r.test/app:a"]);
    let mut tags = shelf.tags();
    tags.insert("rootpin-evil".to_owned(), forged(&before, &with));
    shelf.set(&tags);
    let signed = shelf.sign("main", "b");
    assert_eq!(shelf.signed("main"), ["base", "b"]);
    assert!(
        signed["notes"]
            .to_string()
            .contains("no newer than what is published"),
        "{signed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_made_at_the_same_moment_is_not_undone() {
    let shelf = Shelf::founded().await;
    shelf.second();
    let start = shelf.tags();
    shelf.ok("main", &["revoke", "r.test/app:base"]);
    let revoked = shelf.tags();
    shelf.set(&start);
    shelf.sign("other", "b");
    let mut tags = shelf.tags();
    tags.insert(shelf.main_tag(), revoked[&shelf.main_tag()].clone());
    shelf.set(&tags);
    shelf.sign("other", "c");
    assert_eq!(shelf.signed("other"), ["b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_and_written_over_by_one_that_broke_off_is_found_again_by_either() {
    for (next, share) in [
        ("main", false),
        ("other", false),
        ("main", true),
        ("other", true),
    ] {
        let shelf = Shelf::founded().await;
        if share {
            shelf.second_sharing();
        } else {
            shelf.second();
        }
        let start = shelf.tags();
        shelf.sign("main", "a");
        let ours = shelf.tags();
        shelf.set(&start);
        shelf.sign("other", "b");
        // The other one looked before, wrote after, and broke off before it looked at the
        // publishers' tags.
        let mut tags = shelf.tags();
        tags.insert(shelf.main_tag(), ours[&shelf.main_tag()].clone());
        shelf.set(&tags);
        let signed = shelf.sign(next, "c");
        assert_eq!(shelf.signed(next), ["base", "a", "b", "c"], "{signed}");
        let last = if next == "main" { "other" } else { "main" };
        shelf.sign(last, "d");
        assert_eq!(shelf.signed(last), ["base", "a", "b", "c", "d"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_merged_has_a_higher_version_than_all_that_a_host_may_have_seen() {
    let shelf = Shelf::founded().await;
    shelf.second();
    let start = shelf.tags();
    shelf.sign("main", "a");
    let ours = shelf.tags();
    shelf.set(&start);
    shelf.sign("other", "b");
    let versions = |tags: &Tags| {
        let manifest: Value = serde_json::from_slice(&tags["latest"]).unwrap();
        let names = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["annotations"]["tuf.io/filename"].as_str().unwrap());
        let of = |name: &str| {
            name.strip_suffix(".targets.json")
                .or(name.strip_suffix(".snapshot.json"))?
                .parse::<u64>()
                .ok()
        };
        names.filter_map(of).max().unwrap()
    };
    let seen = versions(&ours).max(versions(&shelf.tags()));
    let mut tags = shelf.tags();
    tags.insert(shelf.main_tag(), ours[&shelf.main_tag()].clone());
    shelf.set(&tags);
    shelf.sign("other", "c");
    assert!(versions(&shelf.tags()) > seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_is_shown_an_older_state_than_it_published_refuses_it() {
    let shelf = Shelf::founded().await;
    let start = shelf.tags();
    shelf.sign("main", "a");
    let mut tags = shelf.tags();
    tags.insert("latest".to_owned(), start["latest"].clone());
    shelf.set(&tags);
    let ended = tokio::task::block_in_place(|| shelf.org.sign("main", "r.test/app:b", "b"));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("version"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_sign_one_tag_differently_at_one_moment_the_slower_one_is_told_and_undoes_nothing()
 {
    let shelf = Shelf::founded().await;
    shelf.second();
    let start = shelf.tags();
    shelf.sign("main", "a");
    let mains = std::sync::Mutex::new(Some(shelf.tags()));
    shelf.set(&start);
    // What main published comes in when the other one is about to put its own.
    shelf.registry.before(move |line, held| {
        if line.starts_with("PUT /v2/trust/acme/manifests/rootpin-") {
            held.tags
                .extend(mains.lock().unwrap().take().into_iter().flatten());
        }
        None
    });
    let words = [
        "--repo",
        "other",
        "sign",
        "r.test/app:a",
        "--digest",
        &digest("b"),
        "--length",
        "7",
    ];
    let mut sign = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    sign.arg("repo")
        .args(words)
        .current_dir(shelf.org.path("other").parent().unwrap())
        .env("ROOTPIN_PASSPHRASE", "correct horse");
    let ended = tokio::task::block_in_place(|| sign.output().unwrap());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success()
            && said.contains("r.test/app:a was signed as")
            && said.contains("sign it again"),
        "{said}"
    );
    shelf.registry.calm();
    assert!(shelf.ok("main", &["list"]).contains(&digest("a")));
}

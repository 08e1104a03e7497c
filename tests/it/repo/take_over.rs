//! `rootpin repo take-over` and `compare`: Notary repositories whose tags are signed here.

mod signers;
mod taken_out;
mod unpinned;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Org, digest};
use crate::publisher::{Key, Listed, Publisher};
use crate::world::{Ended, Notary};

const GUN: &str = "r.test/team/app";

/// An organisation with a repository, and a Notary server with one of its own.
struct Leaving {
    org: Org,
    server: Notary,
    notary: Publisher,
}

impl Leaving {
    /// `targets` names old, `targets/releases` names v1 and v2.
    async fn new() -> Self {
        let (org, server) = (Org::founded(), Notary::listen().await);
        let mut notary = Publisher::new(GUN);
        for (tag, content) in [("v1", "one"), ("v2", "two")] {
            notary.tag(tag, &digest(content), 7);
        }
        notary.tag_in("targets", "old", &digest("old"), 7);
        notary.tag_in("targets", "v1", &digest("one as targets has it"), 7);
        server.publish(&notary);
        Self {
            org,
            server,
            notary,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    fn run(&self, verb: &str, more: &[&str]) -> Ended {
        let word = if verb == "compare" {
            "--with"
        } else {
            "--from"
        };
        let (url, key) = (self.url(), self.notary.root_key().id());
        let words = [verb, word, "notary", &url, "--root-key", &key];
        self.org.repo("main", &[&words, more].concat())
    }

    fn take_over(&self) -> String {
        let ended = self.run("take-over", &[GUN]);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out
    }

    fn compare(&self) -> (Value, i32) {
        let ended = self.run("compare", &[GUN, "--json"]);
        let report = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        (report, ended.code)
    }

    fn verify(&self, tag: &str, content: &str) -> String {
        self.org.verify("host", &format!("{GUN}:{tag}"), content)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tags_of_notary_are_allowed_by_the_new_root_once_its_server_is_gone() {
    let leaving = Leaving::new().await;
    let dry = leaving.run("take-over", &[GUN, "--dry-run"]);
    assert!(
        dry.code == 0
            && dry
                .out
                .contains("take over 3 tags of 1 repository from http://127.0.0.1:")
            && dry.out.contains(&format!("{GUN}:v1  {}", digest("one"))),
        "{dry:?}"
    );
    assert_eq!(leaving.verify("v1", "one"), "no-statement");
    leaving.take_over();
    leaving.server.hang(true);
    for (tag, content) in [("v1", "one"), ("v2", "two"), ("old", "old")] {
        assert_eq!(leaving.verify(tag, content), "allowed", "{tag}");
    }
    // Docker looks into `targets/releases` first.
    assert_eq!(
        leaving.verify("v1", "one as targets has it"),
        "digest-mismatch"
    );
    assert_eq!(leaving.verify("v3", "three"), "no-statement");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_again_it_takes_over_what_was_signed_moved_and_revoked_since_and_nothing_else() {
    let mut leaving = Leaving::new().await;
    leaving.take_over();
    let place = leaving.org.tree("place");
    assert_eq!(leaving.compare().1, 0);
    let again = leaving.run("take-over", &[GUN, "--json"]);
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(again["outcome"], "unchanged");
    assert_eq!(leaving.org.tree("place"), place);

    let signed = leaving.org.sign("main", &format!("{GUN}:mine"), "mine");
    assert_eq!(signed.code, 0, "{signed:?}");
    let signed = leaving.org.sign("main", &format!("{GUN}:old"), "old, anew");
    assert_eq!(signed.code, 0, "{signed:?}");
    let releases = leaving.notary.role("targets/releases");
    releases.targets.remove("v2");
    leaving.notary.tag("v1", &digest("one, moved"), 7);
    leaving.notary.tag("v3", &digest("three"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let (report, code) = leaving.compare();
    let differences: Vec<_> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |member: &str| one[member].as_str().unwrap();
            (
                text("name").rsplit_once(':').unwrap().1,
                text("kind"),
                one["taken_over"] == true,
            )
        })
        .collect();
    assert_eq!(
        (differences, code),
        (
            vec![
                ("mine", "only-here", false),
                ("old", "other-digest", false),
                ("v1", "other-digest", true),
                ("v2", "only-here", true),
                ("v3", "only-notary", true),
            ],
            1
        )
    );
    let said = leaving.take_over();
    assert!(
        said.contains(&format!("stays: {GUN}:old is signed here as")),
        "{said}"
    );
    for (tag, content, outcome) in [
        ("v1", "one, moved", "allowed"),
        ("v1", "one", "digest-mismatch"),
        ("v2", "two", "no-statement"),
        ("v3", "three", "allowed"),
        ("mine", "mine", "allowed"),
        ("old", "old, anew", "allowed"),
    ] {
        assert_eq!(leaving.verify(tag, content), outcome, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_of_notary_signs_the_same_tags_here_and_no_others() {
    let mut leaving = Leaving::new().await;
    let public = leaving.org.key("alice", "alice");
    let alice = Listed::ed25519(&fs::read_to_string(public).unwrap());
    let releases = leaving.notary.role("targets/releases");
    releases.signers = Some(releases.keys.clone());
    releases.keys.push(alice.clone());
    releases.paths = vec!["v", "rc"];
    leaving
        .notary
        .delegate("targets/alice", vec![alice], vec![""]);
    leaving.server.publish(&leaving.notary);
    let said = leaving.take_over();
    assert!(said.contains("delegation to notary-releases-"), "{said}");
    let delegations = leaving.org.json("main", &["delegate", "list"]);
    let delegations = delegations["delegations"].as_array().unwrap();
    let role = delegations[0]["role"].as_str().unwrap();
    assert!(
        delegations.len() == 1 && role.starts_with("notary-releases-team-app-"),
        "{delegations:?}"
    );
    let paths = json!([format!("{GUN}:rc*"), format!("{GUN}:v*")]);
    assert_eq!(delegations[0]["paths"], paths);
    let holders = delegations[0]["keys"].to_string();
    assert!(holders.contains("alice ("), "{holders}");

    leaving.org.clone("alice", "r.test/**");
    let signed = leaving
        .org
        .sign("alice", &format!("{GUN}:v1"), "alice's one");
    assert_eq!(signed.code, 0, "{signed:?}");
    let other = leaving
        .org
        .sign("alice", &format!("{GUN}:old"), "alice's old");
    assert!(
        other.code == 2 && other.err.contains("no key here may sign"),
        "{other:?}"
    );
    leaving.org.ok("main", &["refresh"]);
    assert_eq!(leaving.verify("v1", "alice's one"), "allowed");
    assert_eq!(leaving.verify("v1", "one"), "digest-mismatch");
    assert_eq!(leaving.verify("old", "old"), "allowed");
    // What she signed here stays, whatever Notary says of it.
    leaving.take_over();
    let (report, code) = leaving.compare();
    let kept = &report["differences"][0];
    assert!(code == 1 && kept["taken_over"] == false, "{report}");
    assert_eq!(kept["name"], format!("{GUN}:v1"));
    assert_eq!(leaving.verify("v1", "alice's one"), "allowed");

    // Cut off at Notary, she is cut off here.
    let releases = leaving.notary.role("targets/releases");
    releases.keys.pop();
    leaving.notary.remove("targets/alice");
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    assert_eq!(leaving.verify("v2", "two"), "allowed");
    let late = leaving
        .org
        .sign("alice", &format!("{GUN}:v2"), "alice's two");
    assert!(
        late.code == 2 && late.err.contains("no key here may sign"),
        "{late:?}"
    );
    leaving.notary.remove("targets/releases");
    leaving.notary.tag_in(
        "targets",
        "v2",
        &digest("two, by the repository's own key"),
        7,
    );
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    let two = "two, by the repository's own key";
    assert_eq!(leaving.verify("v2", two), "allowed");
    assert_eq!(leaving.verify("v1", "alice's one"), "allowed");
    assert_eq!(leaving.compare().1, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_does_not_verify_is_not_taken_over_nor_any_other_with_it() {
    let leaving = Leaving::new().await;
    let mut other = Publisher::new("r.test/team/other");
    other.tag("v1", &digest("other"), 7);
    leaving.server.publish(&other);
    let before = (leaving.org.tree("place"), leaving.org.tree("main/metadata"));
    let both = [GUN, "r.test/team/other"];
    let ended = leaving.run("take-over", &both);
    assert!(
        ended.code == 2
            && ended
                .err
                .contains("r.test/team/other does not verify: root-not-pinned"),
        "{ended:?}"
    );
    assert_eq!(
        (leaving.org.tree("place"), leaving.org.tree("main/metadata")),
        before
    );
    let ended = leaving.run("take-over", &[&both[..], &["--skip-refused"]].concat());
    assert!(
        ended.code == 1
            && ended
                .out
                .contains("refused: r.test/team/other: root-not-pinned"),
        "{ended:?}"
    );
    assert_eq!(leaving.verify("v1", "one"), "allowed");
    assert_eq!(
        leaving.org.verify("host", "r.test/team/other:v1", "other"),
        "no-statement"
    );
    let foreign = leaving.run("take-over", &["r.test/foreign/app"]);
    assert!(
        foreign.code == 2 && foreign.err.contains("none of this repository's names"),
        "{foreign:?}"
    );
    let late = leaving.run("take-over", &[GUN, "--until", "2026-01-01T00:00:00Z"]);
    assert!(
        late.code == 1 && late.err.contains("ended at 2026-01-01"),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_back_is_refused_by_what_was_taken_over_from_it_before() {
    let mut leaving = Leaving::new().await;
    let old = leaving.notary.clone();
    leaving.notary.tag("v1", &digest("one, mended"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    leaving.server.publish(&old);
    let ended = leaving.run("take-over", &[GUN]);
    assert!(
        ended.code == 2 && ended.err.contains(": rollback: "),
        "{ended:?}"
    );
    assert_eq!(leaving.verify("v1", "one, mended"), "allowed");
    // A delegation that the server drops is no reason to read `targets` alone.
    let mut dropped = leaving.notary.clone();
    dropped.tick();
    dropped.forget("targets/releases");
    leaving.server.publish(&dropped);
    let ended = leaving.run("take-over", &[GUN]);
    assert!(
        ended.code == 2 && ended.err.contains(": role-missing: "),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_is_named_with_what_cures_it_and_a_silent_server_is_no_fault_of_its_signatures() {
    let leaving = Leaving::new().await;
    let (url, key) = (leaving.url(), leaving.notary.root_key().id());
    let run = |words: &[&str]| leaving.org.repo("main", words);
    let silent = "http://127.0.0.1:1";
    for (at, root_key, found, hint) in [
        (
            url.as_str(),
            "30ff0720",
            "30ff0720 is a part of a root key's ID",
            "wanted all 64 hex digits of it, or a file",
        ),
        (
            &url,
            "30ff0720…",
            "30ff0720… is a part of a root key's ID",
            "wanted all 64 hex digits of it, or a file",
        ),
        (
            &url,
            "nowhere.pem",
            "nowhere.pem: No such file",
            "name a file that can be read",
        ),
        (
            "ftp://n.example",
            &key,
            "ftp://n.example: is neither https",
            "wanted https://HOST of the server",
        ),
        (
            silent,
            &key,
            "r.test/team/app could not be read: source-unreachable: ",
            "check the addresses",
        ),
    ] {
        let words = [
            "take-over",
            "--from",
            "notary",
            at,
            "--root-key",
            root_key,
            GUN,
        ];
        let ended = run(&words);
        let says = ended.err.contains(found) && ended.err.contains(&format!("hint: {hint}"));
        assert!(ended.code == 2 && says, "{ended:?}");
        // Nothing is left to take over.
        assert!(!ended.err.contains("--skip-refused"), "{ended:?}");
    }
    let words = [
        "compare",
        "--with",
        "notary",
        silent,
        "--root-key",
        &key,
        GUN,
        "--json",
    ];
    let ended = run(&words);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let error = report["error"].as_str().unwrap();
    assert_eq!((&report["outcome"], ended.code), (&json!("unjudged"), 2));
    assert!(
        error.starts_with("1 repository could not be read, the first: r.test/team/app: "),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_what_the_feed_names_and_the_repository_owns() {
    let leaving = Leaving::new().await;
    let record = |id: u64, gun: &str, category: &str| json!({ "ID": id.to_string(), "GUN": gun, "Category": category, "Version": 1 });
    let feed = json!({ "count": 5, "records": [
        record(1, "r.test/team/gone", "update"),
        record(2, GUN, "update"),
        record(3, "r.test/foreign/app", "update"),
        record(4, "no name at all", "update"),
        record(5, "r.test/team/gone", "deletion"),
        record(6, "r.test/team/a:tag", "update"),
        record(7, "../..", "update"),
        record(8, "r.test/team/\u{e9}", "update"),
        record(9, "r.test/team/b:tag", "update"),
        record(10, "r.test/team/b:tag", "deletion"),
    ]});
    leaving
        .server
        .serve("/v2/_trust/changefeed", feed.to_string().into_bytes());
    let ended = leaving.run("take-over", &["--all"]);
    assert!(
        ended.code == 0 && ended.out.contains("take over 3 tags of 1 repository"),
        "{ended:?}"
    );
    assert_eq!(leaving.verify("v2", "two"), "allowed");
    let none = leaving.run("compare", &["--all"]);
    assert_eq!(none.code, 0, "{none:?}");
    // What can be no image's repository is named, as long as it is there.
    for name in [
        "no name at all",
        "r.test/team/a:tag",
        "../..",
        "r.test/team/\u{e9}",
    ] {
        let line = format!("the server has {name:?}, which can be no repository of images");
        let is_said = ended.out.contains(&line) && none.out.contains(&line);
        assert!(is_said, "{line}: {ended:?} {none:?}");
    }
    assert!(!ended.out.contains("b:tag"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_months_between_either_root_is_enough_or_both_must_agree_and_later_the_new_one_alone()
 {
    let mut leaving = Leaving::new().await;
    leaving.take_over();
    // Since then each of the two has a tag that the other lacks, and one is another image there.
    let signed = leaving.org.sign("main", &format!("{GUN}:new"), "new");
    assert_eq!(signed.code, 0, "{signed:?}");
    leaving.notary.tag("notary", &digest("notary"), 7);
    leaving.notary.tag("v2", &digest("two, moved"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let root = fs::read(leaving.org.path("main/root.json")).unwrap();
    let roots = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"trust\"\ntype = \"tuf\"\nfile = \"root.json\"\nsha256 = \"{}\"\n\
         metadata = [\"{}\"]\nrecheck = \"0s\"\n",
        rootpin_trust::image::Digest::of(&root).hex(),
        leaving.org.place()
    );
    let notary = format!(
        "[[root]]\nid = \"notary-1\"\ntype = \"notary\"\nserver = \"{}\"\nkeys = [\"{}\"]\nrole = \"targets/releases\"\nrecheck = \"0s\"\n",
        leaving.url(),
        leaving.notary.root_key().id()
    );
    let rule = format!("[[rule]]\nmatch = \"{GUN}\"\n");
    let either = format!("{roots}{notary}{rule}roots = [\"notary-1\", \"trust\"]\n");
    let both = format!("{either}quorum = 2\n");
    let new = format!("{roots}{rule}roots = [\"trust\"]\n");
    let answers = |host: &str, policy: &str| {
        let folder = leaving.org.path(&format!("{host}-policy"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("root.json"), &root).unwrap();
        fs::write(folder.join("policy.toml"), policy).unwrap();
        let tags = [
            ("v1", "one"),
            ("new", "new"),
            ("notary", "notary"),
            ("v2", "two"),
        ];
        tags.map(|(tag, content)| {
            let name = format!("{GUN}:{tag}");
            leaving.org.verify(host, &name, content) == "allowed"
        })
    };
    assert_eq!(answers("either", &either), [true, true, true, true]);
    assert_eq!(answers("both", &both), [true, false, false, false]);
    leaving.server.hang(true);
    assert_eq!(answers("new", &new), [true, true, false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_anywhere_a_take_over_leaves_nothing_half_and_goes_on_when_it_is_run_again() {
    let leaving = Leaving::new().await;
    let before = (leaving.org.tree("place"), leaving.org.tree("main/metadata"));
    let (url, key) = (leaving.url(), leaving.notary.root_key().id());
    leaving.server.hang(true);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args([
            "repo",
            "--repo",
            "main",
            "take-over",
            "--from",
            "notary",
            &url,
        ])
        .args(["--root-key", &key, GUN])
        .env("ROOTPIN_PASSPHRASE", "correct horse")
        .current_dir(leaving.org.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    leaving.server.is_asked().await;
    child.kill().unwrap();
    child.wait().unwrap();
    leaving.server.hang(false);
    assert_eq!(
        (leaving.org.tree("place"), leaving.org.tree("main/metadata")),
        before
    );
    // Cut off once more, at each tenth of the time that a whole run takes.
    let begun = Instant::now();
    let dry = leaving.run("take-over", &[GUN, "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    let whole = begun.elapsed();
    for tenth in 1..10 {
        let mut child = command.spawn().unwrap();
        let until = Instant::now() + whole * tenth / 10;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        // A host finds the old state or the new one, whole.
        let found = leaving.verify("v1", "one");
        assert!(
            ["no-statement", "allowed"].contains(&found.as_str()),
            "{found}"
        );
        if found == "allowed" {
            assert_eq!(leaving.verify("old", "old"), "allowed");
        }
    }
    leaving.take_over();
    for (tag, content) in [("v1", "one"), ("v2", "two"), ("old", "old")] {
        assert_eq!(leaving.verify(tag, content), "allowed", "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_tags_of_two_hundred_repositories_are_one_change_within_a_minute() {
    let (org, server) = (Org::founded(), Notary::listen().await);
    let root = Key::named("the one root key");
    let mut guns = Vec::new();
    for number in 0..200 {
        let gun = format!("r.test/team/app{number}");
        let mut notary = Publisher::new(&gun);
        notary.role("root").keys = vec![root.certificate(&gun)];
        for tag in 0..25 {
            let name = format!("v{tag}");
            notary.tag(&name, &digest(&format!("{gun} {name}")), 7);
        }
        server.publish(&notary);
        guns.push(gun);
    }
    let (url, key) = (format!("http://127.0.0.1:{}", server.port), root.id());
    let words = [
        "take-over",
        "--from",
        "notary",
        &url,
        "--root-key",
        &key,
        "--json",
    ];
    let words: Vec<&str> = words
        .into_iter()
        .chain(guns.iter().map(String::as_str))
        .collect();
    let begun = Instant::now();
    let ended = org.repo("main", &words);
    let taken = begun.elapsed();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(taken < Duration::from_secs(60), "{taken:?}");
    let images = org.json("main", &["list"]);
    assert_eq!(images["images"].as_array().unwrap().len(), 5000);
    for gun in [&guns[0], &guns[199]] {
        let name = format!("{gun}:v24");
        assert_eq!(org.verify("host", &name, &format!("{gun} v24")), "allowed");
    }
    #[allow(clippy::disallowed_macros, reason = "a measurement")]
    {
        println!("5,000 tags of 200 repositories: {taken:?}");
    }
}

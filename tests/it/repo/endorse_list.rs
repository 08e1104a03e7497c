//! `rootpin repo endorse --list`: what others publish, as one reviewed change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Org, digest};
use crate::registry::{Registry, error, response};

/// A registry with two repositories of the same tags, and an organisation that endorses them.
struct Upstream {
    dir: TempDir,
    org: Org,
    registry: Registry,
    mirrored: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    /// Whether it lists what is gone, and what is no name.
    odd: Arc<AtomicBool>,
}

/// An image of that content.
fn image(content: &str) -> String {
    let descriptor = |kind: &str, text: &str| json!({ "mediaType": kind, "digest": digest(text), "size": text.len() });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", content),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", content)],
    })
    .to_string()
}

impl Upstream {
    async fn new() -> Self {
        let registry = Registry::start().await;
        let (mirrored, broken) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicBool::new(false)),
        );
        let (is_mirrored, is_broken) = (Arc::clone(&mirrored), Arc::clone(&broken));
        let odd = Arc::new(AtomicBool::new(false));
        let is_odd = Arc::clone(&odd);
        registry.quirk(move |asked, _| {
            let path = asked.line.split(' ').nth(1).unwrap();
            let listed = |of: &str| path.starts_with(&format!("/v2/library/{of}/tags/list"));
            if is_odd.load(Ordering::Relaxed) {
                if path.starts_with("/v2/_catalog") {
                    let all = json!({ "repositories": ["library/alpine", "library/busybox", "library/deleted", "library/Bad Name"] });
                    return Some(response(200, &[], all.to_string()));
                }
                if listed("deleted") {
                    return Some(error(404, "NAME_UNKNOWN", "repository name not known"));
                }
                if listed("busybox") {
                    let long = "x".repeat(200);
                    let tags = json!({ "tags": ["3.20", "BAD TAG", "<b>", ".dot", long] });
                    return Some(response(200, &[], tags.to_string()));
                }
            }
            if path.starts_with("/v2/_catalog") {
                let all =
                    json!({ "repositories": ["library/alpine", "library/busybox", "other/app"] });
                return Some(response(200, &[], all.to_string()));
            }
            if path.starts_with("/v2/team/") && !is_mirrored.load(Ordering::Relaxed) {
                return Some(error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
            }
            let fails =
                path.ends_with("busybox/manifests/3.20") && is_broken.load(Ordering::Relaxed);
            fails.then(|| error(503, "UNAVAILABLE", "later"))
        });
        let dir = tempfile::tempdir().unwrap();
        let (hosts, place) = (dir.path().join("hosts"), dir.path().join("place"));
        for name in ["up.test", "r.test"] {
            registry.stands_for(name, &hosts);
        }
        let place = format!("file://{}", place.display());
        let founding = tokio::task::spawn_blocking(move || Org::founded_by_hosts(place, hosts));
        let upstream = Self {
            dir,
            org: founding.await.unwrap(),
            registry,
            mirrored,
            broken,
            odd,
        };
        for tag in ["3.19", "3.20", "edge"] {
            upstream.push(tag, tag);
        }
        upstream
    }

    /// All files of the repository's place.
    fn place(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_of(&self.dir.path().join("place"))
    }

    fn push(&self, tag: &str, content: &str) {
        let mut held = self.registry.held.lock().unwrap();
        held.tags
            .insert(tag.to_owned(), image(content).into_bytes());
    }

    /// Endorses what the lines list.
    fn endorse(&self, lines: &str, more: &[&str]) -> (i32, Value) {
        fs::write(self.org.path("list.txt"), lines).unwrap();
        let words = ["endorse", "--list", "list.txt", "--json"];
        let ended = self.org.repo("main", &[&words, more].concat());
        let value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        (ended.code, value)
    }

    /// Which names are signed here, in the mirror, and of which content.
    fn signed(&self) -> Vec<String> {
        let listed = self.org.json("main", &["list"]);
        let images = listed["images"].as_array().unwrap().iter();
        let contents = ["3.19", "3.20", "edge", "3.20 mended"];
        let name = |entry: &Value| {
            let name = entry["name"]
                .as_str()
                .unwrap()
                .trim_start_matches("r.test/team/")
                .to_owned();
            let text = entry.to_string();
            let content = contents
                .iter()
                .find(|content| text.contains(&digest(&image(content))));
            format!("{name} {}", content.unwrap())
        };
        images.map(name).collect()
    }
}

/// What is in a folder, which may be missing.
fn files_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_of(&path)
            } else {
                vec![(path.clone(), fs::read(&path).unwrap())]
            }
        })
        .collect();
    files.sort();
    files
}

const LIBRARY: &str = "# daily\nup.test/library/*:3.* as r.test/team/*\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_a_list_are_one_change_and_what_moved_since_is_taken_only_with_update() {
    let upstream = Upstream::new().await;
    let empty = upstream.place();
    let (code, dry) = upstream.endorse(LIBRARY, &["--dry-run"]);
    let about = dry["about"].to_string();
    assert!(
        code == 0 && about.contains("endorse 4 names of list.txt: 4 new, 0 moved; 0 unchanged"),
        "{dry}"
    );
    assert_eq!(upstream.place(), empty);

    assert_eq!(upstream.endorse(LIBRARY, &[]).0, 0);
    let first = [
        "alpine:3.19 3.19",
        "alpine:3.20 3.20",
        "busybox:3.19 3.19",
        "busybox:3.20 3.20",
    ];
    assert_eq!(upstream.signed(), first);
    let place = upstream.place();
    let (code, again) = upstream.endorse(LIBRARY, &["--update"]);
    assert_eq!((code, again["outcome"].as_str()), (0, Some("unchanged")));

    upstream.push("3.20", "3.20 mended");
    // Nothing new is signed, and what moved is said with another exit code.
    assert_eq!(upstream.endorse(LIBRARY, &[]).0, 1);
    assert_eq!(upstream.place(), place);
    let (code, moved) = upstream.endorse(LIBRARY, &["--update", "--dry-run"]);
    let about = moved["about"].to_string();
    assert!(
        code == 0 && about.contains("0 new, 2 moved; 2 unchanged"),
        "{moved}"
    );
    assert_eq!(upstream.endorse(LIBRARY, &["--update"]).0, 0);
    assert_eq!(upstream.signed()[1], "alpine:3.20 3.20 mended");
    let name = "r.test/team/busybox:3.20";
    assert_eq!(
        upstream.org.verify("host", name, &image("3.20 mended")),
        "allowed"
    );
    assert_eq!(
        upstream.org.verify("host", name, &image("3.20")),
        "digest-mismatch"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_fails_in_the_middle_leaves_nothing_half_and_the_next_run_does_the_whole() {
    let upstream = Upstream::new().await;
    let empty = upstream.place();
    upstream.broken.store(true, Ordering::Relaxed);
    fs::write(upstream.org.path("list.txt"), LIBRARY).unwrap();
    let ended = upstream
        .org
        .repo("main", &["endorse", "--list", "list.txt"]);
    assert!(
        ended.code == 2 && ended.err.contains("nothing is signed"),
        "{ended:?}"
    );
    assert_eq!(upstream.place(), empty);
    upstream.broken.store(false, Ordering::Relaxed);
    assert_eq!(upstream.endorse(LIBRARY, &[]).0, 0);
    assert_eq!(upstream.signed().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_endorsed_under_its_mirrors_name_once_the_mirror_has_it_and_what_is_signed_by_hand_stays()
 {
    let upstream = Upstream::new().await;
    upstream.mirrored.store(false, Ordering::Relaxed);
    let line = "up.test/library/alpine:edge as r.test/team/alpine\n";
    let (code, without) = upstream.endorse(line, &[]);
    assert_eq!((code, without["outcome"].as_str()), (1, Some("unchanged")));
    assert_eq!(upstream.signed(), [""; 0]);
    upstream.mirrored.store(true, Ordering::Relaxed);
    assert_eq!(upstream.endorse(line, &[]).0, 0);
    assert_eq!(upstream.signed(), ["alpine:edge edge"]);

    let by_hand = "r.test/team/alpine:3.19";
    upstream.org.ok(
        "main",
        &["endorse", by_hand, "--from", "up.test/library/busybox:edge"],
    );
    let (code, _) = upstream.endorse(LIBRARY, &["--update"]);
    assert_eq!(code, 1);
    assert!(upstream.signed().contains(&"alpine:3.19 edge".to_owned()));
    // A name that is gone at its publisher stays, and is said.
    upstream.registry.held.lock().unwrap().tags.remove("3.20");
    upstream.push("3.21", "edge");
    let (_, gone) = upstream.endorse("up.test/library/busybox:3.* as r.test/team/busybox\n", &[]);
    assert!(
        gone["about"]
            .to_string()
            .contains("busybox:3.20 is no longer at its publisher"),
        "{gone}"
    );
    assert!(upstream.signed().contains(&"busybox:3.20 3.20".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_list_means_under_another_name_by_now_is_not_called_gone() {
    let upstream = Upstream::new().await;
    assert_eq!(upstream.endorse(LIBRARY, &[]).0, 0);
    let elsewhere = "up.test/library/*:3.* as r.test/team/hub/*\n";
    let (code, moved) = upstream.endorse(elsewhere, &["--dry-run"]);
    let about = moved["about"].to_string();
    assert!(
        code == 0
            && about.contains("4 new, 0 moved")
            && about.contains("stays: r.test/team/alpine:3.19 is signed as an endorsement of up.test/library/alpine:3.19")
            && !about.contains("gone:"),
        "{moved}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_not_understood_or_means_names_of_others_signs_nothing() {
    let upstream = Upstream::new().await;
    for (lines, why) in [
        ("alpine:3\n", "line 1: "),
        ("\n", "lists nothing"),
        (
            "up.test/library/alpine:3.20 as r.other/alpine\n",
            "r.other/alpine is nothing that this repository endorses",
        ),
        (
            "up.test/library/alpine:3.20 as r.test/team/one\nup.test/library/busybox:3.20 as r.test/team/one\n",
            "line 2: ",
        ),
    ] {
        fs::write(upstream.org.path("list.txt"), lines).unwrap();
        let ended = upstream
            .org
            .repo("main", &["endorse", "--list", "list.txt"]);
        assert!(
            ended.code == 2 && ended.err.contains(why),
            "{lines}: {ended:?}"
        );
    }
    let neither = upstream.org.repo("main", &["endorse"]);
    assert_eq!(neither.code, 64, "{neither:?}");
    assert_eq!(upstream.signed(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_revoked_by_hand_is_left_out_of_each_list_until_it_is_endorsed_by_hand() {
    let upstream = Upstream::new().await;
    assert_eq!(upstream.endorse(LIBRARY, &[]).0, 0);
    let by_hand = "r.test/team/busybox:3.19";
    let said = upstream.org.ok("main", &["revoke", by_hand]);
    let line = format!("+ targets: kept out of lists and take-overs: {by_hand}\n");
    assert!(said.contains(&line), "{said}");
    let sign = upstream.org.sign("main", by_hand, "by hand");
    assert_eq!(sign.code, 0, "{sign:?}");
    let (endorsed, copy) = ("r.test/team/alpine:3.20", "r.test/team/busybox:3.20");
    upstream.org.ok("main", &["revoke", endorsed, by_hand]);
    let left = ["alpine:3.19 3.19", "busybox:3.20 3.20"];
    assert_eq!(upstream.signed(), left);
    upstream.push("3.20", "3.20 mended");
    for more in [&[][..], &["--update", "--dry-run"], &["--update"]] {
        let (code, report) = upstream.endorse(LIBRARY, more);
        let about = report["about"].to_string();
        for name in [endorsed, by_hand] {
            let said = format!(
                "stays out: {name} was revoked here by hand: rootpin repo endorse {name} --from up.test/"
            );
            assert!(about.contains(&said), "{report}");
        }
        // What moved is said as ever; a name that stays out is no reason to fail each day.
        assert_eq!(code, i32::from(more.is_empty()), "{report}");
    }
    assert_eq!(upstream.signed(), [left[0], "busybox:3.20 3.20 mended"]);
    assert_eq!(upstream.endorse(LIBRARY, &["--update"]).0, 0);

    // What never comes by a list needs no such record.
    let own = "r.test/team/own:1";
    let sign = upstream.org.sign("main", own, "own");
    assert_eq!(sign.code, 0, "{sign:?}");
    let said = upstream.org.ok("main", &["revoke", own]);
    assert!(!said.contains("kept out of"), "{said}");

    // Endorsed by hand, it is a name as the others; revoked, it stays out again.
    let source = "up.test/library/alpine:3.20";
    upstream
        .org
        .ok("main", &["endorse", endorsed, "--from", source]);
    assert!(
        upstream
            .signed()
            .contains(&"alpine:3.20 3.20 mended".to_owned())
    );
    upstream.push("3.20", "3.20");
    assert_eq!(upstream.endorse(LIBRARY, &["--update"]).0, 0);
    assert!(upstream.signed().contains(&"alpine:3.20 3.20".to_owned()));
    upstream.org.ok("main", &["revoke", endorsed, copy]);
    assert_eq!(upstream.endorse(LIBRARY, &["--update"]).0, 0);
    assert_eq!(upstream.signed(), [left[0]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_gone_and_what_is_no_name_are_said_and_the_others_are_endorsed() {
    let upstream = Upstream::new().await;
    upstream.odd.store(true, Ordering::Relaxed);
    // One line has one reason.
    let gone = "up.test/library/deleted:* as r.test/team/deleted\n";
    let (code, report) = upstream.endorse(gone, &[]);
    let about = report["about"].to_string();
    assert!(
        code == 1
            && about.contains("line 1: up.test/library/deleted is not at its registry")
            && !about.contains("lists no such name"),
        "{report}"
    );
    let all =
        "up.test/library/*:* as r.test/team/*\nup.test/library/deleted:* as r.test/team/deleted\n";
    let (code, report) = upstream.endorse(all, &[]);
    let about = report["about"].to_string();
    for said in [
        "line 1: up.test/library/deleted is not at its registry",
        "line 2: the registry lists no such name",
        "left out: line 1: up.test lists 1 repository with a name that is none, the first: \\\"library/Bad Name\\\"",
        "left out: line 1: up.test/library/busybox lists 4 tags with a name that is none, the first: \\\"BAD TAG\\\"",
    ] {
        assert!(about.contains(said), "{said}: {report}");
    }
    assert_eq!(code, 1, "{report}");
    let signed = [
        "alpine:3.19 3.19",
        "alpine:3.20 3.20",
        "alpine:edge edge",
        "busybox:3.20 3.20",
    ];
    assert_eq!(upstream.signed(), signed);
    // A pattern of tags that none of them is like leaves them out in silence.
    let (code, report) =
        upstream.endorse("up.test/library/busybox:3.* as r.test/team/busybox\n", &[]);
    assert!(
        code == 0 && !report["about"].to_string().contains("left out"),
        "{report}"
    );
}

//! Signatures beside images in the commands: scans, bundles, and what a policy's roots bind.

use std::path::Path;
use std::process::Command;

use rootpin_trust::image::Digest;
use serde_json::Value;

use super::setup::Server;
use super::signatures::{IMAGE, Place, alone, folder, read};
use crate::cosign;
use crate::world::run;

/// A policy with the builder's key, in a folder.
pub(super) fn policy(folder: &Path, text: &str, key: &str) -> String {
    std::fs::create_dir_all(folder.join("roots")).unwrap();
    let text = format!("version = 1\ndefault = \"deny\"\n{text}");
    std::fs::write(folder.join("policy.toml"), text).unwrap();
    let pem = read("keys", &format!("{key}.pub"));
    std::fs::write(folder.join("roots/p256.pub"), pem).unwrap();
    let own = cosign::public_pem(1);
    std::fs::write(folder.join("roots/own1.pub"), own).unwrap();
    folder.display().to_string()
}

/// Runs rootpin: the exit code and its object.
pub(super) async fn rootpin(words: &[&str]) -> (i32, Value) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let work = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let ended = run(command.args(&words).arg("--json"), b"");
        let value = serde_json::from_str(&ended.out);
        (
            ended.code,
            value.unwrap_or_else(|_| panic!("{words:?}: {ended:?}")),
        )
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[expect(clippy::unused_async, reason = "its server needs a runtime")]
async fn signed(fixture: &str) -> (Server, tempfile::TempDir) {
    let server = Server::empty();
    server.sign(Place::Referrers, fixture);
    let image = std::fs::read(folder("image.json")).unwrap();
    assert_eq!(Digest::of(&image).to_string(), IMAGE);
    server.put("manifests/v1", image);
    (
        server,
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_signatures_is_verified_again_and_holds_without_a_registry() {
    let (mut server, dir) = signed("bundle-p256").await;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let text = alone(&server);
    let good = policy(&dir.path().join("good"), &text, "p256");
    let other = policy(&dir.path().join("other"), &text, "other");
    let (name, bundle) = (server.name(), path("bundle"));
    let export = [
        "bundle", "export", "--root", "builder", "--name", &name, "--policy", &good, &bundle,
    ];
    let (code, exported) = rootpin(&export).await;
    assert_eq!((code, &exported["files"]), (0, &1.into()), "{exported}");
    let (code, refused) = rootpin(&[
        "bundle",
        "export",
        "--root",
        "builder",
        "--name",
        &name,
        "--policy",
        &other,
        &path("none"),
    ])
    .await;
    assert_eq!(
        (code, &refused["failed"][0]["code"]),
        (1, &"no-statement".into()),
        "{refused}"
    );
    server.stop().await;
    let by_digest = format!("{name}@{IMAGE}");
    let (state, again) = (path("state"), path("again"));
    let verify = ["verify", &by_digest, "--policy", &good, "--state", &state];
    assert_eq!(rootpin(&verify).await.0, 2);
    let (code, imported) = rootpin(&[
        "bundle", "import", "--policy", &good, "--state", &state, &bundle,
    ])
    .await;
    assert_eq!(
        (code, &imported["roots"][0]["new_files"]),
        (0, &1.into()),
        "{imported}"
    );
    let (code, verdict) = rootpin(&verify).await;
    assert_eq!(
        (code, &verdict["outcome"]),
        (0, &"allowed".into()),
        "{verdict}"
    );
    let (_, audit) = rootpin(&["audit", "--policy", &good, "--state", &state]).await;
    let unseen = |finding: &Value| finding["code"] == "root-unseen";
    let findings = audit["findings"].as_array();
    assert!(
        findings.is_some_and(|all| !all.iter().any(unseen)),
        "{audit}"
    );
    let held = &audit["roots"][0]["held"][0]["repository"];
    assert!(
        held.as_str().is_some_and(|of| name.starts_with(of)),
        "{audit}"
    );
    // What that host has goes on to the next one, as far as the pattern means it.
    let pattern = format!("{}/team/*", name.split('/').next().unwrap());
    let from_state = [
        "bundle", "export", "--root", "builder", "--match", &pattern, "--policy", &good, "--state",
        &state, &again,
    ];
    assert_eq!(rootpin(&from_state).await.0, 0);
    assert_eq!(
        std::fs::read(&again).unwrap(),
        std::fs::read(&bundle).unwrap()
    );
    let elsewhere = from_state.map(|word| {
        if word == pattern {
            "other.example/*"
        } else {
            word
        }
    });
    assert_eq!(rootpin(&elsewhere).await.0, 1);
    let (code, refused) = rootpin(&[
        "bundle",
        "import",
        "--policy",
        &other,
        "--state",
        &path("third"),
        &bundle,
    ])
    .await;
    assert_eq!(
        (code, &refused["code"]),
        (1, &"no-statement".into()),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_shows_the_formats_and_the_keys_that_an_image_s_signatures_name() {
    for (fixture, format, names) in [
        ("bundle-p256", "sigstore-bundle", Some("SHA256:")),
        ("jws-p256", "notation-jws", Some("(certificate \"p256\")")),
        ("cose-p384", "notation-cose", Some("(certificate \"p384\")")),
    ] {
        let (server, dir) = signed(fixture).await;
        let good = policy(dir.path(), &alone(&server), "p256");
        let (code, scanned) = rootpin(&["pin", "scan", &server.name(), "--policy", &good]).await;
        assert_eq!((code, &scanned["verified"]), (0, &false.into()));
        let found = &scanned["scanned"][0];
        assert_eq!(
            (&found["digest"], &found["signatures"][0]["format"]),
            (&IMAGE.into(), &format.into()),
            "{scanned}"
        );
        let claimed = found["signatures"][0]["claimed_key"].as_str();
        assert!(
            names.is_none_or(|part| claimed.unwrap().contains(part)),
            "{claimed:?}"
        );
        // The key is not in a signature: `--scan` could not pin it.
        let hint = scanned["hint"].as_str().unwrap();
        assert!(
            hint.contains("--from FILE") && !hint.contains("--scan"),
            "{hint}"
        );
        // Without a rule too, before anything is pinned.
        let nothing = policy(dir.path(), "", "p256");
        let (code, scanned) = rootpin(&["pin", "scan", &server.name(), "--policy", &nothing]).await;
        assert_eq!((code, scanned["scanned"].as_array().unwrap().len()), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_shows_an_image_s_signatures_although_its_rule_has_only_roots_that_look_elsewhere() {
    let (mut server, dir) = signed("bundle-p256").await;
    let (repository, key) = (server.repository(), "d0".repeat(32));
    let text = format!(
        "[[root]]\nid = \"own\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:1\"\nkeys = [\"{key}\"]\n\
         role = \"targets\"\n[[rule]]\nmatch = \"{repository}\"\nroots = [\"own\"]\n"
    );
    let policy = policy(dir.path(), &text, "p256");
    let name = server.name();
    let scan = ["pin", "scan", &name, "--policy", &policy];
    let (code, scanned) = rootpin(&scan).await;
    let (root, beside) = (&scanned["scanned"][0], &scanned["scanned"][1]);
    assert_eq!(
        (code, &root["root"], &beside["signatures"][0]["format"]),
        (2, &"own".into(), &"sigstore-bundle".into()),
        "{scanned}"
    );
    assert!(root["error"].is_string(), "{scanned}");
    // Nothing at all answers.
    server.stop().await;
    let (code, refused) = rootpin(&scan).await;
    assert_eq!((code, &refused["outcome"]), (2, &"unjudged".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_for_a_tag_has_the_signature_of_that_tag_or_is_not_written() {
    let (mut server, dir) = signed("bundle-p256").await;
    let image = std::fs::read(folder("image.json")).unwrap();
    for tag in ["latest", "v2"] {
        server.put(&format!("manifests/{tag}"), image.clone());
    }
    let list = ["v1", "latest"].map(|tag| server.tagged(tag));
    server.list(Place::Referrers, &list);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let policy = policy(&dir.path().join("policy"), &server.bound(), "p256");
    let (bundle, state) = (path("bundle"), path("state"));
    let export = async |tag: &str| {
        let name = server.tag(tag);
        rootpin(&[
            "bundle", "export", "--root", "own", "--name", &name, "--policy", &policy, &bundle,
        ])
        .await
    };
    let (code, refused) = export("v2").await;
    let failed = &refused["failed"][0];
    assert_eq!(
        (code, &failed["code"]),
        (1, &"no-statement".into()),
        "{refused}"
    );
    let (code, exported) = export("latest").await;
    assert_eq!((code, &exported["files"]), (0, &1.into()), "{exported}");
    let (latest, v2) = (server.tag("latest"), server.tag("v2"));
    server.stop().await;
    let (code, imported) = rootpin(&[
        "bundle", "import", "--policy", &policy, "--state", &state, &bundle,
    ])
    .await;
    assert_eq!(code, 0, "{imported}");
    for (name, wanted) in [(latest, 0), (v2, 2)] {
        let name = format!("{name}@{IMAGE}");
        let (code, verdict) =
            rootpin(&["verify", &name, "--policy", &policy, "--state", &state]).await;
        assert_eq!(code, wanted, "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_tells_attestations_from_signatures_and_says_what_it_left_out() {
    let (server, dir) = signed("bundle-p256").await;
    let provenance = "https://slsa.dev/provenance/v1";
    let mut list: Vec<Value> = (0..100)
        .map(|at| {
            let annotations = serde_json::json!({ "at": at.to_string() });
            let bundle = cosign::bundle_of(provenance, IMAGE, &annotations, 1);
            server.beside(provenance, bundle)
        })
        .collect();
    list.push(server.tagged("v1"));
    server.list(Place::Referrers, &list);
    let nothing = policy(dir.path(), "", "p256");
    let (code, scanned) = rootpin(&["pin", "scan", &server.name(), "--policy", &nothing]).await;
    let found = &scanned["scanned"][0];
    assert_eq!((code, &found["listed"]), (0, &101.into()), "{scanned}");
    let predicates: Vec<_> = found["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["predicate"].as_str())
        .collect();
    assert_eq!(predicates.len(), 64);
    // The signature is listed last, and looked at first.
    assert_eq!(predicates[0], None);
    assert!(
        predicates[1..]
            .iter()
            .all(|kind| kind.unwrap().contains(provenance))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_image_is_scanned_before_anything_is_pinned_and_makes_no_bundle() {
    let (server, dir) = signed("bundle-p256").await;
    server.list(Place::Referrers, &[]);
    let nothing = policy(&dir.path().join("nothing"), "", "p256");
    let (code, scanned) = rootpin(&["pin", "scan", &server.name(), "--policy", &nothing]).await;
    let found = &scanned["scanned"][0]["signatures"];
    assert_eq!((code, found), (0, &serde_json::json!([])), "{scanned}");
    // There is no fingerprint that could be compared.
    let hint = scanned["hint"].as_str().unwrap();
    assert!(
        hint.contains("rootpin repo --repo DIR endorse NAME") && !hint.contains("fingerprint"),
        "{hint}"
    );
    let pinned = policy(&dir.path().join("pinned"), &alone(&server), "p256");
    let bundle = dir.path().join("bundle");
    let (code, exported) = rootpin(&[
        "bundle",
        "export",
        "--root",
        "builder",
        "--name",
        &server.name(),
        "--policy",
        &pinned,
        bundle.to_str().unwrap(),
    ])
    .await;
    let failed = &exported["failed"][0]["code"];
    assert_eq!((code, failed), (1, &"no-statement".into()), "{exported}");
    assert!(!bundle.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_root_binds_is_shown_by_check_explain_and_lint() {
    let (server, dir) = signed("bundle-p256").await;
    let dir = policy(dir.path(), &alone(&server), "p256");
    let none = serde_json::json!({ "id": "builder", "binds": { "name": false, "tag": false, "freshness": false } });
    let (_, checked) = rootpin(&["policy", "check", &dir]).await;
    assert_eq!(checked["roots"][0], none);
    let (_, explained) = rootpin(&["policy", "explain", "--policy", &dir, &server.name()]).await;
    let root = &explained["roots"][0];
    assert_eq!(
        (&root["id"], &root["binds"], &explained["binds_tag"]),
        (&none["id"], &none["binds"], &false.into())
    );
    let (code, linted) = rootpin(&["policy", "lint", &dir]).await;
    let text = linted.to_string();
    assert!(
        code == 1 && text.contains("moved-tags") && text.contains("not name, tag, freshness"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_asks_for_nothing_twice_and_for_nothing_at_all_once_enough_is_cached() {
    for (fixture, kind) in [("bundle-p256", "cosign"), ("jws-p256", "notation")] {
        let (server, dir) = signed(fixture).await;
        let folder = dir.path().join("policy");
        let certificate = read("certificates", "ca.crt");
        let mut text = alone(&server);
        if kind == "notation" {
            text = text.replace("\"cosign\"", "\"notation\"").replace(
                "keys = [\"roots/p256.pub\"]",
                "certificates = [\"roots/ca.crt\"]",
            );
        }
        let policy = policy(&folder, &text, "p256");
        std::fs::write(folder.join("roots/ca.crt"), certificate).unwrap();
        let state = dir.path().join("state");
        let file = state.join("state.redb");
        let state = state.display().to_string();
        let name = format!("{}@{IMAGE}", server.repository());
        let verify = ["verify", &name, "--policy", &policy, "--state", &state];
        let shown = |verdict: &Value| {
            let all = &verdict["signatures"][0];
            (
                all["cached"].as_bool(),
                all["found"].as_array().map(Vec::len),
            )
        };
        let (code, verdict) = rootpin(&verify).await;
        assert_eq!((code, shown(&verdict)), (0, (Some(false), Some(1))));
        let asked = server.asked();
        let mut once = asked.clone();
        once.sort();
        once.dedup();
        assert_eq!(asked.len(), once.len(), "{asked:?}");
        // The list, the tag in its place, the manifest, the blob, and cosign's own tag.
        let most = if kind == "cosign" { 5 } else { 4 };
        assert!(asked.len() <= most, "{asked:?}");
        let before = std::fs::read(&file).unwrap();
        let (code, verdict) = rootpin(&verify).await;
        assert_eq!((code, shown(&verdict)), (0, (Some(true), Some(1))));
        assert_eq!(server.asked(), Vec::<String>::new(), "{kind}");
        assert_eq!(
            std::fs::read(&file).unwrap(),
            before,
            "the state is as it was"
        );
        let anew = [verify.as_slice(), &["--anew"]].concat();
        let (code, verdict) = rootpin(&anew).await;
        assert_eq!((code, shown(&verdict)), (0, (Some(false), Some(1))));
        assert!(!server.asked().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_for_one_tag_leaves_what_is_cached_of_another_tag() {
    let (mut server, dir) = signed("bundle-p256").await;
    let image = std::fs::read(folder("image.json")).unwrap();
    server.put("manifests/latest", image);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let policy = policy(&dir.path().join("policy"), &server.bound(), "p256");
    let (bundle, state) = (path("bundle"), path("state"));
    let (v1, latest) = (server.tag("v1"), server.tag("latest"));
    server.list(Place::Referrers, &[server.tagged("latest")]);
    let export = [
        "bundle", "export", "--root", "own", "--name", &latest, "--policy", &policy, &bundle,
    ];
    assert_eq!(rootpin(&export).await.0, 0);
    server.list(Place::Referrers, &[server.tagged("v1")]);
    let verify = async |name: &str| {
        let name = format!("{name}@{IMAGE}");
        rootpin(&["verify", &name, "--policy", &policy, "--state", &state]).await
    };
    assert_eq!(verify(&v1).await.0, 0);
    server.stop().await;
    let import = [
        "bundle", "import", "--policy", &policy, "--state", &state, &bundle,
    ];
    for new in [1, 0] {
        let (code, imported) = rootpin(&import).await;
        let files = &imported["roots"][0]["new_files"];
        assert_eq!((code, files), (0, &new.into()), "{imported}");
        for name in [&v1, &latest] {
            let (code, verdict) = verify(name).await;
            assert_eq!(code, 0, "{name} {verdict}");
        }
    }
}

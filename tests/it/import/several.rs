//! Several sources on one host, and several files of one tool.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use rootpin_trust::image::Digest;
use serde_json::json;

use super::{BLOCKED, Host};
use crate::world::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_source_refuses_no_other_source_lets_in() {
    let reject = json!([{ "type": "reject" }]);
    let scope = |scope: &str| {
        json!({ "default": reject, "transports": { "docker": { scope: reject } } }).to_string()
    };
    let default = json!({ "default": reject }).to_string();
    let anything = json!({ "default": [{ "type": "insecureAcceptAnything" }] }).to_string();
    let blocked = |prefix: &str| {
        let location = if prefix.starts_with('*') { "" } else { prefix };
        format!("[[registry]]\nprefix = {prefix:?}\nlocation = {location:?}\nblocked = true\n")
    };
    let cases: [(&str, String, String); 9] = [
        ("a tag", scope("r.test/team/app:v1"), String::new()),
        (
            "a digest",
            scope(&format!("r.test/team/app@{}", Digest::of(b"one"))),
            String::new(),
        ),
        ("a domain", scope("*.test"), String::new()),
        ("a registry", scope("r.test"), String::new()),
        ("a blocked domain", default.clone(), blocked("*.test")),
        ("a blocked registry", default.clone(), blocked("r.test")),
        ("a blocked folder", anything.clone(), blocked("r.test/team")),
        (
            "a blocked tag",
            anything.clone(),
            blocked("r.test/team/app:v1"),
        ),
        (
            "a broken registries.conf",
            anything,
            "[[registry]]\n".to_owned(),
        ),
    ];
    let host = Host::new().await;
    let (docker, containers) = (
        host.dir.path().join(".docker"),
        host.dir.path().join(".config/containers"),
    );
    for folder in [&docker, &containers] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::rename(host.dir.path().join("trust"), docker.join("trust")).unwrap();
    let key = host.publisher.root_key().id();
    let import = |policy: &str, registries: &str| {
        let _ = fs::remove_dir_all(host.proposal());
        fs::write(containers.join("policy.json"), policy).unwrap();
        fs::write(containers.join("registries.conf"), registries).unwrap();
        host.import(&["--offline", "--fingerprint", &key])
    };
    for (what, policy, registries) in &cases {
        let ended = import(policy, registries);
        if ended.code == 2 {
            assert!(*what == "a broken registries.conf" && !host.proposal().exists());
            continue;
        }
        // Not one name is left.
        let nothing = ended.out.contains("not one name is allowed");
        assert!(ended.code == 1 && nothing, "{what}: {ended:?}");
        let lead = "hint: nothing is allowed yet: ";
        let command = "rootpin pin add ID --policy proposal --type cosign --from FILE";
        assert!(
            ended.out.contains(lead) && ended.out.contains(command),
            "{what}: {ended:?}"
        );
        assert_ne!(host.verify("one"), "allowed", "{what}: {ended:?}");
        assert!(
            ended.out.contains("refused: r.test/team/app"),
            "{what}: {ended:?}"
        );
    }
    // What a source refuses of all that it does not name is no word on a name of another's.
    let ended = import(&default, &blocked("*.example"));
    assert!(
        ended
            .out
            .contains("default: reject: it refuses what no source names"),
        "{ended:?}"
    );
    assert!(
        ended.code == 0 && !ended.out.contains("not one name"),
        "{ended:?}"
    );
    assert_eq!(host.verify("one"), "allowed");
}

#[test]
fn of_the_files_that_a_tool_may_read_the_one_that_it_reads_is_read() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    let write = |path: &str, text: &str| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), text).unwrap();
    };
    let import = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .arg("import")
            .args(words)
            .args(["--out", "proposal"]);
        command
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME");
        let ended = run(command.current_dir(home.path()), b"");
        let _ = fs::remove_dir_all(at("proposal"));
        ended
    };
    // podman reads the user's file before the host's, and the drop-ins of both.
    write(
        ".config/containers/policy.json",
        &json!({ "default": [{ "type": "reject" }], "transports": { "docker": { "mine.example": [{ "type": "reject" }] } } }).to_string(),
    );
    write(".config/containers/registries.conf.d/a.conf", BLOCKED);
    let ended = import(&["--from", "containers-policy"]);
    for part in ["refused: mine.example/**", "refused: r.test/bad/**"] {
        assert!(
            ended.code == 1 && ended.out.contains(part),
            "{part}: {ended:?}"
        );
    }
    // Of notation's two names nobody can tell which one counts.
    let statement = json!({ "version": "1.0", "trustPolicies": [{ "name": "n", "registryScopes": ["r.test/a"],
        "signatureVerification": { "level": "strict" }, "trustStores": ["ca:none"], "trustedIdentities": ["*"] }] });
    let (older, newer) = (
        ".config/notation/trustpolicy.json",
        ".config/notation/trustpolicy.oci.json",
    );
    write(older, &statement.to_string());
    let one = import(&["--from", "notation-trustpolicy"]);
    assert!(
        one.code == 1 && one.out.contains("refused: r.test/a"),
        "{one:?}"
    );
    write(newer, &statement.to_string());
    for words in [&["--from", "notation-trustpolicy"][..], &["--offline"]] {
        let both = import(words);
        assert!(both.code == 2 && both.err.contains("both here"), "{both:?}");
    }
    let named = import(&["--from", "notation-trustpolicy", older]);
    assert_eq!(named.code, 1, "{named:?}");
    // notation refuses a link.
    fs::rename(at(newer), at("elsewhere.json")).unwrap();
    fs::remove_file(at(older)).unwrap();
    symlink(at("elsewhere.json"), at(older)).unwrap();
    let link = import(&["--from", "notation-trustpolicy"]);
    assert!(
        link.code == 2 && link.err.contains("notation refuses it"),
        "{link:?}"
    );
}

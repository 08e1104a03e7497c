//! What Docker's and Notary's clients trust on a host.

use super::{
    SHARED, audit, data, finding, findings, policy_for, report, report_by_files, trusts,
    trusts_published,
};
use crate::publisher::{Key, Publisher};
use crate::world::World;

fn trust(world: &World) -> String {
    world.path("trust").display().to_string()
}

#[test]
fn two_repositories_under_one_root_key_are_seen_to_share_it_though_their_certificates_differ() {
    let Some(world) = World::new("a-shared") else {
        return;
    };
    world.write_policy(&policy_for(
        &world,
        "registry.example.com/acme/*",
        &[SHARED],
    ));
    for name in ["app", "web"] {
        trusts(
            &world.path("trust"),
            &format!("registry.example.com/acme/{name}"),
            &data(&format!("vectors/shared-root-key/{name}")),
        );
    }
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    let keys = report["root_keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "{keys:#?}");
    assert_eq!(
        (
            keys[0]["id"].as_str().unwrap(),
            keys[0]["pinned_by"][0].as_str()
        ),
        (SHARED, Some("publisher"))
    );
    let uses = keys[0]["repositories"].as_array().unwrap();
    assert_eq!(
        (
            uses[0]["repository"].as_str(),
            uses[1]["repository"].as_str()
        ),
        (
            Some("registry.example.com/acme/app"),
            Some("registry.example.com/acme/web")
        )
    );
    assert_ne!(uses[0]["listed_as"], uses[1]["listed_as"]);
    // The fingerprint is of the key: it is known from the certificates, though the policy pins an
    // ID alone.
    assert!(
        keys[0]["fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("SHA256:")
    );
    assert_eq!(
        (findings(&report), code),
        (vec!["root-unseen root publisher".to_owned()], 0)
    );
}

#[test]
fn a_repository_signed_with_another_key_is_flagged_and_so_is_one_poisoned_at_first_use() {
    let Some(world) = World::new("a-poisoned") else {
        return;
    };
    world.write_policy(&policy_for(
        &world,
        "registry.example.com/acme/*",
        &[SHARED],
    ));
    trusts(
        &world.path("trust"),
        "registry.example.com/acme/app",
        &data("vectors/shared-root-key/app"),
    );
    // Whoever stood between at the first pull made a repository of that name with keys of their
    // own.
    let poisoned = "registry.example.com/acme/web";
    let attacker = Publisher::new(poisoned);
    trusts_published(&world.path("trust"), &attacker);
    // Real metadata, of another publisher.
    trusts(
        &world.path("trust"),
        "registry.test/fix/basic",
        &data("server/basic/served"),
    );
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    let found = findings(&report);
    assert_eq!(code, 1);
    assert!(
        found.contains(&format!("root-not-pinned {poisoned}")),
        "{found:#?}"
    );
    let detail = finding(&report, "root-not-pinned")["detail"]
        .as_str()
        .unwrap();
    assert!(
        detail.contains(&attacker.root_key().id()) && detail.contains(SHARED),
        "{detail}"
    );
    assert!(
        found.contains(&"not-in-policy registry.test/fix/basic".to_owned()),
        "{found:#?}"
    );
    assert!(
        !found.iter().any(|one| one.ends_with("acme/app")),
        "{found:#?}"
    );
    let (policy, state) = (
        world.path("policy").display().to_string(),
        world.path("state").display().to_string(),
    );
    let text = audit(
        &world,
        &[
            "--trust-dir",
            &trust(&world),
            "--policy",
            &policy,
            "--state",
            &state,
        ],
    )
    .out;
    assert!(
        text.contains("NOBODY")
            && text.contains("error: root-not-pinned: registry.example.com/acme/web"),
        "{text}"
    );
}

#[test]
fn after_a_rotation_the_chain_says_which_version_introduced_which_key() {
    let Some(world) = World::new("a-rotated") else {
        return;
    };
    world.write_policy(&policy_for(
        &world,
        "registry.example.com/acme/*",
        &[SHARED],
    ));
    trusts(
        &world.path("trust"),
        "registry.example.com/acme/app",
        &data("vectors/rotations"),
    );
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    let chain = report["trust_directories"][0]["repositories"][0]["chain"]
        .as_array()
        .unwrap();
    let versions: Vec<_> = chain
        .iter()
        .map(|link| (link["version"].as_u64().unwrap(), link["linked"].as_bool()))
        .collect();
    assert_eq!(
        versions,
        [
            (1, None),
            (2, Some(true)),
            (3, Some(true)),
            (4, Some(true)),
            (5, Some(true)),
            (6, Some(true))
        ]
    );
    let rotations: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["code"] == "root-rotated")
        .map(|one| one["detail"].as_str().unwrap())
        .collect();
    let (second, third) = (
        "57cf9d6ece076c5d7ca62c934b39a91958b6acaadb1bb7eb66b8d45d86caa75d",
        "d85f35a0e8c228d7c88e9dd7b8f0e43e05119292e6d4d1dbc89f14843c38bbbf",
    );
    assert_eq!(
        rotations,
        [
            format!("version 3, introduced {second}, dropped {SHARED}"),
            format!("version 4, introduced {third}, dropped {second}")
        ]
    );
    // The pins are of the first key: what it was rotated to is not trusted for that.
    assert_eq!(
        (
            finding(&report, "root-not-pinned")["severity"].as_str(),
            code
        ),
        (Some("error"), 1)
    );
    finding(&report, "left-over-key");
}

#[test]
fn a_root_that_the_one_before_did_not_sign_breaks_the_chain() {
    let Some(world) = World::new("a-broken-chain") else {
        return;
    };
    trusts(
        &world.path("trust"),
        "registry.test/fix/rotated",
        &data("server/rotated/served2"),
    );
    let metadata = world.path("trust/tuf/registry.test/fix/rotated/metadata");
    let foreign = std::fs::read(data("vectors/rotations/2.root.json")).unwrap();
    std::fs::write(metadata.join("2.root.json"), foreign).unwrap();
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    let broken: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["code"] == "chain-broken")
        .map(|one| one["detail"].as_str().unwrap())
        .collect();
    assert_eq!(
        (broken.len(), code),
        (2, 1),
        "the foreign file follows nothing, and nothing follows it: {broken:#?}"
    );
}

#[test]
fn a_root_role_with_a_key_besides_the_pinned_one_is_told_apart_from_one_without() {
    let Some(world) = World::new("a-extra") else {
        return;
    };
    let gun = "registry.example.com/acme/app";
    let mut publisher = Publisher::new(gun);
    let other = Key::named("other");
    publisher.role("root").keys.push(other.certificate(gun));
    world.write_policy(&policy_for(
        &world,
        "registry.example.com/acme/*",
        &[&publisher.root_key().id()],
    ));
    trusts_published(&world.path("trust"), &publisher);
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    assert_eq!(code, 1);
    assert!(
        finding(&report, "root-extra-key")["detail"]
            .as_str()
            .unwrap()
            .contains(&other.id())
    );
    assert!(
        !findings(&report)
            .iter()
            .any(|one| one.starts_with("root-not-pinned"))
    );
}

#[test]
fn what_does_not_hold_by_itself_is_flagged() {
    let Some(world) = World::new("a-weak") else {
        return;
    };
    let gun = "registry.example.com/acme/app";
    let mut publisher = Publisher::new(gun);
    let root = publisher.root_key();
    // One key in two certificates, the second for another name and over; a delegation that nobody
    // can sign for; revoked, and unsigned.
    publisher.role("root").keys.push(root.certificate_until(
        "registry.example.com/other",
        9,
        "260101000000Z",
    ));
    publisher.delegate("targets/alice", vec![Key::named("alice").bare()], vec![""]);
    publisher.role("targets/alice").threshold = 2;
    publisher.role("targets").signers = Some(vec![Key::named("stranger").bare()]);
    let revoked = format!(
        "{}[[revoked]]\nkey = \"{}\"\nreason = \"lost\"\n",
        policy_for(&world, "registry.example.com/acme/*", &[&root.id()]),
        Key::named("alice").id()
    );
    world.write_policy(&revoked);
    trusts_published(&world.path("trust"), &publisher);
    std::fs::create_dir_all(world.path("trust/private")).unwrap();
    std::fs::write(
        world.path(&format!("trust/private/{}.key", root.id())),
        "secret",
    )
    .unwrap();
    let (report, _) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    for code in [
        "certificate-expired",
        "key-revoked",
        "key-twice",
        "private-key",
        "role-not-signed",
        "subject-name",
        "threshold-unreachable",
    ] {
        finding(&report, code);
    }
    assert!(
        finding(&report, "private-key")["detail"]
            .as_str()
            .unwrap()
            .contains("1 of them of root keys")
    );
    assert!(!report.to_string().contains("secret"));
}

#[test]
fn expired_files_are_told_by_file_and_what_the_next_pull_renews_is_no_finding_that_weighs() {
    let Some(world) = World::new("a-expired") else {
        return;
    };
    for (name, file, code) in [
        ("expired-targets", "targets.json", "expired"),
        ("expired-root", "root.json", "expired"),
        ("expired-snapshot", "snapshot.json", "stale"),
        ("expired-timestamp", "timestamp.json", "stale"),
    ] {
        let directory = world.path(name);
        let gun = std::fs::read_to_string(data(&format!("gen/{name}/GUN"))).unwrap();
        trusts(&directory, gun.trim(), &data(&format!("gen/{name}")));
        let (report, _) =
            report_by_files(&world, &["--trust-dir", &directory.display().to_string()]);
        let detail = finding(&report, code)["detail"].as_str().unwrap();
        assert!(detail.starts_with(file), "{name}: {detail}");
    }
}

#[test]
fn delegations_are_listed_with_who_signs_them() {
    let Some(world) = World::new("a-delegations") else {
        return;
    };
    trusts(
        &world.path("trust"),
        "registry.example.com/acme/del",
        &data("vectors/delegations"),
    );
    let (report, _) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    let one = &report["trust_directories"][0]["repositories"][0];
    let roles: Vec<_> = one["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role["name"].as_str().unwrap())
        .collect();
    assert_eq!(roles[..4], ["root", "snapshot", "targets", "timestamp"]);
    for role in [
        "targets/releases",
        "targets/alice",
        "targets/alice/nested",
        "targets/bob",
    ] {
        assert!(roles.contains(&role), "{roles:?}");
    }
    assert_eq!(
        one["files"]["targets/releases.json"]["signers"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(one["files"]["targets/alice/nested.json"]["signed"], true);
}

#[test]
fn a_repository_that_the_policy_names_and_no_trust_directory_has_is_told() {
    let Some(world) = World::new("a-absent") else {
        return;
    };
    world.write_policy(&policy_for(
        &world,
        "registry.example.com/acme/gone",
        &[SHARED],
    ));
    trusts(
        &world.path("trust"),
        "registry.example.com/acme/app",
        &data("vectors/shared-root-key/app"),
    );
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust(&world)]);
    let found = findings(&report);
    assert!(
        found.contains(&"not-in-trust-directory registry.example.com/acme/gone".to_owned()),
        "{found:#?}"
    );
    assert!(
        found.contains(&"not-in-policy registry.example.com/acme/app".to_owned()),
        "{found:#?}"
    );
    assert_eq!(code, 1);
}

#[test]
fn a_home_directory_is_looked_into_and_without_a_policy_what_is_trusted_is_told_all_the_same() {
    let Some(world) = World::new("a-home") else {
        return;
    };
    trusts(
        &world.path("home/.docker/trust"),
        "registry.example.com/acme/app",
        &data("vectors/shared-root-key/app"),
    );
    let (report, code) = report(&world, &[]);
    assert_eq!(
        (
            report["root_keys"][0]["id"].as_str(),
            code,
            report["outcome"].as_str()
        ),
        (Some(SHARED), 2, Some("unknown"))
    );
    assert_eq!(report["policy"], serde_json::Value::Null);
    assert!(
        report["untold"][0]["why"]
            .as_str()
            .unwrap()
            .contains("the daemon does not answer")
    );
}

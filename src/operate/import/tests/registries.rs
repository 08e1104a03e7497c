//! `registries.conf` beside a `policy.json`: what it blocks, and what makes its tools refuse all.

use serde_json::{Value, json};

use super::super::*;
use super::loaded;
use super::signed::{imported, left, ours, signed};
use crate::problem::Problem;
use rootpin_policy::Policy;

pub(super) fn text(file: &str, conf: &str) -> RegistriesText {
    RegistriesText {
        file: file.to_owned(),
        bytes: conf.as_bytes().to_vec(),
        drop_in: file.contains(".d/"),
    }
}

/// A policy that wants one key for each of these scopes.
pub(super) fn scopes(scopes: &[&str]) -> Value {
    let docker: Map = scopes
        .iter()
        .map(|scope| ((*scope).to_owned(), signed(&["p256"], &Value::Null)))
        .collect();
    json!({ "default": [{ "type": "reject" }], "transports": { "docker": docker } })
}

type Map = serde_json::Map<String, Value>;

pub(super) fn with(source: &Value, texts: &[RegistriesText]) -> Result<Proposal, Problem> {
    add_registries(imported(source, false), texts).map(|(proposal, _)| proposal)
}

pub(super) fn by(policy: &Policy, name: &str) -> bool {
    ours(policy, (name, "v1"), &[("p256", format!("{name}:v1"))])
}

#[test]
fn mirrors_of_registries_conf_become_hosts_toml_and_what_it_blocks_is_refused() {
    let source = scopes(&["r.example", "docker.io"]);
    let conf = r#"
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "r.example/bad"
blocked = true
[[registry]]
prefix = "docker.io"
location = "docker.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "plain.example"
insecure = true
[[registry]]
prefix = "r.example/team"
location = "elsewhere.example/team"
"#;
    let proposal = with(&source, &[text("registries.conf", conf)]).unwrap();
    let policy = loaded(&proposal);
    assert!(by(&policy, "r.example/good") && by(&policy, "docker.io/library/alpine"));
    assert!(!by(&policy, "r.example/bad") && !by(&policy, "r.example/bad/app"));
    assert_eq!(
        String::from_utf8(files(&proposal)["certs.d/docker.io/hosts.toml"].clone()).unwrap(),
        "server = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.example/v2/hub\"]\ncapabilities = [\"pull\"]\noverride_path = true\n"
    );
    assert_eq!(
        left(&proposal),
        [
            "\"unqualified-search-registries\"",
            "the mirror plain.example of docker.io",
            "where r.example/team is fetched from",
        ]
    );
}

#[test]
fn what_registries_conf_blocks_by_a_domain_a_tag_or_a_digest_is_refused() {
    let source = scopes(&["r.example.com", "r.other.com"]);
    let of = |prefix: &str| {
        let location = if prefix.starts_with('*') { "" } else { prefix };
        let conf =
            format!("[[registry]]\nprefix = {prefix:?}\nlocation = {location:?}\nblocked = true\n");
        loaded(&with(&source, &[text("registries.conf", &conf)]).unwrap())
    };
    let domain = of("*.example.com");
    assert!(!by(&domain, "r.example.com/team/app") && by(&domain, "r.other.com/team/app"));
    let digest = format!("r.example.com/team/app@sha256:{}", "0".repeat(64));
    for one in ["r.example.com/team/app:1.0", &digest] {
        let policy = of(one);
        assert!(!by(&policy, "r.example.com/team/app"), "{one}");
        assert!(by(&policy, "r.example.com/team/other"), "{one}");
    }
}

/// What each of these files refuses, and what it does not; an empty name is not asked about.
fn check_blocked(cases: &[(String, &str, &str)]) {
    let source = scopes(&["r.example", "r.example:5000", "a.example"]);
    for (conf, refused, allowed) in cases {
        let policy = loaded(&with(&source, &[text("registries.conf", conf)]).unwrap());
        assert!(!by(&policy, refused), "{refused} under {conf}");
        assert!(
            allowed.is_empty() || by(&policy, allowed),
            "{allowed} under {conf}"
        );
    }
}

fn registry(members: &str) -> String {
    format!("[[registry]]\n{members}\n")
}

#[test]
fn a_name_whose_bytes_come_from_a_blocked_place_or_from_none_is_refused() {
    check_blocked(&[
        // No name comes of it.
        (
            registry("prefix = \"a.example\"\nlocation = \"*.example\""),
            "a.example/app",
            "r.example/app",
        ),
        (
            registry("prefix = \"a.example/b\"\nlocation = \"short\""),
            "a.example/b/app",
            "a.example/app",
        ),
        // Nor of the repository itself, whose location is a host alone; below it there is one.
        (
            registry("prefix = \"a.example/b\"\nlocation = \"c.example:9\""),
            "a.example/b",
            "a.example/b/app",
        ),
        (
            registry(
                "prefix = \"a.example/b\"\nlocation = \"a.example/b\"\n[[registry.mirror]]\nlocation = \"c.example:9\"",
            ),
            "a.example/b",
            "a.example/b/app",
        ),
        // Bytes are fetched from a blocked place.
        (
            format!(
                "{}{}",
                registry("prefix = \"a.example\"\nlocation = \"b.example/sub\""),
                registry("location = \"b.example\"\nblocked = true")
            ),
            "a.example/app",
            "r.example/app",
        ),
        (
            format!(
                "{}{}",
                registry("prefix = \"a.example\"\nlocation = \"b.example\""),
                registry("location = \"b.example/bad\"\nblocked = true")
            ),
            "a.example/bad/app",
            "a.example/app",
        ),
        (
            format!(
                "{}{}",
                registry("prefix = \"*.example\"\nlocation = \"b.test\""),
                registry("location = \"b.test/bad\"\nblocked = true")
            ),
            "a.example/bad",
            // The wildcard means every host of the policy.
            "",
        ),
    ]);
}

#[test]
fn what_is_blocked_in_each_way_of_writing_is_refused() {
    check_blocked(&[
        (
            registry("prefix = \"r.example/bad/\"\nlocation = \"r.example/bad\"\nblocked = true"),
            "r.example/bad/app",
            "r.example/app",
        ),
        (
            registry("location = \"r.example/bad//\"\nblocked = true"),
            "r.example/bad",
            "r.example/badly",
        ),
        (
            registry("prefix = \"\"\nlocation = \"r.example/bad\"\nblocked = true"),
            "r.example/bad/app",
            "r.example/app",
        ),
        (
            registry("location = \"r.example\"\nblocked = true"),
            "r.example:5000/app",
            "a.example/app",
        ),
        (
            "[registries.block]\nregistries = [\"r.example/\"]\n".to_owned(),
            "r.example/app",
            "a.example/app",
        ),
        (
            "[Registries.Block]\nREGISTRIES = [\"r.example\"]\n".to_owned(),
            "r.example/app",
            "a.example/app",
        ),
        (
            registry("Location = \"r.example/bad\"\nBLOCKED = true"),
            "r.example/bad/app",
            "r.example/app",
        ),
        (
            registry("location = \"r.example/bad\"\n\"bloc\u{212a}ed\" = true"),
            "r.example/bad",
            "r.example/app",
        ),
        // The first of a prefix counts.
        (
            format!(
                "{}{}",
                registry("location = \"r.example/bad\"\nblocked = true"),
                registry("prefix = \"r.example/bad\"\nlocation = \"other.example\"")
            ),
            "r.example/bad/app",
            "r.example/app",
        ),
    ]);
    let source = scopes(&["r.example"]);
    let one = text(
        "registries.conf",
        "[[registry]]\nlocation = \"r.example\"\n",
    );
    let two = text(
        "registries.conf.d/9.conf",
        "[[registry]]\nlocation = \"r.example\"\nblocked = true\n",
    );
    assert!(!by(
        &loaded(&with(&source, &[one, two]).unwrap()),
        "r.example/app"
    ));
}

#[test]
fn a_registries_conf_by_which_its_tools_refuse_every_image_is_an_error() {
    let good = "location = \"r.example\"";
    let mirror = |members: &str| format!("[[registry]]\n{good}\n[[registry.mirror]]\n{members}\n");
    for conf in [
        "[[".to_owned(),
        registry("location = \"r.example\"\nblocked = \"true\""),
        registry("location = \"https://r.example\""),
        registry("location = \"http://r.example\""),
        registry("location = 1"),
        registry("blocked = true"),
        registry("prefix = \"r.example\"\nblocked = true"),
        registry("prefix = \"*.corp.example:5000\""),
        registry("prefix = \"*.corp.example/team\""),
        registry("location = \"r.example\"\npull-from-mirror = \"all\""),
        registry("location = \"r.example\"\nLocation = \"s.example\""),
        registry("location = \"r.example\"\nmirror = 1"),
        "[registry]\nlocation = \"r.example\"\n".to_owned(),
        "registry = \"r.example\"\n".to_owned(),
        format!(
            "{}{}",
            registry(good),
            registry("prefix = \"s.example\"\nlocation = \"r.example\"\nblocked = true")
        ),
        format!(
            "{}{}",
            registry(good),
            registry("prefix = \"s.example\"\nlocation = \"r.example\"\ninsecure = true")
        ),
        mirror("insecure = true"),
        mirror("location = \"m.example\"\npull-from-mirror = \"odd\""),
        mirror("location = \"https://m.example\""),
        format!(
            "[[registry]]\n{good}\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"m.example\"\npull-from-mirror = \"all\"\n"
        ),
        "short-name-mode = \"odd\"\n".to_owned(),
        "unqualified-search-registries = [\"r.example/team\"]\n".to_owned(),
        "unqualified-search-registries = \"r.example\"\n".to_owned(),
        "[aliases]\n\"r.example/a\" = \"r.example/b\"\n".to_owned(),
        "[aliases]\na = \"library/a\"\n".to_owned(),
        format!("[registries.block]\nregistries = []\n{}", registry(good)),
        "[registries.block]\nregistries = [\"https://r.example\"]\n".to_owned(),
        "[registries.block]\nregistries = [\"*.corp.example:5000\"]\n".to_owned(),
        "[registries.insecure]\nregistries = [\"*.corp.example/team\"]\n".to_owned(),
        "[[registries]]\n".to_owned(),
    ] {
        let read = with(&scopes(&["r.example"]), &[text("registries.conf", &conf)]);
        assert!(read.is_err(), "{conf}");
    }
    let v1 = "[registries.block]\nregistries = [\"r.example\"]\n";
    assert!(with(&scopes(&[]), &[text("registries.conf.d/1.conf", v1)]).is_err());
    for conf in [
        "",
        "odd = 1\n[aliases]\na = \"\"\nb = \"docker.io/b\"\n",
        "[registries.search]\nregistries = [\"docker.io\"]\n",
        "[[registry]]\nprefix = \"*.corp.example\"\nodd = 1\n",
        "short-name-mode = \"enforcing\"\ncredential-helpers = []\n",
    ] {
        let read = with(&scopes(&["r.example"]), &[text("registries.conf", conf)]);
        assert!(
            read.is_ok_and(|read| by(&loaded(&read), "r.example/app")),
            "{conf}"
        );
    }
}

/// What is left behind and refused, each with why.
fn words(proposal: &Proposal) -> Vec<(String, String)> {
    let left = proposal.left_behind.iter();
    let left = left.map(|left| (left.what.clone(), left.why.clone()));
    let refused = proposal
        .rules
        .iter()
        .filter_map(|(pattern, rule)| match rule {
            ImportedRule::Refused(why) => Some((pattern.clone(), why.clone())),
            _ => None,
        });
    left.chain(refused).collect()
}

#[test]
fn a_mirror_that_podman_takes_for_no_name_is_named_and_is_why_the_registry_is_refused() {
    let source = scopes(&["r.example", "s.example"]);
    for mirror in [
        "[fd00::1]:5000/x",
        "m\u{fc}ller.example",
        "short",
        "M_X.example",
        "m.example/Up",
    ] {
        let conf = format!(
            "[[registry]]\nlocation = \"r.example\"\n[[registry.mirror]]\nlocation = \"good.example\"\n[[registry.mirror]]\nlocation = \"{mirror}\"\n"
        );
        let proposal = with(&source, &[text("registries.conf", &conf)]).unwrap();
        let policy = loaded(&proposal);
        assert!(
            !by(&policy, "r.example/app") && by(&policy, "s.example/app"),
            "{mirror}"
        );
        let words = words(&proposal);
        let line = words
            .iter()
            .find(|word| word.0 == format!("the mirror {mirror} of r.example"));
        assert!(line.is_some(), "{words:?}");
        let rule = words.iter().find(|word| word.0 == "r.example/**").unwrap();
        assert!(
            rule.1.contains(&format!("{mirror:?}")) && !rule.1.contains("blocks it"),
            "{rule:?}"
        );
    }
}

#[test]
fn each_entry_of_registries_conf_has_an_effect_or_a_line_and_what_it_blocks_stays_blocked() {
    let source = scopes(&["r.example", "docker.io"]);
    let block = |location: &str| registry(&format!("location = {location:?}\nblocked = true"));
    let digest = format!("r.example@sha256:{}", "0".repeat(64));
    let v1 = |list: &str| format!("[registries.{list}]\nregistries = [\"*\", \"r.example/Up\"]\n");
    // Each with what is left behind, and a name that may not be let in.
    for (conf, lines, refused) in [
        (v1("block"), vec!["blocked *", "blocked r.example/Up"], ""),
        (
            v1("insecure"),
            vec!["the registry *", "the registry r.example/Up"],
            "",
        ),
        (
            block("DOCKER.IO"),
            vec!["blocked DOCKER.IO"],
            "docker.io/library/alpine",
        ),
        (
            block("DOCKER.IO/library"),
            vec!["blocked DOCKER.IO/library"],
            "docker.io/library/alpine",
        ),
        (
            block("R.example/team/app:1"),
            vec!["blocked R.example/team/app:1"],
            "r.example/team/app",
        ),
        (
            registry("prefix = \"*.EXAMPLE\"\nblocked = true"),
            vec!["blocked *.EXAMPLE"],
            "r.example/app",
        ),
        (block(&digest), vec![&*format!("blocked {digest}")], ""),
        (
            block("r.example:latest"),
            vec!["blocked r.example:latest"],
            "",
        ),
        (
            block("index.docker.io"),
            vec!["blocked index.docker.io"],
            "",
        ),
        (block("myhost"), vec!["blocked myhost"], ""),
        (block("r.example"), vec![], "r.example/app"),
        (
            registry("location = \"r.example\"\ninsecure = true"),
            vec!["insecure r.example"],
            "",
        ),
        (
            registry("location = \"R.example\"\n[[registry.mirror]]\nlocation = \"m.example\""),
            vec!["where R.example is fetched from"],
            "",
        ),
    ] {
        let conf = &conf;
        let proposal = with(&source, &[text("registries.conf", conf)]).unwrap();
        assert_eq!(left(&proposal), lines, "{conf}");
        let policy = loaded(&proposal);
        for name in [
            "r.example/app",
            "r.example/team/app",
            "docker.io/library/alpine",
        ] {
            let is_within = name == refused || refused == "r.example/app" && name.starts_with("r.");
            assert_eq!(by(&policy, name), !is_within, "{name} under {conf}");
        }
    }
}

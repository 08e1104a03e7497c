//! Policies that load; what is odd in them, out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rootpin_policy::{Diagnostic, Files};
use rootpin_trust::image::Digest;

use crate::policy_dir::load;

const KEY: &str = "d0c623c80000000000000000000000000000000000000000000000000000abcd";
const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const HEAD: &str = "version = 1\ndefault = \"deny\"\n";
const RULE: &str = "[[rule]]\nmatch = \"h.example/**\"\nroots = [\"a\"]\n";

const P256: &[u8] = include_bytes!("../../../tests/data/signatures/keys/p256.pub");
const RSA: &[u8] = include_bytes!("../../../tests/data/signatures/keys/rsa.pub");
const TUF: &[u8] = include_bytes!("../../../tests/data/tuf/1.root.json");
const CA: &[u8] = include_bytes!("../../../tests/data/signatures/certificates/ca.crt");
const LEAF: &[u8] = include_bytes!("../../../tests/data/signatures/certificates/p256.crt");
const OTHER: &[u8] = include_bytes!("../../../tests/data/signatures/certificates/p384.crt");

fn now() -> Timestamp {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

fn files(text: &str) -> BTreeMap<String, Vec<u8>> {
    let text = text.replace("KEY", KEY).replace("DIGEST", DIGEST);
    let text = text.replace("TUF", &Digest::of(TUF).hex());
    let pinned = [
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\n".as_slice()),
        ("a.pub", P256),
        ("b.pub", RSA),
        ("acme.json", TUF),
        ("ca.crt", CA),
        ("leaf.crt", LEAF),
        ("other.crt", OTHER),
    ];
    let pinned = pinned.map(|(name, bytes)| (format!("roots/{name}"), bytes.to_vec()));
    let policy = ("policy.toml".to_owned(), format!("{HEAD}{text}"));
    let policy = (policy.0, policy.1.into_bytes());
    pinned.into_iter().chain([policy]).collect()
}

fn warned_of(files: &dyn Files) -> Vec<Diagnostic> {
    let policy = load(files, now()).unwrap_or_else(|errors| panic!("{errors:?}"));
    policy.warnings
}

fn warnings(text: &str) -> Vec<Diagnostic> {
    warned_of(&files(text))
}

/// Places in `policy.toml`, whose third line begins with this text, and codes.
fn places(text: &str) -> Vec<String> {
    let warnings = warnings(text).into_iter();
    let shown = warnings.map(|one| format!("{}: {}", one.location, one.code));
    shown.map(|one| one.replace("policy.toml:", "")).collect()
}

fn codes(text: &str) -> Vec<&'static str> {
    let warnings = warnings(text).into_iter();
    warnings.map(|one| one.code.as_str()).collect()
}

fn notary(line: &str) -> String {
    format!(
        "[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"KEY\"]\nrole = \"targets\"\n{line}{RULE}"
    )
}

fn tuf(lines: &str) -> String {
    format!(
        "[[root]]\nid = \"own\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nsha256 = \"TUF\"\n{lines}\n"
    )
}

fn cosign(lines: &str, rule: &str) -> String {
    format!("[[root]]\nid = \"a\"\ntype = \"cosign\"\n{lines}\n{RULE}{rule}\n")
}

fn exempt(until: &str) -> String {
    format!("[[exempt]]\nmatch = \"h.example/a\"\nuntil = {until}\nreason = \"x\"\n")
}

const REVOKED: &str = "[[revoked]]\ndigest = \"DIGEST\"\nreason = \"x\"\n";

#[test]
fn what_means_nothing_or_is_over_or_revoked_is_found_at_its_place() {
    let http = notary("tls-ca = \"roots/ca.pem\"\n").replace("https://n.example", "http://[::1]:1");
    let rule_with = |line: &str| format!("{}{line}\n", notary(""));
    for (text, wanted) in [
        (
            "[local]\ncontent = \"deny\"\nnamespaces = [\"moby\"]\n",
            "5:1: no-effect",
        ),
        ("local = { namespaces = [\"moby\"] }\n", "3:11: no-effect"),
        ("audit-until = 2026-12-01T00:00:00Z\n", "3:15: no-effect"),
        (
            "mode = \"audit\"\naudit-until = 2026-01-01T00:00:00Z\n",
            "4:15: until",
        ),
        (&http, "9:1: no-effect"),
        (
            &format!(
                "{}{}",
                tuf("metadata = [\"file:///srv/tuf\"]\ntls-ca = \"roots/ca.pem\""),
                RULE.replace("\"a\"", "\"own\"")
            ),
            "9:1: no-effect",
        ),
        (
            &cosign(
                "keys = [\"roots/a.pub\"]\nrecheck = \"60s\"",
                "tags = \"unbound\"",
            ),
            "7:1: no-effect",
        ),
        (
            &rule_with("audit-until = 2026-01-01T00:00:00Z"),
            "12:15: until",
        ),
        (
            &format!(
                "mode = \"audit\"\n{}",
                rule_with("audit-until = 2026-12-01T00:00:00Z")
            ),
            "13:15: no-effect",
        ),
        (
            &rule_with("mode = \"enforce\"\naudit-until = 2026-12-01T00:00:00Z"),
            "12:8: no-effect",
        ),
        (&rule_with("index = \"by-manifests\""), "12:9: no-effect"),
        (&rule_with("tags = \"unbound\""), "12:8: unbound-tags"),
        (&exempt("2026-01-01T00:00:00Z"), "5:9: until"),
        (
            &format!("[[image]]\nname = \"h.example/a:1\"\ndigest = \"DIGEST\"\n{REVOKED}"),
            "5:10: revoked-pin",
        ),
        (
            &format!(
                "{}digests = [\n \"DIGEST\"]\n{REVOKED}",
                exempt("2026-12-01T00:00:00Z")
            ),
            "8:2: revoked-pin",
        ),
        (
            &format!("{}[[revoked]]\nkey = \"KEY\"\nreason = \"x\"\n", notary("")),
            "7:9: revoked-pin",
        ),
    ] {
        assert_eq!(places(text), [wanted], "in\n{HEAD}{text}");
    }
}

#[test]
fn a_policy_that_says_what_it_means_has_no_warnings() {
    let audited = "mode = \"audit\"\naudit-until = 2026-12-01T00:00:00Z\n";
    let local = "[local]\ncontent = \"allow\"\nnamespaces = [\"moby\"]\n";
    let root = notary("max-age = \"1h\"\ntls-ca = \"roots/ca.pem\"\n");
    let exempt = exempt("2026-12-01T00:00:00Z");
    let image = "[[image]]\nname = \"h.example/a:1\"\ndigest = \"DIGEST\"\n";
    assert_eq!(
        places(&format!("{audited}{local}{root}{exempt}{image}")),
        [""; 0]
    );
}

#[test]
fn a_warning_is_shown_with_its_line_and_those_of_fragments_after_those_of_the_policy() {
    let mut files = files(&format!("{}{}", notary(""), exempt("2026-01-01T00:00:00Z")));
    let fragment = "[fragment]\nowns = \"h.example/b\"\n[[exempt]]\nmatch = \"h.example/b\"\nuntil = 2026-01-02T00:00:00Z\nreason = \"x\"\n";
    files.insert("policy.d/a.toml".to_owned(), fragment.as_bytes().to_vec());
    let found = warned_of(&files);
    let places: Vec<_> = found.iter().map(|one| one.location.to_string()).collect();
    assert_eq!(places, ["policy.toml:14:9", "policy.d/a.toml:5:9"]);
    assert_eq!(
        found[1].to_string(),
        "policy.d/a.toml:5:9: until: warning: the exemption ended at 2026-01-02T00:00:00Z and is void\n    until = 2026-01-02T00:00:00Z\n            ^\nhint: take it out, or give it a new end"
    );
}

#[test]
fn a_quorum_that_binds_the_tag_needs_no_word_about_unbound_ones() {
    let keys = "keys = [\"roots/a.pub\"]";
    let both = |rule: &str| {
        let rule = format!("quorum = {rule}\ntags = \"unbound\"");
        let text = cosign(keys, &rule).replace("[\"a\"]", "[\"a\", \"own\"]");
        codes(&format!("{}{text}", tuf("")))
    };
    assert_eq!(both("1"), [""; 0]);
    assert_eq!(both("2"), ["unbound-tags"]);
}

#[test]
fn two_roots_of_a_quorum_that_one_signer_can_satisfy_are_named() {
    let root = |id: &str, file: &str| {
        format!("[[root]]\nid = \"{id}\"\ntype = \"notation\"\ncertificates = [\"roots/{file}\"]\n")
    };
    let with = |quorum: usize, files: [&str; 2]| {
        codes(&format!(
            "{}{}[[rule]]\nmatch = \"h.example/**\"\nroots = [\"a\", \"b\"]\ntags = \"unbound\"\nquorum = {quorum}\n",
            root("a", files[0]),
            root("b", files[1])
        ))
    };
    for files in [["ca.crt", "leaf.crt"], ["leaf.crt", "ca.crt"]] {
        assert_eq!(with(2, files), ["quorum"], "{files:?}");
        assert_eq!(with(1, files), [""; 0]);
    }
    assert_eq!(with(2, ["leaf.crt", "other.crt"]), [""; 0]);
}

#[test]
fn a_revoked_key_of_a_signature_root_is_named_and_so_is_a_root_that_nobody_can_sign_for() {
    let key = rootpin_trust::key_file::public_keys(P256)
        .unwrap()
        .remove(0);
    let print = rootpin_trust::Fingerprint::of(&key).unwrap();
    let texts = |key: &str, lines: &str| {
        let text = cosign(lines, "tags = \"unbound\"");
        let revoked = format!("[[revoked]]\nkey = \"{key}\"\nreason = \"leaked\"\n");
        let found = warnings(&format!("{text}{revoked}")).into_iter();
        found
            .map(|one| format!("{}: {}", one.code, one.message))
            .collect::<Vec<_>>()
    };
    let both = "keys = [\"roots/a.pub\", \"roots/b.pub\"]";
    for name in [key.id().to_string(), print.to_string(), print.hex()] {
        let one = texts(&name, both);
        assert!(
            one.len() == 1 && one[0].contains("count for nothing"),
            "{name}: {one:?}"
        );
    }
    let two = texts(&print.hex(), &format!("{both}\nthreshold = 2"));
    assert!(
        two.len() == 2 && two[1].contains("1 of the root's keys"),
        "{two:?}"
    );
    assert!(
        two.iter().all(|text| text.starts_with("revoked-pin")),
        "{two:?}"
    );
}

#[test]
fn a_code_of_lint_that_does_not_exist_is_refused_at_its_place_whatever_else_there_is() {
    let allow = |code: &str| {
        let allow = format!("[[allow-lint]]\ncode = \"{code}\"\nreason = \"x\"\n");
        let ended = exempt("2026-01-01T00:00:00Z");
        load(&files(&format!("{allow}{ended}")), now())
    };
    assert_eq!(allow("weak-key").unwrap().warnings.len(), 1);
    let errors = allow("weak").unwrap_err();
    let shown: Vec<_> = errors
        .iter()
        .map(|one| format!("{}: {}", one.location, one.code))
        .collect();
    assert_eq!(shown, ["policy.toml:4:8: bad-value"]);
}

#[test]
fn warnings_without_end_are_cut() {
    let ended = |at: usize| {
        let name = format!("h.example/a{at}");
        exempt("2026-01-01T00:00:00Z").replace("h.example/a", &name)
    };
    let text: String = (0..1100).map(ended).collect();
    let found = warnings(&text);
    assert_eq!(found.len(), super::MAX_WARNINGS + 1);
    assert!(found.last().unwrap().message.contains("and more"));
}

//! Roots whose signatures stand beside the image: what they say, and what is wrong with them.

use super::*;
use crate::RootKind;
use rootpin_trust::cosign::{CosignFormat, TagBinding};
use rootpin_trust::key_file;

const P256: &[u8] = include_bytes!("../../../../tests/data/signatures/keys/p256.pub");
const RSA: &[u8] = include_bytes!("../../../../tests/data/signatures/keys/rsa.pub");
const TUF: &[u8] = include_bytes!("../../../../tests/data/tuf/1.root.json");

const CA: &[u8] = include_bytes!("../../../../tests/data/signatures/certificates/ca.crt");
const LEAF: &[u8] = include_bytes!("../../../../tests/data/signatures/certificates/p256.crt");

const OTHER: &[u8] = include_bytes!("../../../../tests/data/signatures/certificates/p384.crt");

/// A policy of this text, or its findings.
fn loaded(text: &str) -> Result<Policy, Vec<String>> {
    let mut files = files(&[("policy.toml", &format!("{HEAD}{text}"))]);
    for (name, bytes) in [
        ("a.pub", P256),
        ("b.pub", RSA),
        ("acme.json", TUF),
        ("ca.crt", CA),
        ("leaf.crt", LEAF),
        ("other.crt", OTHER),
    ] {
        files.insert(format!("roots/{name}"), bytes.to_vec());
    }
    let shown = |finding: &Diagnostic| format!("{}: {}", finding.location, finding.code);
    load(&files, now()).map_err(|findings| findings.iter().map(shown).collect())
}

fn cosign(lines: &str, rule: &str) -> String {
    format!(
        "[[root]]\nid = \"builder\"\ntype = \"cosign\"\n{lines}\n[[rule]]\nmatch = \"h.example/**\"\n{rule}\n"
    )
}

const UNBOUND: &str = "roots = [\"builder\"]\ntags = \"unbound\"";

fn codes(text: &str) -> Vec<String> {
    let findings = loaded(text).map(|_| ()).unwrap_err();
    let code = |finding: &String| finding.rsplit(' ').next().unwrap_or_default().to_owned();
    findings.iter().map(code).collect()
}

#[test]
fn a_cosign_root_pins_keys_and_says_what_they_bind() {
    let text = "keys = [\"roots/a.pub\", \"roots/b.pub\"]\nthreshold = 2\nformat = \"sigstore-bundle\"\nbinds-tag = \"annotation:tag\"";
    let policy = loaded(&cosign(text, "roots = [\"builder\"]")).unwrap();
    let root = &policy.roots["builder"];
    let RootKind::Cosign(cosign) = &root.kind else {
        panic!("not cosign")
    };
    assert_eq!((cosign.threshold, root.keys.len()), (2, 2));
    assert_eq!(cosign.format, Some(CosignFormat::Bundle));
    assert_eq!(
        cosign.binds_tag,
        Some(TagBinding::Annotation("tag".to_owned()))
    );
    assert!(!root.lists_tags());
    assert_eq!(
        root.binds().to_string(),
        "binds digest, tag; not name, freshness"
    );
}

#[test]
fn a_rule_whose_roots_bind_no_tag_must_say_so() {
    let keys = "keys = [\"roots/a.pub\"]";
    assert_eq!(
        codes(&cosign(keys, "roots = [\"builder\"]")),
        ["unbound-tags"]
    );
    let policy = loaded(&cosign(keys, UNBOUND)).unwrap();
    assert!(policy.rules[0].tags_unbound && policy.rules[0].may_bind_no_tag());
    let digest = Digest::of(TUF).hex();
    let tuf = format!(
        "[[root]]\nid = \"own\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nsha256 = \"{digest}\"\n"
    );
    let both = |rule: &str| {
        format!(
            "{tuf}{}",
            cosign(keys, &format!("roots = [\"builder\", \"own\"]\n{rule}"))
        )
    };
    assert_eq!(codes(&both("")), ["unbound-tags"]);
    loaded(&both("tags = \"unbound\"")).unwrap();
    let policy = loaded(&both("quorum = 2")).unwrap();
    assert!(!policy.rules[0].may_bind_no_tag());
}

#[test]
fn mistakes_in_a_cosign_root_are_found() {
    let id = "1".repeat(64);
    for (lines, wanted) in [
        ("", "missing-key"),
        ("keys = []", "bad-value"),
        (&format!("keys = [\"{id}\"]"), "bad-key"),
        ("keys = [\"SHA256:abc\"]", "bad-key"),
        (&format!("keys = [\"sha256:{id}\"]"), "bad-key"),
        (&format!("keys = [\"{}\"]", ["AB"; 32].join(":")), "bad-key"),
        (
            &format!("keys = [\"sha256 Fingerprint={}\"]", ["AB"; 32].join(":")),
            "bad-key",
        ),
        ("keys = [\"roots/acme.json\"]", "bad-key"),
        ("keys = [\"roots/none.pub\"]", "unreadable"),
        ("keys = [\"roots/a.pub\"]\nthreshold = 0", "quorum"),
        ("keys = [\"roots/a.pub\"]\nthreshold = 2", "quorum"),
        (
            "keys = [\"roots/a.pub\", \"roots/a.pub\"]\nthreshold = 2",
            "quorum",
        ),
        ("keys = [\"roots/a.pub\"]\nformat = \"gpg\"", "bad-value"),
        ("keys = [\"roots/a.pub\"]\nbinds-tag = \"tag\"", "bad-value"),
        (
            "keys = [\"roots/a.pub\"]\nbinds-tag = \"annotation:\"",
            "bad-value",
        ),
        (
            "keys = [\"roots/a.pub\"]\nformat = \"sigstore-bundle\"\nbinds-tag = \"reference\"",
            "bad-value",
        ),
        (
            "keys = [\"roots/a.pub\"]\nserver = \"https://n.example\"",
            "unknown-key",
        ),
    ] {
        assert!(
            codes(&cosign(lines, UNBOUND)).contains(&wanted.to_owned()),
            "{lines}"
        );
    }
}

#[test]
fn a_notation_root_pins_certificates_and_ignores_dates_of_a_signer_s_only() {
    let notation =
        |lines: &str, rule: &str| cosign(lines, rule).replace("\"cosign\"", "\"notation\"");
    let text = "certificates = [\"roots/ca.crt\"]\nsubjects = [\"O=Lab, CN=p256\"]\nbinds-tag = \"annotation:tag\"";
    let policy = loaded(&notation(text, "roots = [\"builder\"]")).unwrap();
    let root = &policy.roots["builder"];
    assert_eq!(
        root.binds().to_string(),
        "binds digest, tag; not name, freshness"
    );
    loaded(&notation(
        "certificates = [\"roots/leaf.crt\"]\nvalidity = \"ignore\"",
        UNBOUND,
    ))
    .unwrap();
    for (lines, wanted) in [
        ("", "missing-key"),
        (
            "certificates = [\"roots/ca.crt\"]\nvalidity = \"ignore\"",
            "bad-value",
        ),
        (
            "certificates = [\"roots/ca.crt\"]\nsubjects = [\"builder\"]",
            "bad-value",
        ),
        (
            "certificates = [\"roots/ca.crt\"]\nbinds-tag = \"reference\"",
            "bad-value",
        ),
        ("certificates = [\"roots/a.pub\"]", "bad-file"),
        (
            "certificates = [\"roots/ca.crt\"]\nkeys = [\"roots/a.pub\"]",
            "unknown-key",
        ),
    ] {
        assert!(
            codes(&notation(lines, UNBOUND)).contains(&wanted.to_owned()),
            "{lines}"
        );
    }
    assert_eq!(
        codes(&notation(
            "certificates = [\"roots/ca.crt\"]",
            "roots = [\"builder\"]"
        )),
        ["unbound-tags"]
    );
}

#[test]
fn of_a_root_that_could_not_be_read_nothing_is_said_but_that() {
    let text = |more: &str| {
        cosign(
            "keys = [\"roots/absent.pub\"]",
            &format!("{UNBOUND}\n{more}"),
        )
    };
    assert_eq!(codes(&text("")), ["unreadable"]);
    assert_eq!(codes(&text("index = \"by-manifests\"")), ["unreadable"]);
    // One of two is there.
    let own = "[[root]]\nid = \"own\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nmetadata = [\"https://tuf.example/\"]\n";
    let both = text("").replace("[\"builder\"]", "[\"builder\", \"own\"]");
    let found = codes(&format!("{own}{both}"));
    assert!(!found.contains(&"unbound-tags".to_owned()), "{found:?}");
}

#[test]
fn signatures_of_files_are_taken_where_the_format_says_so_and_bind_no_tag() {
    let lines = "keys = [\"roots/a.pub\"]\nformat = \"message-signature\"";
    let policy = loaded(&cosign(lines, UNBOUND)).unwrap();
    let RootKind::Cosign(root) = &policy.roots["builder"].kind else {
        panic!("not cosign")
    };
    assert_eq!(root.format, Some(CosignFormat::MessageSignature));
    let bound = format!("{lines}\nbinds-tag = \"annotation:tag\"");
    assert_eq!(
        codes(&cosign(&bound, "roots = [\"builder\"]")),
        ["bad-value"]
    );
    let unknown = lines.replace("message-signature", "blob");
    assert_eq!(codes(&cosign(&unknown, UNBOUND)), ["bad-value"]);
}

#[test]
fn a_key_of_a_signature_root_is_revoked_by_each_name_that_tools_print_of_it() {
    let key = rootpin_trust::key_file::public_keys(P256)
        .unwrap()
        .remove(0);
    let print = rootpin_trust::Fingerprint::of(&key).unwrap();
    for name in [key.id().to_string(), print.to_string(), print.hex()] {
        let revoked = format!("[[revoked]]\nkey = \"{name}\"\nreason = \"leaked\"\n");
        let root = cosign("keys = [\"roots/a.pub\", \"roots/b.pub\"]", UNBOUND);
        let policy = loaded(&format!("{root}{revoked}")).unwrap();
        assert_eq!(policy.revoked_key(&key.id()), Some("leaked"), "{name}");
    }
}

#[test]
fn a_key_of_a_notary_root_is_revoked_by_each_hash_of_the_certificate_that_pins_it() {
    for (file, certificate) in [("leaf.crt", LEAF), ("other.crt", OTHER), ("ca.crt", CA)] {
        let key = key_file::public_keys(certificate).unwrap().remove(0);
        let sha256 = key.certificates()[0].sha256;
        assert!(
            key.names()
                .iter()
                .any(|name| name.to_string() == sha256.hex())
        );
        for name in key.names() {
            let pinned = root("a").replace("\"KEY\"", &format!("\"roots/{file}\""));
            let revoked = format!("[[revoked]]\nkey = \"{name}\"\nreason = \"lost\"\n");
            let mut files = files(&[(
                "policy.toml",
                &format!("{HEAD}{pinned}{}{revoked}", rule("r.example/**")),
            )]);
            files.insert(format!("roots/{file}"), certificate.to_vec());
            let policy = load(&files, now()).unwrap();
            assert!(policy.revoked_keys().contains(&key.id()), "{file} {name}");
        }
    }
}

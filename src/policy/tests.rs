//! Policies in, findings out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Diagnostic, Mode, Outcome, Policy, explain, load};
use crate::image::{Digest, ImageRef, Repository};

const KEY: &str = "d0c623c80000000000000000000000000000000000000000000000000000abcd";
const OTHER: &str = "e0c623c80000000000000000000000000000000000000000000000000000abcd";
const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const TWO: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HEAD: &str = "version = 1\ndefault = \"deny\"\n";
const PEM: &[u8] = include_bytes!("../../tests/data/keys/ed25519.pub");

fn now() -> Timestamp {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::from([
        ("roots/acme.pub".to_owned(), PEM.to_vec()),
        ("roots/ca.pem".to_owned(), b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        ("roots/empty.pem".to_owned(), Vec::new()),
    ]);
    all.extend(files.iter().map(|(name, text)| ((*name).to_owned(), text.replace("KEY", KEY).replace("DIGEST", DIGEST).into_bytes())));
    all
}

fn findings(named: &[(&str, &str)]) -> Vec<Diagnostic> {
    match load(&files(named), now()) {
        Ok(policy) => policy.warnings,
        Err(findings) => findings,
    }
}

fn places(named: &[(&str, &str)]) -> Vec<String> {
    findings(named).iter().map(|finding| format!("{}: {}", finding.location, finding.code)).collect()
}

/// The findings in a policy.toml whose third line begins with this text.
fn after_head(text: &str) -> Vec<String> {
    places(&[("policy.toml", &format!("{HEAD}{text}"))]).into_iter().map(|place| place.replace("policy.toml:", "")).collect()
}

fn good(named: &[(&str, &str)]) -> Policy {
    load(&files(named), now()).unwrap_or_else(|findings| panic!("{}", findings[0]))
}

fn root(id: &str) -> String {
    format!(
        "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{}\"]\nrole = \"targets\"\n",
        if id == "b" { OTHER } else { "KEY" }
    )
}

fn rule(pattern: &str) -> String {
    format!("[[rule]]\nmatch = \"{pattern}\"\nroots = [\"a\"]\n")
}

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

const EXAMPLE: &str = r#"
version = 1
default = "deny"
mode    = "enforce"

[[root]]
id      = "acme"
type    = "notary"
server  = "https://trust.acme.example/"
keys    = ["roots/acme.pub"]
role    = "targets"
max-age = "72h"
recheck = "60s"

[[root]]
id     = "legacy-dct"
type   = "notary"
server = "https://notary.acme.example"
tls-ca = "roots/ca.pem"
keys   = ["d0c623c80000000000000000000000000000000000000000000000000000abcd"]
role   = "targets/releases"

[[rule]]
match = "registry.acme.example/team/**"
roots = ["acme"]
final = true

[[rule]]
match  = "docker.io/library/*"
roots  = ["acme", "legacy-dct"]
quorum = 2

[[rule]]
match     = "mirror.acme.example/hub/**"
signed-as = "docker.io/**"
roots     = ["acme"]

[[image]]
name   = "registry.k8s.io/pause:3.10"
digest = "DIGEST"

[local]
content    = "deny"
namespaces = ["moby", "buildkit"]

[[exempt]]
match   = "registry.acme.example/legacy/app"
until   = 2027-01-31T00:00:00Z
reason  = "vendor build without pipeline"
digests = ["DIGEST"]

[[revoked]]
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
reason = "CVE-2026-0001"

[limits]
max-exempt = "90d"
offline    = "14d"
"#;

#[test]
fn the_example_loads_and_says_what_it_says() {
    let policy = good(&[("policy.toml", EXAMPLE)]);
    assert_eq!(policy.warnings.len(), 1, "{:?}", policy.warnings);
    assert_eq!((policy.mode, policy.rules.len(), policy.roots.len()), (Mode::Enforce, 3, 2));
    let rule = policy.rule_for(&name("mirror.acme.example/hub/library/alpine:3").repository).unwrap();
    assert_eq!(rule.to_string(), "[[rule]] match = \"mirror.acme.example/hub/**\" (policy.toml:33)");
    let signed = rule.signed_name(&name("mirror.acme.example/hub/library/alpine").repository);
    assert_eq!(signed.unwrap().as_str(), "docker.io/library/alpine");
    let pause = name("registry.k8s.io/pause:3.10");
    assert!(policy.images_for(&pause.repository, pause.tag.as_ref()).unwrap().digests.contains(&DIGEST.parse().unwrap()));
    assert!(policy.images_for(&pause.repository, name("x:3.9").tag.as_ref()).is_none());
    assert_eq!(policy.exempts_for(&name("registry.acme.example/legacy/app").repository).count(), 1);
    assert_eq!(policy.revoked_digest(&TWO.parse().unwrap()), Some("CVE-2026-0001"));
    assert!(!policy.local.allows("moby"));
    let pins = policy.roots["legacy-dct"].pins(policy.revoked_keys());
    assert_eq!((pins.role.as_str(), pins.keys.len(), pins.certificate_dates), ("targets/releases", 1, false));
    assert_eq!(Vec::from_iter(policy.hosts()), ["docker.io", "mirror.acme.example", "registry.acme.example", "registry.k8s.io"]);
}

#[test]
fn a_policy_without_rules_loads_and_an_empty_one_does_not() {
    assert_eq!(after_head(""), [""; 0]);
    assert_eq!(places(&[("policy.toml", "")]), ["policy.toml:1:1: missing-key", "policy.toml:1:1: missing-key"]);
    assert_eq!(places(&[]), ["policy.toml:1:1: unreadable"]);
}

#[test]
fn a_file_that_is_not_utf8_is_an_error_of_the_whole_file() {
    let mut files = files(&[]);
    files.insert("policy.toml".to_owned(), b"version = 1 # \xff".to_vec());
    let findings = load(&files, now()).unwrap_err();
    assert_eq!((findings[0].location.to_string().as_str(), findings[0].code), ("policy.toml:1:1", "unreadable"));
}

#[test]
fn each_mistake_is_told_at_its_place() {
    let root_with = |line: &str| format!("{}{line}\n{}", root("a"), rule("h.example/**"));
    let rule_with = |line: &str| format!("{}{}{line}\n", root("a"), rule("h.example/**"));
    for (text, wanted) in [
        // the document
        ("version = 1\n", "3:1: syntax"),
        ("allow = true\n", "3:1: unknown-key"),
        ("mode = \"off\"\n", "3:8: bad-value"),
        ("mode = true\n", "3:8: bad-value"),
        ("rule = 1\n", "3:8: bad-value"),
        ("[fragment]\nowns = \"h.example/**\"\n", "3:2: fragment"),
        ("[limits]\noffline = \"2w\"\n", "4:11: bad-duration"),
        ("[limits]\nmax-exempt = 3\n", "4:14: bad-value"),
        ("[local]\ncontent = \"maybe\"\n", "4:11: bad-value"),
        ("[local]\ncontent = \"allow\"\nnamespaces = []\n", "5:14: bad-value"),
        ("[local]\ncontent = \"deny\"\nnamespaces = [\"moby\"]\n", "5:1: no-effect"),
        // roots
        (&root_with("extra = 1"), "9:1: unknown-key"),
        (&root_with("max-age = \"0s\""), "9:11: bad-duration"),
        (&root_with("recheck = \"1y\""), "9:11: bad-duration"),
        (&root_with("tls-ca = \"roots/none.pem\""), "9:10: unreadable"),
        (&root_with("tls-ca = \"/etc/ca.pem\""), "9:10: bad-value"),
        (&root_with("tls-ca = \"../ca.pem\""), "9:10: bad-value"),
        (&root_with("tls-ca = \"roots/empty.pem\""), "9:10: bad-file"),
        (&root_with("tls-ca = \"roots/ca.pem\"").replace("https://n.example", "http://[::1]:4443"), "9:1: no-effect"),
        (&root_with("certificate-dates = \"no\""), "9:21: bad-value"),
        (&root_with("allow-rsa-pkcs1v15 = \"yes\""), "9:22: bad-value"),
        (&root_with("").replace("\"notary\"", "\"tuf\""), "5:8: unknown-type"),
        (&root_with("").replace("\"notary\"", "\"Notary\""), "5:8: unknown-type"),
        (&root_with("").replace("type = \"notary\"\n", ""), "3:1: missing-key"),
        (&root_with("").replace("role = \"targets\"\n", ""), "3:1: missing-key"),
        (&root_with("").replace("server = \"https://n.example\"\n", ""), "3:1: missing-key"),
        (&root_with("").replace("https://", "http://"), "6:10: plain-http"),
        (&root_with("").replace("https://", "ftp://"), "6:10: bad-url"),
        (&root_with("").replace("\"KEY\"", ""), "7:8: bad-value"),
        (&root_with("").replace("KEY", "roots/empty.pem"), "7:9: bad-key"),
        (&root_with("").replace("KEY", "roots/missing.pub"), "7:9: unreadable"),
        (&root_with("").replace("targets", "root"), "8:8: bad-role"),
        (&root_with("").replace("targets", "targets/"), "8:8: bad-role"),
        (&root_with("").replace("targets", "targets/A"), "8:8: bad-role"),
        (&root_with("").replace("\"a\"\ntype", "\"a b\"\ntype").replace("[\"a\"]", "[\"a b\"]"), "4:6: bad-value"),
        // rules
        (&rule_with("roots = 1"), "12:1: syntax"),
        (&rule_with("quorum = 0"), "12:10: quorum"),
        (&rule_with("quorum = 2"), "12:10: quorum"),
        (&rule_with("quorum = -1"), "12:10: bad-value"),
        (&rule_with("mode = \"audit\""), "12:8: looser-mode"),
        (&rule_with("signed-as = \"docker.io/library/*\""), "12:13: signed-as"),
        (&rule_with("signed-as = \"docker.io/library/x\""), "12:13: signed-as"),
        (&rule_with("final = 1"), "12:9: bad-value"),
        (&rule_with("").replace("[\"a\"]", "[\"a\", \"a\"]"), "11:15: duplicate"),
        (&rule_with("").replace("h.example", "example"), "10:9: bad-pattern"),
        (&rule_with("").replace("match = \"h.example/**\"\n", ""), "9:1: missing-key"),
        (&format!("{}{}{}", root("a"), root("a"), rule("h.example/**")), "10:6: duplicate"),
        (&root("a"), "4:6: unused-root"),
        (&rule("h.example/**"), "5:10: undefined-root"),
        (&format!("{}{}", rule_with(""), rule("h.example/**")), "14:9: duplicate"),
        (&format!("{}{}", rule_with(""), rule("h.example/*")), "14:9: ambiguous"),
        (&format!("{}{}", rule_with(""), rule("h.example/*/x")), "14:9: ambiguous"),
        // images
        ("[[image]]\nname = \"h.example/a\"\ndigest = \"DIGEST\"\n", "4:8: bad-name"),
        ("[[image]]\nname = \"pause:3\"\ndigest = \"DIGEST\"\n", "4:8: bad-name"),
        ("[[image]]\nname = \"docker.io/alpine:3\"\ndigest = \"DIGEST\"\n", "4:8: bad-name"),
        ("[[image]]\nname = \"h.example/a:3@DIGEST\"\ndigest = \"DIGEST\"\n", "4:8: bad-name"),
        ("[[image]]\nname = \"h.example/a:3\"\ndigest = \"sha512:00\"\n", "5:10: bad-digest"),
        ("[[image]]\nname = \"h.example/a:3\"\n", "3:1: missing-key"),
        (
            "[[image]]\nname = \"h.example/a:3\"\ndigest = \"DIGEST\"\n[[image]]\nname = \"h.example/a:3\"\ndigest = \"DIGEST\"\n",
            "7:8: duplicate",
        ),
        // exemptions
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01\nreason = \"x\"\n", "5:9: bad-value"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00\nreason = \"x\"\n", "5:9: bad-value"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = \"2026-12-01T00:00:00Z\"\nreason = \"x\"\n", "5:9: bad-value"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2027-02-19T00:00:00Z\nreason = \"x\"\n", "5:9: until"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-01-01T00:00:00Z\nreason = \"x\"\n", "5:9: until"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00Z\n", "3:1: missing-key"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00Z\nreason = \" \"\n", "6:10: bad-value"),
        ("[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\ndigests = []\n", "7:11: bad-value"),
        // revocations
        ("[[revoked]]\nreason = \"x\"\n", "3:1: missing-key"),
        ("[[revoked]]\ndigest = \"DIGEST\"\n", "3:1: missing-key"),
        ("[[revoked]]\ndigest = \"DIGEST\"\nkey = \"KEY\"\nreason = \"x\"\n", "5:1: bad-value"),
        ("[[revoked]]\nkey = \"roots/acme.pub\"\nreason = \"x\"\n", "4:7: bad-key"),
    ] {
        assert_eq!(after_head(text), [wanted], "in\n{HEAD}{text}");
    }
}

#[test]
fn a_root_without_type_is_checked_like_any_other() {
    let text = format!("{}{}", root("a"), rule("h.example/**")).replace("type =", "typ =").replace("https", "http");
    assert_eq!(after_head(&text), ["3:1: missing-key", "5:1: unknown-key", "6:10: plain-http"]);
}

#[test]
fn warnings_alone_let_the_policy_load() {
    let text = format!("{HEAD}[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-01-01T00:00:00Z\nreason = \"x\"\n");
    let policy = good(&[("policy.toml", &text)]);
    assert_eq!(policy.warnings.len(), 1);
    assert!(policy.exempts()[0].is_over(now()));
    let revoked =
        format!("{HEAD}[[image]]\nname = \"h.example/a:1\"\ndigest = \"DIGEST\"\n[[revoked]]\ndigest = \"DIGEST\"\nreason = \"x\"\n");
    assert_eq!(good(&[("policy.toml", &revoked)]).warnings[0].code, "revoked-pin");
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once_in_order() {
    let main = "version = 2\n[[rule]]\nmatch = \"x\"\nroots = [\"a\"]\nquorum = \n[[image]]\nname = 3\n";
    let fragment = "mode = \"audit\"\n[[exempt]]\nmatch = \"h.example/a\"\n";
    assert_eq!(
        places(&[("policy.toml", main), ("policy.d/10.toml", fragment), ("policy.d/05.toml", "x")]),
        [
            "policy.toml:1:11: bad-value",
            "policy.toml:3:9: bad-pattern",
            "policy.toml:5:10: syntax",
            "policy.toml:7:8: bad-value",
            "policy.d/05.toml:1:2: syntax",
            "policy.d/10.toml:1:1: fragment",
            "policy.d/10.toml:1:1: fragment",
            "policy.d/10.toml:2:1: missing-key",
            "policy.d/10.toml:2:1: missing-key",
        ]
    );
}

#[test]
fn a_finding_is_shown_with_line_caret_and_hint() {
    let shown = findings(&[("policy.toml", &format!("{HEAD}mode = \"off\"\n"))])[0].to_string();
    assert_eq!(
        shown,
        "policy.toml:3:8: bad-value: there is no mode \"off\"\n    mode = \"off\"\n           ^\nhint: write \"enforce\" or \"audit\""
    );
}

#[test]
fn a_fragment_keeps_to_the_names_that_it_owns() {
    let main = format!("{HEAD}{}{}", root("a"), rule("h.example/**"));
    let check = |fragment: &str| places(&[("policy.toml", &main), ("policy.d/10.toml", fragment)]);
    let owns = "[fragment]\nowns = \"h.example/team/**\"\n";
    assert_eq!(check(&format!("version = 1\n{owns}{}", rule("h.example/team/x/**"))), [""; 0]);
    assert_eq!(check("[[revoked]]\ndigest = \"DIGEST\"\nreason = \"x\"\n"), [""; 0]);
    assert_eq!(check("version = 2\n"), ["policy.d/10.toml:1:11: bad-value"]);
    assert_eq!(check(&rule("h.example/team/x")), ["policy.d/10.toml:1:1: fragment"]);
    assert_eq!(check("[fragment]\n"), ["policy.d/10.toml:1:1: missing-key"]);
    for (key, place) in [("default = \"deny\"\n", "1:1"), ("mode = \"audit\"\n", "1:1")] {
        assert_eq!(check(&format!("{key}{owns}")), [format!("policy.d/10.toml:{place}: fragment")]);
    }
    for table in ["[local]\ncontent = \"allow\"\n", "[limits]\nmax-exempt = \"900d\"\n"] {
        assert_eq!(check(&format!("{owns}{table}")), ["policy.d/10.toml:3:2: fragment"]);
    }
    assert_eq!(
        check(&format!("{owns}{}", rule("h.example/*/x"))),
        ["policy.d/10.toml:4:9: outside-owns", "policy.d/10.toml:4:9: ambiguous"]
    );
    assert_eq!(check(&format!("{owns}{}", rule("h.example/team"))), ["policy.d/10.toml:4:9: outside-owns"]);
    let image = "[[image]]\nname = \"h.example/other:1\"\ndigest = \"DIGEST\"\n";
    assert_eq!(check(&format!("{owns}{image}")), ["policy.d/10.toml:4:8: outside-owns"]);
    let exempt = "[[exempt]]\nmatch = \"h.example/**\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\n";
    assert_eq!(check(&format!("{owns}{exempt}")), ["policy.d/10.toml:4:9: outside-owns"]);
}

#[test]
fn two_fragments_never_own_one_name_and_roots_are_judged_over_all_files() {
    let main = format!("{HEAD}{}", rule("h.example/**"));
    let owns = |pattern: &str| format!("[fragment]\nowns = \"{pattern}\"\n");
    let with_root = format!("{}{}", owns("h.example/a/**"), root("a"));
    let check = |second: &str| places(&[("policy.toml", &main), ("policy.d/1.toml", &with_root), ("policy.d/2.toml", second)]);
    assert_eq!(check(&owns("h.example/b/**")), [""; 0]);
    assert_eq!(check(&owns("h.example/*/b")), ["policy.d/2.toml:2:8: owns-overlap"]);
}

#[test]
fn a_fragment_takes_no_names_from_a_final_rule() {
    let main = format!("{HEAD}{}{}final = true\n{}", root("a"), rule("h.example/team/**"), rule("h.example/team/mine"));
    let check =
        |text: &str| places(&[("policy.toml", &main), ("policy.d/1.toml", &format!("[fragment]\nowns = \"h.example/**\"\n{text}"))]);
    assert_eq!(check(&rule("h.example/other/*")), [""; 0]);
    assert_eq!(check(&rule("h.example/**")), [""; 0]);
    assert_eq!(check(&rule("h.example/team/x")), ["policy.d/1.toml:4:9: final"]);
    assert_eq!(check("[[image]]\nname = \"h.example/team/x:1\"\ndigest = \"DIGEST\"\n"), ["policy.d/1.toml:4:8: final"]);
    assert_eq!(
        check("[[exempt]]\nmatch = \"h.example/**\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\n"),
        ["policy.d/1.toml:4:9: final"]
    );
}

#[test]
fn a_quorum_counts_keys_and_not_names_of_roots() {
    let both = |b: &str| format!("{HEAD}{}{b}[[rule]]\nmatch = \"h.example/a\"\nroots = [\"a\", \"b\"]\nquorum = 2\n", root("a"));
    assert_eq!(places(&[("policy.toml", &both(&root("b")))]), [""; 0]);
    assert_eq!(places(&[("policy.toml", &both(&root("b").replace(OTHER, "KEY")))]), ["policy.toml:18:10: quorum"]);
}

#[test]
fn under_audit_a_rule_may_be_stricter() {
    let text = format!("{HEAD}mode = \"audit\"\n{}{}{}mode = \"enforce\"\n", root("a"), rule("h.example/**"), rule("h.example/x"));
    let policy = good(&[("policy.toml", &text)]);
    let mode = |text: &str| policy.rule_for(&name(text).repository).unwrap().mode;
    assert_eq!((mode("h.example/y"), mode("h.example/x")), (Mode::Audit, Mode::Enforce));
}

#[test]
fn several_digests_bind_one_name_together() {
    let text = format!(
        "{HEAD}[[image]]\nname = \"h.example/a:1\"\ndigest = \"DIGEST\"\n[[image]]\nname = \"h.example/a:1\"\ndigest = \"{TWO}\"\n"
    );
    let policy = good(&[("policy.toml", &text)]);
    let image = name("h.example/a:1");
    assert_eq!(policy.images_for(&image.repository, image.tag.as_ref()).unwrap().digests.len(), 2);
    assert!(policy.image_with_digest(&image.repository, &TWO.parse().unwrap()).is_some());
    assert!(policy.image_with_digest(&image.repository, &Digest::of(b"x")).is_none());
}

#[test]
fn the_hash_changes_with_any_byte_of_any_file_and_with_nothing_else() {
    let hash = |pem: &[u8], fragment: &str| {
        let mut files = files(&[("policy.toml", EXAMPLE), ("policy.d/1.toml", fragment)]);
        files.insert("roots/acme.pub".to_owned(), pem.to_vec());
        files.insert("roots/not-named.pub".to_owned(), fragment.as_bytes().to_vec());
        load(&files, now()).unwrap().hash
    };
    assert_eq!(hash(PEM, ""), hash(PEM, ""));
    assert_ne!(hash(PEM, ""), hash(PEM, "#"));
    assert_ne!(hash(PEM, ""), hash(&[PEM, b"\n"].concat(), ""));
}

#[test]
fn an_explanation_names_the_winner_the_losers_and_the_evidence() {
    let text = format!("{EXAMPLE}\n[[rule]]\nmatch = \"registry.acme.example/**\"\nroots = [\"legacy-dct\"]\n");
    let policy = good(&[("policy.toml", &text)]);
    let outcomes = |text: &str| explain(&policy, &name(text), now()).steps.iter().map(|step| step.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes("registry.acme.example/team/x:1"), [Outcome::Applies, Outcome::Loses]);
    assert_eq!(outcomes("registry.acme.example/legacy/app"), [Outcome::Applies, Outcome::Applies]);
    assert_eq!(outcomes("registry.k8s.io/pause:3.10"), [Outcome::Applies]);
    assert_eq!(outcomes(&format!("registry.k8s.io/pause@{DIGEST}")), [Outcome::Applies]);
    assert_eq!(outcomes("other.example/x"), []);
    let needs = |text: &str| explain(&policy, &name(text), now()).needs.join("; ");
    assert!(
        needs("docker.io/library/alpine:3")
            .starts_with("a statement signed under 2 of acme (notary at https://trust.acme.example, role targets); legacy-dct")
    );
    assert!(needs("mirror.acme.example/hub/library/alpine:3").contains("the tag 3 of docker.io/library/alpine is"));
    assert!(needs("mirror.acme.example/hub/alpine").contains("cannot exist"));
    assert!(needs("other.example/x").contains("the policy names docker.io, mirror.acme.example"));
    assert!(explain(&policy, &name(&format!("h.example/a@{TWO}")), now()).to_string().contains("revoked: CVE-2026-0001"));
}

#[test]
fn the_reference_shows_a_policy_that_loads_and_explains_every_code() {
    let reference = include_str!("../../docs/policy.md");
    let mut blocks = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (main, fragment) = (blocks.next().unwrap(), blocks.next().unwrap());
    let mut all = files(&[("policy.toml", main), ("policy.d/10.toml", fragment)]);
    all.insert("roots/team.pub".to_owned(), PEM.to_vec());
    assert_eq!(load(&all, now()).unwrap().warnings, []);
    for (code, meaning) in super::CODES {
        assert!(reference.contains(&format!("| `{code}` | {meaning} |")), "{code}");
    }
}

/// A line that some policy could hold.
fn lines() -> impl Strategy<Value = String> {
    let words = prop_oneof![
        Just("[[rule]]"),
        Just("[[root]]"),
        Just("[fragment]"),
        Just("[[image]]"),
        Just("[[exempt]]"),
        Just("[[revoked]]"),
        Just("[local]"),
        Just("match = \"h.example/*\""),
        Just("roots = [\"a\"]"),
        Just("version = 1"),
        Just("keys = [1, \"é\"]"),
        Just("owns = \"h.example/**\""),
        Just("until = 2026-12-01T00:00:00+99:00"),
        Just("quorum = 0x10"),
        Just("= ="),
        Just("type = \"notary\""),
        Just("root = [[["),
        Just("\"\"\""),
        Just("digest = 'sha256:'"),
        Just("rule.match = 1"),
        Just("id = \"a\""),
    ];
    prop::collection::vec(prop_oneof![8 => words.prop_map(str::to_owned), 1 => ".*"], 0..20).prop_map(|lines| lines.join("\n"))
}

/// Rules whose patterns often meet.
fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = || prop_oneof![Just("a"), Just("b"), Just("*")];
    let pattern = (prop::collection::vec(segment(), 1..3), any::<bool>());
    let text = pattern.prop_map(|(parts, rest)| format!("h.example/{}{}", parts.join("/"), if rest { "/**" } else { "" }));
    prop::collection::vec(text, 1..6)
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(main in lines(), fragment in lines()) {
        let _ = load(&files(&[("policy.toml", &main), ("policy.d/1.toml", &fragment)]), now()).map_err(|findings| {
            assert!(findings.iter().all(|finding| finding.location.line > 0 && !finding.to_string().is_empty()));
        });
    }

    #[test]
    fn once_loaded_one_rule_alone_is_the_most_specific(patterns in patterns(), path in prop::collection::vec("[ab]", 1..4)) {
        let rules: String = patterns.iter().map(|pattern| rule(pattern)).collect();
        let repository = Repository::from_full(&format!("h.example/{}", path.join("/"))).unwrap();
        if let Ok(policy) = load(&files(&[("policy.toml", &format!("{HEAD}{}{rules}", root("a")))]), now()) {
            let mut matching: Vec<_> = policy.rules.iter().filter(|rule| rule.pattern.matches(&repository)).map(|rule| rule.pattern.specificity()).collect();
            let count = matching.len();
            matching.sort();
            matching.dedup();
            prop_assert_eq!(matching.len(), count);
        }
    }
}

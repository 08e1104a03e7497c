//! Mistakes in a policy: each told at its place, all of them at once.

use super::*;

#[test]
fn a_policy_without_rules_loads_and_an_empty_one_does_not() {
    assert_eq!(after_head(""), [""; 0]);
    assert_eq!(
        places(&[("policy.toml", "")]),
        [
            "policy.toml:1:1: missing-key",
            "policy.toml:1:1: missing-key"
        ]
    );
    assert_eq!(places(&[]), ["policy.toml:1:1: unreadable"]);
}

#[test]
fn a_file_that_is_not_utf8_is_an_error_of_the_whole_file() {
    let mut files = files(&[]);
    files.insert("policy.toml".to_owned(), b"version = 1 # \xff".to_vec());
    let findings = load(&files, now()).unwrap_err();
    assert_eq!(
        (
            findings[0].location.to_string().as_str(),
            findings[0].code.as_str()
        ),
        ("policy.toml:1:1", "unreadable")
    );
}

/// Each text, after the head of a policy, and the one finding that it makes.
pub(super) fn each_is_found(mistakes: &[(&str, &str)]) {
    for (text, wanted) in mistakes {
        assert_eq!(after_head(text), [*wanted], "in\n{HEAD}{text}");
    }
}

fn root_with(line: &str) -> String {
    format!("{}{line}\n{}", root("a"), rule("h.example/**"))
}

pub(super) fn rule_with(line: &str) -> String {
    format!("{}{}{line}\n", root("a"), rule("h.example/**"))
}

#[test]
fn each_mistake_in_the_document_is_found_at_its_place() {
    each_is_found(&[
        ("version = 1\n", "3:1: syntax"),
        ("allow = true\n", "3:1: unknown-key"),
        ("mode = \"off\"\n", "3:8: bad-value"),
        ("mode = true\n", "3:8: bad-value"),
        ("rule = 1\n", "3:8: bad-value"),
        ("[fragment]\nowns = \"h.example/**\"\n", "3:2: fragment"),
        ("[limits]\noffline = \"2w\"\n", "4:11: bad-duration"),
        ("[limits]\nmax-exempt = 3\n", "4:14: bad-value"),
        ("[local]\ncontent = \"maybe\"\n", "4:11: bad-value"),
        (
            "[local]\ncontent = \"allow\"\nnamespaces = []\n",
            "5:14: bad-value",
        ),
        ("[docker]\nswarm = true\n", "4:9: bad-value"),
        ("[docker]\nplugins = \"yes\"\n", "4:11: bad-value"),
        ("[docker]\nrequire-digest = \"true\"\n", "4:18: bad-value"),
        ("[docker]\nbuild = \"deny\"\n", "4:1: unknown-key"),
        ("[sweep]\naction = \"delete\"\n", "4:10: bad-value"),
        ("prove = \"no\"\n", "3:9: bad-value"),
    ]);
}

#[test]
fn each_mistake_in_a_root_is_found_at_its_place() {
    each_is_found(&[
        (&root_with("extra = 1"), "9:1: unknown-key"),
        (&root_with("max-age = \"0s\""), "9:11: bad-duration"),
        (&root_with("recheck = \"1y\""), "9:11: bad-duration"),
        (
            &root_with("tls-ca = \"roots/none.pem\""),
            "9:10: unreadable",
        ),
        (&root_with("tls-ca = \"/etc/ca.pem\""), "9:10: bad-value"),
        (&root_with("tls-ca = \"../ca.pem\""), "9:10: bad-value"),
        (&root_with("tls-ca = \"roots/empty.pem\""), "9:10: bad-file"),
        (&root_with("certificate-dates = \"no\""), "9:21: bad-value"),
        (
            &root_with("allow-rsa-pkcs1v15 = \"yes\""),
            "9:22: bad-value",
        ),
        (
            &root_with("").replace("\"notary\"", "\"Notary\""),
            "5:8: unknown-type",
        ),
        (
            &root_with("").replace("type = \"notary\"\n", ""),
            "3:1: missing-key",
        ),
        (
            &root_with("").replace("role = \"targets\"\n", ""),
            "3:1: missing-key",
        ),
        (
            &root_with("").replace("server = \"https://n.example\"\n", ""),
            "3:1: missing-key",
        ),
        (
            &root_with("").replace("https://", "http://"),
            "6:10: plain-http",
        ),
        (
            &root_with("").replace("https://", "ftp://"),
            "6:10: bad-url",
        ),
        (&root_with("").replace("\"KEY\"", ""), "7:8: bad-value"),
        (
            &root_with("").replace("KEY", "roots/empty.pem"),
            "7:9: bad-key",
        ),
        (
            &root_with("").replace("KEY", "roots/missing.pub"),
            "7:9: unreadable",
        ),
        (&root_with("").replace("targets", "root"), "8:8: bad-role"),
        (
            &root_with("").replace("targets", "targets/"),
            "8:8: bad-role",
        ),
        (
            &root_with("").replace("targets", "targets/A"),
            "8:8: bad-role",
        ),
        (
            &root_with("")
                .replace("\"a\"\ntype", "\"a b\"\ntype")
                .replace("[\"a\"]", "[\"a b\"]"),
            "4:6: bad-value",
        ),
    ]);
}

#[test]
fn each_mistake_in_a_rule_is_found_at_its_place() {
    each_is_found(&[
        (&rule_with("roots = 1"), "12:1: syntax"),
        (&rule_with("quorum = 0"), "12:10: quorum"),
        (&rule_with("quorum = 2"), "12:10: quorum"),
        (&rule_with("quorum = -1"), "12:10: bad-value"),
        (&rule_with("mode = \"audit\""), "12:8: looser-mode"),
        (
            &rule_with("signed-as = \"docker.io/library/*\""),
            "12:13: signed-as",
        ),
        (
            &rule_with("signed-as = \"docker.io/library/x\""),
            "12:13: signed-as",
        ),
        (&rule_with("final = 1"), "12:9: bad-value"),
        (
            &rule_with("").replace("[\"a\"]", "[\"a\", \"a\"]"),
            "11:15: duplicate",
        ),
        (
            &rule_with("").replace("h.example", "example"),
            "10:9: bad-pattern",
        ),
        (
            &rule_with("").replace("match = \"h.example/**\"\n", ""),
            "9:1: missing-key",
        ),
        (
            &format!("{}{}{}", root("a"), root("a"), rule("h.example/**")),
            "10:6: duplicate",
        ),
        (&root("a"), "4:6: unused-root"),
        (&rule("h.example/**"), "5:10: undefined-root"),
        (
            &format!("{}{}", rule_with(""), rule("h.example/**")),
            "14:9: duplicate",
        ),
        (
            &format!("{}{}", rule_with(""), rule("h.example/*")),
            "14:9: ambiguous",
        ),
        (
            &format!("{}{}", rule_with(""), rule("h.example/*/x")),
            "14:9: ambiguous",
        ),
    ]);
}

#[test]
fn a_root_without_type_is_checked_like_any_other() {
    let text = format!("{}{}", root("a"), rule("h.example/**"))
        .replace("type =", "typ =")
        .replace("https", "http");
    assert_eq!(
        after_head(&text),
        ["3:1: missing-key", "5:1: unknown-key", "6:10: plain-http"]
    );
}

#[test]
fn an_exemption_that_is_over_and_a_revoked_digest_let_the_policy_load() {
    let text = format!(
        "{HEAD}[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-01-01T00:00:00Z\nreason = \"x\"\n"
    );
    let policy = good(&[("policy.toml", &text)]);
    assert!(policy.exempts()[0].is_over(now()));
    let revoked = format!(
        "{HEAD}[[image]]\nname = \"h.example/a:1\"\ndigest = \"DIGEST\"\n[[revoked]]\ndigest = \"DIGEST\"\nreason = \"x\"\n"
    );
    good(&[("policy.toml", &revoked)]);
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once_in_order() {
    let main =
        "version = 2\n[[rule]]\nmatch = \"x\"\nroots = [\"a\"]\nquorum = \n[[image]]\nname = 3\n";
    let fragment = "mode = \"audit\"\n[[exempt]]\nmatch = \"h.example/a\"\n";
    assert_eq!(
        places(&[
            ("policy.toml", main),
            ("policy.d/10.toml", fragment),
            ("policy.d/05.toml", "x")
        ]),
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
fn a_date_time_in_quotes_is_to_lose_them() {
    let hint = |until: &str| {
        let text =
            format!("{HEAD}[[exempt]]\nmatch = \"h.example/a\"\nuntil = {until}\nreason = \"x\"\n");
        findings(&[("policy.toml", &text)])[0].hint.clone()
    };
    assert_eq!(
        hint("\"2026-12-01T00:00:00Z\""),
        "write it without quotes: until = 2026-12-01T00:00:00Z"
    );
    for other in ["\"tomorrow\"", "1", "2026-12-01"] {
        assert!(
            hint(other).starts_with("write a date-time with offset"),
            "{other}"
        );
    }
}

#[test]
fn a_finding_is_shown_with_line_caret_and_hint() {
    let shown = findings(&[("policy.toml", &format!("{HEAD}mode = \"off\"\n"))])[0].to_string();
    assert_eq!(
        shown,
        "policy.toml:3:8: bad-value: mode can't be \"off\"\n    mode = \"off\"\n           ^\nhint: write \"enforce\" (the default) or \"audit\""
    );
}

#[test]
fn a_fragment_keeps_to_the_names_that_it_owns() {
    let main = format!("{HEAD}{}{}", root("a"), rule("h.example/**"));
    let check = |fragment: &str| places(&[("policy.toml", &main), ("policy.d/10.toml", fragment)]);
    let owns = "[fragment]\nowns = \"h.example/team/**\"\n";
    assert_eq!(
        check(&format!(
            "version = 1\n{owns}{}",
            rule("h.example/team/x/**")
        )),
        [""; 0]
    );
    assert_eq!(
        check("[[revoked]]\ndigest = \"DIGEST\"\nreason = \"x\"\n"),
        [""; 0]
    );
    assert_eq!(check("version = 2\n"), ["policy.d/10.toml:1:11: bad-value"]);
    assert_eq!(
        check(&rule("h.example/team/x")),
        ["policy.d/10.toml:1:1: fragment"]
    );
    assert_eq!(check("[fragment]\n"), ["policy.d/10.toml:1:1: missing-key"]);
    for (key, place) in [
        ("default = \"deny\"\n", "1:1"),
        ("mode = \"audit\"\n", "1:1"),
    ] {
        assert_eq!(
            check(&format!("{key}{owns}")),
            [format!("policy.d/10.toml:{place}: fragment")]
        );
    }
    for table in [
        "[local]\ncontent = \"allow\"\n",
        "[limits]\nmax-exempt = \"900d\"\n",
    ] {
        assert_eq!(
            check(&format!("{owns}{table}")),
            ["policy.d/10.toml:3:2: fragment"]
        );
    }
    assert_eq!(
        check(&format!("{owns}{}", rule("h.example/*/x"))),
        [
            "policy.d/10.toml:4:9: outside-owns",
            "policy.d/10.toml:4:9: ambiguous"
        ]
    );
    assert_eq!(
        check(&format!("{owns}{}", rule("h.example/team"))),
        ["policy.d/10.toml:4:9: outside-owns"]
    );
    let image = "[[image]]\nname = \"h.example/other:1\"\ndigest = \"DIGEST\"\n";
    assert_eq!(
        check(&format!("{owns}{image}")),
        ["policy.d/10.toml:4:8: outside-owns"]
    );
    let exempt =
        "[[exempt]]\nmatch = \"h.example/**\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\n";
    assert_eq!(
        check(&format!("{owns}{exempt}")),
        ["policy.d/10.toml:4:9: outside-owns"]
    );
}

#[test]
fn two_fragments_never_own_one_name_and_roots_are_judged_over_all_files() {
    let main = format!("{HEAD}{}", rule("h.example/**"));
    let owns = |pattern: &str| format!("[fragment]\nowns = \"{pattern}\"\n");
    let with_root = format!("{}{}", owns("h.example/a/**"), root("a"));
    let check = |second: &str| {
        places(&[
            ("policy.toml", &main),
            ("policy.d/1.toml", &with_root),
            ("policy.d/2.toml", second),
        ])
    };
    assert_eq!(check(&owns("h.example/b/**")), [""; 0]);
    assert_eq!(
        check(&owns("h.example/*/b")),
        ["policy.d/2.toml:2:8: owns-overlap"]
    );
}

#[test]
fn a_fragment_takes_no_names_from_a_final_rule() {
    let main = format!(
        "{HEAD}{}{}final = true\n{}",
        root("a"),
        rule("h.example/team/**"),
        rule("h.example/team/mine")
    );
    let check = |text: &str| {
        places(&[
            ("policy.toml", &main),
            (
                "policy.d/1.toml",
                &format!("[fragment]\nowns = \"h.example/**\"\n{text}"),
            ),
        ])
    };
    assert_eq!(check(&rule("h.example/other/*")), [""; 0]);
    assert_eq!(check(&rule("h.example/**")), [""; 0]);
    assert_eq!(
        check(&rule("h.example/team/x")),
        ["policy.d/1.toml:4:9: final"]
    );
    assert_eq!(
        check("[[image]]\nname = \"h.example/team/x:1\"\ndigest = \"DIGEST\"\n"),
        ["policy.d/1.toml:4:8: final"]
    );
    assert_eq!(
        check(
            "[[exempt]]\nmatch = \"h.example/**\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\n"
        ),
        ["policy.d/1.toml:4:9: final"]
    );
}

#[test]
fn a_quorum_counts_keys_and_not_names_of_roots() {
    let both = |b: &str| {
        format!(
            "{HEAD}{}{b}[[rule]]\nmatch = \"h.example/a\"\nroots = [\"a\", \"b\"]\nquorum = 2\n",
            root("a")
        )
    };
    assert_eq!(places(&[("policy.toml", &both(&root("b")))]), [""; 0]);
    assert_eq!(
        places(&[("policy.toml", &both(&root("b").replace(OTHER, "KEY")))]),
        ["policy.toml:18:10: quorum"]
    );
}

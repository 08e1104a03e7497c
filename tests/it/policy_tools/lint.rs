//! Each code of lint: a policy that has the finding, and one that has not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use jiff::Timestamp;
use rootpin::operate::audit::Reports as _;
use rootpin::operate::policy_tools::{Inventory, Linted, lint};
use rootpin::policy_dir::LintCode;
use rootpin_trust::RootFile;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::documents::text;
use crate::world::run;

pub(super) const NOW: &str = "2026-11-20T00:00:00Z";
pub(super) const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A file of the tests' data.
pub(super) fn top_data(path: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn linted(policy: &str, reports: &[Value]) -> Linted {
    linted_at(NOW, policy, reports)
}

fn linted_at(now: &str, policy: &str, reports: &[Value]) -> Linted {
    let now: Timestamp = now.parse().unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = ["rsa2048.pub", "p384.pub", "root-app.crt"]
        .map(|name| (name.to_owned(), top_data(&format!("keys/{name}"))))
        .into();
    for name in ["rsa2048.crt", "rsa3072.crt", "ca.crt", "tls-ca.crt"] {
        let path = format!("signatures/certificates/{name}");
        files.insert(name.to_owned(), top_data(&path));
    }
    files.insert("1.root.json".to_owned(), top_data("tuf/1.root.json"));
    let text = format!("version = 1\ndefault = \"deny\"\n{policy}");
    files.insert("policy.toml".to_owned(), text.clone().into_bytes());
    let loaded = rootpin::policy_dir::load(&files, now).unwrap_or_else(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", errors.join("\n"))
    });
    let mut inventory = Inventory::at(now);
    for (at, report) in reports.iter().enumerate() {
        inventory.report(&at.to_string(), report.to_string().as_bytes());
    }
    assert!(
        inventory.left_out.named().is_empty(),
        "{:?}",
        inventory.left_out.named()
    );
    lint(
        &loaded,
        &files,
        (!reports.is_empty()).then_some(&inventory),
        now,
    )
}

pub(super) fn notary(id: &str, keys: &str, more: &str) -> String {
    format!(
        "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://{id}.example\"\nkeys = [\"{keys}\"]\nrole = \"targets\"\nmax-age = \"72h\"\n{more}"
    )
}

fn tuf(more: &str) -> String {
    let sha256 = Digest::of(&top_data("tuf/1.root.json")).hex();
    format!(
        "[[root]]\nid = \"a\"\ntype = \"tuf\"\nmax-age = \"72h\"\nfile = \"1.root.json\"\nsha256 = \"{sha256}\"\n{more}"
    )
}

/// The only key of that root's root role.
fn root_key() -> String {
    let file = RootFile::read(&top_data("tuf/1.root.json")).unwrap();
    let [key] = file.keys.as_slice() else {
        panic!("{file:?}")
    };
    key.id().to_string()
}

pub(super) fn rule(pattern: &str, more: &str) -> String {
    format!("[[rule]]\nmatch = \"{pattern}\"\nroots = [\"a\"]\n{more}")
}

fn exempt(pattern: &str, until: &str) -> String {
    format!("[[exempt]]\nmatch = \"{pattern}\"\nuntil = {until}\nreason = \"old\"\n")
}

/// A report with one image that root `a` vouches for.
fn report(repository: &str, signer: &str, expires: &str) -> Value {
    let word = json!({ "root": "a", "repository": repository, "signers": [signer.repeat(64)], "expires": expires });
    json!({
        "version": 1, "at": NOW, "host": "h",
        "roots": [{ "id": "a", "held": [{ "root_expires": "2031-01-01T00:00:00Z" }] }],
        "images": [{
            "name": format!("{repository}:1"), "digest": Digest::of(b"x").to_string(),
            "judgement": { "outcome": "allowed", "roots": [word] },
        }],
    })
}

/// A policy, and the reports of hosts.
type Tried = (String, Vec<Value>);

/// Each code with what has the finding and what has not, and where it stands: `CODE LINE:COLUMN`.
fn cases() -> Vec<(LintCode, Tried, Tried, &'static str)> {
    let app = || notary("a", KEY, "") + &rule("r.example/team/**", "");
    let none = Vec::new;
    let of = |text: String| (text, none());
    let end = |until: &str| of(app() + &exempt("r.example/ops/*", until));
    let audit = |until: &str| {
        of(format!(
            "mode = \"audit\"\naudit-until = {until}\n{}",
            app()
        ))
    };
    let soon = "2026-12-04T00:00:00Z";
    let seen = |expires: &str| vec![report("r.example/team/app", "1", expires)];
    let fresh = "2026-12-01T00:00:00Z";
    let no_age = || app().replace("max-age = \"72h\"\n", "");
    let two = |first: &str, second: &str| {
        vec![
            report("r.example/team/app", first, fresh),
            report("r.example/team/web", second, fresh),
        ]
    };
    let dates = |line: &str| of(notary("a", "root-app.crt", line) + &rule("r.example/team/**", ""));
    let source = "metadata = [\"https://tuf.example\"]\n";
    let ruled = |root: String| of(root + &rule("r.example/team/**", ""));
    let cosign = |binds: &str, tags: &str| {
        let root = "[[root]]\nid = \"a\"\ntype = \"cosign\"\nkeys = [\"p384.pub\"]\n";
        of(format!("{root}{binds}{}", rule("r.example/team/**", tags)))
    };
    let revoked = |key: &str| format!("[[revoked]]\nkey = \"{key}\"\nreason = \"stolen\"\n");
    let notation = |certificate: &str| {
        let root = "[[root]]\nid = \"a\"\ntype = \"notation\"\n";
        let rule = rule("r.example/team/**", "tags = \"unbound\"\n");
        of(format!("{root}certificates = [\"{certificate}\"]\n{rule}"))
    };
    let trial = "audit-until = 2026-12-20T00:00:00Z\n";
    let below = |roots: &str, more: &str| {
        let rule = format!("[[rule]]\nmatch = \"r.example/team/bad\"\nroots = {roots}\n{more}");
        of(app() + &rule)
    };
    let alone = |roots: &str, end: &str| {
        let rule = format!("[[rule]]\nmatch = \"q.example/**\"\nroots = {roots}\n{end}");
        of(app() + &rule)
    };
    vec![
        (
            LintCode::OpensUntil,
            below("[\"a\"]", trial),
            alone("[\"a\"]", trial),
            "16:1",
        ),
        (
            LintCode::OpensUntil,
            alone("[]", trial),
            alone("[]", ""),
            "16:1",
        ),
        (
            LintCode::OpensUntil,
            below("[]", trial),
            of(format!(
                "mode = \"audit\"\naudit-until = 2026-12-20T00:00:00Z\n{}",
                below("[]", trial).0
            )),
            "16:1",
        ),
        (
            LintCode::MovedTags,
            cosign("", "tags = \"unbound\"\n"),
            cosign("binds-tag = \"annotation:tag\"\n", ""),
            "10:1",
        ),
        (
            LintCode::AuditMode,
            of(format!("mode = \"audit\"\n{}", app())),
            of(format!("mode = \"audit\"\naudit-until = {soon}\n{}", app())),
            "3:1",
        ),
        (
            LintCode::EndsLate,
            end("2027-02-01T00:00:00Z"),
            end("2027-01-10T00:00:00Z"),
            "15:1",
        ),
        (
            LintCode::EndsSoon,
            end(soon),
            end("2026-12-04T00:00:01Z"),
            "15:1",
        ),
        (
            LintCode::EndsLate,
            audit("2126-01-01T00:00:00Z"),
            audit("2027-01-10T00:00:00Z"),
            "4:1",
        ),
        (
            LintCode::EndsSoon,
            audit("2026-11-21T00:00:00Z"),
            audit("2027-01-10T00:00:00Z"),
            "4:1",
        ),
        (
            LintCode::EndsSoon,
            of(app() + "audit-until = 2026-11-19T00:00:00Z\n"),
            of(app() + "audit-until = 2026-12-20T00:00:00Z\n"),
            "13:1",
        ),
        (
            LintCode::KeyExpiring,
            dates("certificate-dates = \"check\"\n"),
            dates(""),
            "7:1",
        ),
        (
            LintCode::NoCodeSigning,
            notation("tls-ca.crt"),
            notation("ca.crt"),
            "6:1",
        ),
        (LintCode::NoMaxAge, of(no_age()), of(app()), "3:1"),
        (
            LintCode::NoMaxAge,
            (no_age(), seen("2027-01-01T00:00:00Z")),
            (no_age(), seen(fresh)),
            "3:1",
        ),
        (
            LintCode::NoSource,
            ruled(tuf("")),
            ruled(tuf(source)),
            "4:1",
        ),
        (
            LintCode::Redundant,
            of(app() + &rule("r.example/team/app", "")),
            of(app() + &rule("r.example/team/app", "credentials = false\n")),
            "14:1",
        ),
        (
            LintCode::RootExpiring,
            ruled(tuf(source)),
            (tuf(source) + &rule("r.example/team/**", ""), seen(fresh)),
            "7:1",
        ),
        (
            LintCode::Shadowed,
            of(app() + &exempt("r.example/team/**", "2027-01-10T00:00:00Z")),
            of(app() + &exempt("r.example/team/app", "2027-01-10T00:00:00Z")),
            "11:1",
        ),
        (
            LintCode::SharedSigner,
            (app(), two("1", "1")),
            (app(), two("1", "2")),
            "12:1",
        ),
        (
            LintCode::Unmet,
            (app() + &rule("r.example/ops/*", ""), seen(fresh)),
            (app(), seen(fresh)),
            "14:1",
        ),
        (
            LintCode::Unreachable,
            of(app() + &format!("[[revoked]]\nkey = \"{KEY}\"\nreason = \"stolen\"\n")),
            of(app()
                + &format!(
                    "[[revoked]]\nkey = \"{}\"\nreason = \"stolen\"\n",
                    "2".repeat(64)
                )),
            "12:1",
        ),
        (
            LintCode::Unreachable,
            ruled(tuf(source) + &revoked(&root_key())),
            ruled(tuf(source) + &revoked(&"2".repeat(64))),
            "15:1",
        ),
        (
            LintCode::UnusedAllow,
            of(app() + "[[allow-lint]]\ncode = \"no-max-age\"\nreason = \"x\"\n"),
            of(no_age() + "[[allow-lint]]\ncode = \"no-max-age\"\nreason = \"x\"\n"),
            "14:1",
        ),
        (
            LintCode::WeakKey,
            ruled(notary("a", "rsa2048.pub", "")),
            ruled(notary("a", "p384.pub", "")),
            "7:1",
        ),
        (
            LintCode::WeakKey,
            notation("rsa2048.crt"),
            notation("rsa3072.crt"),
            "6:1",
        ),
        (
            LintCode::WeakScheme,
            ruled(notary("a", KEY, "allow-rsa-pkcs1v15 = true\n")),
            ruled(notary("a", KEY, "allow-rsa-pkcs1v15 = false\n")),
            "10:1",
        ),
    ]
}

#[test]
fn each_code_of_lint_is_found_at_its_line_where_it_is_and_not_where_it_is_not() {
    let mut tried = BTreeSet::new();
    for (code, (with, reports), (without, others), place) in cases() {
        let found = |policy: &str, reports: &[Value]| -> Vec<String> {
            // The certificate of the tests ends in 2036, their root file in 2030.
            let now = match code {
                LintCode::KeyExpiring => "2036-11-01T00:00:00Z",
                LintCode::RootExpiring => "2030-01-15T00:00:00Z",
                _ => NOW,
            };
            let linted = linted_at(now, policy, reports);
            let of_code = linted
                .findings
                .iter()
                .filter(|finding| finding.code == code);
            of_code
                .map(|finding| format!("{}:{}", finding.location.line, finding.location.column))
                .collect()
        };
        let open = found(&with, &reports);
        assert_eq!(open, [place], "{code} in\n{with}");
        let closed = found(&without, &others);
        assert!(closed.is_empty(), "{code} {closed:?} in\n{without}");
        tried.insert(code);
    }
    assert_eq!(tried, LintCode::ALL.iter().copied().collect());
}

#[test]
fn a_rule_in_which_any_key_differs_from_the_broader_one_is_not_redundant() {
    let root = |id: &str, keys: &str| {
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"cosign\"\nkeys = [\"{keys}\"]\nbinds-tag = \"annotation:{id}\"\n"
        )
    };
    let says = |pattern: &str, roots: &str, more: &str| {
        format!("[[rule]]\nmatch = \"{pattern}\"\nroots = {roots}\n{more}")
    };
    let both = "[\"a\", \"b\"]";
    let is_redundant = |roots: &str, more: &str| {
        let policy = [
            root("a", "p384.pub"),
            root("b", "rsa2048.pub"),
            says("r.example/team/**", both, ""),
            says("r.example/team/app", roots, more),
        ];
        let linted = linted(&policy.concat(), &[]);
        let mut findings = linted.findings.iter();
        findings.any(|finding| finding.code == LintCode::Redundant)
    };
    assert!(is_redundant(both, ""));
    let changes = BTreeMap::from([
        ("roots", ("[\"b\", \"a\"]", "")),
        ("quorum", (both, "quorum = 2\n")),
        ("tags", (both, "tags = \"unbound\"\n")),
        ("index", (both, "index = \"by-manifests\"\n")),
        ("signed-as", (both, "signed-as = \"r.example/other\"\n")),
        ("mode", (both, "mode = \"enforce\"\n")),
        (
            "audit-until",
            (both, "audit-until = 2026-12-30T00:00:00Z\n"),
        ),
        ("credentials", (both, "credentials = false\n")),
        ("final", (both, "final = true\n")),
    ]);
    let schema = super::schema::schema();
    let keys = schema["$defs"]["rule"]["properties"].as_object().unwrap();
    let keys: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
    let tried: BTreeSet<&str> = changes.keys().copied().chain(["match"]).collect();
    assert_eq!(tried, keys);
    for (key, (roots, more)) in changes {
        assert!(!is_redundant(roots, more), "{key}");
    }
}

#[test]
fn a_finding_is_allowed_by_its_code_within_a_pattern_or_of_a_root_and_says_why() {
    let exempts = exempt("r.example/ops/*", "2026-12-01T00:00:00Z")
        + &exempt("r.example/web/*", "2026-12-01T00:00:00Z");
    let policy = notary("a", KEY, "").replace("max-age = \"72h\"\n", "")
        + &rule("r.example/team/**", "")
        + &exempts;
    let open = |more: &str| {
        let linted = linted(&format!("{policy}{more}"), &[]);
        let open = linted.findings.iter().filter(|one| one.allowed.is_none());
        (open.count(), u8::from(linted.has_open()))
    };
    let allow = |code: &str, more: &str| {
        format!("[[allow-lint]]\ncode = \"{code}\"\nreason = \"until spring\"\n{more}")
    };
    assert_eq!(open(""), (3, 1));
    assert_eq!(open(&allow("ends-soon", "")), (1, 1));
    assert_eq!(
        open(&allow("ends-soon", "match = \"r.example/ops/**\"\n")),
        (2, 1)
    );
    assert_eq!(open(&allow("no-max-age", "root = \"a\"\n")), (2, 1));
    // It allows nothing, and is a finding itself.
    assert_eq!(open(&allow("no-max-age", "root = \"b\"\n")), (4, 1));
    assert_eq!(
        open(&(allow("ends-soon", "") + &allow("no-max-age", ""))),
        (0, 0)
    );
}

#[test]
fn each_code_of_lint_has_a_section_with_its_meaning() {
    let document = text("docs/policy-tools.md");
    let sections: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.split_once('`'))
        .map(|(code, _)| code.to_owned())
        .collect();
    let codes = LintCode::ALL.iter().map(|code| code.as_str().to_owned());
    assert_eq!(sections, codes.collect());
    for code in LintCode::ALL {
        let section = document.split(&format!("### `{code}`")).nth(1).unwrap();
        let first = section
            .trim_start_matches([':', ' '])
            .lines()
            .next()
            .unwrap();
        assert_eq!(first, code.meaning(), "{code}");
    }
}

#[test]
fn the_lint_of_a_folder_is_printed_with_line_caret_and_hint_and_ends_with_1() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let policy = notary("a", KEY, "allow-rsa-pkcs1v15 = true\n") + &rule("r.example/team/**", "");
    let text = format!("version = 1\ndefault = \"deny\"\n{policy}");
    fs::write(folder.path().join("policy.toml"), text).unwrap();
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .args(["policy", "lint"])
            .arg(folder.path())
            .args(more);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (text, output.status.code().unwrap())
    };
    let (text, exit) = run(&[]);
    let wanted = "policy.toml:10:1: weak-scheme: signatures by RSA PKCS#1 v1.5 count\n    allow-rsa-pkcs1v15 = true\n    ^\nhint: ";
    assert!(text.starts_with(wanted), "{text}");
    assert_eq!(exit, 1);
    let (text, exit) = run(&["--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["findings"][0]["code"], exit),
        (&json!("weak-scheme"), 1)
    );
    // A report that can't be read is no inventory; what was found without one is found.
    fs::write(folder.path().join("bad.json"), "{").unwrap();
    let bad = folder.path().join("bad.json").display().to_string();
    let (text, exit) = run(&["--inventory", &bad]);
    assert!(
        exit == 1 && text.contains(&format!("not read: {bad}: ")),
        "{text}"
    );
    let allowed = "[[allow-lint]]\ncode = \"weak-scheme\"\nreason = \"known\"\n";
    let file = folder.path().join("policy.toml");
    let policy = fs::read_to_string(&file).unwrap();
    fs::write(file, policy + allowed).unwrap();
    assert_eq!(run(&[]).1, 0);
    let (text, exit) = run(&["--inventory", &bad, "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["outcome"], &value["left_out"], exit),
        (&json!("unjudged"), &json!(1), 2)
    );
}

#[test]
fn a_hint_that_offers_to_allow_a_finding_names_the_table_that_does() {
    let may_stay = [LintCode::NoSource, LintCode::MovedTags];
    for (code, (policy, reports), _, _) in cases() {
        for finding in linted(&policy, &reports).findings {
            if finding.code == code && may_stay.contains(&code) {
                let table = "or allow this by [[allow-lint]]";
                assert!(finding.hint.contains(table), "{}", finding.hint);
            }
        }
    }
}

#[test]
fn what_an_inventory_mends_may_stay_allowed_in_a_policy_that_is_linted_without_one_too() {
    let allow = |code: &str| {
        format!("[[allow-lint]]\ncode = \"{code}\"\nroot = \"a\"\nreason = \"known\"\n")
    };
    let no_age = notary("a", KEY, "").replace("max-age = \"72h\"\n", "");
    let policy = no_age + &rule("r.example/team/**", "") + &allow("no-max-age");
    let fresh = vec![report("r.example/team/app", "1", "2026-12-01T00:00:00Z")];
    for reports in [&[][..], &fresh] {
        assert!(!linted(&policy, reports).has_open(), "{}", reports.len());
    }
    // Where neither finds anything, it allows nothing.
    let useless = notary("a", KEY, "") + &rule("r.example/team/**", "") + &allow("no-max-age");
    assert!(linted(&useless, &[]).has_open());
}

/// What a command takes of the processor, in seconds; other processes don't count.
fn processor_time(folder: &std::path::Path, words: &[&str]) -> f64 {
    let mut command = Command::new("sh");
    command
        .args(["-c", "\"$0\" \"$@\" > said; times"])
        .arg(env!("CARGO_BIN_EXE_rootpin"))
        .args(words)
        .current_dir(folder);
    let ended = run(&mut command, b"");
    let of_children = ended
        .out
        .lines()
        .nth(1)
        .unwrap_or_else(|| panic!("{ended:?}"));
    let (minutes, seconds) = of_children
        .split(' ')
        .next()
        .unwrap()
        .split_once('m')
        .unwrap();
    let seconds: f64 = seconds.trim_end_matches('s').parse().unwrap();
    minutes.parse::<f64>().unwrap() * 60.0 + seconds
}

#[test]
fn thousands_of_rules_roots_and_blocked_registries_take_time_that_grows_as_their_number_does() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let head = "version = 1\ndefault = \"deny\"\n".to_owned();
    let many = |of: &dyn Fn(usize) -> String| (0..15_000).map(of).collect::<String>();
    // A policy may have 1 MiB, and no proposal is written that does not load.
    let few = |of: &dyn Fn(usize) -> String| (0..10_000).map(of).collect::<String>();
    let rules = many(&|at| rule(&format!("r.example/team{at}/**"), ""));
    let whole = rule("r.example/**", "");
    write(
        "rules/policy.toml",
        head.clone() + &notary("a", KEY, "") + &whole + &rules,
    );
    let rules = many(&|at| rule(&format!("r.example/*/app{at}"), ""));
    write("stars/policy.toml", head + &notary("a", KEY, "") + &rules);
    let blocked =
        few(&|at| format!("[[registry]]\nlocation = \"r{at}.example\"\nblocked = true\n"));
    write("containers/registries.conf", blocked);
    write(
        "containers/policy.json",
        r#"{"default":[{"type":"reject"}]}"#.to_owned(),
    );
    let import = "import --from containers-policy containers/policy.json --out proposal";
    for (typed, said) in [
        ("policy lint rules", "15000 findings"),
        ("policy lint stars", "0 findings"),
        (import, "refused: r9999.example/**"),
    ] {
        let words: Vec<&str> = typed.split(' ').collect();
        let took = processor_time(folder.path(), &words);
        let told = fs::read_to_string(folder.path().join("said")).unwrap();
        assert!(
            told.contains(said),
            "{typed}: {}",
            &told[told.len().saturating_sub(500)..]
        );
        // One that looks at each pair takes ten and more.
        assert!(took < 5.0, "{typed}: {took} s");
    }
}

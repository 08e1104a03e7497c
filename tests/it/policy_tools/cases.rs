//! `rootpin policy test`: names, and the answers that files expect.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::repo::{Org, digest};
use crate::world::run;

/// A policy that pins an organisation's root, and a bundle of its metadata as evidence.
struct Tests {
    org: Org,
    policy: PathBuf,
}

impl Tests {
    fn new() -> Self {
        let org = Org::founded();
        assert_eq!(org.sign("main", "r.test/team/app:1", "one").code, 0);
        assert_eq!(org.verify("host", "r.test/team/app:1", "one"), "allowed");
        let policy = org.path("host-policy");
        let evidence = policy.join("tests/evidence");
        fs::create_dir_all(&evidence).unwrap();
        let bundle = evidence.join("org.bundle");
        let tests = Self { org, policy };
        let policy = tests.policy.to_str().unwrap();
        let words = [
            "bundle",
            "export",
            "--root",
            "org",
            "--policy",
            policy,
            bundle.to_str().unwrap(),
        ];
        assert_eq!(tests.rootpin(&words).0, 0);
        tests
    }

    fn rootpin(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let ended = run(command.args(words).current_dir(self.org.path("")), b"");
        (ended.code, ended.out + &ended.err)
    }

    fn write(&self, cases: &str) {
        fs::write(self.policy.join("tests/app.toml"), cases).unwrap();
    }

    fn test(&self) -> (i32, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command.args(["policy", "test", "host-policy", "--json"]);
        let ended = run(command.current_dir(self.org.path("")), b"");
        let report = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        (ended.code, report)
    }
}

fn case(content: &str, more: &str, expect: &str) -> String {
    format!(
        "[[case]]\nname = \"r.test/team/app:1\"\ndigest = \"{}\"\nexpect = \"{expect}\"\n{more}",
        digest(content)
    )
}

const EVIDENCE: &str = "evidence = \"evidence\"\n";

#[test]
fn each_case_is_judged_by_its_evidence_at_its_time_without_any_server() {
    let tests = Tests::new();
    fs::remove_dir_all(tests.org.path("place")).unwrap();
    let late = format!("{EVIDENCE}at = 2040-01-01T00:00:00Z\n");
    tests.write(
        &[
            case("one", EVIDENCE, "allowed"),
            case("two", EVIDENCE, "digest-mismatch"),
            case("two", EVIDENCE, "refused"),
            case("one", "", "unjudged"),
            case("one", &late, "unjudged"),
            "[[case]]\nname = \"other.test/app:1\"\ndigest = \"".to_owned()
                + &digest("one")
                + "\"\nexpect = \"no-rule\"\n",
        ]
        .concat(),
    );
    let (code, report) = tests.test();
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["cases"].as_array().unwrap().len(), 6);

    tests.write(
        &[
            case("one", EVIDENCE, "allowed"),
            case("two", EVIDENCE, "allowed"),
        ]
        .concat(),
    );
    let (code, said) = tests.rootpin(&["policy", "test", "host-policy"]);
    assert!(
        code == 1
            && said.contains("app.toml case 2: ")
            && said.contains("expected allowed\n  found    digest-mismatch")
            && said.contains("2 cases, 1 not as expected"),
        "{said}"
    );
    // There is no server, so that none answers is no news.
    assert!(!said.contains("does not answer"), "{said}");
}

#[test]
fn what_can_not_be_read_or_is_no_case_is_never_passed_over() {
    let tests = Tests::new();
    assert_eq!(tests.test().0, 2);
    for wrong in [
        "[[case]]\nname = \"r.test/a:1\"\n".to_owned(),
        "[[cases]]\n".to_owned(),
        "not toml".to_owned(),
        case("one", "more = 1\n", "allowed"),
        case("one", "", "allow"),
        case("one", "evidence = \"nowhere\"\n", "unjudged"),
        case("one", "at = 2040-01-01\n", "unjudged"),
    ] {
        tests.write(&[case("two", EVIDENCE, "refused"), wrong.clone()].concat());
        let (code, report) = tests.test();
        let unreadable = report["unreadable"].as_array().unwrap().len();
        assert_eq!((code, unreadable), (2, 1), "{wrong}: {report}");
    }
    let bad = tests.policy.join("tests/evidence/bad.bundle");
    fs::write(bad, b"no bundle").unwrap();
    tests.write(&case("one", EVIDENCE, "allowed"));
    assert_eq!(tests.test().0, 2);
    fs::write(tests.policy.join("policy.toml"), "version = 2\n").unwrap();
    assert_eq!(tests.rootpin(&["policy", "test", "host-policy"]).0, 2);
}

/// Copies a folder as a checkout of Git makes it: every user may read all of it.
fn check_out(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            check_out(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            fs::set_permissions(&to, Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[test]
fn a_state_folder_is_evidence_whatever_modes_its_copy_has() {
    let tests = Tests::new();
    let copy = tests.policy.join("tests/seen/state");
    check_out(&tests.org.path("host-state"), &copy);
    let seen = "evidence = \"seen\"\n";
    tests.write(
        &[
            case("one", seen, "allowed"),
            case("two", seen, "digest-mismatch"),
        ]
        .concat(),
    );
    let (code, report) = tests.test();
    assert_eq!(
        (code, &report["unreadable"]),
        (0, &serde_json::json!([])),
        "{report}"
    );

    // What is wrong with it is said of the folder that a person knows.
    fs::write(copy.join("state.redb"), "no state").unwrap();
    let (code, report) = tests.test();
    let said = report["unreadable"][0].as_str().unwrap();
    assert!(code == 2 && said.contains("tests/seen/state"), "{said}");
}

#[test]
fn a_case_may_expect_what_an_audit_lets_through_and_verify_says_it_too() {
    let tests = Tests::new();
    let file = tests.policy.join("policy.toml");
    let enforcing = fs::read_to_string(&file).unwrap();
    let end = Timestamp::now() + SignedDuration::from_hours(48);
    let after = format!("{EVIDENCE}at = {}\n", end + SignedDuration::from_secs(1));
    let cases = [
        case("two", EVIDENCE, "refused"),
        case("two", EVIDENCE, "let-through"),
        case("one", "", "let-through"),
        case("one", EVIDENCE, "allowed"),
        case("two", &after, "refused"),
        case("two", &after, "stopped"),
    ]
    .concat();
    let verify = |more: &[&str]| {
        let name = format!("r.test/team/app:1@{}", digest("two"));
        let words = ["verify", "--policy", "host-policy", "--state", "host-state"];
        tests.rootpin(&[&words, more, &[&name]].concat())
    };
    let ends = [
        format!("{enforcing}audit-until = {end}\n"),
        enforcing.replace(
            "version = 1\n",
            &format!("version = 1\nmode = \"audit\"\naudit-until = {end}\n"),
        ),
    ];
    for audited in ends {
        fs::write(&file, audited).unwrap();
        tests.write(&cases);
        let (code, report) = tests.test();
        assert_eq!(code, 0, "{report}");
        tests.write(&case("two", EVIDENCE, "stopped"));
        let (code, said) = tests.rootpin(&["policy", "test", "host-policy"]);
        let found = "expected stopped\n  found    digest-mismatch, let through, by ";
        assert!(code == 1 && said.contains(found), "{said}");
        let (code, said) = verify(&[]);
        assert!(
            code == 1 && said.contains("let through: an engine goes on"),
            "{said}"
        );
        let (_, said) = verify(&["--json"]);
        assert!(said.contains("\"let_through_by\":\"audit\""), "{said}");
    }
    fs::write(&file, enforcing).unwrap();
    tests.write(
        &[
            case("two", EVIDENCE, "let-through"),
            case("one", EVIDENCE, "stopped"),
        ]
        .concat(),
    );
    let (code, report) = tests.test();
    assert_eq!(
        (code, report["cases"][1]["passed"].as_bool()),
        (1, Some(false)),
        "{report}"
    );
    let (_, said) = verify(&[]);
    assert!(!said.contains("let through"), "{said}");
    let (_, said) = verify(&["--json"]);
    assert!(said.contains("\"let_through\":false"), "{said}");
}

//! `rootpin policy test`: names, and the answers that files expect.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

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

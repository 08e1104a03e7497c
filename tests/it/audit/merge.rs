//! The reports of many hosts.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{SHARED, policy_for, report_by_files, trusts_published};
use crate::publisher::Publisher;
use crate::schema;
use crate::world::{Ended, World, run};

const AT: &str = "2026-11-26T10:00:00Z";

pub(super) fn key(name: &str) -> String {
    rootpin_trust::image::Digest::of(name.as_bytes()).hex()
}

/// A report as a host of a fleet in order makes it.
pub(super) fn host(number: usize) -> Value {
    let held = json!({"repository": "r.example/app", "contact": AT, "versions": {"root": 3, "targets": 7 + number % 5}, "root_expires": null, "files": {}});
    let root = json!({"id": "acme", "type": "notary", "sources": ["https://n.example"], "role": "targets/releases", "pinned": null,
        "keys": [{"id": key("acme"), "fingerprint": null}], "held": [held]});
    let image = |at: usize| {
        json!({"engine": "main", "namespace": "k8s.io", "name": format!("r.example/app{at}:1"), "digest": format!("sha256:{}", key(&at.to_string())),
            "judgement": {"outcome": "allowed", "let_through": true, "code": null, "ground": "signed", "rule": "[[rule]]", "roots": [], "found": null, "wanted": null, "hint": null}})
    };
    json!({"version": 1, "rootpin": "0.1.0", "host": format!("node-{number:04}"), "at": AT, "outcome": "clean", "online": false, "judged_by": "daemon",
        "policy": {"hash": format!("sha256:{}", key("policy")), "mode": "enforce", "warnings": []}, "roots": [root],
        "images": (0..3).map(image).collect::<Vec<_>>(), "trust_directories": [],
        "root_keys": [{"id": key("acme"), "fingerprint": "SHA256:x", "pinned_by": ["acme"], "repositories": []}], "findings": [], "untold": []})
}

fn merge(words: &[&str], input: &[u8]) -> Ended {
    run(
        Command::new(env!("CARGO_BIN_EXE_rootpin"))
            .args(["audit", "merge", "--json"])
            .args(words),
        input,
    )
}

pub(super) fn merged(words: &[&str], input: &[u8]) -> (Value, i32) {
    let ended = merge(words, input);
    let fleet: Value =
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let wanted: Value =
        serde_json::from_str(include_str!("../../../docs/audit-merge.schema.json")).unwrap();
    assert_eq!(schema::errors(&wanted, &fleet), Vec::<String>::new());
    (fleet, ended.code)
}

pub(super) fn lines(reports: &[Value]) -> Vec<u8> {
    reports
        .iter()
        .flat_map(|report| [report.to_string(), "\n".to_owned()])
        .collect::<String>()
        .into_bytes()
}

/// `host code` of each drift.
fn drift(fleet: &Value) -> Vec<String> {
    let of = |host: &Value| {
        let name = host["host"].as_str().unwrap().to_owned();
        host["drift"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |one| format!("{name} {}", one["code"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    fleet["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(of)
        .collect()
}

#[test]
fn the_reports_that_these_tests_make_are_as_the_schema_says() {
    assert_eq!(
        schema::errors(&super::host_schema(), &host(1)),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_merge_leaves_out_is_told() {
    let mut report = host(1);
    let repositories: Vec<_> = (0..50_001)
        .map(|number| json!({"directory": "/t", "repository": format!("r.example/{number}"), "listed_as": null}))
        .collect();
    report["root_keys"][0] = json!({"id": key("stranger"), "fingerprint": null, "pinned_by": [], "repositories": repositories});
    let (fleet, _) = merged(&[], &lines(&[report]));
    let seen = fleet.to_string();
    assert!(
        seen.contains("r.example/50000") && seen.contains("r.example/7"),
        "a repository is left out"
    );
    let bad = "no report\n".repeat(1200);
    let (fleet, code) = merged(&[], &[lines(&[host(1)]), bad.into_bytes()].concat());
    let unreadable = fleet["unreadable"].as_array().unwrap();
    assert_eq!((unreadable.len(), code), (1001, 2));
    let last = unreadable[1000]["why"].as_str().unwrap();
    assert!(
        last.contains("this one and all after it are not listed"),
        "{last}"
    );
}

#[test]
fn a_fleet_of_one_mind_is_clean_and_exactly_the_hosts_that_differ_are_named() {
    let mut reports: Vec<_> = (0..40).map(host).collect();
    let (fleet, code) = merged(&[], &lines(&reports));
    assert_eq!(
        (drift(&fleet), code, fleet["outcome"].as_str()),
        (Vec::new(), 0, Some("clean"))
    );
    reports[3]["policy"]["hash"] = json!(format!("sha256:{}", key("older policy")));
    reports[5]["roots"][0]["keys"] = json!([]);
    reports[8]["roots"][0]["held"][0]["versions"]["root"] = json!(2);
    reports[13]["root_keys"][0] = json!({"id": key("stranger"), "fingerprint": null, "pinned_by": [], "repositories": [{"directory": "/root/.docker/trust", "repository": "r.example/evil", "listed_as": null}]});
    reports[21]["roots"][0]["keys"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": key("second"), "fingerprint": null}));
    reports[34]["policy"] = Value::Null;
    // One that holds a newer root than the others is ahead of them, not they behind it.
    reports[39]["roots"][0]["held"][0]["versions"]["root"] = json!(4);
    let (fleet, code) = merged(&[], &lines(&reports));
    let wanted = [
        "node-0003 policy-differs",
        "node-0005 pin-missing",
        "node-0008 behind",
        "node-0013 trusts-unpinned",
        "node-0021 pin-extra",
        "node-0034 policy-differs",
    ];
    assert_eq!(
        (drift(&fleet), code, fleet["outcome"].as_str()),
        (wanted.map(str::to_owned).to_vec(), 1, Some("drift"))
    );
    let stranger = fleet["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == key("stranger"))
        .unwrap();
    assert_eq!(
        (
            stranger["expected"].as_bool(),
            stranger["unpinned_on"].as_u64(),
            stranger["unpinned_for"][0].as_str()
        ),
        (Some(false), Some(1), Some("r.example/evil"))
    );
    assert_eq!(fleet["policies"].as_object().unwrap().len(), 2);
}

#[test]
fn of_two_policies_that_equally_many_hosts_have_none_is_the_majority_s_and_both_are_named() {
    let mut reports: Vec<_> = (0..4).map(host).collect();
    let hash = |name: &str| format!("sha256:{}", key(name));
    for report in &mut reports[2..] {
        report["policy"]["hash"] = json!(hash("other"));
    }
    let page = tempfile::NamedTempFile::new().unwrap();
    let html = page.path().display().to_string();
    let (fleet, code) = merged(&["--html", &html], &lines(&reports));
    let mut both = [hash("policy"), hash("other")];
    both.sort();
    assert_eq!(
        (&fleet["expected"]["policy"], &fleet["expected"]["tied"]),
        (&Value::Null, &json!(both))
    );
    let wanted: Vec<_> = (0..4)
        .map(|at| format!("node-{at:04} policy-differs"))
        .collect();
    assert_eq!((drift(&fleet), code), (wanted, 1));
    for host in fleet["hosts"].as_array().unwrap() {
        let detail = host["drift"][0]["detail"].as_str().unwrap();
        assert!(both.iter().all(|hash| detail.contains(hash)), "{detail}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let text = run(command.args(["audit", "merge"]), &lines(&reports)).out;
    let first = text.lines().next().unwrap();
    assert!(
        first.contains("none, equally many hosts have") && first.contains(&both[0]),
        "{first}"
    );
    let page = fs::read_to_string(html).unwrap();
    assert!(page.contains("none, equally many hosts have"), "{page}");
    // A third host of one of them decides.
    reports.push(host(4));
    let (fleet, _) = merged(&[], &lines(&reports));
    assert_eq!(
        drift(&fleet),
        ["node-0002 policy-differs", "node-0003 policy-differs"]
    );
    assert_eq!(fleet["expected"].get("tied"), None);
    // A host without a policy differs from both.
    reports.pop();
    let mut without = host(4);
    without["policy"] = Value::Null;
    reports.push(without);
    assert_eq!(drift(&merged(&[], &lines(&reports)).0).len(), 5);
}

#[test]
fn the_text_of_a_merge_has_no_fractions_of_a_second_and_counts_one_host_as_one() {
    let mut reports = vec![host(0)];
    reports[0]["at"] = json!("2026-11-26T10:00:00.123456789Z");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let words = ["audit", "merge", "--older-than", "1s"];
    let text = run(command.args(words), &lines(&reports)).out;
    assert!(
        text.contains("2026-11-26T10:00:00Z") && !text.contains(".123456789"),
        "{text}"
    );
    assert!(
        text.starts_with("1 host, 1 report; ") && text.ends_with("drift: 1 of 1 host differs\n"),
        "{text}"
    );
}

#[test]
fn a_report_of_the_future_stands_in_no_other_ones_place_in_whatever_order_they_come() {
    let in_days = |days: i64| {
        let later = jiff::SignedDuration::from_hours(24 * days);
        (jiff::Timestamp::now() + later).to_string()
    };
    let seconds = |time: &str| format!("{}Z", time.split_once('.').unwrap().0);
    let mut real = host(0);
    real["at"] = json!(in_days(-1));
    real["policy"] = Value::Null;
    let mut future = host(0);
    future["at"] = json!(in_days(30));
    let mut others: Vec<_> = (1..4).map(host).collect();
    for order in [[&real, &future], [&future, &real]] {
        let mut reports = order.map(Clone::clone).to_vec();
        reports.append(&mut others.clone());
        let (fleet, code) = merged(&[], &lines(&reports));
        let wanted = ["node-0000 clock-ahead", "node-0000 policy-differs"].map(str::to_owned);
        let mut found = drift(&fleet);
        found.sort();
        assert_eq!((found, code), (wanted.to_vec(), 1));
        // What people read has no parts of a second.
        let at = real["at"].as_str().unwrap();
        assert_eq!(fleet["hosts"][0]["at"], seconds(at));
        let whole = fleet["at"].as_str().unwrap();
        assert!(!whole.contains('.'), "{whole}");
    }
    others.push(future);
    assert_eq!(
        drift(&merged(&[], &lines(&others)).0),
        ["node-0000 clock-ahead"]
    );
}

#[test]
fn hosts_that_report_no_more_and_reports_of_the_future_are_named_and_the_later_report_of_a_host_counts()
 {
    let hour = |hours: i64| {
        jiff::Timestamp::now()
            .checked_sub(jiff::SignedDuration::from_hours(hours))
            .unwrap()
            .to_string()
    };
    let mut reports: Vec<_> = (0..4).map(host).collect();
    for (report, hours) in reports.iter_mut().zip([1, 47, 49, -24]) {
        report["at"] = json!(hour(hours));
    }
    let mut earlier = host(0);
    earlier["at"] = json!(hour(100));
    earlier["policy"] = Value::Null;
    reports.push(earlier);
    let (fleet, code) = merged(&["--older-than", "2d"], &lines(&reports));
    assert_eq!(
        (drift(&fleet), code),
        (
            vec![
                "node-0002 silent".to_owned(),
                "node-0003 clock-ahead".to_owned()
            ],
            1
        )
    );
    assert_eq!(
        (
            fleet["reports"].as_u64(),
            fleet["superseded"].as_u64(),
            fleet["hosts"].as_array().unwrap().len()
        ),
        (Some(5), Some(1), 4)
    );
}

#[test]
fn files_of_one_report_of_many_and_folders_are_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("reports")).unwrap();
    fs::write(
        at("reports/0.json"),
        serde_json::to_vec_pretty(&host(0)).unwrap(),
    )
    .unwrap();
    fs::write(at("reports/more.jsonl"), lines(&[host(1), host(2)])).unwrap();
    fs::write(at("reports/README"), "no report").unwrap();
    fs::write(at("3.json"), host(3).to_string()).unwrap();
    let text = |path: &Path| path.display().to_string();
    let (fleet, code) = merged(&[&text(&at("reports")), &text(&at("3.json"))], b"");
    assert_eq!((fleet["hosts"].as_array().unwrap().len(), code), (4, 0));
}

#[test]
fn reports_that_are_none_are_named_and_the_rest_is_compared() {
    let mut other_version = host(1);
    other_version["version"] = json!(2);
    let mut nameless = host(2);
    nameless["host"] = json!("");
    let mut odd_time = host(3);
    odd_time["at"] = json!("yesterday");
    let mut hostile = host(4);
    hostile["host"] = json!("<img src=x>\u{1b}[2J\u{202e}");
    let mut input = lines(&[host(0), other_version, nameless, odd_time, hostile]);
    input.extend_from_slice(b"not json\n{\"version\":1}\n\xff\xfe\n\n[[[[[[[[\n");
    input.extend(vec![b'['; 300_000]);
    let (fleet, code) = merged(&[], &input);
    assert_eq!(
        (
            fleet["hosts"].as_array().unwrap().len(),
            fleet["unreadable"].as_array().unwrap().len(),
            code
        ),
        (2, 8, 2),
        "{fleet:#}"
    );
    assert_eq!(fleet["unreadable"][3]["origin"], "standard input:6");
    let error = fleet["error"].as_str().unwrap();
    let first = "8 reports could not be read, the first: standard input:2: ";
    assert!(error.starts_with(first), "{error}");
    assert!(!fleet.to_string().contains("\\u001b") && !fleet.to_string().contains('\u{202e}'));
    for words in [["/nonexistent"], ["/dev/null"], ["/"]] {
        assert_eq!(merged(&words, b"").1, 2, "{words:?}");
    }
    assert_eq!(merged(&[], b"").1, 2, "no report at all is no clean fleet");
    assert_eq!(merge(&["--older-than", "2"], b"").code, 64);
}

#[test]
fn hosts_are_held_to_a_policy_where_one_is_given_and_real_reports_are_merged() {
    let Some(world) = World::new("a-merge") else {
        return;
    };
    let poisoned = "registry.example.com/acme/web";
    world.write_policy(&policy_for(
        &world,
        "registry.example.com/acme/*",
        &[SHARED],
    ));
    let (good, _) = report_by_files(&world, &["--host", "good"]);
    trusts_published(&world.path("trust"), &Publisher::new(poisoned));
    let (bad, _) = report_by_files(
        &world,
        &[
            "--host",
            "bad",
            "--trust-dir",
            &world.path("trust").display().to_string(),
        ],
    );
    let reports = [good, bad, host(7)];
    let policy = world.path("policy").display().to_string();
    let page = world.path("fleet.html").display().to_string();
    let (fleet, code) = merged(&["--expect", &policy, "--html", &page], &lines(&reports));
    let wanted = [
        "bad trusts-unpinned",
        "node-0007 policy-differs",
        "node-0007 pin-missing",
        "node-0007 pin-extra",
    ];
    assert_eq!(
        (drift(&fleet), code),
        (wanted.map(str::to_owned).to_vec(), 1)
    );
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("registry.example.com/acme/web, unpinned") && html.contains("<svg"));
    let text = run(
        Command::new(env!("CARGO_BIN_EXE_rootpin")).args(["audit", "merge"]),
        &lines(&reports),
    )
    .out;
    assert!(
        text.contains("bad")
            && text.contains("trusts-unpinned")
            && text.ends_with("of 3 hosts differ\n"),
        "{text}"
    );
    fs::write(world.path("policy/policy.toml"), "version = 1\n").unwrap();
    assert_eq!(merge(&["--expect", &policy], b"").code, 2);
}

#[test]
fn the_page_of_a_fleet_says_by_which_codes_images_are_refused() {
    let Some(world) = World::new("a-merge-causes") else {
        return;
    };
    let refused = |number: usize, codes: &[&str]| {
        let mut report = host(number);
        for (at, code) in codes.iter().enumerate() {
            let judgement = &mut report["images"][at]["judgement"];
            (judgement["outcome"], judgement["code"]) = (json!("refused"), json!(code));
        }
        report
    };
    let reports = [
        refused(1, &["no-statement", "no-statement", "expired"]),
        refused(2, &["expired", "of-tomorrow"]),
        host(3),
    ];
    let page = world.path("fleet.html").display().to_string();
    let (_, code) = merged(&["--html", &page], &lines(&reports));
    assert_eq!(code, 0);
    let html = fs::read_to_string(page).unwrap();
    let row = |code: &str| {
        let cell = format!("<code>{code}</code>");
        let row = html.split("<tr").find(|row| row.contains(&cell));
        row.unwrap_or_else(|| panic!("{code}: {html}")).to_owned()
    };
    assert!(
        row("no-statement").contains(">2<"),
        "{}",
        row("no-statement")
    );
    assert!(row("expired").contains(">2<"), "{}", row("expired"));
    assert!(row("other").contains("a code of another release"));
    assert!(
        !html.contains("images refused") && html.contains("Refused: 5 of 9 image names on them")
    );
}

#[test]
fn of_two_reports_of_one_host_and_one_time_the_same_one_counts_whatever_comes_first() {
    let clean = host(1);
    let mut with_findings = host(1);
    with_findings["outcome"] = json!("findings");
    let mut other_policy = host(1);
    other_policy["policy"]["hash"] = json!(format!("sha256:{}", key("another policy")));
    let mut later = host(1);
    later["at"] = json!("2026-11-26T10:00:01Z");
    let (mut pin, mut view) = (host(1), host(1));
    pin["roots"][0]["keys"][0]["id"] = json!(key("another"));
    view["roots"][0]["held"][0]["versions"]["root"] = json!(2);
    let fleet: Vec<Value> = (2..6).map(host).collect();
    let all = [&clean, &with_findings, &other_policy, &later, &pin, &view];
    for (one, other) in all.iter().flat_map(|one| all.map(|other| (one, other))) {
        let merged_in = |first: &Value, second: &Value| {
            let reports = [&[first.clone(), second.clone()][..], &fleet].concat();
            let (mut fleet, code) = merged(&[], &lines(&reports));
            fleet.as_object_mut().unwrap().remove("at");
            (fleet, code)
        };
        assert_eq!(merged_in(one, other), merged_in(other, one));
    }
    // The one that found more counts, and the later one before that.
    let outcome = |reports: &[&Value]| {
        let reports: Vec<Value> = reports.iter().map(|one| (*one).clone()).collect();
        merged(&[], &lines(&reports)).0["hosts"][0]["outcome"].clone()
    };
    assert_eq!(outcome(&[&with_findings, &clean]), json!("findings"));
    assert_eq!(outcome(&[&with_findings, &later]), json!("clean"));
}

#[test]
fn a_merge_that_comes_to_no_answer_says_why_in_words_and_as_the_schema_says() {
    // Each of them is no report for another reason.
    let mut roots = host(1);
    roots["roots"] = json!([[], 7]);
    let odd = [
        host(0),
        json!([]),
        json!([1, 2]),
        json!("x"),
        json!(7),
        roots,
    ];
    let (fleet, code) = merged(&[], &lines(&odd));
    assert_eq!(code, 2);
    assert_eq!(fleet["unreadable"].as_array().unwrap().len(), 5, "{fleet}");
    let told = fleet["unreadable"].to_string();
    assert!(
        !told.contains("Extract") && !told.contains("struct ") && told.contains("an object"),
        "{told}"
    );
    let (fleet, code) = merged(&[], b"");
    let error = "1 report could not be read, the first: standard input: it is empty";
    assert_eq!((&fleet["error"], code), (&json!(error), 2));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("policy.toml"), "version = 2\n").unwrap();
    let policy = folder.path().display().to_string();
    let (mistake, code) = merged(&["--expect", &policy], &lines(&[host(1)]));
    assert_eq!((&mistake["outcome"], code), (&json!("unjudged"), 2));
    let (mistake, code) = merged(&["--older-than", "2"], b"");
    assert_eq!((&mistake["outcome"], code), (&json!("usage"), 64));
}

//! Whether the hosts of a fleet were shown one view: liars are found, and nobody else.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::merge::{host, key, lines, merged};

const NOW: &str = "2026-11-26T10:00:00Z";

fn before(hours: i64) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    (now - SignedDuration::from_hours(hours)).to_string()
}

/// What a host holds that looked `hours` ago: its publisher signs a timestamp each day at ten.
fn held(hours: i64) -> Value {
    let days = hours / 24;
    let floor = |role: &str, version: i64, since: Option<String>| {
        json!({
            "role": role, "version": version, "signed": format!("sha256:{}", key(&format!("{role} {version}"))),
            "since": since, "root_keys": [key("acme")], "keys": [key(role)],
        })
    };
    json!({
        "repository": "tuf", "contact": before(hours), "root_expires": null, "files": {},
        "versions": { "root": 1, "timestamp": 100 - days },
        "floors": [
            floor("root", 1, None),
            floor("timestamp", 100 - days, Some(before(days * 24))),
            floor("snapshot", 50, None),
        ],
    })
}

/// A fleet of a thousand, of which each third looked a day ago and one a week ago.
fn fleet() -> Vec<Value> {
    let one = |number: usize| {
        let hours = match number {
            17 => 7 * 24,
            _ if number.is_multiple_of(3) => 24,
            _ => 0,
        };
        let mut report = host(number);
        report["roots"][0]["type"] = json!("tuf");
        report["roots"][0]["max_age"] = json!(72 * 3600);
        report["roots"][0]["held"] = json!([held(hours)]);
        report
    };
    (0..1000).map(one).collect()
}

/// Each host's codes of these two kinds.
fn found(reports: &[Value]) -> Vec<String> {
    let (fleet, _) = merged(&[], &lines(reports));
    let of = |host: &Value| {
        let drift = host["drift"].as_array().unwrap().clone();
        let name = host["host"].as_str().unwrap().to_owned();
        let codes = drift
            .into_iter()
            .map(|one| one["code"].as_str().unwrap().to_owned());
        let is_view =
            |code: &String| ["split-view", "held-back", "far-ahead"].contains(&code.as_str());
        let codes = codes.filter(is_view);
        codes
            .map(|code| format!("{name} {code}"))
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
fn a_fleet_of_a_thousand_with_hosts_a_day_and_a_week_behind_raises_no_alarm() {
    assert_eq!(found(&fleet()), Vec::<String>::new());
}

#[test]
fn one_host_of_a_thousand_that_was_shown_other_bytes_of_a_version_is_found() {
    for role in 0..3 {
        let mut reports = fleet();
        let floor = &mut reports[500]["roots"][0]["held"][0]["floors"][role];
        floor["signed"] = json!(format!("sha256:{}", key("lie")));
        assert_eq!(found(&reports), ["node-0500 split-view"], "{role}");
    }
}

#[test]
fn a_host_that_had_contact_and_still_has_a_timestamp_of_a_week_ago_is_found() {
    let mut reports = fleet();
    let mut old = held(7 * 24);
    old["contact"] = json!(before(0));
    reports[501]["roots"][0]["held"] = json!([old]);
    assert_eq!(found(&reports), ["node-0501 held-back"]);
    // Its own max-age allows it.
    reports[501]["roots"][0]["max_age"] = json!(10 * 24 * 3600);
    assert_eq!(found(&reports), Vec::<String>::new());
}

fn before_minutes(minutes: i64) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    (now - SignedDuration::from_mins(minutes)).to_string()
}

/// What a host holds: a timestamp of that version, first seen and asked for so many minutes ago.
fn timestamp(version: u64, since: Option<i64>, contact: i64) -> Value {
    let floor = json!({
        "role": "timestamp", "version": version, "signed": format!("sha256:{}", key(&version.to_string())),
        "since": since.map(before_minutes), "root_keys": [key("acme")], "keys": [key("timestamp")],
    });
    json!({
        "repository": "tuf", "contact": before_minutes(contact), "root_expires": null, "files": {},
        "versions": { "timestamp": version }, "floors": [floor],
    })
}

/// A fleet of a thousand that all hold the newest, and one, the last, that holds another. Its root has
/// a `max-age` of a day.
fn fleet_but(others: impl Fn(i64) -> Value, one: &Value) -> Vec<Value> {
    let report = |number: usize| {
        let mut report = host(number);
        report["roots"][0]["max_age"] = json!(24 * 3600);
        let minutes = i64::try_from(number % 50).unwrap();
        report["roots"][0]["held"] = match number {
            999 => json!([one]),
            _ => json!([others(minutes)]),
        };
        if one["repository"] == "tuf" {
            report["roots"][0]["type"] = json!("tuf");
        }
        report
    };
    (0..1000).map(report).collect()
}

const MONTH: i64 = 30 * 24 * 60;

#[test]
fn a_host_that_is_held_back_is_found_however_short_a_time_the_others_have_had_the_newest() {
    // A publisher that renews daily, hourly, each ten minutes; the others look every fifty minutes.
    for had in [3 * 24 * 60, 5 * 60, 60, 10, 0] {
        let liar = timestamp(10, Some(MONTH), 1);
        let reports = fleet_but(|minutes| timestamp(40, Some(had), minutes), &liar);
        assert_eq!(found(&reports), ["node-0999 held-back"], "{had}");
    }
    // Its metadata is young enough, and older than what the others had a day before its contact.
    let liar = timestamp(10, Some(23 * 60), 1);
    let others = |minutes| timestamp(11, Some(26 * 60), minutes);
    assert_eq!(found(&fleet_but(others, &liar)), ["node-0999 held-back"]);
    // Of Notary it is not known since when.
    let notary = |version, contact| {
        let mut held = timestamp(version, None, contact);
        held["repository"] = json!("r.example/app");
        held
    };
    let reports = fleet_but(|minutes| notary(40, minutes), &notary(10, 1));
    assert_eq!(found(&reports), ["node-0999 held-back"]);
    let reports = fleet_but(|minutes| notary(11, minutes), &notary(10, 1));
    assert_eq!(found(&reports), ["node-0999 held-back"]);
}

#[test]
fn renewals_clocks_and_mirrors_that_are_late_raise_no_alarm() {
    let notary = |version, contact| {
        let mut held = timestamp(version, None, contact);
        held["repository"] = json!("r.example/app");
        held
    };
    for (what, reports) in [
        (
            "a renewal after the contact of a host",
            fleet_but(
                |_| timestamp(11, Some(5), 1),
                &timestamp(10, Some(30 * 60), 60),
            ),
        ),
        (
            "a renewal just before it, and a clock that differs",
            fleet_but(
                |_| timestamp(11, Some(70), 1),
                &timestamp(10, Some(30 * 60), 60),
            ),
        ),
        (
            "many versions after it",
            fleet_but(
                |_| timestamp(40, Some(5), 1),
                &timestamp(10, Some(30 * 60), 60),
            ),
        ),
        (
            "a mirror that is a day behind",
            fleet_but(
                |_| timestamp(40, Some(23 * 60), 1),
                &timestamp(38, Some(20 * 60), 1),
            ),
        ),
        (
            "many tags in a row at a Notary server",
            fleet_but(|_| notary(40, 1), &notary(10, 60)),
        ),
        (
            "a cache before a Notary server",
            fleet_but(|_| notary(40, 6), &notary(10, 1)),
        ),
        (
            "a host that looked a month ago",
            fleet_but(
                |_| timestamp(40, Some(60), 1),
                &timestamp(10, Some(MONTH + 1), MONTH),
            ),
        ),
    ] {
        assert_eq!(found(&reports), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn two_repositories_of_the_same_keys_are_two_and_one_at_two_addresses_is_one() {
    let held = |version: u64, bytes: &str| {
        let mut held = timestamp(version, Some(60), 1);
        held["floors"][0]["signed"] = json!(format!("sha256:{}", key(bytes)));
        held
    };
    let root = |id: &str, sources: Value, held: Value| json!({"id": id, "type": "tuf", "sources": sources, "role": null, "pinned": null, "keys": [], "held": [held]});
    let of = |roots: Vec<Value>| -> Vec<Value> {
        let report = |number: usize| {
            let mut report = host(number);
            report["roots"] = match number {
                4 => json!([roots[1]]),
                _ => json!([roots[0]]),
            };
            report
        };
        (0..5).map(report).collect()
    };
    let (prod, stage) = (held(7, "prod"), held(7, "stage"));
    let mut both = host(0);
    both["roots"] = json!([
        root("prod", json!(["https://t.example/prod"]), prod.clone()),
        root("stage", json!(["https://t.example/stage"]), stage.clone()),
    ]);
    let both: Vec<Value> = (0..5)
        .map(|number| {
            let mut report = both.clone();
            report["host"] = json!(format!("node-{number:04}"));
            report
        })
        .collect();
    assert_eq!(found(&both), Vec::<String>::new());
    let elsewhere = of(vec![
        root("trust", json!(["https://t.example/prod"]), prod.clone()),
        root("trust", json!(["https://t.example/stage"]), stage.clone()),
    ]);
    assert_eq!(found(&elsewhere), Vec::<String>::new());
    let one = of(vec![
        root(
            "trust",
            json!(["https://m.example/", "https://t.example/prod"]),
            prod,
        ),
        root("other", json!(["https://t.example/prod/"]), stage),
    ]);
    assert_eq!(found(&one), ["node-0004 split-view"]);
    let (fleet, _) = merged(&[], &lines(&one));
    let text = fleet.to_string();
    assert!(
        text.contains("root other at https://t.example/prod/") && text.contains("on 4 other hosts"),
        "{text}"
    );
}

#[test]
fn a_rotation_that_half_of_the_fleet_has_seen_raises_no_alarm() {
    let mut reports = fleet();
    for report in reports.iter_mut().step_by(2) {
        let floors = report["roots"][0]["held"][0]["floors"]
            .as_array_mut()
            .unwrap();
        for floor in floors {
            // The next root brings a further root key and a new online key, which counts its
            // versions anew, and so meets versions that the old one signed.
            floor["root_keys"] = json!([key("acme"), key("acme 2")]);
            let role = floor["role"].as_str().unwrap().to_owned();
            if role == "root" {
                (floor["version"], floor["signed"]) =
                    (json!(2), json!(format!("sha256:{}", key("root 2"))));
            } else {
                let version = floor["version"].as_i64().unwrap();
                floor["version"] = json!(version - 45);
                floor["keys"] = json!([key(&format!("{role} new"))]);
                floor["signed"] = json!(format!("sha256:{}", key(&format!("{role} again"))));
            }
        }
    }
    assert_eq!(found(&reports), Vec::<String>::new());
}

#[test]
fn a_host_that_is_shown_one_old_timestamp_after_the_other_is_found_by_its_publishers_dates() {
    // A publisher that renews daily, for a week each time. The liar shows a host the timestamp of a
    // month ago as if it were today's; the others have the newest for an hour.
    let dated = |version: u64, since: i64, contact: i64, ends_in_days: i64| {
        let mut held = timestamp(version, Some(since), contact);
        held["timestamp_expires"] = json!(before_minutes(-ends_in_days * 24 * 60));
        held
    };
    let others = |minutes| dated(40, 60, minutes, 7);
    let found_of = |liar: &Value| found(&fleet_but(others, liar));
    assert_eq!(found_of(&dated(10, 60, 1, -23)), ["node-0999 held-back"]);
    assert_eq!(found_of(&dated(38, 60, 1, 5)), ["node-0999 held-back"]);
    // A mirror that is a day behind, and one whose publisher gives longer dates from now on.
    assert_eq!(found_of(&dated(38, 60, 1, 6)), Vec::<String>::new());
    assert_eq!(found_of(&dated(39, 60, 1, -23)), Vec::<String>::new());
    // A host that had no contact since the others have it, and one whose dates nobody reports.
    assert_eq!(
        found_of(&dated(10, 3 * 60, 2 * 60, -23)),
        Vec::<String>::new()
    );
    assert_eq!(found_of(&timestamp(10, Some(60), 1)), Vec::<String>::new());
}

/// A fleet of these hosts alone.
fn fleet_of(views: &[Value]) -> Vec<Value> {
    let report = |(number, view): (usize, &Value)| {
        let mut report = host(number);
        if view["contact"].is_string() {
            report["at"] = view["contact"].clone();
        }
        report["roots"][0]["type"] = json!("tuf");
        report["roots"][0]["max_age"] = json!(24 * 3600);
        report["roots"][0]["held"] = json!([view]);
        report
    };
    views.iter().enumerate().map(report).collect()
}

#[test]
fn of_two_hosts_the_one_that_is_held_back_is_found_and_of_reports_of_different_times_none_is() {
    const DAY: i64 = 24 * 60;
    let newest = || timestamp(40, Some(60), 1);
    for (what, views, wanted) in [
        (
            "two hosts, one of which has a timestamp of last week",
            vec![newest(), timestamp(39, Some(7 * DAY), 1)],
            vec!["node-0001 held-back"],
        ),
        (
            "the same in the other order",
            vec![timestamp(39, Some(7 * DAY), 1), newest()],
            vec!["node-0000 held-back"],
        ),
        (
            "two hosts that are both held back by the same time know of nothing newer",
            vec![timestamp(10, Some(MONTH), 1), timestamp(10, Some(MONTH), 2)],
            vec![],
        ),
        (
            "a report of last week beside one of today",
            vec![newest(), timestamp(33, Some(8 * DAY), 7 * DAY)],
            vec![],
        ),
        (
            "the liar's report is of last week, as old as what it has is older than its max-age, and the others' are of then too",
            vec![
                timestamp(33, Some(9 * DAY), 7 * DAY),
                timestamp(10, Some(MONTH), 7 * DAY),
            ],
            vec!["node-0001 held-back"],
        ),
        (
            "reports of each of the last days",
            (0..7)
                .map(|day| {
                    timestamp(
                        40 - u64::try_from(day).unwrap(),
                        Some(day * DAY + 60),
                        day * DAY,
                    )
                })
                .collect(),
            vec![],
        ),
        (
            "one host whose report is newer by a month and fifty versions",
            vec![
                timestamp(90, Some(5), 1),
                timestamp(40, Some(MONTH + 60), MONTH),
                timestamp(40, Some(MONTH + 90), MONTH + 5),
            ],
            vec![],
        ),
        (
            "one host whose clock is an hour ahead",
            vec![newest(), timestamp(39, Some(DAY - 120), -60)],
            vec![],
        ),
        (
            "a host that had no contact yet",
            vec![newest(), {
                let mut silent = timestamp(10, Some(MONTH), 1);
                silent["contact"] = Value::Null;
                silent
            }],
            vec![],
        ),
    ] {
        assert_eq!(found(&fleet_of(&views)), wanted, "{what}");
    }
}

#[test]
fn of_two_hosts_with_other_bytes_of_one_version_both_are_named_as_nobody_knows_which_was_lied_to() {
    let mut other = timestamp(40, Some(60), 1);
    other["floors"][0]["signed"] = json!(format!("sha256:{}", key("lie")));
    let both = ["node-0000 split-view", "node-0001 split-view"];
    let views = [timestamp(40, Some(60), 1), other.clone()];
    assert_eq!(found(&fleet_of(&views)), both);
    // A third one says which is the odd one, also where its report is of another time.
    let views = [
        timestamp(40, Some(60), 1),
        other,
        timestamp(40, Some(600), 500),
    ];
    assert_eq!(found(&fleet_of(&views)), ["node-0001 split-view"]);
}

#[test]
fn hosts_with_the_same_pins_are_compared_across_a_rotation_also_where_not_all_keys_are_listed() {
    let view = |root_key: &str, pins: &str, bytes: &str| {
        let mut view = timestamp(40, Some(60), 1);
        view["floors"][0]["root_keys"] = json!([key(root_key)]);
        view["floors"][0]["pinned_keys"] = json!(format!("sha256:{}", key(pins)));
        view["floors"][0]["signed"] = json!(format!("sha256:{}", key(bytes)));
        view
    };
    let both = ["node-0000 split-view", "node-0001 split-view"];
    let (before, after) = (view("old", "pins", "truth"), view("new", "pins", "lie"));
    assert_eq!(found(&fleet_of(&[before.clone(), after])), both);
    let other_pins = view("new", "other pins", "lie");
    assert_eq!(
        found(&fleet_of(&[before, other_pins])),
        Vec::<String>::new()
    );
}

#[test]
fn what_one_host_alone_claims_far_beyond_all_others_holds_nobody_back() {
    for version in [20_000, u64::MAX] {
        for hosts in [2, 20, 1000] {
            let mut reports = fleet();
            reports.truncate(hosts);
            let floor = &mut reports[1]["roots"][0]["held"][0]["floors"][1];
            floor["version"] = json!(version);
            floor["since"] = json!(before(3 * 24));
            assert_eq!(
                found(&reports),
                ["node-0001 far-ahead"],
                "{version} of {hosts}"
            );
        }
    }
    // Two that agree are no oddity: the others lag behind.
    let mut reports = fleet();
    reports.truncate(20);
    for at in [1, 2] {
        let floor = &mut reports[at]["roots"][0]["held"][0]["floors"][1];
        floor["version"] = json!(20_000);
        floor["since"] = json!(before(3 * 24));
    }
    assert!(!found(&reports).iter().any(|one| one.ends_with("far-ahead")));
}

#[test]
fn hosts_that_pin_one_root_file_are_compared_though_no_two_share_an_address() {
    let other = |pinned: bool| {
        let mut reports = fleet();
        reports.truncate(3);
        for (number, report) in reports.iter_mut().enumerate() {
            report["roots"][0]["sources"] = json!([format!("https://mirror-{number}.example")]);
            if pinned {
                report["roots"][0]["pinned"] =
                    json!({ "version": 1, "sha256": format!("sha256:{}", key("root")) });
            }
        }
        let floor = &mut reports[1]["roots"][0]["held"][0]["floors"][2];
        floor["signed"] = json!(format!("sha256:{}", key("lie")));
        reports
    };
    assert_eq!(found(&other(true)), ["node-0001 split-view"]);
    assert_eq!(found(&other(false)), Vec::<String>::new());
}

#[test]
fn where_one_host_alone_has_a_newer_version_both_readings_are_said() {
    let details = |hosts: &[usize]| {
        let mut reports = fleet();
        reports.truncate(20);
        for at in hosts {
            let floor = &mut reports[*at]["roots"][0]["held"][0]["floors"][1];
            floor["version"] = json!(9_999);
            floor["since"] = json!(before(3 * 24));
        }
        let (fleet, _) = merged(&[], &lines(&reports));
        let drift = fleet["hosts"].as_array().unwrap().clone();
        let drift = drift
            .into_iter()
            .flat_map(|host| host["drift"].as_array().unwrap().clone());
        let held_back = drift.filter(|one| one["code"] == "held-back");
        held_back
            .map(|one| one["detail"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let liar = "; no other host than node-0001 had a newer one: this host is held back, or node-0001 reports";
    let alone = details(&[1]);
    assert!(alone.len() > 10, "{alone:?}");
    // Of a host that lags behind others too, one reading is left.
    assert!(
        alone.iter().filter(|one| one.contains(liar)).count() > 10,
        "{alone:?}"
    );
    let two = details(&[1, 2]);
    assert!(two.len() > 10, "{two:?}");
    assert!(
        !two.iter().any(|one| one.contains("no other host")),
        "{two:?}"
    );
}

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
        let codes = codes.filter(|code| code == "split-view" || code == "held-back");
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

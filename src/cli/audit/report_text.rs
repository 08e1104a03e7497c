//! The text of `rootpin audit` and `rootpin audit merge`.

use serde_json::Value;

use super::super::output::{counted, list, shown_time, table, text, time};
use crate::operate::audit::Fleet;

pub(super) fn host_text(value: &Value) -> String {
    let mut parts = Vec::new();
    let policy = value.get("policy").filter(|policy| !policy.is_null());
    let policy = policy.map_or("NO POLICY KNOWN".to_owned(), |policy| {
        format!("mode {}, {}", text(policy, "mode"), text(policy, "hash"))
    });
    parts.push(format!(
        "{} at {}\npolicy: {policy}",
        text(value, "host"),
        time(value, "at")
    ));
    let mut images = vec![
        [
            "image", "engine", "verdict", "roots", "role", "versions", "until",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    images.extend(list(value, "images").iter().map(image_row));
    let mut keys = vec![
        ["root key", "pinned by", "repository", "listed as"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for key in list(value, "root_keys") {
        let pinned: Vec<_> = list(key, "pinned_by")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let pinned = if pinned.is_empty() {
            "NOBODY".to_owned()
        } else {
            pinned.join(",")
        };
        let mut row = |repository: &str, listed: &str| {
            keys.push(vec![
                short(text(key, "id")),
                pinned.clone(),
                repository.to_owned(),
                short(listed),
            ]);
        };
        for seen in list(key, "repositories") {
            row(text(seen, "repository"), text(seen, "listed_as"));
        }
        if list(key, "repositories").is_empty() {
            row("-", "-");
        }
    }
    parts.extend(
        [images, keys]
            .iter()
            .filter(|rows| rows.len() > 1)
            .map(|rows| table(rows)),
    );
    let findings: Vec<_> = list(value, "findings")
        .iter()
        .map(|one| {
            format!(
                "{}: {}: {}: {}\n  hint: {}",
                text(one, "severity"),
                text(one, "code"),
                text(one, "subject"),
                text(one, "detail"),
                text(one, "hint")
            )
        })
        .collect();
    let untold: Vec<_> = list(value, "untold")
        .iter()
        .map(|one| {
            format!(
                "could not tell: {}: {}",
                text(one, "subject"),
                text(one, "why")
            )
        })
        .collect();
    let roots = list(value, "roots").iter();
    let unbound: Vec<String> = roots.filter_map(unbound).collect();
    parts.extend(
        [findings, untold, unbound]
            .iter()
            .filter(|lines| !lines.is_empty())
            .map(|lines| lines.join("\n")),
    );
    let count = |name: &str, what: &str| counted(list(value, name).len(), what);
    parts.push(format!(
        "{}: {}, {}, {}, {}, {} not looked at",
        text(value, "outcome"),
        count("images", "image"),
        count("roots", "root"),
        count("trust_directories", "trust directory"),
        count("findings", "finding"),
        list(value, "untold").len()
    ));
    parts.join("\n\n")
}

/// What a root's signatures don't bind, if there is anything.
fn unbound(root: &Value) -> Option<String> {
    let all = ["name", "tag", "freshness"].iter();
    let not: Vec<_> = all
        .filter(|what| {
            let binds = root.get("binds").and_then(|binds| binds.get(**what));
            binds.and_then(Value::as_bool) == Some(false)
        })
        .copied()
        .collect();
    let (id, kind) = (text(root, "id"), text(root, "type"));
    (!not.is_empty()).then(|| format!("root {id} ({kind}) binds no {}", not.join(", no ")))
}

fn image_row(image: &Value) -> Vec<String> {
    let engine = image
        .get("namespace")
        .and_then(Value::as_str)
        .map_or(text(image, "engine").to_owned(), |namespace| {
            format!("{}/{namespace}", text(image, "engine"))
        });
    let nothing = Value::Null;
    let judgement = image.get("judgement").unwrap_or(&nothing);
    let why = ["code", "ground"]
        .iter()
        .find_map(|name| judgement.get(name).and_then(Value::as_str));
    let verdict = judgement
        .get("outcome")
        .and_then(Value::as_str)
        .map_or("not judged".to_owned(), |outcome| {
            format!("{outcome} ({})", why.unwrap_or("-"))
        });
    let roots = list(judgement, "roots").iter();
    let of = |name: &str| {
        let named = roots.clone().filter_map(|word| word.get(name)?.as_str());
        named.collect::<Vec<_>>().join(",")
    };
    // Of a root that said nothing no role is known, and no end.
    let spoke = roots.clone().filter(|word| word["role"].is_string());
    let ends = spoke.map(|word| {
        if word["expires"].is_null() {
            "never".to_owned()
        } else {
            time(word, "expires")
        }
    });
    let versions = list(judgement, "roots")
        .iter()
        .filter_map(|word| word.get("versions")?.as_object())
        .flatten();
    let versions: Vec<_> = versions
        .map(|(role, version)| format!("{role}={version}"))
        .collect();
    let digest = image
        .get("digest")
        .and_then(Value::as_str)
        .map(|digest| format!("@{}", short(digest.trim_start_matches("sha256:"))))
        .unwrap_or_default();
    let name = text(image, "name");
    let name = if name.contains('@') {
        name.to_owned()
    } else {
        format!("{name}{digest}")
    };
    vec![
        name,
        engine,
        verdict,
        of("root"),
        of("role"),
        versions.join(","),
        ends.collect::<Vec<_>>().join(","),
    ]
}

pub(super) fn fleet_text(fleet: &Fleet) -> String {
    let mut parts = Vec::new();
    let held_to = if fleet.expected.of == "policy" {
        "the policy"
    } else {
        "the majority's policy"
    };
    let expected = fleet.expected.shown_policy();
    parts.push(format!(
        "{}, {}; {held_to}: {expected}",
        counted(fleet.hosts.len(), "host"),
        counted(fleet.reports, "report")
    ));
    let mut keys = vec![
        ["root key", "expected", "roots", "pinned by", "unpinned on"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for key in &fleet.keys {
        let roots: Vec<&str> = key.roots.iter().map(|id| &**id).collect();
        let expected = if key.expected { "yes" } else { "NO" };
        keys.push(vec![
            short(&key.id),
            expected.to_owned(),
            roots.join(","),
            key.pinned_by.to_string(),
            key.unpinned_on.to_string(),
        ]);
    }
    let mut hosts = vec![
        ["host", "differs", "", "report of", "own audit"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for host in fleet.differing() {
        hosts.extend(host.drift.iter().map(|drift| {
            vec![
                host.host.to_string(),
                drift.code.to_owned(),
                drift.detail.clone(),
                shown_time(&host.at),
                host.outcome.to_owned(),
            ]
        }));
    }
    parts.extend(
        [keys, hosts]
            .iter()
            .filter(|rows| rows.len() > 1)
            .map(|rows| table(rows)),
    );
    let unreadable: Vec<_> = fleet
        .unreadable
        .iter()
        .map(|one| format!("could not read: {}: {}", one.origin, one.why))
        .collect();
    parts.extend((!unreadable.is_empty()).then(|| unreadable.join("\n")));
    let differing = fleet.differing().count();
    let verb = if differing == 1 { "differs" } else { "differ" };
    parts.push(format!(
        "{}: {differing} of {} {verb}",
        fleet.outcome,
        counted(fleet.hosts.len(), "host")
    ));
    parts.join("\n\n")
}

/// The beginning of an ID; the JSON has the whole.
fn short(id: &str) -> String {
    id.chars().take(16).collect()
}

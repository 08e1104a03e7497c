//! The table cells of the audit pages.

use std::collections::BTreeMap;

use super::super::findings::FindingSeverity;
use super::super::fleet::FleetHost;
use super::super::html_page::Cell;
use super::super::report::{ResidentImage, TrustedRepository};

pub(super) fn outcome(word: &str) -> Cell {
    let (class, text) = match word {
        "clean" => ("good", "clean"),
        "findings" => ("bad", "findings"),
        "drift" => ("bad", "hosts differ"),
        _ => ("odd", "could not tell"),
    };
    Cell::Word(class, text.to_owned())
}

pub(super) fn mode(mode: &str) -> Cell {
    Cell::Word(
        if mode == "enforce" { "good" } else { "odd" },
        mode.to_owned(),
    )
}

pub(super) fn severity(severity: FindingSeverity) -> Cell {
    let class = match severity {
        FindingSeverity::Error => "bad",
        FindingSeverity::Warning => "odd",
        FindingSeverity::Info => "dim",
    };
    Cell::Word(class, severity.to_string())
}

pub(super) fn image(image: &ResidentImage) -> Vec<Cell> {
    let place = image
        .namespace
        .as_ref()
        .map_or(image.engine.clone(), |namespace| {
            format!("{} / {namespace}", image.engine)
        });
    let mut row = vec![
        Cell::text(&image.name),
        Cell::Code(image.digest.clone().unwrap_or_else(|| "-".to_owned())),
        Cell::text(place),
    ];
    let Some(judgement) = &image.judgement else {
        row.extend([
            Cell::Word("dim", "not judged".to_owned()),
            Cell::text("-"),
            Cell::text("-"),
            Cell::text("-"),
            Cell::text("-"),
        ]);
        return row;
    };
    let class = match judgement.outcome.as_str() {
        "allowed" => "good",
        "refused" => "bad",
        _ => "odd",
    };
    let why = judgement
        .code
        .as_ref()
        .or(judgement.ground.as_ref())
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    let of = |line: &dyn Fn(&crate::decide::survey::RootWord) -> Vec<String>| {
        Cell::Lines(judgement.roots.iter().flat_map(line).collect())
    };
    row.extend([
        Cell::Word(class, format!("{}{why}", judgement.outcome)),
        Cell::text(judgement.rule.as_deref().unwrap_or("-")),
        of(&|word| {
            let role = word
                .role
                .as_ref()
                .map(|role| format!(", {role}"))
                .unwrap_or_default();
            std::iter::once(format!("{}{role}", word.root))
                .chain(word.signers.iter().map(|key| format!("key {}", short(key))))
                .collect()
        }),
        of(&|word| {
            word.versions
                .iter()
                .map(|(role, version)| format!("{role} {version}"))
                .collect()
        }),
        of(&|word| {
            let end = word.expires.as_deref().map(seconds);
            let never = || word.role.as_ref().map(|_| "never".to_owned());
            end.or_else(never).into_iter().collect()
        }),
    ]);
    row
}

pub(super) fn trusted(one: &TrustedRepository) -> Vec<Cell> {
    let root = one.roles.iter().find(|role| role.name == "root");
    let keys = root
        .map(|role| {
            role.keys
                .iter()
                .map(|key| {
                    format!(
                        "{} as certificate {}",
                        short(&key.id),
                        short(&key.listed_as)
                    )
                })
                .collect()
        })
        .unwrap_or_default();
    let roles = one
        .roles
        .iter()
        .map(|role| format!("{}: {} of {}", role.name, role.threshold, role.keys.len()))
        .collect();
    let file = |(name, file): (&String, &super::super::report::TrustedFile)| {
        format!(
            "{name} {} until {}{}",
            file.version,
            day(&file.expires),
            if file.signed { "" } else { ", NOT SIGNED" }
        )
    };
    vec![
        Cell::text(&one.repository),
        one.rule
            .as_ref()
            .map_or(Cell::Word("odd", "nothing".to_owned()), Cell::text),
        Cell::Lines(keys),
        Cell::text(
            one.files
                .get("root.json")
                .map_or("-".to_owned(), |file| file.version.to_string()),
        ),
        Cell::Lines(roles),
        Cell::Lines(
            one.files
                .iter()
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .map(file)
                .collect(),
        ),
    ]
}

/// Ways in which a host differs that its row shows: the report has them all.
const MAX_DRIFTS: usize = 5;

/// The row of a host, where most have the policy `expected`.
pub(super) fn host(host: &FleetHost, expected: Option<&str>) -> Vec<Cell> {
    let mut drift: Vec<_> = host
        .drift
        .iter()
        .take(MAX_DRIFTS)
        .map(|drift| format!("{}: {}", drift.code, drift.detail))
        .collect();
    if host.drift.len() > MAX_DRIFTS {
        drift.push(format!("and {} more", host.drift.len() - MAX_DRIFTS));
    }
    let policy = match host.policy.as_deref() {
        None => Cell::Word("bad", "none".to_owned()),
        policy if policy == expected => Cell::Word("dim", "as expected".to_owned()),
        Some(hash) => Cell::Code(hash.to_owned()),
    };
    vec![
        Cell::text(&*host.host),
        if drift.is_empty() {
            Cell::Word("good", "no".to_owned())
        } else {
            Cell::Lines(drift)
        },
        Cell::text(seconds(&host.at)),
        outcome(host.outcome),
        host.mode.as_deref().map_or(Cell::text("-"), mode),
        policy,
        Cell::count(host.counts.images),
        Cell::count(host.counts.refused),
        Cell::count(host.counts.unjudged),
    ]
}

/// A time as people read it: without parts of a second.
pub(super) fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((before, after)) if before.len() == 19 && after.ends_with('Z') => format!("{before}Z"),
        _ => time.to_owned(),
    }
}

/// The beginning of an ID, where the whole stands in another table.
fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

//! `policy simulate` of the policy that is in force already: whatever the daemon wrote down, nothing
//! changes. Where a line does not tell what the daemon knew, nobody can say, and nothing is guessed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rootpin::observe::record;
use rootpin::operate::audit::{JudgementSource, Reports as _, look_at};
use rootpin::operate::policy_tools::Simulation;
use rootpin_policy::Policy;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::doors;
use super::host::{Host, NOW, sources};
use super::model::{Door, Facts};
use super::products;

/// What is known of the policy by which a host answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// It is the simulated one.
    Same,
    /// It is given by `--old`.
    Old,
    /// It has another hash, and says the same.
    Nothing,
}

/// The kinds of change that a simulation tells, each with its words.
fn changes(
    (policy, old): (&Policy, &Policy),
    known: Known,
    mut line: Value,
) -> Vec<(String, String)> {
    let now: Timestamp = NOW.parse().unwrap();
    let other = old.hash.to_string();
    if known != Known::Same {
        if line.get("images").is_none() {
            line["policy"] = json!(other);
        } else if !line["policy"].is_null() {
            line["policy"]["hash"] = json!(other);
        }
    }
    let line = line.to_string();
    let simulated = |old| {
        let mut simulation = Simulation::of(policy, old, now);
        simulation.report("a", line.as_bytes());
        simulation.end()
    };
    let simulated = if known == Known::Old {
        simulated(Some(old))
    } else {
        simulated(None)
    };
    assert!(
        simulated.unreadable.is_empty(),
        "{:?}",
        simulated.unreadable
    );
    let change = |change: &rootpin::operate::policy_tools::ImageChange| {
        (
            change.kind.to_owned(),
            format!("was {}, now {}", change.was, change.now),
        )
    };
    simulated.images.iter().map(change).collect()
}

#[derive(Default)]
struct Tried {
    lines: usize,
    unknown: BTreeMap<(Known, String), usize>,
    wrong: Vec<String>,
}

impl Tried {
    fn line(&mut self, policies: (&Policy, &Policy), facts: &Facts, from: &str, line: &Value) {
        for known in [Known::Same, Known::Old, Known::Nothing] {
            self.lines += 1;
            for (kind, words) in changes(policies, known, line.clone()) {
                let went_on =
                    words.starts_with("was allowed") || words.contains(", let through, now");
                if kind == "unknown" || kind == "let-through" && went_on {
                    let was = words.split(" now ").next().unwrap();
                    let of = (known, format!("{from}: {was}"));
                    *self.unknown.entry(of).or_default() += 1;
                } else {
                    let key = facts.key();
                    self.wrong
                        .push(format!("{known:?} {from} {key}: {kind} {words}\n  {line}"));
                }
            }
        }
    }
}

#[test]
fn a_simulation_of_the_policy_in_force_changes_nothing_whatever_the_daemon_wrote_down() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut audited, mut reported) = (Tried::default(), Tried::default());
    runtime.block_on(async {
        let mut host = Host::new().await;
        for facts in products::all() {
            let (policy, mut old) = (host.policy_of(&facts), host.policy_of(&facts));
            old.hash = Digest::of(b"another comment");
            let hash = policy.hash.to_string();
            for door in Door::ALL.iter().filter(|door| facts.is_asked_at(**door)) {
                let Some(verdict) = doors::verdict(&mut host, &facts, *door).await else {
                    continue;
                };
                let mut line = record(&verdict);
                line["host"] = json!("h");
                line["policy"] = json!(hash);
                audited.line((&policy, &old), &facts, door.word(), &line);
            }
            if facts.is_asked_at(Door::Pull) {
                let image = (host.names(&facts).remove(0), host.top(facts.bytes));
                let decider = host.decider(&facts).onlooker(sources());
                let by = JudgementSource::Files(Box::new(decider));
                let report = look_at("h", vec![image], by, NOW.parse().unwrap()).await;
                let report = serde_json::to_value(&report).unwrap();
                reported.line((&policy, &old), &facts, "report", &report);
            }
        }
    });
    for tried in [&audited, &reported] {
        let shown = tried.wrong.len().min(10);
        let (wrong, first) = (tried.wrong.len(), tried.wrong[..shown].join("\n"));
        assert!(wrong == 0, "{wrong} of {} lines:\n{first}", tried.lines);
    }
    assert!(audited.lines > 9000 && reported.lines > 900);
    // By the policy that is known, a pull that was allowed is told.
    let told = |((known, from), _): &(&(Known, String), &usize)| {
        let of_pull = [
            "pull: was allowed",
            "resolve: was allowed",
            "report: was allowed",
        ];
        *known != Known::Nothing && of_pull.iter().any(|start| from.starts_with(start))
    };
    for tried in [&audited, &reported] {
        let untold: Vec<_> = tried.unknown.iter().filter(told).collect();
        assert!(untold.is_empty(), "{untold:?}");
        let all: usize = tried.unknown.values().sum();
        assert!(
            all * 3 < tried.lines,
            "{all} of {} are unknown: {:#?}",
            tried.lines,
            tried.unknown
        );
    }
}

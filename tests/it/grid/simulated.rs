//! `policy simulate` over the grid: what it says of a pull by another policy is what the daemon
//! says under that policy, or that nobody can tell.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rootpin::operate::audit::{HostReport, JudgementSource, Reports as _, look_at};
use rootpin::operate::policy_tools::Simulation;

use super::GRID;
use super::doors::{self, Answer};
use super::host::{Host, NOW, sources};
use super::model::{Clock, Door, Entry, Facts, Modes};
use super::products;

/// What the host of these facts reports about the name and the bytes of those.
async fn report(host: &mut Host, old: &Facts, new: &Facts) -> HostReport {
    let image = (host.names(new).remove(0), host.top(new.bytes));
    let decider = host.decider(old).onlooker(sources());
    let surveyor = JudgementSource::Files(Box::new(decider));
    look_at("a", vec![image], surveyor, NOW.parse().unwrap()).await
}

/// The outcome of an answer, and whether the engine goes on.
type Short = (String, bool);

fn short(answer: &Answer) -> Short {
    (answer.outcome.to_owned(), answer.goes_on)
}

/// Whatever the judgement is, the engine goes on.
const EITHER_WAY: &str = "let-through";

/// The outcome that the simulation tells; the reported one where it names no change.
fn simulated(host: &Host, report: &HostReport, new: &Facts) -> Short {
    let now: Timestamp = NOW.parse().unwrap();
    let policy = host.policy_of(new);
    let mut simulation = Simulation::of(&policy, None, now);
    simulation.report("a", &serde_json::to_vec(report).unwrap());
    let result = simulation.end();
    assert!(result.unreadable.is_empty(), "{:?}", result.unreadable);
    match result.images.as_slice() {
        [] => {
            let judged = report.images[0].judgement.as_ref().unwrap();
            (judged.outcome.clone(), judged.let_through)
        }
        [change] if change.now.starts_with("let through either way") => {
            (EITHER_WAY.to_owned(), true)
        }
        [change] => {
            let word = change.now.split(' ').next().unwrap();
            let through = word == "allowed" || change.now.ends_with(", let through");
            (word.to_owned(), through)
        }
        more => panic!("{more:?}"),
    }
}

#[test]
fn a_simulation_says_what_the_daemon_says_in_each_cell_or_that_it_can_not_tell() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut cells, mut told) = (0, 0);
    let (mut unknown, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    runtime.block_on(async {
        let mut host = Host::new().await;
        let pulls = products::all();
        let pulls: Vec<Facts> = pulls
            .into_iter()
            .filter(|facts| facts.is_asked_at(Door::Pull))
            .collect();
        let is_left_out = |facts: &&Facts| {
            facts.clock != Clock::Right
                // Root's break-glass is of one host; a policy is simulated without it.
                || matches!(facts.modes, Modes::Glass | Modes::GlassApp | Modes::GlassOps)
        };
        let left_out = pulls.iter().filter(is_left_out).count();
        for facts in pulls.into_iter().filter(|facts| !is_left_out(&facts)) {
            let daemon = short(&doors::ask(&mut host, &facts, Door::Pull).await);
            cells += 1;
            // Its images have other names, which no other policy was asked about.
            let others: &[Entry] = if facts.entry == Entry::SignedAs {
                &[]
            } else {
                &[
                    Entry::None,
                    Entry::Rule,
                    Entry::Exempt,
                    Entry::Quorum,
                    Entry::Cosign,
                ]
            };
            for entry in [&[facts.entry], others].concat() {
                let old = Facts { entry, ..facts };
                let report = report(&mut host, &old, &facts).await;
                let found = simulated(&host, &report, &facts);
                if found.0 == "unknown" {
                    let same = if entry == facts.entry {
                        "same policy"
                    } else {
                        "other policy"
                    };
                    *unknown
                        .entry(format!("{same}, daemon {}", daemon.0))
                        .or_default() += 1;
                } else if found == daemon || found.0 == EITHER_WAY && daemon.1 {
                    told += 1;
                } else {
                    wrong.push(format!(
                        "{} from {}: {found:?}, daemon {daemon:?}",
                        facts.key(),
                        entry.word()
                    ));
                }
            }
        }
        cells += left_out;
    });
    let asked = GRID
        .values()
        .filter(|answers| answers.contains_key(&Door::Pull));
    assert_eq!(
        cells,
        asked.count(),
        "not every pull of the grid was asked about"
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    // By the policy that was in force already, everything is told that the daemon could judge, but
    // for a quorum that was missed: who of its roots said no is not reported.
    let by_same = unknown
        .get("same policy, daemon allowed")
        .copied()
        .unwrap_or_default();
    assert_eq!(by_same, 0, "{unknown:?}");
    assert!(told > 700, "{told} told, unknown: {unknown:?}");
}

//! Facts for which a door answers otherwise than the gate does: the gate is asked about all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{self, Door, Facts, Names};
use super::{Answer, Answers};

/// One line for each of these facts, sorted by what the two answer.
pub(super) fn lines(grid: &BTreeMap<Facts, Answers>) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for (facts, answers) in grid {
        let mut add = |door: Door, answer: String, other: String| {
            lines.insert(format!(
                "{}\t{answer}\t{other}\t{}",
                door.word(),
                facts.key()
            ));
        };
        if let Some(gate) = answers.get(&Door::Unpack) {
            for (door, answer) in answers.iter().filter(|(door, _)| is_same(**door, facts)) {
                if answer.short() != gate.short() {
                    add(*door, answer.short(), gate.short());
                }
            }
        }
        if let (Some(pull), Some(explained)) =
            (answers.get(&Door::Pull), answers.get(&Door::Explain))
            && pull.entry != explained.entry
        {
            add(
                Door::Explain,
                entry(explained),
                format!("{} by {}", pull.short(), entry(pull)),
            );
        }
    }
    let header = format!("door\tanswer\tunpack (explain: pull)\t{}", model::HEADER);
    [header].into_iter().chain(lines).collect()
}

/// Whether the door is asked about the same image by the same name as the gate is.
fn is_same(door: Door, facts: &Facts) -> bool {
    match door {
        // A layer may have any of the image's names, where these are asked about one by one.
        Door::ResidentNext
        | Door::Explain
        | Door::DockerPull
        | Door::DockerBuild
        | Door::Swarm
        | Door::Plugin => false,
        // By its ID, an image is whatever one of its digests is.
        Door::CreateId => matches!(facts.names, Names::Digest | Names::Nothing),
        _ => true,
    }
}

/// What kind of entry it is.
fn entry(answer: &Answer) -> String {
    answer
        .entry
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned()
}

//! Every door over one grid of facts: what the policy says of a name, the name, its bytes, who
//! names them, where they come from, and the state of roots and clock. Each answer is compared with
//! the recorded one, and so is the list of facts for which doors answer differently.
//!
//! `ROOTPIN_GRID=write` writes both files anew.

mod differences;
mod doors;
mod host;
mod image;
mod model;
mod products;
mod signed;
mod simulated;
mod tuf;
mod unchanged;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use rootpin_trust::image::Digest;

use self::doors::Answer;
use self::host::Host;
use self::model::{Clock, Door, Entry, Facts, Modes, Names, Origin, Revoked, Source};

/// What each door says of the same facts.
type Answers = BTreeMap<Door, Answer>;

static GRID: LazyLock<BTreeMap<Facts, Answers>> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut host = Host::new().await;
        let mut grid = BTreeMap::new();
        for facts in products::all() {
            let mut answers = Answers::new();
            for door in Door::ALL.iter().filter(|door| facts.is_asked_at(**door)) {
                answers.insert(*door, doors::ask(&mut host, &facts, *door).await);
            }
            grid.insert(facts, answers);
        }
        grid
    })
});

/// Writes a repository of The Update Framework in which these names are these digests, and returns
/// its first root.
pub(crate) fn folder_of_names(folder: &Path, names: &[(String, Digest)]) -> Vec<u8> {
    let names = names.iter();
    let names: Vec<_> = names
        .map(|(name, digest)| (name.clone(), *digest, Vec::new()))
        .collect();
    tuf::write(folder, 7, &names, tuf::Flaw::None)
}

/// Compares lines with a recorded file, or writes it.
fn assert_recorded(name: &str, lines: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    let text = lines.join("\n") + "\n";
    if std::env::var("ROOTPIN_GRID").is_ok_and(|wish| wish == "write") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    let (recorded, found): (Vec<&str>, Vec<&str>) =
        (recorded.lines().collect(), text.lines().collect());
    let only = |these: &[&str], those: &[&str], sign: &str| -> Vec<String> {
        let those: std::collections::HashSet<_> = those.iter().collect();
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    let changed = [only(&recorded, &found, "-"), only(&found, &recorded, "+")].concat();
    let shown = changed
        .iter()
        .take(40)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        changed.is_empty() && recorded.len() == found.len(),
        "{} lines of {name} differ; ROOTPIN_GRID=write records them:\n{shown}",
        changed.len()
    );
}

#[test]
fn every_door_answers_each_cell_of_the_grid_as_recorded() {
    let mut lines = vec![format!("{}\t{}", model::HEADER, doors::HEADER)];
    for (facts, answers) in &*GRID {
        let line = |(door, answer): (&Door, &Answer)| {
            format!("{}\t{}\t{}", facts.key(), door.word(), answer.line())
        };
        lines.extend(answers.iter().map(line));
    }
    assert_recorded("grid.tsv", &lines);
}

#[test]
fn doors_differ_for_the_same_facts_only_where_it_is_recorded() {
    assert_recorded("grid-differences.tsv", &differences::lines(&GRID));
}

/// Whether that door can see that the part is one of the image's.
fn sees(door: Door, facts: &Facts) -> bool {
    // The classic store knows an image by its configuration; beside it, by what was pulled.
    let classic = door == Door::CreateClassic;
    let by_config = facts.origin == Origin::Registry && facts.source != Source::Nothing || classic;
    match (door, facts.revoked) {
        (Door::Explain | Door::DockerBuild | Door::Swarm | Door::Plugin, _)
        | (_, Revoked::Nothing | Revoked::Key) => false,
        (Door::Unpack | Door::Run | Door::Resident | Door::ResidentNext, _) => true,
        // A name of which the policy says nothing is resolved to no digest at all.
        (Door::Resolve, _) if facts.entry == Entry::None || facts.names == Names::Free => false,
        (Door::Pull | Door::DockerPull | Door::Resolve, part) => part == Revoked::Top,
        (Door::Create | Door::CreateId | Door::CreateClassic | Door::Tag, part) => match part {
            Revoked::Top => !classic,
            Revoked::Config => by_config,
            _ => false,
        },
    }
}

#[test]
fn what_is_revoked_is_refused_as_that_at_every_door_that_sees_it() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (facts, answers) in &*GRID {
        for (door, answer) in answers.iter().filter(|(door, _)| sees(**door, facts)) {
            seen += 1;
            if (answer.outcome, answer.why.as_str()) != ("refused", "revoked") {
                wrong.push(format!(
                    "{}\t{}\t{}",
                    facts.key(),
                    door.word(),
                    answer.line()
                ));
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert!(
        wrong.is_empty(),
        "{} of {seen}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn break_glass_changes_no_answer_and_lets_pass_what_it_is_for_and_nothing_that_is_revoked() {
    let mut seen = [0; 2];
    for (facts, answers) in &*GRID {
        let of_ops = [Names::TagOps, Names::OpsTag];
        let of_glass = [Modes::Glass, Modes::GlassApp, Modes::GlassOps];
        if !of_glass.contains(&facts.modes) {
            continue;
        }
        let whole = GRID.get(&Facts {
            modes: Modes::Enforce,
            ..*facts
        });
        for (door, answer) in answers.iter().filter(|(door, _)| **door != Door::Explain) {
            let shown = || format!("{}\t{}\t{}", facts.key(), door.word(), answer.line());
            // While it is in force the registry says what a tag is.
            if let Some(whole) = whole.and_then(|whole| whole.get(door))
                && *door != Door::Resolve
            {
                assert_eq!(
                    (answer.outcome, &answer.why),
                    (whole.outcome, &whole.why),
                    "{}",
                    shown()
                );
            }
            if answer.outcome == "allowed" || answer.outcome == "silent" {
                continue;
            }
            let by_bytes = answer.why == "revoked" && facts.revoked != Revoked::Key;
            let stays = by_bytes
                || facts.names == Names::Wrong
                || facts.clock == Clock::Early
                || facts.modes == Modes::GlassOps && !of_ops.contains(&facts.names)
                || matches!(door, Door::Swarm | Door::Plugin);
            if stays {
                assert!(!answer.goes_on, "{}", shown());
                seen[0] += 1;
            } else if facts.modes == Modes::Glass {
                assert!(answer.goes_on, "{}", shown());
                seen[1] += 1;
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen > 100), "{seen:?}");
}

#[test]
fn a_revoked_key_has_no_rule_satisfied_at_any_door() {
    let mut seen = 0;
    for (facts, answers) in &*GRID {
        if facts.revoked != Revoked::Key || facts.entry != Entry::Rule || facts.names != Names::Tag
        {
            continue;
        }
        for (door, answer) in answers.iter().filter(|(door, _)| **door != Door::Explain) {
            seen += 1;
            assert_ne!(answer.why, "signed", "{}\t{}", facts.key(), door.word());
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn an_explanation_names_the_entry_that_decides_about_a_pull_in_each_cell_of_the_grid() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (facts, answers) in &*GRID {
        let (Some(pull), Some(explained)) = (answers.get(&Door::Pull), answers.get(&Door::Explain))
        else {
            continue;
        };
        // Nothing explains bytes that are not the ones in the name: they have not come yet.
        let other_bytes = facts.names == Names::Wrong;
        let mismatch = pull.why == "digest-mismatch" && pull.entry == "-";
        if other_bytes != mismatch || !other_bytes && pull.entry != explained.entry {
            let (pull, explained) = (pull.line(), explained.line());
            wrong.push(format!("{}\n  {pull}\n  {explained}", facts.key()));
        }
        seen += 1;
    }
    assert!(seen > 200, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_rule_s_audit_lets_through_what_is_revoked_bound_or_of_another_digest_at_any_door() {
    let (mut stopped, mut through, mut wrong) = (0, 0, Vec::new());
    for (facts, answers) in &*GRID {
        let doors = answers.iter().filter(|(door, _)| **door != Door::Explain);
        for (door, answer) in doors.filter(|(_, answer)| answer.outcome != "allowed") {
            let never = answer.why == "revoked"
                || answer.entry.starts_with("[[image]]")
                || answer.why == "digest-mismatch" && answer.entry == "-";
            match facts.modes {
                Modes::TrialOver | Modes::AuditOver => {}
                Modes::Trial if never => stopped += 1,
                Modes::Trial => {
                    through += usize::from(answer.goes_on);
                    continue;
                }
                _ => continue,
            }
            if answer.goes_on && answer.outcome != "silent" {
                wrong.push(format!("{}\t{}", facts.key(), door.word()));
            }
        }
    }
    assert!(stopped > 40 && through > 60, "{stopped} {through}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

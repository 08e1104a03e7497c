//! Every door over one grid of facts: what the policy says of a name, the name, its bytes, who
//! names them, where they come from, and the state of roots and clock. Each answer is compared with
//! the recorded one, and so is the list of facts for which doors answer differently.
//!
//! `ROOTPIN_GRID=write` writes both files anew.

mod differences;
mod doors;
mod host;
mod model;
mod products;
mod tuf;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use self::doors::Answer;
use self::host::Host;
use self::model::{Door, Facts};

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

//! The table of paths: each way for an image to come into each engine, what came of it, and the
//! door that decided.

mod case;
mod column;
mod host;
mod outcome;
mod table;

use std::time::{Duration, Instant};

use self::case::cases;
use self::column::Column;
use self::host::Host;
use crate::lab::Lab;
use crate::say;

/// What comes, if it comes within some seconds: an engine and rootpin hear of a name as it is
/// written.
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `ROOTPIN_ROWS`, a part of a row's title, picks rows while one works on them; the table is then
/// printed only.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_readme_shows_what_comes_of_each_path_into_each_engine() {
    let lab = Lab::start();
    let host = Host::start(&lab);
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let cases: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.title.contains(&picked))
        .collect();
    let columns = Column::at_hand(&lab);
    host.sign(
        cases
            .iter()
            .flat_map(|case| columns.iter().map(|&column| case.images(&host, column))),
    );
    let (mut rows, mut failures, mut in_force) = (Vec::new(), Vec::new(), None);
    for case in &cases {
        let began = Instant::now();
        if in_force.replace(case.policy) != Some(case.policy) {
            host.take(case.policy);
        }
        let mut row = vec![case.title.to_owned()];
        for &column in &columns {
            row.push(match outcome::of(case, &case.images(&host, column)) {
                Ok(outcome) => outcome.to_string(),
                Err(why) => {
                    failures.push(format!("{} | {}: {why}", case.title, column.title()));
                    "failed".to_owned()
                }
            });
        }
        say(&format!(
            "{:5.1} s  {}",
            began.elapsed().as_secs_f32(),
            row.join(" | ")
        ));
        rows.push(row);
    }
    let head: Vec<_> = [""]
        .into_iter()
        .chain(columns.iter().map(|column| column.title()))
        .collect();
    let table = table::markdown(&head, &rows);
    assert!(
        failures.is_empty(),
        "{} cells are without an outcome:\n{}\n\n{table}",
        failures.len(),
        failures.join("\n\n")
    );
    if !picked.is_empty() {
        return say(&table);
    }
    let absent: Vec<_> = Column::ALL
        .into_iter()
        .filter(|column| !columns.contains(column))
        .map(Column::title)
        .collect();
    if !absent.is_empty() {
        say(&format!(
            "ROOTPIN_ENGINES is not set: these columns are left as README.md has them: {}",
            absent.join(", ")
        ));
    }
    let all: Vec<_> = [""]
        .into_iter()
        .chain(Column::ALL.map(Column::title))
        .collect();
    table::compare(&all, &head, &rows);
}

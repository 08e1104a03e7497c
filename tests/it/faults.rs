//! The real daemon under each fault of a host: what an engine sees of it, that no floor goes down,
//! that the host comes back, and how a person hears of it. docs/faults.md shows the rows.

mod daemon;
mod disk;
mod kills;
mod scene;
mod sources;
mod time;

use crate::fault_table::Table;

/// The table of this folder's tests.
const TABLE: Table = Table("faults");

/// Each has a test that makes it, and a row.
const FAULTS: [&str; 22] = [
    "kill -9, again and again, under load",
    "the state's disk fills up",
    "the state's disk is full when rootpind starts",
    "the state's disk turns read-only by an error",
    "the state's disk hangs: no write to it ends",
    "the state is read-only when rootpind starts",
    "a bit of the state file flips",
    "a second rootpind on the same state",
    "the clock jumps to before rootpin was built",
    "the clock jumps beyond all expiries",
    "the clock ran two hours ahead, and is set right",
    "the trust server refuses connections",
    "the same, and nothing is cached yet",
    "its name has no address (DNS)",
    "its certificate is for another name",
    "its certificate has expired",
    "it resets each connection",
    "it sends one byte a second",
    "no file descriptor is left",
    "the policy changes in mid-decision",
    "rootpind is replaced in mid-question",
    "rootpind's sockets are removed",
];

#[test]
fn each_fault_of_the_list_has_its_row_and_each_row_its_fault() {
    let shown: Vec<String> = TABLE
        .rows()
        .iter()
        .map(|row| {
            row.trim_start_matches("| ")
                .split(" | ")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut missing: Vec<_> = FAULTS
        .iter()
        .filter(|fault| !shown.iter().any(|row| row == *fault))
        .collect();
    missing.sort_unstable();
    assert!(
        missing.is_empty(),
        "docs/faults.md has no row of {missing:#?}"
    );
    let odd: Vec<_> = shown
        .iter()
        .filter(|row| !FAULTS.contains(&row.as_str()))
        .collect();
    assert!(odd.is_empty(), "no test makes {odd:#?}");
}

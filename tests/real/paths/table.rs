//! The table in README.md.

use std::fmt::Write as _;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str = "<!-- paths:begin -->\n";
const END: &str = "<!-- paths:end -->";

/// Markdown of a table.
pub(crate) fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// Compares with what README.md shows. `ROOTPIN_WRITE=1` writes it there instead. `all` are the
/// columns in their order, `head` those of `rows`; the others are left as README.md has them.
pub(crate) fn compare(all: &[&str], head: &[&str], rows: &[Vec<String>]) {
    let readme = std::fs::read_to_string(README).unwrap();
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("README.md has no mark where the table begins");
    let (shown, after) = rest
        .split_once(END)
        .expect("README.md has no mark where the table ends");
    let table = merged(shown, all, head, rows);
    if std::env::var("ROOTPIN_WRITE").is_ok_and(|value| value == "1") {
        std::fs::write(README, [before, BEGIN, &table, END, after].concat()).unwrap();
    } else {
        assert!(
            shown == table,
            "README.md shows another table: see what changed, and write this one by ROOTPIN_WRITE=1\n\n{table}"
        );
    }
}

/// The table with the cells that are known now, and of other columns those that are shown. A row
/// that is new has none there.
fn merged(shown: &str, all: &[&str], head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |line: &str| -> Vec<String> {
        line.trim()
            .trim_start_matches('|')
            .trim_end_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut lines = shown.lines();
    let old_head = lines.next().map(cells).unwrap_or_default();
    let old_rows: Vec<Vec<String>> = lines.skip(1).map(cells).collect();
    let old = |title: &str, column: &str| {
        let at = old_head.iter().position(|known| known == column)?;
        old_rows
            .iter()
            .find(|row| row[0] == title)?
            .get(at)
            .cloned()
    };
    let columns: Vec<_> = all
        .iter()
        .copied()
        .filter(|column| head.contains(column) || old_head.iter().any(|known| known == column))
        .collect();
    let row = |row: &Vec<String>| -> Vec<String> {
        let cell = |column: &&str| match head.iter().position(|known| known == column) {
            Some(at) => row[at].clone(),
            None => old(&row[0], column).unwrap_or_else(|| "not tried".to_owned()),
        };
        columns.iter().map(cell).collect()
    };
    markdown(&columns, &rows.iter().map(row).collect::<Vec<_>>())
}

#[test]
fn columns_whose_engine_is_not_at_hand_stay_as_they_were() {
    let row = |cells: &[&str]| {
        cells
            .iter()
            .map(|&cell| cell.to_owned())
            .collect::<Vec<_>>()
    };
    let shown = markdown(
        &["", "new", "old"],
        &[row(&["a", "x · y", "1"]), row(&["b", "y", "2"])],
    );
    let merged = merged(
        &shown,
        &["", "newest", "new", "old"],
        &["", "old"],
        &[row(&["a", "3"]), row(&["c", "4"])],
    );
    assert_eq!(
        merged,
        markdown(
            &["", "new", "old"],
            &[row(&["a", "x · y", "3"]), row(&["c", "not tried", "4"])]
        )
    );
}

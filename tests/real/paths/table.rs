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

/// Compares with what README.md shows. `ROOTPIN_WRITE=1` writes it there instead.
pub(crate) fn compare(table: &str) {
    let readme = std::fs::read_to_string(README).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has no mark where the table begins");
    let (shown, after) = rest.split_once(END).expect("README.md has no mark where the table ends");
    if std::env::var("ROOTPIN_WRITE").is_ok_and(|value| value == "1") {
        std::fs::write(README, [before, BEGIN, table, END, after].concat()).unwrap();
    } else {
        assert!(shown == table, "README.md shows another table: see what changed, and write this one by ROOTPIN_WRITE=1\n\n{table}");
    }
}

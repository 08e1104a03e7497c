//! The tables of docs/faults.md: each test of a fault compares its own row.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test uses its part"
)]

use std::sync::Mutex;
use std::time::Duration;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
/// Tests run side by side in one process, and may all write.
static PAGE_LOCK: Mutex<()> = Mutex::new(());

/// One of the two tables: of `tests/it`, or of the real engines.
#[derive(Clone, Copy)]
pub struct Table(pub &'static str);

/// What came of one fault.
pub struct Row<'a> {
    pub fault: &'a str,
    /// What each engine's question got meanwhile.
    pub saw: String,
    /// How many floors there were, each compared with what it was before.
    pub floors: usize,
    /// The time within which questions were answered again, which the test measured against.
    pub back: Back,
    /// Where a person sees it; the test found each of them.
    pub told: Vec<String>,
}

/// How a host came back.
pub enum Back {
    /// By itself, after the fault's end.
    Within(Duration),
    /// It was never away.
    NeverAway,
    /// It was never away, and what is published afterwards is known within this time.
    FreshWithin(Duration),
    /// A person types this.
    By(&'static str),
}

impl Table {
    fn marks(self) -> [String; 2] {
        ["begin", "end"].map(|end| format!("<!-- {}:{end} -->\n", self.0))
    }

    /// The lines of the table's rows, as the page shows them.
    pub fn rows(self) -> Vec<String> {
        let page = std::fs::read_to_string(PAGE).unwrap();
        self.split(&page)
            .1
            .lines()
            .skip(2)
            .map(str::to_owned)
            .collect()
    }

    fn split(self, page: &str) -> (String, String, String) {
        let [begin, end] = self.marks();
        let (before, rest) = page
            .split_once(&begin)
            .expect("docs/faults.md has no such table");
        let (shown, after) = rest
            .split_once(&end)
            .expect("docs/faults.md: the table has no end");
        (
            format!("{before}{begin}"),
            shown.to_owned(),
            format!("{end}{after}"),
        )
    }

    /// Compares a row with the page's. `ROOTPIN_WRITE=1` writes it there instead.
    pub fn compare(self, row: &Row<'_>) {
        let line = row.line();
        let _writing = PAGE_LOCK
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if std::env::var("ROOTPIN_WRITE").is_ok_and(|value| value == "1") {
            let page = std::fs::read_to_string(PAGE).unwrap();
            let (before, shown, after) = self.split(&page);
            let begins = format!("| {} |", row.fault);
            let mut lines: Vec<&str> = shown.lines().collect();
            match lines.iter_mut().find(|old| old.starts_with(&begins)) {
                Some(old) => *old = &line,
                None => lines.push(&line),
            }
            std::fs::write(PAGE, format!("{before}{}\n{after}", lines.join("\n"))).unwrap();
        } else {
            assert!(
                self.rows().contains(&line),
                "docs/faults.md shows another row: see what changed, and write this one by ROOTPIN_WRITE=1\n{line}"
            );
        }
    }
}

impl Row<'_> {
    fn line(&self) -> String {
        let back = match self.back {
            Back::Within(time) => format!("{} s", time.as_secs()),
            Back::NeverAway => "was never away".to_owned(),
            Back::FreshWithin(time) => {
                format!("was never away; up to date again: {} s", time.as_secs())
            }
            Back::By(words) => format!("by a person: {words}"),
        };
        let floors = match self.floors {
            0 => "there were none".to_owned(),
            1 => "1 of 1 held".to_owned(),
            count => format!("{count} of {count} held"),
        };
        format!(
            "| {} | {} | {floors} | {back} | {} |",
            self.fault,
            self.saw,
            self.told.join(" · ")
        )
    }
}

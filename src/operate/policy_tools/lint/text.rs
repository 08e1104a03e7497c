//! The text of a policy's files, to show the line of a finding.

use std::collections::BTreeMap;
use std::sync::Arc;

use rootpin_policy::{Files, Location};

use crate::observe::plain;

/// The longest line that is shown.
const MAX_SHOWN: usize = 200;

/// The files, each read once.
pub(super) struct PolicyText<'a> {
    files: &'a dyn Files,
    read: BTreeMap<Arc<str>, Vec<String>>,
}

impl<'a> PolicyText<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Self {
        let read = BTreeMap::new();
        Self { files, read }
    }

    /// The bytes of a file that the policy names.
    pub(super) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.files.read(path).ok()
    }

    /// Where a key of an entry stands, and its line; the entry's head where the key is not written.
    pub(super) fn key_of(&mut self, entry: &Location, key: &str) -> (Location, String) {
        let files = self.files;
        let lines = self.read.entry(Arc::clone(&entry.file)).or_insert_with(|| {
            let bytes = files.read(&entry.file).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            text.lines().map(str::to_owned).collect()
        });
        let head = entry.line.saturating_sub(1);
        let starts = |line: &&String| line.trim_start().starts_with('[');
        let within = lines.iter().enumerate().skip(head);
        let within = within.take_while(|(at, line)| *at == head || !starts(line));
        let mut keys = within.filter(|(_, line)| is_key(line, key));
        let found = keys.next();
        let (at, column) = match found {
            Some((at, line)) => (
                at,
                line.chars().take_while(|c| c.is_whitespace()).count() + 1,
            ),
            None => (head, entry.column),
        };
        let line = lines.get(at).map_or("", String::as_str);
        let shown: String = line.chars().take(MAX_SHOWN).collect();
        let location = Location {
            file: Arc::clone(&entry.file),
            line: at + 1,
            column,
        };
        (location, plain(&shown.replace('\t', " ")))
    }
}

fn is_key(line: &str, key: &str) -> bool {
    let rest = line.trim_start().strip_prefix(key);
    rest.is_some_and(|rest| rest.trim_start().starts_with('='))
}

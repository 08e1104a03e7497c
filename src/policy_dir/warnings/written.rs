//! A policy as it is written: where each key of its entries stands.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use rootpin_policy::{Location, PolicyText};

/// The arrays of tables whose keys are looked for.
const ENTRIES: [&str; 5] = ["root", "rule", "image", "exempt", "allow-lint"];

/// A file of the policy, read as TOML.
pub(super) type WrittenFile<'a> = (&'a PolicyText, Spanned<DeTable<'a>>);

/// The tables of a policy's files.
pub(super) struct WrittenPolicy<'a> {
    top: Option<WrittenTable<'a>>,
    /// By the place of their headers, each with its key in the file.
    entries: BTreeMap<Location, (&'static str, WrittenTable<'a>)>,
}

/// One table.
#[derive(Clone, Copy)]
pub(super) struct WrittenTable<'a> {
    head: WrittenPlace<'a>,
    table: &'a DeTable<'a>,
}

/// A byte of one of the files.
#[derive(Clone, Copy)]
pub(super) struct WrittenPlace<'a> {
    /// The position of the file among the policy's.
    pub(super) file: usize,
    pub(super) text: &'a PolicyText,
    pub(super) start: usize,
}

impl<'a> WrittenPolicy<'a> {
    pub(super) fn new(files: &'a [WrittenFile<'a>]) -> Self {
        let files = files.iter().enumerate().map(|(file, (text, table))| {
            let (start, table) = (0, table.get_ref());
            let head = WrittenPlace { file, text, start };
            WrittenTable { head, table }
        });
        let files: Vec<WrittenTable<'a>> = files.collect();
        let mut entries = BTreeMap::new();
        for file in &files {
            for key in ENTRIES {
                let list = file.table.get(key);
                let list = list.and_then(|list| list.get_ref().as_array());
                for one in list.into_iter().flat_map(|list| list.iter()) {
                    if let Some(table) = one.get_ref().as_table() {
                        let head = file.at(one.span().start);
                        let location = head.text.location(head.start);
                        entries.insert(location, (key, WrittenTable { head, table }));
                    }
                }
            }
        }
        let top = files.first().copied();
        Self { top, entries }
    }

    /// `policy.toml`.
    pub(super) fn top(&self) -> Option<WrittenTable<'a>> {
        self.top
    }

    /// The entry whose header stands there.
    pub(super) fn entry(&self, location: &Location) -> Option<WrittenTable<'a>> {
        self.entries.get(location).map(|(_, table)| *table)
    }

    /// All entries under a key, as `image`.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = WrittenTable<'a>> {
        let entries = self.entries.values();
        entries.filter_map(move |(of, table)| (*of == key).then_some(*table))
    }
}

impl<'a> WrittenTable<'a> {
    /// Where a key stands, if it is written.
    pub(super) fn key(self, key: &str) -> Option<WrittenPlace<'a>> {
        let mut keys = self.table.keys();
        let found = keys.find(|one| **one.get_ref() == *key)?;
        Some(self.at(found.span().start))
    }

    /// Where a key's value stands; the table's header where the key is not written.
    pub(super) fn value(self, key: &str) -> WrittenPlace<'a> {
        let value = self.table.get(key);
        value.map_or(self.head, |value| self.at(value.span().start))
    }

    /// The texts of a list, or the one text, that is a key's value.
    pub(super) fn texts(self, key: &str) -> Vec<(WrittenPlace<'a>, &'a str)> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let text = |one: &'a Spanned<DeValue<'a>>| {
            let text = one.get_ref().as_str()?;
            Some((self.at(one.span().start), text))
        };
        match value.get_ref().as_array() {
            Some(list) => list.iter().filter_map(text).collect(),
            None => text(value).into_iter().collect(),
        }
    }

    /// A table inside this one.
    pub(super) fn table(self, key: &str) -> Option<Self> {
        let value = self.table.get(key)?;
        let (head, table) = (self.at(value.span().start), value.get_ref().as_table()?);
        Some(Self { head, table })
    }

    fn at(self, start: usize) -> WrittenPlace<'a> {
        WrittenPlace { start, ..self.head }
    }
}

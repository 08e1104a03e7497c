//! One table of a policy file, read key by key. A wrong type, an unknown key and a mandatory key that
//! is missing are findings at their places.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mandatory::mandatory;
use super::report::{At, Place};
use crate::finding::Fault;
use crate::finding::FindingCode::{BadValue, MissingKey, Quorum, UnknownKey};
use crate::spelling::nearest;

/// A table, its title for messages (`[[rule]]`), and where it stands.
pub(super) struct Section<'r, 'a> {
    title: String,
    pub(super) place: Place<'r>,
    values: BTreeMap<&'a str, (Place<'r>, &'a Spanned<DeValue<'a>>)>,
    /// The keys that were asked for: all that are known.
    known: RefCell<Vec<&'a str>>,
}

impl<'r, 'a> Section<'r, 'a> {
    /// Reads a table, and reports each key that `read` does not ask for. `place` is that of its
    /// header.
    pub(super) fn read<T>(
        title: &str,
        place: Place<'r>,
        table: &'a DeTable<'a>,
        read: impl FnOnce(&Self) -> T,
    ) -> T {
        let value = |(key, value): (&'a Spanned<_>, _)| {
            let text: &std::borrow::Cow<'a, str> = key.get_ref();
            (text.as_ref(), (place.at(key.span().start), value))
        };
        let section = Self {
            title: title.to_owned(),
            place,
            values: table.iter().map(value).collect(),
            known: RefCell::default(),
        };
        let read = read(&section);
        let known = section.known.borrow();
        for (key, (place, _)) in &section.values {
            if !known.contains(key) {
                let message = format!("{title} has no key {key:?}");
                let meant = nearest(key, &known).map(|near| format!("did you mean {near:?}? "));
                let keys = known.join(", ");
                let hint = format!("{}its keys are {keys}", meant.unwrap_or_default());
                place.error(UnknownKey, message, hint);
            }
        }
        drop(known);
        read
    }

    /// Where the key itself stands, if it is there.
    pub(super) fn key(&self, key: &'static str) -> Option<Place<'r>> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        self.values.get(key).map(|(place, _)| *place)
    }

    /// Takes whatever keys there are.
    pub(super) fn allow_all(&self) {
        self.known.borrow_mut().extend(self.values.keys());
    }

    pub(super) fn text(&self, key: &'static str) -> Option<At<'r, &'a str>> {
        self.typed(key, "text in quotes", |value| value.as_str())
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let flag = self.typed(key, "true or false", DeValue::as_bool);
        flag.map_or(default, |at| at.value)
    }

    pub(super) fn number(&self, key: &'static str) -> Option<At<'r, u64>> {
        self.typed(key, "a whole number", |value| {
            let number = value.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// An offset date-time: one without an offset means different instants on different hosts.
    pub(super) fn instant(&self, key: &'static str) -> Option<At<'r, Timestamp>> {
        let wanted = "a date-time with offset, as 2027-01-31T00:00:00Z";
        self.typed(key, wanted, |value| {
            value.as_datetime()?.to_string().parse().ok()
        })
    }

    /// Text that `parse` turns into a value.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<At<'r, T>> {
        let At { value, place } = self.text(key)?;
        let value = place.valid(parse(value))?;
        Some(At { value, place })
    }

    /// One of these words, of which the first is the default; a rule has the policy's.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<At<'r, T>> {
        self.parsed(key, |text| {
            if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            let mut written: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            if self.title != "[[rule]]"
                && let Some(first) = written.first_mut()
            {
                first.push_str(" (the default)");
            }
            let hint = format!("write {}", written.join(" or "));
            let message = format!("{key} can't be {text:?}");
            Err(Fault::new(BadValue, message, hint))
        })
    }

    /// One of two words, of which the first is the default.
    pub(super) fn either<T: Copy>(&self, key: &'static str, words: [(&str, T); 2]) -> T {
        let [(_, default), _] = words;
        self.choice(key, &words).map_or(default, |at| at.value)
    }

    /// How many of some must agree: from one, which is the default, to all. `of`: all of them.
    pub(super) fn count(&self, key: &'static str, all: usize, of: &str) -> At<'r, u64> {
        let default = At {
            value: 1,
            place: self.place,
        };
        let At { value, place } = self.number(key).unwrap_or(default);
        let most = u64::try_from(all).unwrap_or(u64::MAX);
        if value == 0 || (value > most && most > 0) {
            let message = format!("a {key} of {value} out of {of}");
            let hint = format!("write a number from 1 to {}", most.max(1));
            place.error(Quorum, message, hint);
        }
        At { value, place }
    }

    /// A list of texts, each of which `parse` turns into a value. An empty list is a finding.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<At<'r, T>>> {
        let list = self.typed(key, "a list of texts", DeValue::as_array)?;
        // A rule without roots refuses its names.
        if list.value.is_empty() && (self.title.as_str(), key) != ("[[rule]]", "roots") {
            let message = format!("{key:?} is empty");
            let hint = "list one at least, or leave the key out where it is optional";
            list.place.error(BadValue, message, hint);
        }
        let read = |element: &Spanned<DeValue<'_>>| {
            let place = list.place.at(element.span().start);
            let not_text = || {
                let message = format!("an entry of {key:?} is no text");
                Fault::new(BadValue, message, "write each entry in quotes")
            };
            let text = element.get_ref().as_str().ok_or_else(not_text);
            let value = place.valid(text.and_then(&parse))?;
            Some(At { value, place })
        };
        Some(list.value.iter().filter_map(read).collect())
    }

    /// A list of texts as they are written.
    pub(super) fn texts(&self, key: &'static str) -> Vec<At<'r, String>> {
        let list = self.list(key, |text| Ok(text.to_owned()));
        list.unwrap_or_default()
    }

    /// A table with its own defaults.
    pub(super) fn part<T: Default>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Section<'r, 'a>) -> T,
    ) -> T {
        let read = self.table(&format!("[{key}]"), key, read);
        read.unwrap_or_default()
    }

    /// A table inside this one.
    pub(super) fn table<T>(
        &self,
        title: &str,
        key: &'static str,
        read: impl FnOnce(&Section<'r, 'a>) -> T,
    ) -> Option<T> {
        let At { value, place } = self.typed(key, "a table", DeValue::as_table)?;
        Some(Section::read(title, place, value, read))
    }

    /// An array of tables.
    pub(super) fn tables<T>(
        &self,
        title: &str,
        key: &'static str,
        read: impl Fn(&Section<'r, 'a>) -> T,
    ) -> Vec<T> {
        let mut tables = Vec::new();
        let Some(list) = self.typed(key, "an array of tables", DeValue::as_array) else {
            return tables;
        };
        for element in list.value {
            let place = list.place.at(element.span().start);
            if let Some(table) = element.get_ref().as_table() {
                tables.push(Section::read(title, place, table, &read));
            } else {
                let message = format!("{key:?} holds something other than tables");
                place.error(BadValue, message, format!("begin each with {title}"));
            }
        }
        tables
    }

    fn typed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<At<'r, T>> {
        let title = &self.title;
        if self.key(key).is_none()
            && let Some(hint) = mandatory(title, key)
        {
            let message = format!("{title} has no {key:?}");
            self.place.absent(MissingKey, message, hint);
        }
        let (_, spanned) = self.values.get(key)?;
        let place = self.place.at(spanned.span().start);
        let value = read(spanned.get_ref());
        if value.is_none() {
            let message = format!("{key:?} of {title} is not {wanted}");
            let text = spanned.get_ref().as_str().unwrap_or_default();
            let hint = if text.parse::<Timestamp>().is_ok() {
                format!("write it without quotes: {key} = {text}")
            } else {
                format!("write {wanted}")
            };
            place.error(BadValue, message, hint);
        }
        value.map(|value| At { value, place })
    }
}

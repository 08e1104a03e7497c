//! One table of a policy file, read key by key: a wrong type or an unknown key is a finding at its
//! place.

use std::collections::BTreeMap;

use jiff::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Fault;
use super::report::{At, Place, Report};
use crate::spelling::nearest;

/// A table, its title for messages (`[[rule]]`) and where it stands.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) title: &'static str,
    pub(super) place: Place,
    values: BTreeMap<&'a str, (Place, &'a Spanned<DeValue<'a>>)>,
}

impl<'a> Section<'a> {
    /// Takes a table up. `place` is that of its header.
    pub(super) fn new(title: &'static str, place: Place, table: &'a DeTable<'a>) -> Self {
        let at = |start| Place { start, ..place };
        let values = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (at(key.span().start), value)))
            .collect();
        Self {
            title,
            place,
            values,
        }
    }

    /// Reports every key that is not one of these.
    pub(super) fn only(&self, report: &mut Report, known: &[&str]) {
        for (key, (place, _)) in &self.values {
            if !known.contains(key) {
                let message = format!("{} has no key {key:?}", self.title);
                let meant = nearest(key, known)
                    .map_or(String::new(), |near| format!("did you mean {near:?}? "));
                report.error(
                    *place,
                    "unknown-key",
                    message,
                    format!("{meant}its keys are {}", known.join(", ")),
                );
            }
        }
    }

    /// Where the key itself stands, if it is there.
    pub(super) fn key(&self, key: &str) -> Option<Place> {
        self.values.get(key).map(|(place, _)| *place)
    }

    /// Reports these keys where they are not there.
    pub(super) fn require(&self, report: &mut Report, keys: &[(&str, &str)]) {
        for (key, hint) in keys {
            if !self.values.contains_key(key) {
                report.absent(
                    self.place,
                    "missing-key",
                    format!("{} has no {key:?}", self.title),
                    *hint,
                );
            }
        }
    }

    pub(super) fn text(&self, report: &mut Report, key: &str) -> Option<At<&'a str>> {
        self.typed(report, key, "text in quotes", |value| value.as_str())
    }

    pub(super) fn flag(&self, report: &mut Report, key: &str) -> Option<At<bool>> {
        self.typed(report, key, "true or false", DeValue::as_bool)
    }

    pub(super) fn number(&self, report: &mut Report, key: &str) -> Option<At<u64>> {
        self.typed(report, key, "a whole number", |value| {
            value
                .as_integer()
                .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
        })
    }

    /// An offset date-time: one without an offset means different instants on different hosts.
    pub(super) fn instant(&self, report: &mut Report, key: &str) -> Option<At<Timestamp>> {
        self.typed(
            report,
            key,
            "a date-time with offset, as 2027-01-31T00:00:00Z",
            |value| {
                let written = value
                    .as_datetime()
                    .filter(|it| it.date.is_some() && it.time.is_some() && it.offset.is_some())?;
                written.to_string().parse().ok()
            },
        )
    }

    /// Text that `parse` turns into a value.
    pub(super) fn parsed<T>(
        &self,
        report: &mut Report,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let At { value, place } = self.text(report, key)?;
        match parse(value) {
            Ok(value) => Some(At { value, place }),
            Err(fault) => {
                report.fault(place, fault);
                None
            }
        }
    }

    /// A list of texts, each of which `parse` turns into a value. An empty list is a finding.
    /// `None` where it is not there.
    pub(super) fn list<T>(
        &self,
        report: &mut Report,
        key: &str,
        mut parse: impl FnMut(&str) -> Result<T, Fault>,
    ) -> Option<Vec<At<T>>> {
        let At {
            value: elements,
            place,
        } = self.typed(report, key, "a list of texts", DeValue::as_array)?;
        if elements.is_empty() {
            report.error(
                place,
                "bad-value",
                format!("{key:?} is empty"),
                "list one at least, or leave the key out where it is optional",
            );
        }
        let mut list = Vec::with_capacity(elements.len());
        for element in elements {
            let place = Place {
                start: element.span().start,
                ..place
            };
            match element.get_ref().as_str().map(&mut parse) {
                Some(Ok(value)) => list.push(At { value, place }),
                Some(Err(fault)) => report.fault(place, fault),
                None => report.error(
                    place,
                    "bad-value",
                    format!("an entry of {key:?} is no text"),
                    "write each entry in quotes",
                ),
            }
        }
        Some(list)
    }

    /// A table inside this one.
    pub(super) fn table(
        &self,
        report: &mut Report,
        title: &'static str,
        key: &str,
    ) -> Option<Section<'a>> {
        let At { value, place } = self.typed(report, key, "a table", DeValue::as_table)?;
        Some(Section::new(title, place, value))
    }

    /// An array of tables.
    pub(super) fn tables(
        &self,
        report: &mut Report,
        title: &'static str,
        key: &str,
    ) -> Vec<Section<'a>> {
        let Some(At {
            value: elements,
            place,
        }) = self.typed(report, key, "an array of tables", DeValue::as_array)
        else {
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(elements.len());
        for element in elements {
            let place = Place {
                start: element.span().start,
                ..place
            };
            match element.get_ref().as_table() {
                Some(table) => tables.push(Section::new(title, place, table)),
                None => report.error(
                    place,
                    "bad-value",
                    format!("{key:?} holds something other than tables"),
                    format!("begin each with {title}"),
                ),
            }
        }
        tables
    }

    fn typed<T>(
        &self,
        report: &mut Report,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        let (_, spanned) = self.values.get(key)?;
        let place = Place {
            start: spanned.span().start,
            ..self.place
        };
        let value = read(spanned.get_ref());
        if value.is_none() {
            report.error(
                place,
                "bad-value",
                format!("{key:?} of {} is not {wanted}", self.title),
                format!("write {wanted}"),
            );
        }
        value.map(|value| At { value, place })
    }
}

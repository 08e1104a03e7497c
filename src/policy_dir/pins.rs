//! Edits of a policy's files: text in, text out. Only the lines that an edit is about change, byte
//! for byte.
//!
//! The text is cut at the places that the reader of TOML gives, so that comments, order and line
//! endings stay by construction. What comes out is read again and must mean the same as the edit
//! made on the values: where a file is written in a way that this code does not foresee, it is left
//! alone.

mod text_edit;

use std::ops::Range;

use text_edit::{line_end, line_ending, line_start, trailing_comma, without_entry, without_table};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::problem::Problem;
use rootpin_policy::Pattern;

/// A table to add: its header, as `root`, and its keys in order.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTable {
    /// `root`, `rule` or `revoked`.
    pub header: &'static str,
    /// Keys and values.
    pub values: Vec<(&'static str, Value)>,
}

/// Why a text was not edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// No `[[root]]` of the file has that id.
    #[error("no [[root]] of this file has the id {0:?}")]
    NoRoot(String),
    /// The list has no such entry.
    #[error("{key:?} has no entry {entry:?}")]
    NoEntry {
        /// The list's key.
        key: &'static str,
        /// The entry.
        entry: String,
    },
    /// It is the only entry of its list.
    #[error("{0:?} is the only entry of its list")]
    LastEntry(String),
    /// The text is written in a way in which it can't be edited here.
    #[error("the file is written in a way that no command can edit")]
    ByHand,
}

impl EditError {
    /// What to do instead, where something helps.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Syntax(_) | Self::NoRoot(_) | Self::NoEntry { .. } => None,
            Self::LastEntry(_) => Some("pin another key first, or take the whole root out"),
            Self::ByHand => Some("edit it by hand, and run rootpin policy check"),
        }
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self {
            hint,
            ..Self::new(error.to_string())
        }
    }
}

/// Adds tables at the end.
///
/// # Errors
/// See [`EditError`].
pub fn append(text: &str, tables: &[NewTable]) -> Result<String, EditError> {
    let eol = line_ending(text);
    let mut out = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        out.push_str(eol);
    }
    for table in tables {
        if !out.is_empty() {
            out.push_str(eol);
        }
        let lines = table
            .values
            .iter()
            .map(|(key, value)| format!("{key} = {value}{eol}"));
        out.extend(
            [format!("[[{}]]{eol}", table.header)]
                .into_iter()
                .chain(lines),
        );
    }
    proven(text, out, |policy| {
        for table in tables {
            let list = policy
                .entry(table.header)
                .or_insert_with(|| Value::Array(Vec::new()))
                .as_array_mut()?;
            list.push(Value::Table(
                table
                    .values
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.clone()))
                    .collect(),
            ));
        }
        Some(())
    })
}

/// Adds entries to the `keys` of a root.
///
/// # Errors
/// See [`EditError`].
pub fn add_keys(text: &str, id: &str, entries: &[String]) -> Result<String, EditError> {
    let document = parse(text)?;
    let (_, root) = root(&document, id)?;
    let out = with_entries(text, root.get("keys").ok_or(EditError::ByHand)?, entries)?;
    proven(text, out, |policy| {
        let keys = root_value(policy, id)?.get_mut("keys")?.as_array_mut()?;
        keys.extend(entries.iter().cloned().map(Value::String));
        Some(())
    })
}

/// Adds a root to the `roots` of the rule for a pattern.
///
/// # Errors
/// See [`EditError`].
pub fn add_root_to_rule(text: &str, pattern: &str, id: &str) -> Result<String, EditError> {
    let document = parse(text)?;
    let roots = rule(&document, pattern)?
        .get("roots")
        .ok_or(EditError::ByHand)?;
    let out = with_entries(text, roots, &[id.to_owned()])?;
    proven(text, out, |policy| {
        rule_value(policy, pattern)?
            .get_mut("roots")?
            .as_array_mut()?
            .push(Value::String(id.to_owned()));
        Some(())
    })
}

/// Writes how many roots of the rule for a pattern must say yes: over the number that is there, or
/// in a line of its own after the rule's roots.
///
/// # Errors
/// See [`EditError`].
pub fn set_quorum(text: &str, pattern: &str, quorum: u16) -> Result<String, EditError> {
    let document = parse(text)?;
    let rule = rule(&document, pattern)?;
    let mut out = text.to_owned();
    if let Some(value) = rule.get("quorum") {
        out.replace_range(value.span(), &quorum.to_string());
    } else {
        let roots = rule.get("roots").ok_or(EditError::ByHand)?.span();
        let (start, end) = (line_start(text, roots.start), line_end(text, roots.end));
        let line = text.get(start..end).ok_or(EditError::ByHand)?;
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        let eol = line_ending(text);
        // The last line of a file may have no end.
        let before = if line.ends_with('\n') { "" } else { eol };
        out.insert_str(end, &format!("{before}{indent}quorum = {quorum}{eol}"));
    }
    proven(text, out, |policy| {
        let value = Value::Integer(quorum.into());
        rule_value(policy, pattern)?.insert("quorum".to_owned(), value);
        Some(())
    })
}

/// The text with more entries at the end of a list.
fn with_entries(
    text: &str,
    keys: &Spanned<DeValue<'_>>,
    entries: &[String],
) -> Result<String, EditError> {
    let elements = keys.get_ref().as_array().ok_or(EditError::ByHand)?;
    let quoted: Vec<String> = entries
        .iter()
        .map(|entry| Value::String(entry.clone()).to_string())
        .collect();
    let Some(last) = elements.iter().next_back().map(Spanned::span) else {
        // A comment in it would be lost.
        if text.get(keys.span()) != Some("[]") {
            return Err(EditError::ByHand);
        }
        let mut out = text.to_owned();
        out.replace_range(keys.span(), &format!("[{}]", quoted.join(", ")));
        return Ok(out);
    };
    // From behind the last entry to the bracket: perhaps a comma, comments, line breaks.
    let close = keys.span().end.checked_sub(1).ok_or(EditError::ByHand)?;
    let rest = text.get(last.end..close).ok_or(EditError::ByHand)?;
    let comma = trailing_comma(rest);
    let mut out = text.to_owned();
    if let Some(line) = rest
        .rfind('\n')
        .and_then(|at| last.end.checked_add(at)?.checked_add(1))
    {
        // One entry a line, indented as the last one.
        let eol = line_ending(text);
        let start = line_start(text, last.start);
        let indent: String = text
            .get(start..last.start)
            .unwrap_or_default()
            .chars()
            .take_while(|c| c.is_whitespace())
            .collect();
        let end = if comma.is_some() { "," } else { "" };
        let lines = format!(
            "{indent}{}{end}{eol}",
            quoted.join(&format!(",{eol}{indent}"))
        );
        out.insert_str(line, &lines);
        if comma.is_none() {
            out.insert(last.end, ',');
        }
    } else {
        out.insert_str(last.end, &format!(", {}", quoted.join(", ")));
    }
    Ok(out)
}

/// Takes an entry out of the `keys` of a root.
///
/// # Errors
/// See [`EditError`].
pub fn remove_key(text: &str, id: &str, entry: &str) -> Result<String, EditError> {
    let document = parse(text)?;
    let (_, root) = root(&document, id)?;
    let out = without_entry(text, root, "keys", entry)?;
    proven(text, out, |policy| {
        root_value(policy, id)?
            .get_mut("keys")?
            .as_array_mut()?
            .retain(|value| value.as_str() != Some(entry));
        Some(())
    })
}

/// Takes a root out of the `roots` of every rule that has others too, and with `whole` every rule
/// that has no other.
///
/// # Errors
/// See [`EditError`].
pub fn remove_from_rules(text: &str, id: &str, whole: bool) -> Result<String, EditError> {
    let mut out = text.to_owned();
    loop {
        let document = parse(&out)?;
        let mut naming = tables(&document, "rule")
            .into_iter()
            .filter(|(_, rule)| names(rule, id) && (whole || !names_alone(rule, id)));
        let Some((place, rule)) = naming.next() else {
            break;
        };
        out = if names_alone(rule, id) {
            without_table(&out, place, rule)?
        } else {
            without_entry(&out, rule, "roots", id)?
        };
    }
    proven(text, out, |policy| {
        let Some(rules) = policy.get_mut("rule") else {
            return Some(());
        };
        let rules = rules.as_array_mut()?;
        let named = |rule: &Value| {
            rule.get("roots")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let is_id = |value: &Value| value.as_str() == Some(id);
        rules.retain(|rule| {
            !(whole && named(rule).iter().all(is_id) && named(rule).iter().any(is_id))
        });
        for rule in rules
            .iter_mut()
            .filter(|rule| !named(rule).iter().all(is_id))
        {
            rule.get_mut("roots")?
                .as_array_mut()?
                .retain(|value| !is_id(value));
        }
        drop_empty(policy, "rule");
        Some(())
    })
}

/// Takes a root out.
///
/// # Errors
/// See [`EditError`].
pub fn remove_root(text: &str, id: &str) -> Result<String, EditError> {
    let document = parse(text)?;
    let (place, table) = root(&document, id)?;
    proven(text, without_table(text, place, table)?, |policy| {
        policy
            .get_mut("root")?
            .as_array_mut()?
            .retain(|root| root.get("id").and_then(Value::as_str) != Some(id));
        drop_empty(policy, "root");
        Some(())
    })
}

/// Puts other values, all of them text, in the place of those that some keys of a root have.
///
/// # Errors
/// See [`EditError`].
pub fn replace(
    text: &str,
    id: &str,
    values: &[(&'static str, String)],
) -> Result<String, EditError> {
    let mut out = text.to_owned();
    for (key, value) in values {
        let document = parse(&out)?;
        let (_, root) = root(&document, id)?;
        let span = root.get(*key).ok_or(EditError::ByHand)?.span();
        let mut edited = out.clone();
        edited.replace_range(span, &Value::String(value.clone()).to_string());
        out = edited;
    }
    proven(text, out, |policy| {
        let root = root_value(policy, id)?;
        for (key, value) in values {
            *root.get_mut(*key)? = Value::String(value.clone());
        }
        Some(())
    })
}

/// The text after the edit, if it means what the same edit on the values gives.
fn proven(
    before: &str,
    after: String,
    edit: impl FnOnce(&mut Table) -> Option<()>,
) -> Result<String, EditError> {
    let read = |text: &str| {
        text.parse::<Table>()
            .map_err(|error| EditError::Syntax(error.message().to_owned()))
    };
    let mut wanted = read(before)?;
    edit(&mut wanted).ok_or(EditError::ByHand)?;
    match read(&after) {
        Ok(found) if found == wanted => Ok(after),
        _ => Err(EditError::ByHand),
    }
}

fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, EditError> {
    DeTable::parse(text).map_err(|error| EditError::Syntax(error.message().to_owned()))
}

/// The tables of that header, each with the place of its element.
fn tables<'a>(
    document: &'a Spanned<DeTable<'a>>,
    header: &str,
) -> Vec<(Range<usize>, &'a DeTable<'a>)> {
    let list = document
        .get_ref()
        .get(header)
        .and_then(|list| list.get_ref().as_array());
    list.into_iter()
        .flat_map(|list| list.iter())
        .filter_map(|one| Some((one.span(), one.get_ref().as_table()?)))
        .collect()
}

fn root<'a>(
    document: &'a Spanned<DeTable<'a>>,
    id: &str,
) -> Result<(Range<usize>, &'a DeTable<'a>), EditError> {
    let is_id = |table: &DeTable<'_>| {
        table.get("id").and_then(|value| value.get_ref().as_str()) == Some(id)
    };
    tables(document, "root")
        .into_iter()
        .find(|(_, table)| is_id(table))
        .ok_or_else(|| EditError::NoRoot(id.to_owned()))
}

fn is_pattern(text: Option<&str>, pattern: &str) -> bool {
    text.is_some_and(|text| {
        text.parse()
            .is_ok_and(|found: Pattern| found.as_str() == pattern)
    })
}

fn rule<'a>(
    document: &'a Spanned<DeTable<'a>>,
    pattern: &str,
) -> Result<&'a DeTable<'a>, EditError> {
    let of_rule = |table: &DeTable<'_>| {
        let text = table.get("match").and_then(|text| text.get_ref().as_str());
        is_pattern(text, pattern)
    };
    tables(document, "rule")
        .into_iter()
        .find_map(|(_, table)| of_rule(table).then_some(table))
        .ok_or(EditError::ByHand)
}

fn rule_value<'a>(policy: &'a mut Table, pattern: &str) -> Option<&'a mut Table> {
    let rules = policy.get_mut("rule")?.as_array_mut()?;
    rules
        .iter_mut()
        .filter_map(Value::as_table_mut)
        .find(|rule| is_pattern(rule.get("match").and_then(Value::as_str), pattern))
}

fn root_value<'a>(policy: &'a mut Table, id: &str) -> Option<&'a mut Table> {
    let roots = policy.get_mut("root")?.as_array_mut()?;
    roots
        .iter_mut()
        .filter_map(Value::as_table_mut)
        .find(|root| root.get("id").and_then(Value::as_str) == Some(id))
}

fn named<'a>(rule: &'a DeTable<'a>) -> impl Iterator<Item = Option<&'a str>> {
    rule.get("roots")
        .and_then(|roots| roots.get_ref().as_array())
        .into_iter()
        .flat_map(|list| list.iter())
        .map(|one| one.get_ref().as_str())
}

fn names(rule: &DeTable<'_>, id: &str) -> bool {
    named(rule).any(|root| root == Some(id))
}

fn names_alone(rule: &DeTable<'_>, id: &str) -> bool {
    named(rule).all(|root| root == Some(id))
}

/// An array without tables is not there at all.
fn drop_empty(policy: &mut Table, key: &str) {
    if policy
        .get(key)
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty)
    {
        policy.remove(key);
    }
}

#[cfg(test)]
mod tests;

//! Cuts tables and list entries out of a TOML text, and leaves every other byte.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::EditError;

/// Without the lines of a table, from its header to its last value; and without the empty line
/// before it, where another follows.
pub(super) fn without_table(
    text: &str,
    place: Range<usize>,
    table: &DeTable<'_>,
) -> Result<String, EditError> {
    let start = line_start(text, place.start);
    let end = line_end(text, last_byte(table).max(place.start.saturating_add(1)));
    let (before, after) = text
        .get(..start)
        .zip(text.get(end..))
        .ok_or(EditError::ByHand)?;
    let blank_after = after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n");
    let shorter = ["\r\n", "\n"]
        .iter()
        .find_map(|eol| before.strip_suffix(eol).filter(|rest| rest.ends_with('\n')));
    Ok(format!(
        "{}{after}",
        shorter.filter(|_| blank_after).unwrap_or(before)
    ))
}

/// The end of the last value in a table.
fn last_byte(table: &DeTable<'_>) -> usize {
    let end = |value: &Spanned<DeValue<'_>>| {
        value
            .get_ref()
            .as_table()
            .map_or(0, last_byte)
            .max(value.span().end)
    };
    table
        .iter()
        .map(|(key, value)| end(value).max(key.span().end))
        .max()
        .unwrap_or_default()
}

/// Without an entry of a list: its line where it stands alone on one, else the entry with its
/// comma.
pub(super) fn without_entry(
    text: &str,
    table: &DeTable<'_>,
    key: &'static str,
    entry: &str,
) -> Result<String, EditError> {
    let missing = || EditError::NoEntry {
        key,
        entry: entry.to_owned(),
    };
    let list = table
        .get(key)
        .and_then(|list| list.get_ref().as_array())
        .ok_or_else(missing)?;
    let at = list
        .iter()
        .position(|one| one.get_ref().as_str() == Some(entry))
        .ok_or_else(missing)?;
    if list.len() == 1 {
        return Err(EditError::LastEntry(entry.to_owned()));
    }
    let span = |at: usize| list.get(at).map(Spanned::span);
    let this = span(at).ok_or_else(missing)?;
    let (start, end) = (line_start(text, this.start), line_end(text, this.end));
    let before = text.get(start..this.start).unwrap_or_default();
    let after = text.get(this.end..end).unwrap_or_default();
    let after = after.trim_start().strip_prefix(',').unwrap_or(after).trim();
    let alone = before.trim().is_empty() && (after.is_empty() || after.starts_with('#'));
    let cut = match (
        alone,
        span(at.saturating_add(1)),
        at.checked_sub(1).and_then(span),
    ) {
        (true, ..) => start..end,
        (false, Some(next), _) => this.start..next.start,
        (false, None, Some(previous)) => previous.end..this.end,
        (false, None, None) => return Err(EditError::ByHand),
    };
    // What is cut between two entries is theirs alone: a comment is somebody's.
    if !alone
        && text
            .get(cut.clone())
            .is_none_or(|cut| cut.contains(['\n', '#']))
    {
        return Err(EditError::ByHand);
    }
    let mut out = text.to_owned();
    out.replace_range(cut, "");
    Ok(out)
}

/// Where in what follows the last entry of a list its comma stands.
pub(super) fn trailing_comma(rest: &str) -> Option<usize> {
    let mut comment = false;
    rest.char_indices().find_map(|(at, character)| {
        comment = (comment || character == '#') && character != '\n';
        (character == ',' && !comment).then_some(at)
    })
}

pub(super) fn line_ending(text: &str) -> &'static str {
    let first = text.find('\n').and_then(|at| text.get(..at));
    if first.is_some_and(|line| line.ends_with('\r')) {
        "\r\n"
    } else {
        "\n"
    }
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |at| at.saturating_add(1))
}

/// Behind the line break that ends the line.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text.get(at..)
        .and_then(|after| after.find('\n'))
        .map_or(text.len(), |found| {
            at.saturating_add(found).saturating_add(1)
        })
}

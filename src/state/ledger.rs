//! The ledger: which digests were admitted, for which name, under which policy, and until when. An
//! index, never a permission.

use jiff::{SignedDuration, Timestamp};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use rootpin_trust::image::{Digest, ImageRef};

use super::FileFault;
use super::record::{self, Text};

const LEDGER: &str = "ledger";
/// By digest, kind and name.
const ROWS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new(LEDGER);

/// How many rows are kept. An image is some ten rows, so this is what some 2,000 images need; what
/// was dropped is decided anew.
const MAX_ROWS: u64 = if cfg!(test) { 200 } else { 20_000 };

/// How often rows that are over are looked for, among the writes that happen anyway.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// How long a row stays after it is over: a long pull asks for its layers later than that, and the
/// row's name is then the hint by which the question is decided anew.
const KEPT_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What a digest is, within the image that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// The digest that the name stands for.
    Top,
    /// A manifest, in an index or the top itself; or an index below the top.
    Manifest,
    /// A manifest's configuration.
    Config,
    /// A layer.
    Layer,
}

/// One admission of one digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The name that was asked for.
    pub name: ImageRef,
    /// The digest that the name stands for.
    pub top: Digest,
    /// What the digest of this row is in that image.
    pub kind: RowKind,
    /// The policy that was in force.
    pub policy: Digest,
    /// From then on the question is decided anew.
    pub valid_until: Timestamp,
    /// What admitted it, for people.
    pub rule: String,
}

/// One row to write, or, without a value, to remove.
pub(super) struct RowChange {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowForm {
    name: Text<ImageRef>,
    top: Text<Digest>,
    kind: RowKind,
    policy: Text<Digest>,
    valid_until: Text<Timestamp>,
    rule: String,
}

/// The rows of one digest, over or not.
pub(super) fn rows_of(database: &Database, digest: &Digest) -> Result<Vec<Row>, FileFault> {
    let table = database.begin_read()?.open_table(ROWS)?;
    let mut rows = Vec::new();
    for row in table.range(digest.as_bytes().as_slice()..)? {
        let (key, value) = row?;
        if !key.value().starts_with(digest.as_bytes()) {
            break;
        }
        rows.push(decode(key.value(), value.value())?.1);
    }
    Ok(rows)
}

/// All rows.
pub(super) fn all(database: &Database) -> Result<Vec<(Digest, Row)>, FileFault> {
    let table = database.begin_read()?.open_table(ROWS)?;
    table
        .iter()?
        .map(|row| {
            row.map_err(FileFault::from)
                .and_then(|(key, value)| decode(key.value(), value.value()))
        })
        .collect()
}

/// What must be written for these rows: nothing for those that are there already.
pub(super) fn changes(
    database: &Database,
    rows: &[(Digest, Row)],
    now: Timestamp,
) -> Result<Vec<RowChange>, FileFault> {
    let table = database.begin_read()?.open_table(ROWS)?;
    let mut changes = Vec::new();
    for (digest, row) in rows {
        let key = key(digest, row);
        let known = table
            .get(key.as_slice())?
            .map(|known| decode(&key, known.value()))
            .transpose()?;
        if known.is_none_or(|(_, known)| is_news(row, &known, now)) {
            let value = Some(record::encode(LEDGER, &key, &RowForm::of(row))?.bytes);
            changes.push(RowChange { key, value });
        }
    }
    Ok(changes)
}

/// Removals to go with a write: what is over, when that was not looked for of late, or the ledger
/// is full. Where it is full of what is not over, a tenth goes, first of all what is over first.
pub(super) fn prune(
    database: &Database,
    last: &mut Option<Timestamp>,
    more: usize,
    now: Timestamp,
) -> Result<Vec<RowChange>, FileFault> {
    let table = database.begin_read()?.open_table(ROWS)?;
    let full = table
        .len()?
        .saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
        > MAX_ROWS;
    if !full && last.is_some_and(|last| now.duration_since(last).abs() < PRUNE_EVERY) {
        return Ok(Vec::new());
    }
    *last = Some(now);
    let mut ends = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        ends.push((
            decode(key.value(), value.value())?.1.valid_until,
            key.value().to_vec(),
        ));
    }
    ends.sort_unstable();
    let over = ends.partition_point(|(end, _)| now.duration_since(*end) >= KEPT_AFTER);
    let keep = usize::try_from(MAX_ROWS - MAX_ROWS / 10)
        .unwrap_or(usize::MAX)
        .saturating_sub(more);
    let drop_for_room = if full {
        ends.len().saturating_sub(keep)
    } else {
        0
    };
    Ok(ends
        .into_iter()
        .take(over.max(drop_for_room))
        .map(|(_, key)| RowChange { key, value: None })
        .collect())
}

/// Removals of all rows.
pub(super) fn clear(database: &Database) -> Result<Vec<RowChange>, FileFault> {
    let table = database.begin_read()?.open_table(ROWS)?;
    table
        .iter()?
        .map(|row| {
            row.map_err(FileFault::from).map(|(key, _)| RowChange {
                key: key.value().to_vec(),
                value: None,
            })
        })
        .collect()
}

/// Makes the changes; also makes the table.
pub(super) fn apply(
    transaction: &WriteTransaction,
    changes: &[RowChange],
) -> Result<(), FileFault> {
    let mut table = transaction.open_table(ROWS)?;
    for change in changes {
        match &change.value {
            Some(value) => drop(table.insert(change.key.as_slice(), value.as_slice())?),
            None => drop(table.remove(change.key.as_slice())?),
        }
    }
    Ok(())
}

/// A row that is over at once (`recheck` is 0) is a hint and no more: it need not be written anew
/// each time.
fn is_news(row: &Row, known: &Row, now: Timestamp) -> bool {
    let hint = Row {
        valid_until: known.valid_until,
        ..row.clone()
    };
    let fresh = now.duration_since(known.valid_until) < KEPT_AFTER / 2;
    *row != *known
        && !(row.valid_until <= now && known.valid_until <= now && fresh && hint == *known)
}

fn key(digest: &Digest, row: &Row) -> Vec<u8> {
    let kind = match row.kind {
        RowKind::Top => b't',
        RowKind::Manifest => b'm',
        RowKind::Config => b'c',
        RowKind::Layer => b'l',
    };
    [
        digest.as_bytes().as_slice(),
        &[kind],
        row.name.to_string().as_bytes(),
    ]
    .concat()
}

fn decode(key: &[u8], value: &[u8]) -> Result<(Digest, Row), FileFault> {
    let (form, _) = record::decode::<RowForm>(LEDGER, key, value)?;
    let digest = key
        .first_chunk::<32>()
        .ok_or_else(|| FileFault::new(format!("{LEDGER}: an odd key")))?;
    Ok((Digest::from_bytes(*digest), form.row()))
}

impl RowForm {
    fn of(row: &Row) -> Self {
        Self {
            name: Text(row.name.clone()),
            top: Text(row.top),
            kind: row.kind,
            policy: Text(row.policy),
            valid_until: Text(row.valid_until),
            rule: row.rule.clone(),
        }
    }

    fn row(self) -> Row {
        Row {
            name: self.name.0,
            top: self.top.0,
            kind: self.kind,
            policy: self.policy.0,
            valid_until: self.valid_until.0,
            rule: self.rule,
        }
    }
}

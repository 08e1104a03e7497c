//! The ledger's rows that this process has written, so that a question asked again touches no disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::state::{Row, RowKind};
use rootpin_trust::image::{Digest, ImageRef};

/// As many as the ledger itself holds; then it is begun anew.
const MAX_ROWS: usize = 20_000;

/// Rows by what tells them apart.
#[derive(Debug, Default)]
pub(super) struct LedgerCache {
    rows: Mutex<HashMap<(Digest, RowKind, ImageRef), Row>>,
}

impl LedgerCache {
    /// Whether each of these rows is written as it is.
    pub(super) fn has(&self, rows: &[(Digest, Row)]) -> bool {
        let known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter()
            .all(|(digest, row)| known.get(&(*digest, row.kind, row.name.clone())) == Some(row))
    }

    /// These rows were written.
    pub(super) fn add(&self, rows: Vec<(Digest, Row)>) {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ROWS {
            known.clear();
        }
        known.extend(
            rows.into_iter()
                .map(|(digest, row)| ((digest, row.kind, row.name.clone()), row)),
        );
    }

    /// The state was reset.
    pub(super) fn clear(&self) {
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

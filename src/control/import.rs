//! Bundles that come over the control socket. The bytes come, not a path: the daemon's own view of
//! the file system is another one than the caller's, and it would open for the caller what that one
//! may not read.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tonic::{Status, Streaming};

use super::wire::ImportRequest;
use crate::evidence::ImportedRoot;
use crate::sources::{Bundle, MAX_BUNDLE, SourceError};
use rootpin_trust::Refusal;

/// A caller who sends nothing for so long keeps others waiting.
const IDLE: Duration = Duration::from_secs(30);

/// Takes a bundle in, as a file without a name beside the state, and says which root it is to be
/// for.
pub(super) async fn receive(
    mut parts: Streaming<ImportRequest>,
    dir: &Path,
) -> Result<(Result<Bundle, SourceError>, Option<String>), Status> {
    let failed = |error: io::Error| {
        Status::failed_precondition(format!(
            "the bundle can't be kept in {}: {error}",
            dir.display()
        ))
    };
    let file = tempfile::tempfile_in(dir).map_err(failed)?;
    let mut file = tokio::fs::File::from_std(file);
    let (mut root, mut shown, mut total) = (String::new(), String::new(), 0_u64);
    loop {
        let part = tokio::time::timeout(IDLE, parts.message()).await;
        let part = part.map_err(|_| {
            Status::deadline_exceeded(format!("no more of the bundle came for {IDLE:?}"))
        })??;
        let Some(part) = part else { break };
        if total == 0 {
            (root, shown) = (part.root, part.file);
        }
        total = total.saturating_add(u64::try_from(part.chunk.len()).unwrap_or(u64::MAX));
        if total > MAX_BUNDLE {
            return Err(Status::invalid_argument(format!(
                "longer than a bundle may be, which is {MAX_BUNDLE} bytes"
            )));
        }
        file.write_all(&part.chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    let file = file.into_std().await;
    let shown: String = shown
        .chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect();
    let read = move || Bundle::read(file, &shown);
    let bundle = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok((bundle, Some(root).filter(|root| !root.is_empty())))
}

/// Tells the log: what a host trusts has changed by somebody's hand.
pub(super) fn tell(result: &Result<Vec<ImportedRoot>, Refusal>) {
    match result {
        Ok(imported) => {
            for one in imported {
                let version = one.versions.get("timestamp").copied().unwrap_or_default();
                log::info!(
                    "a bundle for root {} was imported: timestamp {version}, {} new files",
                    one.root,
                    one.files
                );
            }
        }
        Err(refusal) => log::warn!("a bundle was not imported: {refusal}"),
    }
}

/// The object of `rootpin bundle import --json`, and the exit code: 1 also where a role of it
/// doesn't hold.
#[must_use]
pub(crate) fn import_report(result: &Result<Vec<ImportedRoot>, Refusal>) -> (Value, u8) {
    match result {
        Ok(imported) => {
            let roots: Vec<_> = imported.iter().map(ImportedRoot::json).collect();
            let exit = u8::from(imported.iter().any(|one| !one.failed.is_empty()));
            (
                json!({ "version": 1, "outcome": "imported", "roots": roots }),
                exit,
            )
        }
        Err(refusal) => {
            let Refusal {
                code,
                found,
                wanted,
                hint,
                ..
            } = refusal;
            let (outcome, exit) = if code.judged() {
                ("refused", 1)
            } else {
                ("unjudged", 2)
            };
            let members = json!({ "version": 1, "outcome": outcome, "code": code.as_str(), "found": found, "wanted": wanted, "hint": hint });
            (members, exit)
        }
    }
}

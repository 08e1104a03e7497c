//! Verifies a whole repository by rootpin-trust, as every host does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::super::PublishError;
use super::super::place::{MetadataFiles, WAITING};
use rootpin_trust::tuf::{PinnedRoot, RootPins, Sweep, Trusted, Update};
use rootpin_trust::{Answer, FetchFrom, Floor, Progress, Refusal, Verification, Verified};

/// The role of a waiting file. Its name is encoded as a published one is.
pub(super) fn role_of(name: &str) -> Result<String, PublishError> {
    let wrong = || PublishError::Malformed(name.to_owned());
    let encoded = name
        .strip_prefix(WAITING)
        .and_then(|name| name.strip_suffix(".json"))
        .ok_or_else(wrong)?;
    let mut role = Vec::new();
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        role.push(match byte {
            b'%' => {
                let digits = [
                    bytes.next().ok_or_else(wrong)?,
                    bytes.next().ok_or_else(wrong)?,
                ];
                let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
                u8::from_str_radix(digits, 16).map_err(|_| wrong())?
            }
            byte => byte,
        });
    }
    String::from_utf8(role).map_err(|_| wrong())
}

type Holds = (Trusted, BTreeMap<String, String>, Vec<Floor>);

/// What holds of these files, the roles that don't, and the floors that they raise.
pub(super) fn verify(
    files: &MetadataFiles,
    pinned: &Arc<PinnedRoot>,
    seen: &[Floor],
) -> Result<Holds, PublishError> {
    // Before all expiry.
    let now = Timestamp::UNIX_EPOCH;
    let pins = RootPins {
        id: "repository".to_owned(),
        root: Arc::clone(pinned),
        revoked: BTreeSet::new(),
        floor: BTreeMap::new(),
        max_age: None,
    };
    let mut floors = seen.to_vec();
    let mut update = Update::start(&pins, floors.clone(), None, now);
    let trusted = run(files, &mut update)?;
    keep(&mut floors, update.progress().as_ref())?;
    let mut sweep = Sweep::start(&trusted, "", now).map_err(PublishError::Refused)?;
    let swept = run(files, &mut sweep)?;
    keep(&mut floors, sweep.progress().as_ref())?;
    let broken = swept
        .failed
        .into_iter()
        .map(|(role, refusal)| (role, refusal.to_string()))
        .collect();
    Ok((swept.trusted, broken, floors))
}

fn run<V: Verification>(
    files: &MetadataFiles,
    verification: &mut V,
) -> Result<V::Outcome, PublishError> {
    let done = verification.run(|want| {
        let found = match want.from {
            FetchFrom::Cache => None,
            FetchFrom::Source => files.get(&want.request.file_name()),
        };
        let found = found.filter(|bytes| bytes.len() <= want.max_bytes);
        Ok::<_, Refusal>(Answer::from(found.cloned()))
    });
    done.map_err(PublishError::Refused)
}

fn keep(
    floors: &mut Vec<Floor>,
    progress: Option<&Verified<Progress>>,
) -> Result<(), PublishError> {
    if let Some(progress) = progress {
        let merged = progress.get().merge_into(floors);
        *floors = merged.map_err(|conflict| PublishError::Refused(conflict.into()))?;
    }
    Ok(())
}

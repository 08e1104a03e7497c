//! Reads the first place, and merges what it has with the working folder.

use super::super::PublishError;
use super::super::changes::RoleEntry;
use super::super::draft::Draft;
use super::super::metadata::Metadata;
use super::super::place::{self, MetadataFiles, PlaceState, PublishPlace};
use super::Transaction;
use crate::problem::Problem;
use rootpin_trust::Floor;

/// What a place has.
pub(super) struct MergedDraft {
    pub(super) draft: Draft,
    pub(super) at: Option<PlaceState>,
    /// Whether the place has something else than `draft.before`.
    pub(super) behind: bool,
}

impl Transaction<'_> {
    pub(super) async fn find(
        &mut self,
        overrules: &dyn Fn(&RoleEntry) -> bool,
        restores: bool,
    ) -> Result<MergedDraft, PublishError> {
        self.working.root()?;
        let ours = self.working.ours(None)?;
        let Some((url, place)) = self.places.first() else {
            let ours = ours.ok_or_else(nothing_here)?;
            return Ok(MergedDraft {
                draft: Draft::on(ours),
                at: None,
                behind: false,
            });
        };
        let base = self.working.published(ours.as_ref())?;
        let known = base
            .as_ref()
            .or(ours.as_ref())
            .map(Metadata::files)
            .unwrap_or_default();
        self.activity.set(format!("reading {url}"));
        let place::PlaceContent {
            files,
            at,
            unmerged,
        } = place.read(&known).await?;
        if files.is_empty() {
            let ours = ours.ok_or_else(nothing_here)?;
            if base.is_some() && !restores {
                return Err(PublishError::State(Problem::hinted(
                    format!("{url} has nothing, and was published to"),
                    "if it was really emptied, bring it back with: rootpin repo publish",
                )));
            }
            return Ok(MergedDraft {
                draft: Draft::on(ours),
                at: Some(at),
                behind: true,
            });
        }
        let seen = base
            .as_ref()
            .or(ours.as_ref())
            .map(|seen| seen.floors.clone())
            .unwrap_or_default();
        let theirs = match (
            Metadata::read(
                &files,
                self.working.root()?,
                &seen,
                base.as_ref().or(ours.as_ref()),
            ),
            &base,
            &ours,
        ) {
            (Err(why), Some(base), Some(ours)) => {
                let mut draft = self
                    .rejoined(place, &at, &files, base, &unmerged)
                    .await?
                    .ok_or(why)?;
                draft.merge(Some(base), ours, overrules)?;
                for other in &unmerged {
                    self.take_over(&mut draft, other);
                }
                return Ok(MergedDraft {
                    draft,
                    at: Some(at),
                    behind: true,
                });
            }
            (theirs, ..) => theirs?,
        };
        let mut found = merged(ours, base.as_ref(), theirs, at, overrules)?;
        for other in &unmerged {
            self.take_over(&mut found.draft, other);
        }
        Ok(found)
    }

    /// What was published from here and the one write that another publisher, who had not seen it,
    /// put in its place. None, where the place shows something else: then it is an older state, or
    /// another history.
    async fn rejoined(
        &self,
        place: &PublishPlace,
        at: &PlaceState,
        files: &MetadataFiles,
        base: &Metadata,
        unmerged: &[place::Unmerged],
    ) -> Result<Option<Draft>, PublishError> {
        // Where the two share a publisher's tag, and the one of here wrote over the other's there,
        // both began with what it had found.
        let written = base.files();
        let ours = || {
            unmerged
                .iter()
                .find(|other| other.files == written)
                .and_then(|ours| ours.found.clone())
        };
        let Some(found) = place.found(at, files).await?.or_else(ours) else {
            return Ok(None);
        };
        let read = |files: &MetadataFiles, seen: &[Floor]| {
            Metadata::read(files, self.working.root()?, seen, Some(base))
        };
        let Ok(found) = read(&found, &[]) else {
            return Ok(None);
        };
        let Ok(wrote) = read(files, &found.floors) else {
            return Ok(None);
        };
        if wrote.same(&found) {
            return Ok(None);
        }
        let mut draft = Draft::on(base.clone());
        let taken = draft.take(&found, &wrote);
        Ok(taken.is_ok().then_some(draft))
    }

    /// Merges what another publisher has put beside the place's newest state: the two wrote at one
    /// moment, or it broke off.
    fn take_over(&mut self, draft: &mut Draft, other: &place::Unmerged) {
        let known = draft.before.clone();
        let read =
            |files: &MetadataFiles| Metadata::read(files, self.working.root()?, &[], Some(&known));
        let taken = match &other.found {
            Some(found) => read(found)
                .and_then(|found| Ok((found, read(&other.files)?)))
                .and_then(|(found, wrote)| draft.take(&found, &wrote)),
            None => Err(PublishError::Conflict(
                "what it started from is not known here".to_owned().into(),
            )),
        };
        if let Err(error) = taken {
            self.notes.push(format!(
                "what another publisher left unfinished is not taken over: {error}"
            ));
        }
    }
}

fn nothing_here() -> PublishError {
    PublishError::wrong(
        "there is no repository here or at the place",
        "rootpin repo init, or clone",
    )
}

/// The place's metadata with what the working folder has more.
fn merged(
    ours: Option<Metadata>,
    base: Option<&Metadata>,
    theirs: Metadata,
    at: PlaceState,
    overrules: &dyn Fn(&RoleEntry) -> bool,
) -> Result<MergedDraft, PublishError> {
    let (draft, behind) = match ours {
        Some(ours) if base.is_some_and(|base| base.same(&theirs)) => {
            let behind = !ours.same(&theirs);
            (Draft::on(ours), behind)
        }
        Some(ours) => {
            let mut draft = Draft::on(theirs);
            draft.merge(base.or(Some(&ours)), &ours, overrules)?;
            (draft, false)
        }
        None => (Draft::on(theirs), false),
    };
    Ok(MergedDraft {
        draft,
        at: Some(at),
        behind,
    })
}

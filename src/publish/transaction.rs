//! One change of a repository, whole: read the place, merge, change, sign, publish; and again where
//! another machine was faster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::PublishError;
use super::changes::{self, Edits, Entry};
use super::draft::{Draft, new_targets};
use super::metadata::Metadata;
use super::place::{self, At, Files, Place, Written};
use super::plan::{Plan, Unlock};
use super::working::Working;
use rootpin_policy::MetadataUrl;
use rootpin_trust::{Code, Floor};

/// How often a race may be lost.
const TRIES: u8 = 16;
/// How often a state that went back is looked at again.
const PATIENCE: u8 = 4;
/// The longest wait after a race that was lost.
const WAIT: Duration = Duration::from_millis(500);

/// What is to be done. One value may be asked several times, each time with what the place has
/// then.
pub trait Change {
    /// Makes the change.
    ///
    /// # Errors
    /// It can't be made.
    fn make(&mut self, draft: &mut Draft) -> Result<(), PublishError>;

    /// Whether it decides an entry that was changed here and elsewhere.
    fn overrules(&self, _role_entry: &Entry) -> bool {
        false
    }

    /// Whether a place where the repository has vanished is filled anew.
    fn restores(&self) -> bool {
        false
    }

    /// Shows what is to be signed; `false` ends it here.
    ///
    /// # Errors
    /// What the caller has against it.
    fn confirm(&mut self, before: &Metadata, plan: &Plan) -> Result<bool, PublishError>;
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was only shown.
    Shown,
    /// Nothing was to be done.
    Nothing(Box<Metadata>),
    /// It is signed, and kept here.
    Done {
        /// The repository as it is now.
        metadata: Box<Metadata>,
        /// The places that have it.
        published: Vec<MetadataUrl>,
        /// The places that don't, and why.
        failed: Vec<(MetadataUrl, String)>,
    },
}

/// What a place has.
struct Found {
    draft: Draft,
    at: Option<At>,
    /// Whether the place has something else than `draft.before`.
    behind: bool,
}

/// One change of one working folder.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The folder.
    pub working: &'a Working,
    /// Where it is published; none, to keep it in the folder.
    pub places: Vec<(MetadataUrl, Place)>,
    /// The time of the whole change.
    pub now: Timestamp,
    /// What people should know that was not asked for.
    pub notes: Vec<String>,
    /// What is being done, for who waits.
    pub doing: Doing,
}

/// What is being done at the moment; a clone says the same.
#[derive(Debug, Clone, Default)]
pub struct Doing(Arc<Mutex<String>>);

impl Doing {
    /// What it is; empty, where nobody waits for anything.
    #[must_use]
    pub fn now(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says what it is from now on, and gives what it was.
    pub fn set(&self, what: impl Into<String>) -> String {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            what.into(),
        )
    }
}

impl Transaction<'_> {
    /// Reads the first place and merges it with what is here.
    ///
    /// # Errors
    /// The place can't be read, doesn't hold, or what it has can't be merged.
    pub async fn look(
        &mut self,
        overrules: &dyn Fn(&Entry) -> bool,
    ) -> Result<Draft, PublishError> {
        Ok(self.find(overrules, false).await?.draft)
    }

    /// Makes a change.
    ///
    /// # Errors
    /// Nothing was changed then, here or at a place.
    pub async fn run(
        &mut self,
        change: &mut dyn Change,
        keys: &mut dyn Unlock,
    ) -> Result<Outcome, PublishError> {
        let mut shown: Option<BTreeMap<String, Edits>> = None;
        for tries in 0..TRIES {
            let found = self
                .find(&|entry| change.overrules(entry), change.restores())
                .await;
            let Found {
                mut draft,
                at,
                behind,
            } = match found {
                // Another machine may be about to merge what it has just overtaken.
                Err(PublishError::Refused(refusal))
                    if refusal.code == Code::Rollback
                        && self.is_at_registry()
                        && tries < PATIENCE =>
                {
                    wait(8).await;
                    continue;
                }
                found => found?,
            };
            // After a race that was lost: what was shown and agreed to is made, and nothing that
            // another machine says of it meanwhile undone.
            for (role, edits) in shown.iter().flatten() {
                changes::apply(
                    &mut draft.document(role).cloned().unwrap_or_else(new_targets),
                    edits,
                    |_| false,
                )?;
            }
            let mut dropped = draft.drop_undelegated();
            let undone = draft.clone();
            change.make(&mut draft)?;
            let edits = draft
                .edited
                .iter()
                .map(|(role, edited)| (role.clone(), changes::diff(undone.document(role), edited)))
                .collect();
            let before = draft.before.clone();
            // What waits here alone and is dropped changes nothing at the place.
            let changed = draft.is_changed()
                || draft.next.waiting != undone.next.waiting
                || !dropped.is_empty();
            let plan = Plan::of(
                draft,
                &self.working.keyring,
                &self.working.settings,
                self.now,
            )?;
            dropped.extend(plan.dropped.iter().cloned());
            let note = |role: &String| {
                format!("what waited for {role} is dropped: nothing delegates to it any more")
            };
            let new: Vec<_> = dropped
                .iter()
                .map(note)
                .filter(|note| !self.notes.contains(note))
                .collect();
            self.notes.extend(new);
            if !changed && plan.steps().all(|step| step.keys.is_empty()) && !behind {
                if change.restores() {
                    if !change.confirm(&before, &plan)? {
                        return Ok(Outcome::Shown);
                    }
                    let published = self
                        .places
                        .first()
                        .map(|(url, _)| url.clone())
                        .into_iter()
                        .collect();
                    return self.finish(before, published).await;
                }
                return Ok(Outcome::Nothing(Box::new(before)));
            }
            if shown.is_none() {
                if !change.confirm(&before, &plan)? {
                    return Ok(Outcome::Shown);
                }
                shown = Some(edits);
            }
            let signed: BTreeSet<_> = plan
                .steps()
                .filter(|step| !step.keys.is_empty())
                .map(|step| step.role.clone())
                .collect();
            self.doing.set("signing");
            let sealed = self.verified(&plan.sign(keys)?, &before, &signed)?;
            match self.publish_first(at, &sealed).await? {
                Some(published) => return self.finish(sealed, published).await,
                None => wait(tries).await,
            }
        }
        Err(PublishError::State(format!(
            "other machines published before this one {TRIES} times; hint: try again"
        )))
    }

    /// A repository that was just signed, judged as every host will. A role of others that doesn't
    /// hold keeps nobody else from publishing.
    fn verified(
        &self,
        sealed: &Metadata,
        before: &Metadata,
        signed: &BTreeSet<String>,
    ) -> Result<Metadata, PublishError> {
        let read = Metadata::read(
            &sealed.files(),
            self.working.root()?,
            &before.floors,
            Some(sealed),
        )?;
        match read
            .broken
            .iter()
            .find(|(role, _)| !before.broken.contains_key(*role) && signed.contains(*role))
        {
            Some((role, why)) => Err(PublishError::Wrong(format!("{role} would not hold: {why}"))),
            None => Ok(read),
        }
    }

    fn is_at_registry(&self) -> bool {
        matches!(self.places.first(), Some((_, Place::Registry { .. })))
    }

    async fn find(
        &mut self,
        overrules: &dyn Fn(&Entry) -> bool,
        restores: bool,
    ) -> Result<Found, PublishError> {
        self.working.root()?;
        let ours = self.working.ours(None)?;
        let Some((url, place)) = self.places.first() else {
            let ours = ours.ok_or_else(nothing_here)?;
            return Ok(Found {
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
        self.doing.set(format!("reading {url}"));
        let place::Found {
            files,
            at,
            unmerged,
        } = place.read(&known).await?;
        if files.is_empty() {
            let ours = ours.ok_or_else(nothing_here)?;
            if base.is_some() && !restores {
                return Err(PublishError::State(format!(
                    "{url} has nothing, and was published to; hint: if it was really emptied, bring it back with: rootpin repo publish"
                )));
            }
            return Ok(Found {
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
                return Ok(Found {
                    draft,
                    at: Some(at),
                    behind: true,
                });
            }
            (theirs, ..) => theirs?,
        };
        let mut found = match ours {
            Some(ours) if base.as_ref().is_some_and(|base| base.same(&theirs)) => {
                let behind = !ours.same(&theirs);
                Found {
                    draft: Draft::on(ours),
                    at: Some(at),
                    behind,
                }
            }
            Some(ours) => {
                let mut draft = Draft::on(theirs);
                draft.merge(base.as_ref().or(Some(&ours)), &ours, overrules)?;
                Found {
                    draft,
                    at: Some(at),
                    behind: false,
                }
            }
            None => Found {
                draft: Draft::on(theirs),
                at: Some(at),
                behind: false,
            },
        };
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
        place: &Place,
        at: &At,
        files: &Files,
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
        let read = |files: &Files, seen: &[Floor]| {
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
        let read = |files: &Files| Metadata::read(files, self.working.root()?, &[], Some(&known));
        let taken = match &other.found {
            Some(found) => read(found)
                .and_then(|found| Ok((found, read(&other.files)?)))
                .and_then(|(found, wrote)| draft.take(&found, &wrote)),
            None => Err(PublishError::Conflict(
                "what it started from is not known here".to_owned(),
            )),
        };
        if let Err(error) = taken {
            self.notes.push(format!(
                "what another publisher left unfinished is not taken over: {error}"
            ));
        }
    }

    /// Writes to the first place; none, where another machine was faster.
    async fn publish_first(
        &self,
        at: Option<At>,
        sealed: &Metadata,
    ) -> Result<Option<Vec<MetadataUrl>>, PublishError> {
        let (Some((url, place)), Some(at)) = (self.places.first(), at) else {
            return Ok(Some(Vec::new()));
        };
        self.doing.set(format!("publishing to {url}"));
        match place
            .write(&at, &sealed.files(), &self.working.publisher)
            .await?
        {
            Written::Done(_) => Ok(Some(vec![url.clone()])),
            Written::Lost => Ok(None),
        }
    }

    async fn finish(
        &mut self,
        sealed: Metadata,
        mut published: Vec<MetadataUrl>,
    ) -> Result<Outcome, PublishError> {
        self.doing.set("keeping it here");
        self.working.keep(&sealed)?;
        if !published.is_empty() {
            self.working.keep_published(&sealed)?;
        }
        let mut failed = Vec::new();
        for (url, place) in self.places.iter().skip(1) {
            self.doing.set(format!("publishing to {url}"));
            match self.bring(place, &sealed).await {
                Ok(()) => published.push(url.clone()),
                Err(error) => failed.push((url.clone(), error.to_string())),
            }
        }
        Ok(Outcome::Done {
            metadata: Box::new(sealed),
            published,
            failed,
        })
    }

    /// Brings one of the other places up to what the first one has. One that is ahead was brought
    /// there by another machine since.
    async fn bring(&self, place: &Place, sealed: &Metadata) -> Result<(), PublishError> {
        let files = sealed.files();
        for tries in 0..TRIES {
            let place::Found {
                files: there, at, ..
            } = place.read(&files).await?;
            if !there.is_empty() {
                let there = Metadata::read(&there, self.working.root()?, &[], Some(sealed))?;
                if there.same(sealed)
                    || there.timestamp.document.version() > sealed.timestamp.document.version()
                {
                    return Ok(());
                }
            }
            match place.write(&at, &files, &self.working.publisher).await? {
                Written::Done(_) => return Ok(()),
                Written::Lost => wait(tries).await,
            }
        }
        Err(PublishError::State(
            "other machines published at the same time; hint: try again".to_owned(),
        ))
    }
}

fn nothing_here() -> PublishError {
    PublishError::Wrong(
        "there is no repository here or at the place; hint: rootpin repo init, or clone".to_owned(),
    )
}

/// A short wait, of another length on each machine.
async fn wait(tries: u8) {
    let mut random = [0_u8; 1];
    // Without random bytes it waits the longest time.
    let share =
        aws_lc_rs::rand::fill(&mut random).map_or(255, |()| random.first().copied().unwrap_or(255));
    tokio::time::sleep(WAIT * u32::from(tries + 1) / 4 * u32::from(share) / 255).await;
}

//! Changes a repository: reads the place, merges, makes the change, signs and publishes; and again
//! where another machine was faster.

mod activity;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

pub use activity::Activity;
use jiff::Timestamp;
use reading::MergedDraft;

use super::PublishError;
use super::changes::{self, Edits, RoleEntry};
use super::draft::{Draft, new_targets};
use super::metadata::Metadata;
use super::open_keys::OpenKeys;
use super::place::{self, PlaceState, PublishPlace, WriteOutcome};
use super::plan::SigningPlan;
use super::working::Working;
use crate::problem::Problem;
use rootpin_policy::MetadataUrl;
use rootpin_trust::Code;

/// How often a race may be lost.
const TRIES: u8 = 16;

/// How often a state that went back is looked at again.
const PATIENCE: u8 = 4;

/// The longest wait after a race that was lost.
const WAIT: Duration = Duration::from_millis(500);

/// Edits a draft in place.
type DraftEdit<'a> = Box<dyn FnMut(&mut Draft) -> Result<(), PublishError> + 'a>;

/// A change of a repository. Its edit is made again on what the place has by then, where another
/// machine was faster.
pub struct RepositoryChange<'a> {
    edit: DraftEdit<'a>,
    decides: BTreeSet<RoleEntry>,
    restores: bool,
}

impl<'a> RepositoryChange<'a> {
    /// A change that makes this edit.
    pub fn new(edit: impl FnMut(&mut Draft) -> Result<(), PublishError> + 'a) -> Self {
        Self {
            edit: Box::new(edit),
            decides: BTreeSet::new(),
            restores: false,
        }
    }

    /// The change wins over what another machine made of these entries.
    #[must_use]
    pub fn deciding(self, decides: impl IntoIterator<Item = RoleEntry>) -> Self {
        Self {
            decides: decides.into_iter().collect(),
            ..self
        }
    }

    /// No edit: brings the folder's repository to its places, to an emptied one too.
    #[must_use]
    pub fn restoring() -> Self {
        Self {
            restores: true,
            ..Self::new(|_| Ok(()))
        }
    }
}

impl fmt::Debug for RepositoryChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RepositoryChange");
        shown.field("decides", &self.decides);
        shown.field("restores", &self.restores);
        shown.finish_non_exhaustive()
    }
}

/// A change made on what the first place has, planned and not signed yet.
#[derive(Debug)]
pub struct Prepared {
    /// What is published.
    pub before: Metadata,
    /// Who signs what.
    pub plan: SigningPlan,
    /// What is left to do.
    pub todo: Todo,
    edits: BTreeMap<String, Edits>,
    at: Option<PlaceState>,
}

/// What is left to do after a change was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Nothing: neither the repository nor the place changes.
    Nothing,
    /// The other places are brought up to the first one.
    Bring,
    /// The plan is signed and published.
    Sign,
}

/// How a change ended.
#[derive(Debug)]
pub enum Published {
    /// There was nothing to do.
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

/// One change of one working folder.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The folder.
    pub working: &'a Working,
    /// Where it is published; none, to keep it in the folder.
    pub places: Vec<(MetadataUrl, PublishPlace)>,
    /// The time of the whole change.
    pub now: Timestamp,
    /// What people should know that was not asked for.
    pub notes: Vec<String>,
    /// What is going on, for people who wait.
    pub activity: Activity,
}

impl Transaction<'_> {
    /// Reads the first place and merges it with what is here.
    ///
    /// # Errors
    /// The place can't be read, doesn't hold, or what it has can't be merged.
    pub async fn look(
        &mut self,
        overrules: &dyn Fn(&RoleEntry) -> bool,
    ) -> Result<Draft, PublishError> {
        Ok(self.find(overrules, false).await?.draft)
    }

    /// Reads the first place, makes the change on what it has, and plans who signs.
    ///
    /// # Errors
    /// The place can't be read, what it has can't be merged, or the change can't be made.
    pub async fn prepare(
        &mut self,
        change: &mut RepositoryChange<'_>,
    ) -> Result<Prepared, PublishError> {
        self.prepare_on(change, &BTreeMap::new(), &mut 0).await
    }

    /// Signs what was prepared, verifies it as every host will, and publishes it. Where another
    /// machine was faster, the change is prepared again on what that machine published.
    ///
    /// # Errors
    /// Nothing was changed then, here or at a place.
    pub async fn publish(
        &mut self,
        mut prepared: Prepared,
        change: &mut RepositoryChange<'_>,
        keys: &mut OpenKeys<'_>,
    ) -> Result<Published, PublishError> {
        let agreed = prepared.edits.clone();
        let mut tries = 0;
        while tries < TRIES {
            match prepared.todo {
                Todo::Nothing => return Ok(Published::Nothing(Box::new(prepared.before))),
                Todo::Bring => {
                    let first = self.places.first().map(|(url, _)| url.clone());
                    return self
                        .finish(prepared.before, first.into_iter().collect())
                        .await;
                }
                Todo::Sign => {}
            }
            let signed = prepared.plan.signing_roles();
            self.activity.set("signing");
            let sealed = self.verified(&prepared.plan.sign(keys)?, &prepared.before, &signed)?;
            if let Some(published) = self.publish_first(prepared.at, &sealed).await? {
                return self.finish(sealed, published).await;
            }
            wait(tries).await;
            tries += 1;
            prepared = self.prepare_on(change, &agreed, &mut tries).await?;
        }
        Err(PublishError::State(Problem::hinted(
            format!("other machines published before this one {TRIES} times"),
            "try again",
        )))
    }

    /// Prepares a change. `agreed` is what a person has seen of it already, and `tries` counts lost
    /// races and waits.
    async fn prepare_on(
        &mut self,
        change: &mut RepositoryChange<'_>,
        agreed: &BTreeMap<String, Edits>,
        tries: &mut u8,
    ) -> Result<Prepared, PublishError> {
        let MergedDraft {
            mut draft,
            at,
            behind,
        } = self.find_patiently(change, tries).await?;
        // After a lost race: what was agreed to is made, and nothing that another machine says of
        // it meanwhile is undone.
        for (role, edits) in agreed {
            let mut document = draft.document(role).cloned().unwrap_or_else(new_targets);
            changes::apply(&mut document, edits, |_| false)?;
        }
        let mut dropped = draft.drop_undelegated();
        let undone = draft.clone();
        (change.edit)(&mut draft)?;
        let edits = draft
            .edited
            .iter()
            .map(|(role, edited)| (role.clone(), changes::diff(undone.document(role), edited)))
            .collect();
        let before = draft.before.clone();
        // What waits here alone and is dropped changes nothing at the place.
        let changed =
            draft.is_changed() || draft.next.waiting != undone.next.waiting || !dropped.is_empty();
        let plan = SigningPlan::of(
            draft,
            &self.working.keyring,
            &self.working.settings,
            self.now,
        )?;
        dropped.extend(plan.dropped.iter().cloned());
        self.note_dropped(&dropped);
        let todo = match changed || behind || !plan.signing_roles().is_empty() {
            true => Todo::Sign,
            false if change.restores => Todo::Bring,
            false => Todo::Nothing,
        };
        Ok(Prepared {
            before,
            plan,
            todo,
            edits,
            at,
        })
    }

    /// Reads the first place. Where a registry shows an older state than was seen, another machine
    /// may be about to merge what it has just overtaken: then it is read again.
    async fn find_patiently(
        &mut self,
        change: &RepositoryChange<'_>,
        tries: &mut u8,
    ) -> Result<MergedDraft, PublishError> {
        loop {
            let overrules = |entry: &RoleEntry| change.decides.contains(entry);
            match self.find(&overrules, change.restores).await {
                Err(PublishError::Refused(refusal))
                    if refusal.code == Code::Rollback
                        && self.is_at_registry()
                        && *tries < PATIENCE =>
                {
                    wait(8).await;
                    *tries += 1;
                }
                found => return found,
            }
        }
    }

    fn note_dropped(&mut self, roles: &[String]) {
        for role in roles {
            let note =
                format!("what waited for {role} is dropped: nothing delegates to it any more");
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
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
            Some((role, why)) => Err(PublishError::Wrong(
                format!("{role} would not hold: {why}").into(),
            )),
            None => Ok(read),
        }
    }

    fn is_at_registry(&self) -> bool {
        matches!(
            self.places.first(),
            Some((_, PublishPlace::Registry { .. }))
        )
    }

    /// Writes to the first place; none, where another machine was faster.
    async fn publish_first(
        &self,
        at: Option<PlaceState>,
        sealed: &Metadata,
    ) -> Result<Option<Vec<MetadataUrl>>, PublishError> {
        let (Some((url, place)), Some(at)) = (self.places.first(), at) else {
            return Ok(Some(Vec::new()));
        };
        self.activity.set(format!("publishing to {url}"));
        match place
            .write(&at, &sealed.files(), &self.working.publisher)
            .await?
        {
            WriteOutcome::Done(_) => Ok(Some(vec![url.clone()])),
            WriteOutcome::Lost => Ok(None),
        }
    }

    async fn finish(
        &mut self,
        sealed: Metadata,
        mut published: Vec<MetadataUrl>,
    ) -> Result<Published, PublishError> {
        self.activity.set("keeping it here");
        self.working.keep(&sealed)?;
        if !published.is_empty() {
            self.working.keep_published(&sealed)?;
        }
        let mut failed = Vec::new();
        for (url, place) in self.places.iter().skip(1) {
            self.activity.set(format!("publishing to {url}"));
            match self.bring(place, &sealed).await {
                Ok(()) => published.push(url.clone()),
                Err(error) => failed.push((url.clone(), error.to_string())),
            }
        }
        Ok(Published::Done {
            metadata: Box::new(sealed),
            published,
            failed,
        })
    }

    /// Brings one of the other places up to what the first one has. One that is ahead was brought
    /// there by another machine since.
    async fn bring(&self, place: &PublishPlace, sealed: &Metadata) -> Result<(), PublishError> {
        let files = sealed.files();
        for tries in 0..TRIES {
            let place::PlaceContent {
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
                WriteOutcome::Done(_) => return Ok(()),
                WriteOutcome::Lost => wait(tries).await,
            }
        }
        Err(PublishError::State(Problem::hinted(
            "other machines published at the same time",
            "try again",
        )))
    }
}

/// A short wait, of another length on each machine.
async fn wait(tries: u8) {
    let mut random = [0_u8; 1];
    // Without random bytes it waits the longest time.
    let share =
        aws_lc_rs::rand::fill(&mut random).map_or(255, |()| random.first().copied().unwrap_or(255));
    tokio::time::sleep(WAIT * u32::from(tries + 1) / 4 * u32::from(share) / 255).await;
}

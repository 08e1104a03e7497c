//! The one loop that drives a verification, and what came of it.

use super::keep::Unkept;
use super::look::SourceFailure;
use super::statement::NamedFiles;
use super::{MetadataOrigin, Repositories};
use rootpin_trust::{
    Answer, Code, Floor, Progress, Refusal, Step, Subject, Verification, Verified, Want,
};

/// Brings the files that a verification wants.
pub(super) trait Fetch {
    fn fetch(&self, want: &Want) -> impl Future<Output = Result<Answer, SourceFailure>> + Send;
}

/// Brings the files of another one; a file that it fails to bring is missing.
pub(super) struct OrMissing<'a, F>(pub(super) &'a F);

/// What was verified for one look, and is to be kept.
#[derive(Debug)]
pub(super) struct VerifiedUpdates {
    pub(super) unkept: Unkept,
    pub(super) files: NamedFiles,
    /// Whose roots are kept of an update that broke off.
    roots_of: Option<MetadataOrigin>,
}

/// A verification under way. When it ends, however it ends, its floors are in `updates`.
struct Driven<'a, V: Verification> {
    verification: V,
    updates: &'a mut VerifiedUpdates,
    done: bool,
}

/// Runs a verification to its end.
pub(super) async fn drive<V: Verification>(
    verification: &mut V,
    source: &impl Fetch,
) -> Result<V::Outcome, SourceFailure> {
    let mut answer = None;
    loop {
        match verification.next(answer.take())? {
            Step::Done(outcome) => return Ok(outcome),
            Step::Fetch(want) => answer = Some(source.fetch(&want).await?),
        }
    }
}

/// Why a source gave nothing that holds; or that what is at hand rests on a revoked key. A source that
/// is silent or broken must not hide that, for an audit lets through what could not be heard.
pub(super) async fn or_revoked<V: Verification>(
    refusal: Refusal,
    mut at_hand: V,
    cache: &impl Fetch,
) -> Refusal {
    match drive(&mut at_hand, cache).await {
        Err(SourceFailure::No { refusal: known, .. }) => revoked_beside(refusal, &known),
        _ => refusal,
    }
}

/// The same, where it is known why what is at hand is refused.
pub(super) fn revoked_beside(refusal: Refusal, at_hand: &Refusal) -> Refusal {
    if at_hand.code != Code::Revoked || refusal.code == Code::Revoked {
        return refusal;
    }
    let mut revoked = at_hand.clone();
    let also = format!(
        "; and what else may be there could not be judged: {}",
        refusal.found
    );
    revoked.found.push_str(&also);
    revoked
}

impl<F: Fetch + Sync> Fetch for OrMissing<'_, F> {
    async fn fetch(&self, want: &Want) -> Result<Answer, SourceFailure> {
        Ok(self.0.fetch(want).await.unwrap_or(Answer::Missing))
    }
}

impl VerifiedUpdates {
    /// Nothing yet.
    pub(super) fn new(unkept: Unkept) -> Self {
        Self {
            unkept,
            files: NamedFiles::new(),
            roots_of: None,
        }
    }

    /// Nothing yet of a TUF repository, whose roots are kept whatever becomes of the update
    /// (specification, section 5.3.8): what is cached answers under them while its source is away. In
    /// Notary the older snapshot names the older root, and holds under no newer one.
    pub(super) fn of_tuf(unkept: Unkept, origin: &MetadataOrigin) -> Self {
        Self {
            roots_of: Some(origin.clone()),
            ..Self::new(unkept)
        }
    }

    /// Runs a verification to its end. What it verified is in here then, also where it failed or
    /// this future was dropped.
    pub(super) async fn drive<V: Verification>(
        &mut self,
        verification: V,
        source: &impl Fetch,
    ) -> Result<V::Outcome, SourceFailure> {
        let mut driven = Driven {
            verification,
            updates: self,
            done: false,
        };
        let outcome = drive(&mut driven.verification, source).await?;
        driven.done = true;
        Ok(outcome)
    }

    /// The same with files that are at hand.
    pub(super) fn run<V: Verification>(
        &mut self,
        verification: V,
        fetch: impl FnMut(&Want) -> Result<Answer, Refusal>,
    ) -> Result<V::Outcome, Refusal> {
        let mut driven = Driven {
            verification,
            updates: self,
            done: false,
        };
        let outcome = driven.verification.run(fetch)?;
        driven.done = true;
        Ok(outcome)
    }

    /// The floors that were raised.
    pub(super) fn floors(&self) -> impl Iterator<Item = &Floor> {
        let progress = self.unkept.progress.iter();
        progress.flat_map(|progress| &progress.get().floors)
    }

    /// Whether nothing was verified.
    pub(super) fn is_empty(&self) -> bool {
        let updated = self.unkept.updated.as_ref();
        self.unkept.progress.is_empty()
            && self.files.is_empty()
            && updated.is_none_or(|(_, files)| files.is_empty())
    }

    /// Takes the files that were verified: the evidence that is made of them has them now.
    pub(super) fn take_files(&mut self) -> NamedFiles {
        let mut files = std::mem::take(&mut self.files);
        files.extend(self.unkept.take_roots());
        files.extend(
            self.unkept
                .updated
                .take()
                .into_iter()
                .flat_map(|(_, files)| files),
        );
        files
    }

    /// Drops the files of what broke off: they are no set that holds.
    pub(super) fn drop_files(&mut self) {
        self.files.clear();
        self.unkept.updated = None;
    }

    /// Keeps the floors and the roots of what failed.
    pub(super) async fn keep(&mut self) {
        self.files.clear();
        self.unkept.keep().await;
    }
}

impl<V: Verification> Drop for Driven<'_, V> {
    fn drop(&mut self) {
        let unkept = &mut self.updates.unkept;
        let own = |progress: &Verified<Progress>| unkept.writer.is_own(progress.get());
        let progress = self.verification.progress();
        let progress = progress.filter(|progress| self.done || own(progress));
        unkept.progress.extend(progress);
        let files = self.verification.files();
        if self.done {
            self.updates.files.extend(files);
        } else if let Some(origin) = &self.updates.roots_of {
            let roots = files.into_iter().filter(|(name, _)| is_root(name));
            unkept.add_roots(origin, roots.collect());
        }
    }
}

/// Whether a cached file is one of the chain of roots.
fn is_root(name: &str) -> bool {
    let version = name.strip_suffix(".root.json");
    version.is_some_and(|version| version.parse::<u64>().is_ok())
}

impl Repositories {
    /// The floors of a subject: those that are written, and those of a moment ago.
    pub(super) fn floors(
        &self,
        subject: &Subject,
        updates: &VerifiedUpdates,
    ) -> Result<Vec<Floor>, Refusal> {
        let mut floors = self
            .store
            .history(subject)
            .map_err(|error| error.refusal())?;
        for progress in &updates.unkept.progress {
            floors = progress.get().merge_into(&floors)?;
        }
        Ok(floors)
    }
}

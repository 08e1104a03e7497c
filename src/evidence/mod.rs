//! Evidence: what the pinned roots say of a repository. It fetches metadata, drives its verification
//! by `rootpin-trust`, and is the only writer of floors.
//!
//! An update runs once at a time for each root (Notary: for each repository), and answers every
//! question for as long as the policy says. What was verified raises the floors, also where the
//! update fails or is cancelled later (`keep`). While no source answers, or one shows less than was
//! verified, the cache answers, and then what is in memory.

mod behind;
mod bundle_export;
mod bundle_import;
mod bundle_signatures;
mod clock;
mod drive;
mod due;
mod failures;
mod found_signatures;
#[cfg(test)]
mod fuzz;
mod keep;
mod look;
mod notary;
mod notary_contents;
mod per_key;
#[cfg(test)]
#[path = "../../crates/rootpin-trust/src/tuf/tests/publisher.rs"]
pub(crate) mod publisher;
mod root_expiry;
mod signature_cache;
mod signature_import;
mod signature_pins;
mod signature_room;
mod signature_search;
mod signatures;
mod signed_manifests;
mod silent;
mod statement;
#[cfg(test)]
mod tests;
mod tuf;

use std::sync::Arc;

use crate::sources::Sources;
pub(crate) use crate::sources::share;
use crate::state::Store;
use crate::state::cache::Cache;
use rootpin_policy::RootKind;
use rootpin_trust::image::Repository;
use rootpin_trust::tuf::Question;
use rootpin_trust::{Refusal, SignedImage};

use behind::Laggards;
use clock::Earliest;
use failures::Failures;
use keep::FloorWriter;
use notary::NotaryCache;
use signatures::SignatureCache;
use silent::SilentSources;
use statement::NamedFiles;
use tuf::TufCache;

pub use behind::SourceBehind;
pub(crate) use bundle_export::ExportedBundle;
pub(crate) use bundle_import::ImportedRoot;
pub(crate) use due::{AGAIN, later};
pub(crate) use keep::Unkept;
pub(crate) use look::RootLook;
pub(crate) use notary_contents::NotaryContents;
pub use root_expiry::{RootExpiry, SignatureRoot};
pub(crate) use signatures::source_of;
pub use silent::SilentSource;
pub(crate) use statement::{Evidence, MetadataOrigin};

/// Where metadata comes from, and what is kept of it.
#[derive(Debug)]
pub(crate) struct Repositories {
    sources: Arc<Sources>,
    store: Arc<Store>,
    cache: Option<Cache>,
    writer: FloorWriter,
    notary: NotaryCache,
    tuf: TufCache,
    signatures: SignatureCache,
    signed_manifests: SignatureCache,
    failures: Failures,
    laggards: Laggards,
    silent: SilentSources,
    earliest: Earliest,
}

/// No verified file is larger (`rootpin-trust` caps each role at less).
const MAX_CACHED: usize = 64 << 20;

impl Repositories {
    /// Repositories of which nothing is fetched yet. If `keeps`, they write what they verify, and
    /// judge by the present time.
    pub(crate) fn new(sources: Arc<Sources>, store: Arc<Store>, keeps: bool) -> Self {
        Self::of(sources, store, keeps, Earliest::of_past(!keeps))
    }

    /// The same state at the present time, read from these sources; nothing is written.
    pub(crate) fn onlooker(&self, sources: Arc<Sources>) -> Self {
        Self::of(
            sources,
            Arc::clone(&self.store),
            false,
            self.earliest.present(),
        )
    }

    /// The same state at the present time, read from the cache alone; each failure is remembered.
    pub(crate) fn by_cache(&self) -> Self {
        Self {
            failures: Failures::remembered(),
            ..self.onlooker(Arc::new(Sources::silent()))
        }
    }

    fn of(sources: Arc<Sources>, store: Arc<Store>, keeps: bool, earliest: Earliest) -> Self {
        // A state that can't be used has no cache either; the state's own error is shown.
        let cache = Cache::new(store.directory()).ok();
        Self {
            sources,
            writer: FloorWriter::new(Arc::clone(&store), cache.clone(), keeps),
            store,
            cache,
            notary: NotaryCache::default(),
            tuf: TufCache::default(),
            signatures: SignatureCache::default(),
            signed_manifests: SignatureCache::default(),
            failures: Failures::default(),
            laggards: Laggards::default(),
            silent: SilentSources::default(),
            earliest,
        }
    }

    /// Where registries are asked.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether what is verified is written; if not, nothing is asked again before its time.
    pub(crate) fn keeps(&self) -> bool {
        self.writer.keeps()
    }

    /// What a root says of a repository: what is at hand, or what its sources say now, or what the
    /// cache holds while none answers.
    ///
    /// # Errors
    /// The refusal: what was wrong with the metadata, or why there is none.
    pub(crate) async fn evidence(
        &self,
        look: RootLook<'_>,
        gun: &Repository,
        question: &Question,
    ) -> Result<Arc<Evidence>, Refusal> {
        if let Some(refusal) = self.implausible(look.now) {
            return Err(refusal);
        }
        match &look.root.kind {
            RootKind::Notary(notary) => self.of_notary(look, notary, gun).await,
            // On the heap: each question's future would be as large as an update otherwise.
            RootKind::Tuf(tuf) => Box::pin(self.of_tuf(look, tuf, gun, question)).await,
            RootKind::Cosign(_) | RootKind::Notation(_) => {
                let Question::Image {
                    digest,
                    tag,
                    by_manifests,
                    every_signer,
                } = question
                else {
                    return Err(signature_pins::not_of_digests());
                };
                let image = SignedImage {
                    repository: gun,
                    digest: *digest,
                    tag: tag.as_ref(),
                    every_signer: *every_signer,
                };
                match by_manifests {
                    true => Box::pin(self.of_signed_manifests(look, image)).await,
                    false => Box::pin(self.of_signatures(look, image, false)).await,
                }
            }
        }
    }

    /// Forgets what is at hand, after the state was reset.
    pub(crate) fn forget(&self) {
        self.notary.clear();
        self.tuf.clear();
        self.signatures.clear();
        self.signed_manifests.clear();
    }

    /// Writes files for which no source may be at hand.
    fn write_cache(&self, origin: &MetadataOrigin, files: &NamedFiles) -> std::io::Result<()> {
        let cache = self
            .cache
            .as_ref()
            .ok_or_else(|| std::io::Error::other("the state has no directory"))?;
        cache.write(&origin.source, &origin.subject, files)
    }

    fn cached(&self, origin: &MetadataOrigin, name: &str) -> Option<Vec<u8>> {
        self.cache
            .as_ref()?
            .read(&origin.source, &origin.subject, name, MAX_CACHED)
    }
}

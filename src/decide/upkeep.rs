//! Questions about evidence itself: bundles, sources that are behind, expiries, the clock.

use std::sync::Arc;

use jiff::Timestamp;

use super::Decider;
use crate::evidence::{
    ExportedBundle, ImportedRoot, RootExpiry, SignatureRoot, SilentSource, SourceBehind,
};
use crate::sources::Bundle;
use rootpin_trust::Refusal;
use rootpin_trust::image::ImageRef;

impl Decider {
    /// Imports a bundle: for the root with that ID, or for each that the bundle's root files come
    /// from. Floors, files and the contact are kept. If the bundle does not verify as a whole, only
    /// the floors of what verified are kept.
    ///
    /// # Errors
    /// It is for no root of the policy, or doesn't verify; or what was verified can't be kept.
    pub(crate) async fn import(
        &self,
        bundle: Arc<Bundle>,
        root: Option<String>,
        now: Timestamp,
    ) -> Result<Vec<ImportedRoot>, Refusal> {
        let policy = self.policy()?;
        let imported = self.repositories.import(policy, bundle, root, now).await;
        self.changes.send_replace(());
        imported
    }

    /// Reads and verifies all metadata of a root whose paths begin with one of the prefixes; an
    /// empty one is for all.
    ///
    /// # Errors
    /// There is no such root, or no place and no cache has top-level metadata that verifies.
    pub(crate) async fn export(
        &self,
        root: &str,
        (prefixes, names): (&[String], &[ImageRef]),
        now: Timestamp,
    ) -> Result<ExportedBundle, Refusal> {
        let (policy, time) = (self.policy()?, self.for_sources());
        self.repositories
            .export(&policy, root, (prefixes, names), now, time)
            .await
    }

    /// The sources that show less than this host has verified.
    #[must_use]
    pub fn sources_behind(&self) -> Vec<SourceBehind> {
        self.repositories.sources_behind()
    }

    /// The sources that do not answer while what was verified does.
    #[must_use]
    pub fn silent_sources(&self) -> Vec<SilentSource> {
        self.repositories.silent_sources()
    }

    /// When the metadata of each root of the policy expires, by its ID, as far as it is known here;
    /// of a Notary server the first that does.
    #[must_use]
    pub fn root_expiries(&self) -> Vec<RootExpiry> {
        let policy = self.policy();
        policy.map_or_else(
            |_| Vec::new(),
            |policy| self.repositories.root_expiries(&policy),
        )
    }

    /// The roots of the policy whose signatures are beside images, and when such were last seen.
    #[must_use]
    pub fn signature_roots(&self) -> Vec<SignatureRoot> {
        let policy = self.policy();
        policy.map_or_else(
            |_| Vec::new(),
            |policy| self.repositories.signature_roots(&policy),
        )
    }

    /// The present time can't be before that one, and why: by an earlier clock nothing that rests
    /// on time is judged, and nothing is kept.
    pub fn set_earliest(&self, at: Timestamp, why: &str) {
        self.repositories.set_earliest(at, why);
    }

    /// Why the clock can't be right, if it can't.
    #[must_use]
    pub fn clock_trouble(&self, now: Timestamp) -> Option<String> {
        self.repositories
            .implausible(now)
            .map(|refusal| format!("{}; wanted {}", refusal.found, refusal.wanted))
    }
}

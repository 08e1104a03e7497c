//! An update of a TUF repository's metadata: from the first place that verifies, or from what was
//! verified earlier.

use std::time::Instant;

use jiff::Timestamp;

use super::source::{TufSource, open};
use super::{TufAtHand, TufLook, at_hand};
use crate::evidence::behind::keep_worst;
use crate::evidence::drive::{VerifiedUpdates, or_revoked};
use crate::evidence::look::{CHECK_PLACES, SourceFailure};
use crate::evidence::share;
use rootpin_trust::tuf::{Trusted, Update};
use rootpin_trust::{Code, Refusal};

/// What to do where the root names no place, as on a host without a network.
const IMPORT_BUNDLE: &str = "import a new bundle of the publisher's metadata: rootpin bundle import FILE; on a host with a network, give the root its metadata = [\"https://…\"] in the policy";

impl TufLook<'_> {
    /// The first place that answers with metadata that holds; the cache, where none answers, or
    /// none shows as much as was verified.
    pub(in crate::evidence) async fn update(
        &self,
        known: Option<&TufAtHand>,
        contact: Option<Timestamp>,
        updates: &mut VerifiedUpdates,
    ) -> Result<TufAtHand, Refusal> {
        let previous = known.map(|known| &known.trusted);
        let (mut refused, mut silent) = (None::<Refusal>, Vec::new());
        let places = self.places();
        for (at, place) in places.iter().enumerate() {
            // One that keeps us waiting must not take the others' time too.
            let deadline = share(Instant::now(), self.look.deadline, places.len() - at);
            let done = match open(place, deadline).await {
                Ok(reader) => self
                    .update_from(&self.at(&reader, deadline), previous, updates)
                    .await
                    .map_err(|failure| failure.seen_at(&reader.url())),
                Err(failure) => Err(failure),
            };
            match done {
                Ok(trusted) => {
                    self.repositories.laggards.remove(&self.origin.source);
                    self.repositories.silent.remove(&self.origin.source);
                    let until = (self.look.now, self.look.recheck());
                    return Ok(at_hand(trusted, known, self.look, until));
                }
                Err(SourceFailure::Silent(why)) => silent.push(why),
                // The most telling no is told: a place that lies is of more weight than one that is
                // only behind.
                Err(SourceFailure::No { refusal, .. }) => keep_worst(&mut refused, refusal),
            }
        }
        match refused {
            None => {
                let done = self.without_places(known, contact, &silent, updates).await;
                let done = done.map_err(|refusal| self.with_import_hint(refusal))?;
                // A root without places has none that could answer.
                if !silent.is_empty() {
                    let (source, why) = (&self.origin.source, silent.join("; "));
                    self.repositories.found_silent(source, &why, self.look.now);
                }
                Ok(done)
            }
            Some(refusal) if refusal.source_behind => {
                silent.push(refusal.found.clone());
                let done = self.without_places(known, contact, &silent, updates).await;
                // That a place is behind says more than that nothing else is at hand.
                let done = done.map_err(|_| refusal.clone())?;
                let (laggards, until) = (&self.repositories.laggards, done.valid_until);
                laggards.add(self.origin.source.clone(), &refusal, until, self.look.now);
                Ok(done)
            }
            Some(refusal) => Err(refusal),
        }
    }

    /// What was verified earlier: the cache, under the roots that a place showed a moment ago; or what
    /// this process has at hand, where what broke off raised the floors above the cache, or that lost
    /// a file.
    async fn without_places(
        &self,
        known: Option<&TufAtHand>,
        contact: Option<Timestamp>,
        silent: &[String],
        updates: &mut VerifiedUpdates,
    ) -> Result<TufAtHand, Refusal> {
        let why = if silent.is_empty() {
            "the policy names no metadata for it".to_owned()
        } else {
            silent.join("; ")
        };
        let (contact, limit) = self.look.offline_limit(&self.origin, contact, &why)?;
        let previous = known.map(|known| &known.trusted);
        let source = self.in_cache_with(updates.unkept.roots());
        let refusal = match self.update_from(&source, previous, updates).await {
            Ok(trusted) => {
                let until = (contact, self.repositories.cached_until(self.look, limit));
                return Ok(at_hand(trusted, known, self.look, until));
            }
            // It is of keys that a newer root replaced.
            Err(SourceFailure::No { refusal, .. }) if refusal.code == Code::BadSignature => {
                return Err(not_in_cache("timestamp.json", &why));
            }
            Err(SourceFailure::No { refusal, .. }) if !refusal.source_behind => {
                return Err(refusal);
            }
            Err(SourceFailure::No { refusal, .. }) => refusal,
            Err(SourceFailure::Silent(file)) => not_in_cache(&file, &why),
        };
        let seen = self.repositories.floors(&self.origin.subject, updates)?;
        let Some(known) = known.filter(|known| !known.trusted.is_of_older_root(&seen)) else {
            return Err(refusal);
        };
        let contact = known.contact;
        let (_, limit) = self.look.offline_limit(&self.origin, Some(contact), &why)?;
        let trusted = known.trusted.clone();
        if trusted.expires() <= self.look.now {
            return Err(refusal);
        }
        let until = self.repositories.cached_until(self.look, limit);
        Ok(TufAtHand {
            outdated: true,
            ..at_hand(trusted, Some(known), self.look, (contact, until))
        })
    }

    /// Why there is no update; or that the pinned root, or the cached one that it leads to, rests on a
    /// revoked key, however long ago the last contact was.
    pub(in crate::evidence) async fn or_revoked(
        &self,
        refusal: Refusal,
        updates: &VerifiedUpdates,
    ) -> Refusal {
        let revoked = self.look.policy.revoked_keys();
        if revoked.is_empty() {
            return refusal;
        }
        let pins = self.root.pins(self.look.root, revoked);
        let at_hand = Update::start(&pins, Vec::new(), None, self.look.now);
        let cache = self.in_cache_with(updates.unkept.roots());
        or_revoked(refusal, at_hand, &cache).await
    }

    /// The refusal; of a root that names no place, there is no address to check.
    pub(super) fn with_import_hint(&self, refusal: Refusal) -> Refusal {
        if refusal.code != Code::SourceUnreachable || !self.root.metadata.is_empty() {
            return refusal;
        }
        Refusal {
            hint: IMPORT_BUNDLE.to_owned(),
            ..refusal
        }
    }

    async fn update_from(
        &self,
        source: &TufSource<'_>,
        previous: Option<&Trusted>,
        updates: &mut VerifiedUpdates,
    ) -> Result<Trusted, SourceFailure> {
        // What another place showed a moment ago binds this one too.
        let floors = self.repositories.floors(&self.origin.subject, updates)?;
        let pins = self
            .root
            .pins(self.look.root, self.look.policy.revoked_keys());
        let update = Update::start(&pins, floors, previous.cloned(), self.look.now);
        updates.drive(update, source).await
    }
}

pub(super) fn not_in_cache(file: &str, silence: &str) -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        format!("no answer: {silence}; and no {file} in the cache that fits"),
        "the answer of one of the root's places, or complete cached metadata",
        CHECK_PLACES,
    )
}

//! The files that the timestamp leads to: the snapshot (section 5.5), then the top-level targets
//! file (5.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::budget::{TUF_SNAPSHOT_BYTES, TUF_TARGETS_BYTES};
use crate::format::Format;
use crate::meta;
use crate::{Answer, FetchFrom, Listed, Refusal, Step};

use super::refused::went_back;
use super::{At, Stamp, Update};
use crate::tuf::targets::VerifiedTargets;
use crate::tuf::trusted::{Snapshot, Trusted, TrustedState, note, noted};

impl Update {
    /// Section 5.5. A snapshot that still is what the timestamp pins is not verified twice under
    /// the same keys.
    pub(super) fn want_snapshot(&mut self, stamp: Stamp) -> Result<Step<Trusted>, Refusal> {
        let authority = self.chain.last.role("snapshot")?.authority();
        let known = self.previous.as_ref().map(|known| &known.0.snapshot);
        let fits =
            |known: &&Arc<Snapshot>| known.pin == stamp.snapshot && known.authority == authority;
        if let Some(known) = known.filter(fits).cloned() {
            return self.snapshot(stamp, known, None);
        }
        self.ask_snapshot(stamp, FetchFrom::Cache)
    }

    pub(super) fn ask_snapshot(
        &mut self,
        stamp: Stamp,
        from: FetchFrom,
    ) -> Result<Step<Trusted>, Refusal> {
        let max_bytes = stamp.snapshot.cap("snapshot.json", TUF_SNAPSHOT_BYTES)?;
        let request = self.chain.last.request("snapshot", stamp.snapshot.version);
        Ok(self.want(At::Snapshot(stamp, from), request, max_bytes, from))
    }

    pub(super) fn cached_snapshot(
        &mut self,
        stamp: Stamp,
        answer: Answer,
    ) -> Result<Step<Trusted>, Refusal> {
        let bytes = answer.bytes();
        let cached = bytes.and_then(|bytes| self.read_snapshot(&stamp, &bytes).ok());
        match cached {
            Some(snapshot) => self.snapshot(stamp, snapshot, None),
            None => self.ask_snapshot(stamp, FetchFrom::Source),
        }
    }

    pub(super) fn read_snapshot(
        &mut self,
        stamp: &Stamp,
        bytes: &[u8],
    ) -> Result<Arc<Snapshot>, Refusal> {
        stamp.snapshot.check("snapshot.json", bytes)?;
        let envelope = self.read("snapshot", bytes, TUF_SNAPSHOT_BYTES)?;
        stamp.snapshot.check_version(&envelope)?;
        let listed = meta::listing(&envelope)?;
        Ok(Arc::new(Snapshot {
            pin: stamp.snapshot.clone(),
            authority: self.chain.last.role("snapshot")?.authority(),
            listed,
            envelope,
        }))
    }

    pub(super) fn snapshot(
        &mut self,
        stamp: Stamp,
        snapshot: Arc<Snapshot>,
        bytes: Option<Vec<u8>>,
    ) -> Result<Step<Trusted>, Refusal> {
        let role = self.chain.last.role("snapshot")?;
        let claim = role.claim(&snapshot.envelope);
        self.floors.judge(&claim)?;
        let versions = snapshot.listed.iter();
        let mut listed: BTreeMap<String, Listed> = versions
            .map(|(role, meta)| (role.clone(), Listed::version(meta.version)))
            .collect();
        // 5.5.5: none of what was listed before vanishes or goes back.
        for (role, before) in self
            .floors
            .standing(&claim)
            .iter()
            .flat_map(|floor| &floor.listed)
        {
            match listed.get_mut(role) {
                Some(now) if now.version == before.version => now.clone_from(before),
                Some(now) if now.version > before.version => {}
                now => {
                    let (file, found) = (&snapshot.envelope, now.map(|now| now.version));
                    return Err(went_back(file, role, found, before.version));
                }
            }
        }
        snapshot.envelope.check_expiry(self.now)?;
        self.floors.raise_listing(claim, listed, None);
        self.check_policy("snapshot", &snapshot.envelope)?;
        self.files
            .extend(bytes.map(|bytes| ("snapshot.json".to_owned(), bytes)));
        // Section 5.6.
        let pin = snapshot.pin_of("targets")?;
        let authority = self.chain.last.role("targets")?.authority();
        let known = self.previous.as_ref();
        let known = known.and_then(|known| known.0.roles.get("targets"));
        let fits =
            |known: &&Arc<VerifiedTargets>| known.pin == *pin && known.authority == authority;
        if let Some(known) = known.filter(fits).cloned() {
            return self.finish(&stamp, snapshot, known, None);
        }
        self.ask_targets(stamp, snapshot, FetchFrom::Cache)
    }

    pub(super) fn ask_targets(
        &mut self,
        stamp: Stamp,
        snapshot: Arc<Snapshot>,
        from: FetchFrom,
    ) -> Result<Step<Trusted>, Refusal> {
        let pin = snapshot.pin_of("targets")?;
        let max_bytes = pin.cap("targets.json", TUF_TARGETS_BYTES)?;
        let request = self.chain.last.request("targets", pin.version);
        let at = At::Targets(stamp, snapshot, from);
        Ok(self.want(at, request, max_bytes, from))
    }

    pub(super) fn cached_targets(
        &mut self,
        stamp: Stamp,
        snapshot: Arc<Snapshot>,
        answer: Answer,
    ) -> Result<Step<Trusted>, Refusal> {
        let (role, pin) = (
            self.chain.last.role("targets")?,
            snapshot.pin_of("targets")?,
        );
        let raised = self.floors.last_raised();
        let seen = raised.and_then(|floor| noted(floor, "targets", pin));
        let (counting, budget) = (self.chain.counting(&self.pins.revoked), &mut self.budget);
        let cached = answer.bytes().and_then(|bytes| {
            VerifiedTargets::recall(role, pin, bytes, seen, counting, budget).ok()
        });
        match cached {
            Some(targets) => self.finish(&stamp, snapshot, Arc::new(targets), None),
            None => self.ask_targets(stamp, snapshot, FetchFrom::Source),
        }
    }

    pub(super) fn read_targets(
        &mut self,
        snapshot: &Snapshot,
        bytes: &[u8],
    ) -> Result<VerifiedTargets, Refusal> {
        VerifiedTargets::read(
            self.chain.last.role("targets")?,
            snapshot.pin_of("targets")?,
            bytes,
            self.chain.counting(&self.pins.revoked),
            &mut self.budget,
        )
    }

    pub(super) fn finish(
        &mut self,
        stamp: &Stamp,
        snapshot: Arc<Snapshot>,
        targets: Arc<VerifiedTargets>,
        bytes: Option<Vec<u8>>,
    ) -> Result<Step<Trusted>, Refusal> {
        // The snapshot's, which lists this file.
        let raised = self.floors.last_raised().cloned();
        let mut floor = raised.ok_or_else(|| Format::Tuf.malformed("the update", "no floor"))?;
        note(&mut floor, "targets", &targets.pin, &targets.envelope)?;
        targets.envelope.check_expiry(self.now)?;
        self.check_policy("targets", &targets.envelope)?;
        if let Some(raised) = self.floors.last_raised() {
            raised.clone_from(&floor);
        }
        self.files
            .extend(bytes.map(|bytes| ("targets.json".to_owned(), bytes)));
        // Of the delegated roles those stay that are still listed as they were.
        let previous = self.previous.as_ref();
        let mut roles = previous.map_or_else(BTreeMap::new, |known| known.0.roles.clone());
        roles.retain(|name, role| snapshot.listed.get(name) == Some(&role.pin));
        let expires = stamp.expires.min(self.chain.last.envelope.expires);
        let expires = expires
            .min(snapshot.envelope.expires)
            .min(targets.envelope.expires);
        roles.insert("targets".to_owned(), targets);
        let (chain, timestamp) = (self.chain.clone(), Arc::clone(&stamp.envelope));
        let (revoked, pinned) = (self.pins.revoked.clone(), Arc::clone(&self.pins.root));
        Ok(Step::Done(Trusted(Arc::new(TrustedState {
            chain,
            timestamp,
            snapshot,
            roles,
            expires,
            floor,
            revoked,
            pinned,
            owner: self.pins.root.owner(&self.pins.id),
        }))))
    }
}

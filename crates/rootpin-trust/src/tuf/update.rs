//! The order of the top-level workflow (sections 5.1 to 5.6): what is wanted next, and what is
//! checked when it comes.

mod refused;

use std::mem;
use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::{Budget, ROOT_BYTES, TIMESTAMP_BYTES, TUF_SNAPSHOT_BYTES, TUF_TARGETS_BYTES};
use crate::floors::{Claim, Floors};
use crate::{
    Answer, Code, FetchFrom, Floor, Listed, Progress, Refusal, Request, Step, Subject,
    Verification, Verified, Want,
};

use super::RootPins;
use super::envelope::{Envelope, check_age, malformed};
use super::meta::{self, FileMeta};
use super::root::Chain;
use super::targets::Targets;
use super::trusted::{Snapshot, State, Trusted, note};
use refused::went_back;

/// One update of a repository's top-level metadata.
#[derive(Debug)]
pub struct Update {
    pins: RootPins,
    kept: Vec<Floor>,
    previous: Option<Trusted>,
    now: Timestamp,
    budget: Budget,
    chain: Chain,
    /// Once the chain of roots has ended: the floors that bind what it leads to.
    floors: Option<Floors>,
    /// What was verified and is not cached yet.
    files: Vec<(String, Vec<u8>)>,
    at: At,
}

/// What was asked for last.
#[derive(Debug)]
enum At {
    Begin,
    Root(FetchFrom),
    Timestamp,
    /// Of the version that was seen, with other content.
    CachedTimestamp(Envelope),
    Snapshot(Stamp, FetchFrom),
    Targets(Stamp, Arc<Snapshot>, Floor, FetchFrom),
    /// After a refusal: the source's own root file of a version that is known here.
    OtherRoot(Refusal, u64),
    Over,
}

/// A timestamp that holds.
#[derive(Debug)]
struct Stamp {
    envelope: Arc<Envelope>,
    snapshot: FileMeta,
    expires: Timestamp,
}

impl Verification for Update {
    type Outcome = Trusted;

    fn next(&mut self, answer: Option<Answer>) -> Result<Step<Trusted>, Refusal> {
        match (mem::replace(&mut self.at, At::Over), answer) {
            (At::Begin, None) => Ok(self.begin()),
            (At::Root(FetchFrom::Cache), Some(answer)) => Ok(self.cached_root(&answer)),
            (At::Root(FetchFrom::Source), Some(Answer::Bytes(bytes))) => {
                match self
                    .chain
                    .extend(&bytes, &self.pins.revoked, &mut self.budget)
                {
                    Ok(chain) => self.chain = chain,
                    Err(refusal) => return self.explained(refusal),
                }
                self.files
                    .push((Request::root(self.chain.version()).cache_name(), bytes));
                Ok(self.want_root(FetchFrom::Source))
            }
            (At::Root(FetchFrom::Source), Some(Answer::Missing)) => self.settle_root(),
            (At::Timestamp, Some(answer)) => {
                let step = self.timestamp(&present("timestamp.json", answer)?);
                step.or_else(|refusal| self.explained(refusal))
            }
            (At::OtherRoot(refusal, version), Some(answer)) => {
                self.compare_root(refusal, version, answer)
            }
            (At::CachedTimestamp(twin), Some(answer)) => self.cached_timestamp(&twin, answer),
            (At::Snapshot(stamp, FetchFrom::Cache), Some(answer)) => {
                self.cached_snapshot(stamp, answer)
            }
            (At::Snapshot(stamp, FetchFrom::Source), Some(answer)) => {
                let bytes = listed("snapshot.json", answer)?;
                let snapshot = self.read_snapshot(&stamp, &bytes)?;
                self.snapshot(stamp, snapshot, Some(bytes))
            }
            (At::Targets(stamp, snapshot, floor, FetchFrom::Cache), Some(answer)) => {
                self.cached_targets(stamp, snapshot, floor, answer)
            }
            (At::Targets(stamp, snapshot, floor, FetchFrom::Source), Some(answer)) => {
                let bytes = listed("targets.json", answer)?;
                let targets = self.read_targets(&snapshot, &bytes)?;
                self.finish(&stamp, snapshot, floor, Arc::new(targets), Some(bytes))
            }
            _ => Err(malformed("the update", "an answer that nothing asked for")),
        }
    }

    fn progress(&mut self) -> Option<Verified<Progress>> {
        if self.floors.is_none() {
            let mut floors = Floors::of(&self.kept, &self.chain.signers);
            let claim = self.chain.claim().ok()?;
            floors.judge(&claim).ok()?;
            floors.raise(claim);
            self.floors = Some(floors);
        }
        let (floors, fallen) = self.floors.as_ref()?.parts();
        let news = !fallen.is_empty() || floors.iter().any(|floor| !self.kept.contains(floor));
        let progress = Progress {
            subject: Subject::Tuf,
            floors,
            fallen,
            statements: Vec::new(),
            signers: std::collections::BTreeSet::new(),
        };
        news.then(|| Verified::after_every_check(progress))
    }

    /// Those that came from the source; also of an update that failed.
    fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        mem::take(&mut self.files)
    }
}

impl Update {
    /// Begins, with all floors that are kept for the subject and what the last update of this
    /// process ended with. `now` is the time of the whole update (section 5.1).
    #[must_use]
    pub fn start(
        pins: &RootPins,
        kept: Vec<Floor>,
        previous: Option<Trusted>,
        now: Timestamp,
    ) -> Self {
        // What other pins verified is verified anew.
        let previous = previous.filter(|previous| {
            previous.0.revoked == pins.revoked && previous.0.pinned == pins.root
        });
        let chain = pins.root.chain().clone();
        Self {
            pins: pins.clone(),
            kept,
            previous,
            now,
            budget: Budget::of_tuf(),
            chain,
            floors: None,
            files: Vec::new(),
            at: At::Begin,
        }
    }

    /// Begins with the chain of this process's last update, or with the pinned file.
    fn begin(&mut self) -> Step<Trusted> {
        match self
            .previous
            .as_ref()
            .map(|previous| previous.0.chain.clone())
        {
            Some(chain) => {
                self.chain = chain;
                self.want_root(FetchFrom::Source)
            }
            None => self.want_root(FetchFrom::Cache),
        }
    }

    /// A cached root is one more link of the chain from the pinned file, verified as any other;
    /// where it is none the source is asked.
    fn cached_root(&mut self, answer: &Answer) -> Step<Trusted> {
        let next = match answer {
            Answer::Bytes(bytes) => self
                .chain
                .extend(bytes, &self.pins.revoked, &mut self.budget)
                .ok(),
            Answer::Missing => None,
        };
        match next {
            Some(next) => {
                self.chain = next;
                self.want_root(FetchFrom::Cache)
            }
            None => self.want_root(FetchFrom::Source),
        }
    }

    /// Section 5.3.3: one version at a time until there is no next one.
    fn want_root(&mut self, from: FetchFrom) -> Step<Trusted> {
        let request = Request::root(self.chain.next_version());
        self.want(At::Root(from), request, ROOT_BYTES, from)
    }

    fn settle_root(&mut self) -> Result<Step<Trusted>, Refusal> {
        self.chain.check_revoked(&self.pins.revoked)?;
        let mut floors = Floors::of(&self.kept, &self.chain.signers);
        floors.check(self.chain.claim()?)?;
        self.floors = Some(floors);
        self.check_policy("root", &self.chain.last.envelope)?;
        self.chain.last.envelope.check_expiry(self.now)?;
        Ok(self.want(
            At::Timestamp,
            Request::newest("timestamp"),
            TIMESTAMP_BYTES,
            FetchFrom::Source,
        ))
    }

    /// Section 5.4.
    fn timestamp(&mut self, bytes: &[u8]) -> Result<Step<Trusted>, Refusal> {
        let envelope = self.read_timestamp(bytes)?;
        let role = self.chain.last.role("timestamp")?;
        let claim = envelope.claim(role);
        let standing = self
            .floors
            .as_ref()
            .and_then(|floors| floors.standing(&claim))
            .cloned();
        match standing {
            // 5.4.3.1: of the same version the new one is discarded, and the one that was seen is
            // gone on with.
            Some(floor)
                if floor.version == envelope.version && floor.signed != envelope.statement =>
            {
                let previous = self
                    .previous
                    .as_ref()
                    .map(|previous| Arc::clone(&previous.0.timestamp));
                match previous.filter(|previous| previous.statement == floor.signed) {
                    Some(previous) => {
                        role.signers(
                            &previous,
                            self.chain.counting(&self.pins.revoked),
                            &mut self.budget,
                        )?;
                        self.admit_timestamp(previous, None)
                    }
                    None => Ok(self.want(
                        At::CachedTimestamp(envelope),
                        Request::newest("timestamp"),
                        TIMESTAMP_BYTES,
                        FetchFrom::Cache,
                    )),
                }
            }
            _ => self.admit_timestamp(Arc::new(envelope), Some(bytes)),
        }
    }

    fn cached_timestamp(
        &mut self,
        twin: &Envelope,
        answer: Answer,
    ) -> Result<Step<Trusted>, Refusal> {
        let cached = match answer {
            Answer::Bytes(bytes) => self.read_timestamp(&bytes).ok(),
            Answer::Missing => None,
        };
        let floors = self
            .floors
            .as_ref()
            .ok_or_else(|| malformed("the update", "no root"))?;
        let claim = twin.claim(self.chain.last.role("timestamp")?);
        let is_seen = |cached: &Envelope| {
            floors
                .standing(&claim)
                .is_some_and(|floor| floor.signed == cached.statement)
        };
        match cached.filter(is_seen) {
            Some(cached) => self.admit_timestamp(Arc::new(cached), None),
            // Without the one that was seen the other is judged, and refused.
            None => Err(floors
                .judge(&claim)
                .err()
                .unwrap_or_else(|| malformed("timestamp.json", "other content than was seen"))),
        }
    }

    fn read_timestamp(&mut self, bytes: &[u8]) -> Result<Envelope, Refusal> {
        let envelope = Envelope::read(
            "timestamp.json",
            "timestamp",
            bytes,
            TIMESTAMP_BYTES,
            &mut self.budget,
        )?;
        self.chain.last.role("timestamp")?.signers(
            &envelope,
            self.chain.counting(&self.pins.revoked),
            &mut self.budget,
        )?;
        Ok(envelope)
    }

    fn admit_timestamp(
        &mut self,
        envelope: Arc<Envelope>,
        bytes: Option<&[u8]>,
    ) -> Result<Step<Trusted>, Refusal> {
        let role = self.chain.last.role("timestamp")?;
        let claim = envelope.claim(role);
        let floors = self
            .floors
            .as_mut()
            .ok_or_else(|| malformed("the update", "no root"))?;
        floors.judge(&claim)?;
        let standing = floors.standing(&claim).cloned();
        let snapshot = meta::listing(&envelope)?
            .remove("snapshot")
            .ok_or_else(|| envelope.malformed("no meta of the snapshot"))?;
        // 5.4.3.2, also where the snapshot itself never came.
        let seen = standing
            .as_ref()
            .and_then(|floor| floor.listed.get("snapshot"))
            .map(|listed| listed.version);
        if let Some(seen) = seen.filter(|seen| snapshot.version < *seen) {
            return Err(went_back(
                &envelope,
                "snapshot",
                Some(snapshot.version),
                seen,
            ));
        }
        let since = standing
            .filter(|floor| floor.version == envelope.version)
            .and_then(|floor| floor.since)
            .unwrap_or(self.now);
        let ceiling = self
            .pins
            .max_age
            .and_then(|age| since.checked_add(age).ok());
        let expires = ceiling.map_or(envelope.expires, |ceiling| ceiling.min(envelope.expires));
        envelope.check_expiry(self.now)?;
        check_age(&envelope, since, ceiling, self.now)?;
        raise(
            floors,
            claim,
            [(
                "snapshot".to_owned(),
                Listed {
                    version: snapshot.version,
                    signed: None,
                    pin: None,
                },
            )]
            .into(),
            Some(since),
        );
        self.check_policy("timestamp", &envelope)?;
        if let Some(bytes) = bytes {
            self.files
                .push(("timestamp.json".to_owned(), bytes.to_vec()));
        }
        self.want_snapshot(Stamp {
            envelope,
            snapshot,
            expires,
        })
    }

    /// Section 5.5. A snapshot that still is what the timestamp pins is not verified twice under
    /// the same keys.
    fn want_snapshot(&mut self, stamp: Stamp) -> Result<Step<Trusted>, Refusal> {
        let authority = self.chain.last.role("snapshot")?.authority();
        let known = self
            .previous
            .as_ref()
            .map(|previous| Arc::clone(&previous.0.snapshot));
        if let Some(known) =
            known.filter(|known| known.pin == stamp.snapshot && known.authority == authority)
        {
            return self.snapshot(stamp, known, None);
        }
        self.ask_snapshot(stamp, FetchFrom::Cache)
    }

    fn ask_snapshot(&mut self, stamp: Stamp, from: FetchFrom) -> Result<Step<Trusted>, Refusal> {
        let max_bytes = stamp.snapshot.cap("snapshot.json", TUF_SNAPSHOT_BYTES)?;
        let request = self.chain.last.request("snapshot", stamp.snapshot.version);
        Ok(self.want(At::Snapshot(stamp, from), request, max_bytes, from))
    }

    fn cached_snapshot(&mut self, stamp: Stamp, answer: Answer) -> Result<Step<Trusted>, Refusal> {
        let cached = match answer {
            Answer::Bytes(bytes) => self.read_snapshot(&stamp, &bytes).ok(),
            Answer::Missing => None,
        };
        match cached {
            Some(snapshot) => self.snapshot(stamp, snapshot, None),
            None => self.ask_snapshot(stamp, FetchFrom::Source),
        }
    }

    fn read_snapshot(&mut self, stamp: &Stamp, bytes: &[u8]) -> Result<Arc<Snapshot>, Refusal> {
        stamp.snapshot.check("snapshot.json", bytes)?;
        let envelope = Envelope::read(
            "snapshot.json",
            "snapshot",
            bytes,
            TUF_SNAPSHOT_BYTES,
            &mut self.budget,
        )?;
        let role = self.chain.last.role("snapshot")?;
        role.signers(
            &envelope,
            self.chain.counting(&self.pins.revoked),
            &mut self.budget,
        )?;
        stamp.snapshot.check_version(&envelope)?;
        let listed = meta::listing(&envelope)?;
        Ok(Arc::new(Snapshot {
            pin: stamp.snapshot.clone(),
            authority: role.authority(),
            listed,
            envelope,
        }))
    }

    fn snapshot(
        &mut self,
        stamp: Stamp,
        snapshot: Arc<Snapshot>,
        bytes: Option<Vec<u8>>,
    ) -> Result<Step<Trusted>, Refusal> {
        let role = self.chain.last.role("snapshot")?;
        let claim = snapshot.envelope.claim(role);
        let floors = self
            .floors
            .as_mut()
            .ok_or_else(|| malformed("the update", "no root"))?;
        floors.judge(&claim)?;
        let mut listed: std::collections::BTreeMap<String, Listed> = snapshot
            .listed
            .iter()
            .map(|(role, meta)| {
                (
                    role.clone(),
                    Listed {
                        version: meta.version,
                        signed: None,
                        pin: None,
                    },
                )
            })
            .collect();
        // 5.5.5: none of what was listed before vanishes or goes back.
        for (role, before) in floors
            .standing(&claim)
            .into_iter()
            .flat_map(|floor| &floor.listed)
        {
            match listed.get_mut(role) {
                Some(now) if now.version == before.version => now.clone_from(before),
                Some(now) if now.version > before.version => {}
                now => {
                    return Err(went_back(
                        &snapshot.envelope,
                        role,
                        now.map(|now| now.version),
                        before.version,
                    ));
                }
            }
        }
        snapshot.envelope.check_expiry(self.now)?;
        raise(floors, claim, listed, None);
        let floor = floors
            .last_raised()
            .cloned()
            .ok_or_else(|| malformed("the update", "no floor"))?;
        self.check_policy("snapshot", &snapshot.envelope)?;
        self.files
            .extend(bytes.map(|bytes| ("snapshot.json".to_owned(), bytes)));
        // Section 5.6.
        let pin = snapshot.pin_of("targets")?;
        let authority = self.chain.last.role("targets")?.authority();
        let known = self
            .previous
            .as_ref()
            .and_then(|previous| previous.0.roles.get("targets").cloned());
        if let Some(known) = known.filter(|known| known.pin == *pin && known.authority == authority)
        {
            return self.finish(&stamp, snapshot, floor, known, None);
        }
        self.ask_targets(stamp, snapshot, floor, FetchFrom::Cache)
    }

    fn ask_targets(
        &mut self,
        stamp: Stamp,
        snapshot: Arc<Snapshot>,
        floor: Floor,
        from: FetchFrom,
    ) -> Result<Step<Trusted>, Refusal> {
        let pin = snapshot.pin_of("targets")?;
        let max_bytes = pin.cap("targets.json", TUF_TARGETS_BYTES)?;
        let request = self.chain.last.request("targets", pin.version);
        Ok(self.want(
            At::Targets(stamp, snapshot, floor, from),
            request,
            max_bytes,
            from,
        ))
    }

    fn cached_targets(
        &mut self,
        stamp: Stamp,
        snapshot: Arc<Snapshot>,
        floor: Floor,
        answer: Answer,
    ) -> Result<Step<Trusted>, Refusal> {
        let cached = match answer {
            Answer::Bytes(bytes) => {
                let (role, pin) = (
                    self.chain.last.role("targets")?,
                    snapshot.pin_of("targets")?,
                );
                Targets::recall(
                    role,
                    pin,
                    bytes,
                    &floor,
                    self.chain.counting(&self.pins.revoked),
                    &mut self.budget,
                )
                .ok()
            }
            Answer::Missing => None,
        };
        match cached {
            Some(targets) => self.finish(&stamp, snapshot, floor, Arc::new(targets), None),
            None => self.ask_targets(stamp, snapshot, floor, FetchFrom::Source),
        }
    }

    fn read_targets(&mut self, snapshot: &Snapshot, bytes: &[u8]) -> Result<Targets, Refusal> {
        Targets::read(
            self.chain.last.role("targets")?,
            snapshot.pin_of("targets")?,
            bytes,
            self.chain.counting(&self.pins.revoked),
            &mut self.budget,
        )
    }

    fn finish(
        &mut self,
        stamp: &Stamp,
        snapshot: Arc<Snapshot>,
        mut floor: Floor,
        targets: Arc<Targets>,
        bytes: Option<Vec<u8>>,
    ) -> Result<Step<Trusted>, Refusal> {
        note(&mut floor, "targets", &targets.pin, &targets.envelope)?;
        targets.envelope.check_expiry(self.now)?;
        self.check_policy("targets", &targets.envelope)?;
        if let Some(raised) = self.floors.as_mut().and_then(Floors::last_raised) {
            raised.clone_from(&floor);
        }
        self.files
            .extend(bytes.map(|bytes| ("targets.json".to_owned(), bytes)));
        // Of the delegated roles those stay that are still listed as they were.
        let previous = self
            .previous
            .as_ref()
            .map(|previous| previous.0.roles.clone())
            .unwrap_or_default();
        let mut roles = previous;
        roles.retain(|name, role| snapshot.listed.get(name) == Some(&role.pin));
        let expires = [
            self.chain.last.envelope.expires,
            stamp.expires,
            snapshot.envelope.expires,
            targets.envelope.expires,
        ];
        let expires = expires.into_iter().min().unwrap_or(self.now);
        roles.insert("targets".to_owned(), targets);
        let (chain, timestamp) = (self.chain.clone(), Arc::clone(&stamp.envelope));
        let (revoked, pinned) = (self.pins.revoked.clone(), Arc::clone(&self.pins.root));
        Ok(Step::Done(Trusted(Arc::new(State {
            chain,
            timestamp,
            snapshot,
            roles,
            expires,
            floor,
            revoked,
            pinned,
        }))))
    }

    fn want(
        &mut self,
        at: At,
        request: Request,
        max_bytes: usize,
        from: FetchFrom,
    ) -> Step<Trusted> {
        self.at = at;
        Step::Fetch(Want {
            request,
            max_bytes,
            from,
        })
    }
}

fn raise(
    floors: &mut Floors,
    claim: Claim<'_>,
    listed: std::collections::BTreeMap<String, Listed>,
    since: Option<Timestamp>,
) {
    floors.raise(claim);
    if let Some(floor) = floors.last_raised() {
        floor.listed = listed;
        floor.since = since;
    }
}

/// A file that signed metadata lists: without it the source is half published.
pub(super) fn listed(file: &str, answer: Answer) -> Result<Vec<u8>, Refusal> {
    present(file, answer).map_err(Refusal::of_source_behind)
}

/// A file that must be there.
fn present(file: &str, answer: Answer) -> Result<Vec<u8>, Refusal> {
    match answer {
        Answer::Bytes(bytes) => Ok(bytes),
        Answer::Missing => {
            let hint = "the repository at this source is not complete: check the address, or have it published again";
            Err(Refusal::new(
                Code::RoleMissing,
                format!("no {file}"),
                "the file",
                hint,
            ))
        }
    }
}

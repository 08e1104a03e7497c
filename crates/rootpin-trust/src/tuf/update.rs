//! The order of the top-level workflow (sections 5.1 to 5.6): what is wanted next, and what is
//! checked when it comes.

mod listed;
mod refused;

use std::mem;
use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::{Budget, ROOT_BYTES, TIMESTAMP_BYTES};
use crate::envelope::Envelope;
use crate::floors::Floors;
use crate::format::Format;
use crate::meta::{self, FileMeta};
use crate::{
    Answer, FetchFrom, Floor, Listed, Progress, Refusal, Request, Step, Verification, Verified,
    Want,
};

use super::RootPins;
use super::root::SignedChain;
use super::trusted::{Snapshot, Trusted};
use refused::{check_age, went_back};

/// One update of a repository's top-level metadata.
#[derive(Debug)]
pub struct Update {
    pins: RootPins,
    kept: Vec<Floor>,
    previous: Option<Trusted>,
    now: Timestamp,
    budget: Budget,
    chain: SignedChain,
    /// The floors that bind what the chain leads to.
    floors: Floors,
    /// Whether the chain of roots has ended, and its last file is among the floors.
    settled: bool,
    /// The verified files that are not cached yet.
    files: Vec<(String, Vec<u8>)>,
    at: At,
}

/// The file that was asked for last, with the state that its answer needs.
#[derive(Debug)]
enum At {
    Begin,
    Root(FetchFrom),
    Timestamp,
    /// Of the version that was seen, with other content.
    CachedTimestamp(Envelope),
    Snapshot(Stamp, FetchFrom),
    Targets(Stamp, Arc<Snapshot>, FetchFrom),
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
                let step = self.timestamp(&answer.present("timestamp")?);
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
                let bytes = answer.listed("snapshot")?;
                let snapshot = self.read_snapshot(&stamp, &bytes)?;
                self.snapshot(stamp, snapshot, Some(bytes))
            }
            (At::Targets(stamp, snapshot, FetchFrom::Cache), Some(answer)) => {
                self.cached_targets(stamp, snapshot, answer)
            }
            (At::Targets(stamp, snapshot, FetchFrom::Source), Some(answer)) => {
                let bytes = answer.listed("targets")?;
                let targets = self.read_targets(&snapshot, &bytes)?;
                self.finish(&stamp, snapshot, Arc::new(targets), Some(bytes))
            }
            _ => Err(Format::Tuf.malformed("the update", "an answer that nothing asked for")),
        }
    }

    fn progress(&mut self) -> Option<Verified<Progress>> {
        if !self.settled {
            self.settle_floors().ok()?;
        }
        let (floors, fallen) = self.floors.parts();
        let progress = Progress::of_tuf(floors, fallen);
        let news = progress.is_new_to(&self.kept);
        news.then(|| Verified::after_every_check(progress))
    }

    /// Those that came from the source; also of an update that failed. A chain of roots that
    /// contradicts the floors is another one than the host has seen, and must not replace it.
    fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        let files = mem::take(&mut self.files);
        if self.settled || self.settle_floors().is_ok() {
            files
        } else {
            Vec::new()
        }
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
            previous,
            now,
            budget: Budget::of_tuf(),
            floors: chain.floors(&kept, pins.root.owner(&pins.id)),
            settled: false,
            kept,
            chain,
            files: Vec::new(),
            at: At::Begin,
        }
    }

    /// Begins with the chain of this process's last update, or with the pinned file. A root may have
    /// been cached since, of an update that broke off.
    fn begin(&mut self) -> Step<Trusted> {
        if let Some(previous) = &self.previous {
            self.chain = previous.0.chain.clone();
        }
        self.want_root(FetchFrom::Cache)
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
        let request = Request::root(self.chain.last.next_version());
        self.want(At::Root(from), request, ROOT_BYTES, from)
    }

    fn settle_root(&mut self) -> Result<Step<Trusted>, Refusal> {
        self.chain.last.check_revoked(&self.pins.revoked)?;
        self.settle_floors()?;
        self.check_policy("root", &self.chain.last.envelope)?;
        self.chain.last.envelope.check_expiry(self.now)?;
        let request = Request::newest("timestamp");
        Ok(self.want(At::Timestamp, request, TIMESTAMP_BYTES, FetchFrom::Source))
    }

    fn settle_floors(&mut self) -> Result<(), Refusal> {
        let owner = self.pins.root.owner(&self.pins.id);
        self.floors = self.chain.floors(&self.kept, owner);
        self.floors.check(self.chain.claim())?;
        self.settled = true;
        Ok(())
    }

    /// A top-level role's file: its form, and enough signatures.
    fn read(&mut self, role: &str, bytes: &[u8], most: usize) -> Result<Envelope, Refusal> {
        let (file, budget) = (format!("{role}.json"), &mut self.budget);
        let envelope = Envelope::read(Format::Tuf, &file, role, bytes, most, budget)?;
        let counting = self.chain.counting(&self.pins.revoked);
        self.chain
            .last
            .role(role)?
            .signers(&envelope, counting, budget)?;
        Ok(envelope)
    }

    /// Section 5.4.
    fn timestamp(&mut self, bytes: &[u8]) -> Result<Step<Trusted>, Refusal> {
        let envelope = self.read("timestamp", bytes, TIMESTAMP_BYTES)?;
        let role = self.chain.last.role("timestamp")?;
        let claim = role.claim(&envelope);
        match self.floors.standing(&claim) {
            // 5.4.3.1: of the same version the new one is discarded, and the one that was seen is
            // gone on with.
            Some(floor)
                if floor.version == envelope.version && floor.signed != envelope.statement =>
            {
                let previous = self.previous.as_ref().map(|known| &known.0.timestamp);
                let seen = previous
                    .filter(|known| known.statement == floor.signed)
                    .cloned();
                let Some(seen) = seen else {
                    let (at, request) =
                        (At::CachedTimestamp(envelope), Request::newest("timestamp"));
                    return Ok(self.want(at, request, TIMESTAMP_BYTES, FetchFrom::Cache));
                };
                let counting = self.chain.counting(&self.pins.revoked);
                role.signers(&seen, counting, &mut self.budget)?;
                self.admit_timestamp(seen, None)
            }
            _ => self.admit_timestamp(Arc::new(envelope), Some(bytes)),
        }
    }

    fn cached_timestamp(
        &mut self,
        twin: &Envelope,
        answer: Answer,
    ) -> Result<Step<Trusted>, Refusal> {
        let bytes = answer.bytes();
        let cached = bytes.and_then(|bytes| self.read("timestamp", &bytes, TIMESTAMP_BYTES).ok());
        let claim = self.chain.last.role("timestamp")?.claim(twin);
        let seen = self.floors.standing(&claim).map(|floor| floor.signed);
        match cached.filter(|cached| Some(cached.statement) == seen) {
            Some(cached) => self.admit_timestamp(Arc::new(cached), None),
            // Without the one that was seen the other is judged, and refused.
            None => Err(self.floors.judge(&claim).err().unwrap_or_else(|| {
                Format::Tuf.malformed("timestamp.json", "other content than was seen")
            })),
        }
    }

    fn admit_timestamp(
        &mut self,
        envelope: Arc<Envelope>,
        bytes: Option<&[u8]>,
    ) -> Result<Step<Trusted>, Refusal> {
        let role = self.chain.last.role("timestamp")?;
        let claim = role.claim(&envelope);
        self.floors.judge(&claim)?;
        let standing = self.floors.standing(&claim);
        let snapshot = meta::listing(&envelope)?
            .remove("snapshot")
            .ok_or_else(|| envelope.malformed("no meta of the snapshot"))?;
        // 5.4.3.2, also where the snapshot itself never came.
        let seen = standing
            .as_ref()
            .and_then(|floor| floor.listed.get("snapshot"))
            .map(|listed| listed.version);
        if let Some(seen) = seen.filter(|seen| snapshot.version < *seen) {
            let found = Some(snapshot.version);
            return Err(went_back(&envelope, "snapshot", found, seen));
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
        let listed = [("snapshot".to_owned(), Listed::version(snapshot.version))].into();
        self.floors.raise_listing(claim, listed, Some(since));
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

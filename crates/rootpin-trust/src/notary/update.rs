//! The order of the workflow: what is wanted next, and what is checked when it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use jiff::Timestamp;

use crate::budget::{Budget, ROOT_BYTES, SNAPSHOT_BYTES, TARGETS_BYTES, TIMESTAMP_BYTES};
use crate::envelope::Envelope;
use crate::floors::Floors;
use crate::format::Format;
use crate::image::{Digest, Repository};
use crate::meta::FileMeta;
use crate::refusal::shown;
use crate::role::Role;
use crate::{
    Answer, Code, Collection, FetchFrom, Floor, KeyId, Progress, Refusal, Request, Step, Subject,
    Verification, Verified, Want,
};

use super::KeyPins;
use super::root::RootChain;
use super::targets::{TargetsFile, paths_within};

/// One verification of one repository's metadata.
#[derive(Debug)]
pub struct GunUpdate {
    gun: Repository,
    pins: KeyPins,
    /// All floors kept for the repository.
    kept: Vec<Floor>,
    now: Timestamp,
    budget: Budget,
    /// Whether the chain of roots goes through the very root that this host has a floor for.
    known_root: bool,
    /// The progress so far.
    verified: Option<Progress>,
    /// Once all is verified: the files that were used.
    files: Option<Vec<(String, Vec<u8>)>>,
    asked: Asked,
}

/// The file that was asked for last, with the state that its answer needs.
#[derive(Debug)]
enum Asked {
    Begin,
    CachedRoot,
    LatestRoot,
    NextRoot(RootChain),
    Timestamp(Descent),
    /// The file of a targets role; of none, the snapshot itself.
    Listed(Descent, Option<Role>, FileMeta, FetchFrom),
    Over,
}

/// The files verified so far below a root that holds.
#[derive(Debug)]
struct Descent {
    chain: RootChain,
    floors: Floors,
    expires: Timestamp,
    versions: BTreeMap<String, u64>,
    files: Vec<(String, Vec<u8>)>,
    signers: BTreeSet<KeyId>,
    statements: Vec<Digest>,
    snapshot: Snapshot,
    /// Prefixes of the names that the next targets role on the way may give.
    paths: Vec<String>,
}

/// The pin of each role's file in the snapshot, if it can be read.
type Snapshot = BTreeMap<String, Option<FileMeta>>;

/// A step of an update, which ends with the repository's tags.
type NextStep = Step<Verified<Collection>>;

impl Verification for GunUpdate {
    type Outcome = Verified<Collection>;

    fn next(&mut self, answer: Option<Answer>) -> Result<NextStep, Refusal> {
        match (mem::replace(&mut self.asked, Asked::Over), answer) {
            (Asked::Begin, None) => {
                let request = Request::newest("root");
                Ok(self.want(Asked::CachedRoot, request, ROOT_BYTES, FetchFrom::Cache))
            }
            (Asked::CachedRoot, Some(answer)) => Ok(self.cached_root(answer)),
            (Asked::LatestRoot, Some(Answer::Missing)) => Err(self.no_repository()),
            (Asked::LatestRoot, Some(Answer::Bytes(bytes))) => {
                let chain = RootChain::begin(bytes, &self.gun, &self.pins, &mut self.budget)?;
                self.known_root = self.is_known(&chain);
                Ok(self.want_next_root(chain))
            }
            (Asked::NextRoot(chain), Some(Answer::Bytes(bytes))) => {
                let next = chain.extend(bytes, &self.gun, &self.pins, &mut self.budget);
                // Behind a first root that is pinned, one without a pinned key makes the repository
                // nobody else's. Where this host knows it, its root was changed.
                let chain = next.map_err(|refusal| Refusal {
                    unpinned_root: refusal.unpinned_root && self.known_root,
                    ..refusal
                })?;
                Ok(self.want_next_root(chain))
            }
            (Asked::NextRoot(chain), Some(Answer::Missing)) => self.settle_root(chain),
            (Asked::Timestamp(walk), Some(answer)) => {
                self.timestamp(walk, answer.present("timestamp")?)
            }
            // A cached file with another hash is an older one.
            (Asked::Listed(walk, role, meta, FetchFrom::Cache), Some(answer)) if !matches!(&answer, Answer::Bytes(bytes) if meta.fits(bytes)) => {
                self.want_listed(walk, role, meta, FetchFrom::Source)
            }
            (Asked::Listed(walk, role, meta, _), Some(answer)) => {
                let name = role.as_ref().map_or("snapshot", |role| role.name.as_str());
                let bytes = answer.listed(name)?;
                meta.check(&format!("{name}.json"), &bytes)?;
                match role {
                    None => self.snapshot(walk, bytes),
                    Some(role) => self.targets(walk, &role, bytes),
                }
            }
            _ => Err(Format::Notary.malformed("the update", "an answer that nothing asked for")),
        }
    }

    /// Of an update that failed, nothing unless the chain of roots goes through the root that was
    /// seen of this very repository: no file of Notary's says whose it is, and one that is passed
    /// off as another's must not raise its floors. Of one that ended well all of it, new or not:
    /// what was verified counts as seen, whatever was reset meanwhile.
    fn progress(&mut self) -> Option<Verified<Progress>> {
        let complete = self.files.is_some();
        let verified = self.verified.take();
        let verified = verified.filter(|_| complete || self.known_root)?;
        let news = complete || verified.is_new_to(&self.kept);
        news.then(|| Verified::after_every_check(verified))
    }

    /// All that were used: `root.json`, `timestamp.json`, `targets/releases.json`, …
    fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        self.files.as_mut().map(mem::take).unwrap_or_default()
    }
}

impl GunUpdate {
    /// Begins, with all floors that are kept for the repository.
    #[must_use]
    pub fn start(gun: &Repository, pins: &KeyPins, kept: Vec<Floor>, now: Timestamp) -> Self {
        Self {
            gun: gun.clone(),
            pins: pins.clone(),
            kept,
            now,
            budget: Budget::new(),
            known_root: false,
            verified: None,
            files: None,
            asked: Asked::Begin,
        }
    }

    /// A cached root is a start only if a floor confirms its very bytes and it is within the pins
    /// as they are today.
    fn cached_root(&mut self, answer: Answer) -> NextStep {
        // Its cost is its own: a hostile cache doesn't use up what the server's answers may cost.
        let cached = answer.bytes().and_then(|bytes| {
            RootChain::begin(bytes, &self.gun, &self.pins, &mut Budget::new()).ok()
        });
        if let Some(chain) = cached.filter(|chain| self.is_known(chain)) {
            self.known_root = true;
            return self.want_next_root(chain);
        }
        let request = Request::newest("root");
        self.want(Asked::LatestRoot, request, ROOT_BYTES, FetchFrom::Source)
    }

    fn read(&mut self, role: &str, bytes: &[u8], most: usize) -> Result<Envelope, Refusal> {
        let file = format!("{role}.json");
        Envelope::read(Format::Notary, &file, role, bytes, most, &mut self.budget)
    }

    fn note(&mut self, floors: &Floors, statements: &[Digest], signers: &BTreeSet<KeyId>) {
        let (floors, fallen) = floors.parts();
        self.verified = Some(Progress {
            subject: Subject::Gun(self.gun.clone()),
            floors,
            fallen,
            statements: statements.to_vec(),
            signers: signers.clone(),
        });
    }

    /// The floors under every pinned key, wherever the chain begins: on first contact it may begin
    /// after a rotation, and the former key, while it is pinned, must not open a second history.
    fn floors_of(&self, chain: &RootChain) -> Floors {
        let keys = chain.keys.union(&self.pins.keys).copied().collect();
        Floors::of(&self.kept, &keys)
    }

    fn is_known(&self, chain: &RootChain) -> bool {
        self.floors_of(chain)
            .confirm(chain.last.envelope.version, &chain.last.envelope.statement)
    }

    /// Root comes first, always, and one version at a time until there is no next one.
    fn want_next_root(&mut self, chain: RootChain) -> NextStep {
        let mut floors = self.floors_of(&chain);
        if floors
            .check(chain.last.role.claim(&chain.last.envelope))
            .is_ok()
        {
            self.note(&floors, &[], &BTreeSet::new());
        }
        let request = Request::root(chain.last.next_version());
        self.want(
            Asked::NextRoot(chain),
            request,
            ROOT_BYTES,
            FetchFrom::Source,
        )
    }

    fn settle_root(&mut self, chain: RootChain) -> Result<NextStep, Refusal> {
        let mut floors = self.floors_of(&chain);
        floors.check(chain.last.role.claim(&chain.last.envelope))?;
        chain.check_dates(&self.gun, &self.pins, self.now, &mut self.budget)?;
        let walk = Descent {
            floors,
            expires: chain.last.envelope.expires,
            versions: BTreeMap::from([("root".to_owned(), chain.last.envelope.version)]),
            files: Vec::new(),
            signers: BTreeSet::new(),
            statements: Vec::new(),
            snapshot: Snapshot::new(),
            // The role targets may give any name.
            paths: vec![String::new()],
            chain,
        };
        let (asked, request) = (Asked::Timestamp(walk), Request::newest("timestamp"));
        Ok(self.want(asked, request, TIMESTAMP_BYTES, FetchFrom::Source))
    }

    fn timestamp(&mut self, mut walk: Descent, bytes: Vec<u8>) -> Result<NextStep, Refusal> {
        let file = self.read("timestamp", &bytes, TIMESTAMP_BYTES)?;
        let role = walk.chain.last.role("timestamp")?.clone();
        self.admit(&mut walk, &role, &file, bytes)?;
        let meta = file.get("meta").and_then(|meta| meta.get("snapshot"));
        let meta = meta
            .and_then(|meta| FileMeta::read(Format::Notary, meta))
            .ok_or_else(|| file.malformed("no length and sha256 of the snapshot"))?;
        self.want_listed(walk, None, meta, FetchFrom::Cache)
    }

    fn snapshot(&mut self, mut walk: Descent, bytes: Vec<u8>) -> Result<NextStep, Refusal> {
        let file = self.read("snapshot", &bytes, SNAPSHOT_BYTES)?;
        let role = walk.chain.last.role("snapshot")?.clone();
        self.admit(&mut walk, &role, &file, bytes)?;
        let Some(listed) = file.get("meta") else {
            return Err(file.malformed("no \"meta\""));
        };
        walk.snapshot = listed
            .members()
            .into_iter()
            .flatten()
            .filter(|(_, meta)| !meta.is_null())
            .map(|(name, meta)| (name.into_owned(), FileMeta::read(Format::Notary, meta)))
            .collect();
        let root = walk
            .snapshot
            .get("root")
            .and_then(Option::as_ref)
            .ok_or_else(|| file.malformed("no length and sha256 of root"))?;
        if !root.fits(&walk.chain.bytes) {
            let pinned = root.sha256().map_or(String::new(), |hash| hash.to_string());
            let found = format!("{} for a root file with {pinned}", file.shown());
            let wanted = format!(
                "one for the newest root file, version {} with {}",
                walk.chain.last.envelope.version,
                Digest::of(&walk.chain.bytes)
            );
            let hint = "the trust server mixes files of different times; if the root was published just now, try again";
            return Err(Refusal::new(Code::Rollback, found, wanted, hint).of_source_behind());
        }
        let role = walk.chain.last.role("targets")?.clone();
        self.want_targets(walk, role)
    }

    fn targets(
        &mut self,
        mut walk: Descent,
        role: &Role,
        bytes: Vec<u8>,
    ) -> Result<NextStep, Refusal> {
        let file = TargetsFile::read(&role.name, &bytes, &mut self.budget)?;
        let mut signers = self.admit(&mut walk, role, &file.envelope, bytes)?;
        walk.signers.append(&mut signers);
        walk.statements.push(file.envelope.statement);
        self.note(&walk.floors, &walk.statements, &walk.signers);
        let Some(child) = child_towards(&role.name, &self.pins.role) else {
            return self.finish(walk, file, &role.name);
        };
        let (next, within) = file.delegation(&role.name, &child)?;
        walk.paths = paths_within(within, &walk.paths);
        self.want_targets(walk, next)
    }

    fn finish(
        &mut self,
        mut walk: Descent,
        file: TargetsFile,
        role: &str,
    ) -> Result<NextStep, Refusal> {
        // A role on the way, but not the required one: the policy's role is no role of Notary's.
        if role != self.pins.role {
            return Err(no_role(
                &self.pins.role,
                &format!("{role} at the end of the way"),
            ));
        }
        let targets = file
            .targets
            .into_iter()
            .filter(|(tag, _)| walk.paths.iter().any(|prefix| tag.starts_with(prefix)))
            .collect();
        let newest = self
            .pins
            .max_age
            .and_then(|age| self.now.checked_add(age).ok());
        let expires = newest.map_or(walk.expires, |newest| newest.min(walk.expires));
        walk.files.insert(
            0,
            ("root.json".to_owned(), mem::take(&mut walk.chain.bytes)),
        );
        let collection = Collection {
            gun: self.gun.clone(),
            role: role.to_owned(),
            targets,
            untagged: BTreeSet::new(),
            expires,
            root_keys: walk.chain.last.role.ids(),
            signers_needed: walk.signers.len(),
            signers: walk.signers.clone(),
            versions: mem::take(&mut walk.versions),
        };
        self.note(&walk.floors, &walk.statements, &walk.signers);
        self.files = Some(walk.files);
        Ok(Step::Done(Verified::after_every_check(collection)))
    }

    /// The checks of every file below root: threshold, floor, expiry.
    fn admit(
        &mut self,
        walk: &mut Descent,
        role: &Role,
        file: &Envelope,
        bytes: Vec<u8>,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        let signers = role.signers(file, self.pins.counting(), &mut self.budget)?;
        walk.floors.check(role.claim(file))?;
        file.check_expiry(self.now)?;
        walk.expires = walk.expires.min(file.expires);
        walk.versions.insert(role.name.clone(), file.version);
        walk.files.push((file.file.clone(), bytes));
        // A file that names images binds together with its statement.
        if matches!(role.name.as_str(), "timestamp" | "snapshot") {
            self.note(&walk.floors, &walk.statements, &walk.signers);
        }
        Ok(signers)
    }

    fn want_targets(&mut self, walk: Descent, role: Role) -> Result<NextStep, Refusal> {
        // Off-spec: Notary goes on with a warning without a delegation that the snapshot doesn't
        // name.
        let Some(entry) = walk.snapshot.get(&role.name) else {
            return Err(no_role(&role.name, "a snapshot that doesn't name it"));
        };
        let meta = entry.clone().ok_or_else(|| {
            let what = format!("no length and sha256 of {}", shown(&role.name));
            Format::Notary.malformed("snapshot.json", &what)
        })?;
        self.want_listed(walk, Some(role), meta, FetchFrom::Cache)
    }

    fn want_listed(
        &mut self,
        walk: Descent,
        role: Option<Role>,
        meta: FileMeta,
        from: FetchFrom,
    ) -> Result<NextStep, Refusal> {
        let (name, most_bytes) = match &role {
            Some(role) => (role.name.as_str(), TARGETS_BYTES),
            None => ("snapshot", SNAPSHOT_BYTES),
        };
        let max_bytes = meta.cap(&format!("{name}.json"), most_bytes)?;
        let sha256 = meta.sha256().ok_or_else(|| {
            let what = format!("no sha256 of {}", shown(name));
            Format::Notary.malformed("the snapshot", &what)
        })?;
        let request = Request::hashed(name, sha256);
        let asked = Asked::Listed(walk, role, meta, from);
        Ok(self.want(asked, request, max_bytes, from))
    }

    fn want(
        &mut self,
        asked: Asked,
        request: Request,
        max_bytes: usize,
        from: FetchFrom,
    ) -> NextStep {
        self.asked = asked;
        Step::Fetch(Want {
            request,
            max_bytes,
            from,
        })
    }

    fn no_repository(&self) -> Refusal {
        let hint =
            "have its publisher sign the repository, or let the policy's rule ask another root";
        Refusal::new(
            Code::NoStatement,
            format!("no metadata of {}", self.gun),
            "a root.json for it",
            hint,
        )
    }
}

fn no_role(role: &str, found: &str) -> Refusal {
    let hint = "there is no fall-back to another role: have the publisher bring the role back, or name another in the policy's root";
    Refusal::new(Code::RoleMissing, found, format!("the role {role}"), hint)
}

/// The direct child of `role` on the way to `required`; none at the end of the way.
fn child_towards(role: &str, required: &str) -> Option<String> {
    let rest = required.strip_prefix(role)?.strip_prefix('/')?;
    Some(format!("{role}/{}", rest.split('/').next()?))
}

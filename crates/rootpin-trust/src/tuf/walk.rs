//! The way through the delegations (section 5.6.7): in pre-order, each role under the delegator
//! that leads to it, and no role is fetched that a question doesn't lead to.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::{Budget, TUF_TARGETS_BYTES, over_limit};
use crate::envelope::Envelope;
use crate::floors::BEHIND;
use crate::format::Format;
use crate::image::Digest;
use crate::refusal::shown;
use crate::role::Role;
use crate::{Answer, Code, FetchFrom, Floor, Progress, Refusal, Verified, Want};

use super::delegation::Edge;
use super::targets::VerifiedTargets;
use super::trusted::{Trusted, TrustedState, note, noted};

/// A walk through the delegations of what holds.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) state: TrustedState,
    now: Timestamp,
    budget: Budget,
    files: Vec<(String, Vec<u8>)>,
    /// Whether a role was verified that the floor knew nothing of.
    news: bool,
    /// The role that was asked for last.
    asked: Option<(Role, FetchFrom)>,
    /// The newest files of each role that were verified elsewhere, and bind this walk.
    seen: Vec<(String, u64, Digest)>,
}

/// The end of a walk; as the inner error, a role that is not at hand and must be fetched first.
pub(super) type End<T> = Result<Result<T, Role>, Refusal>;

/// The role that names a path, if one does, and all that led there.
pub(super) type Way = (Option<Arc<VerifiedTargets>>, Vec<Arc<VerifiedTargets>>);

impl Walk {
    pub(super) fn start(trusted: &Trusted, now: Timestamp) -> Self {
        let state = TrustedState::clone(&trusted.0);
        Self {
            state,
            now,
            budget: Budget::of_tuf(),
            files: Vec::new(),
            news: false,
            asked: None,
            seen: Vec::new(),
        }
    }

    /// The same with room for every role of a repository.
    pub(super) fn sweep(trusted: &Trusted, now: Timestamp) -> Self {
        Self {
            budget: Budget::of_tuf_sweep(),
            ..Self::start(trusted, now)
        }
    }

    /// Refuses each role from here on if a newer file of it was verified, or another file of the
    /// same version.
    pub(super) fn bind<'a>(&mut self, snapshots: impl Iterator<Item = &'a Floor>) {
        self.seen = snapshots
            .flat_map(|floor| &floor.listed)
            .filter_map(|(role, listed)| Some((role.clone(), listed.version, listed.signed?)))
            .collect();
    }

    fn check_seen(&self, role: &str, file: &Envelope) -> Result<(), Refusal> {
        let newer = self.seen.iter().find(|(known, version, signed)| {
            known == role
                && (*version > file.version
                    || *version == file.version && *signed != file.statement)
        });
        match newer {
            None => Ok(()),
            Some((_, version, _)) => Err(Refusal::new(
                Code::Rollback,
                format!("{} version {}", file.file, file.version),
                format!("version {version}, which this host has verified"),
                BEHIND,
            )),
        }
    }

    /// Whether the snapshot lists the role.
    pub(super) fn is_published(&self, role: &Role) -> bool {
        self.state.snapshot.listed.contains_key(&role.name)
    }

    /// Takes the answer to what was asked for last, if anything was. What the cache gave and does
    /// not hold is asked of the source.
    ///
    /// # Errors
    /// A role on the way doesn't hold: then nothing after it may answer in its place.
    pub(super) fn receive(&mut self, answer: Option<Answer>) -> Result<Option<Want>, Refusal> {
        match (self.asked.take(), answer) {
            (None, None) => Ok(None),
            (Some((role, FetchFrom::Cache)), Some(Answer::Bytes(bytes))) => {
                match self.recall(&role, bytes) {
                    Ok(read) => self.take(&role, read).map(|()| None),
                    Err(_) => self.ask(role, FetchFrom::Source).map(Some),
                }
            }
            (Some((role, FetchFrom::Cache)), Some(Answer::Missing)) => {
                self.ask(role, FetchFrom::Source).map(Some)
            }
            (Some((role, FetchFrom::Source)), Some(answer)) => {
                let bytes = answer.listed(&shown(&role.name))?;
                let read = self.read(&role, &bytes)?;
                self.take(&role, read)?;
                self.files.push((format!("{}.json", role.name), bytes));
                Ok(None)
            }
            _ => Err(Format::Tuf.malformed("the search", "an answer that nothing asked for")),
        }
    }

    pub(super) fn progress(&mut self) -> Option<Verified<Progress>> {
        let progress = Progress::of_tuf(vec![self.state.floor.clone()], Vec::new());
        mem::take(&mut self.news).then(|| Verified::after_every_check(progress))
    }

    pub(super) fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        mem::take(&mut self.files)
    }

    pub(super) fn trusted(&self) -> Trusted {
        Trusted(Arc::new(self.state.clone()))
    }

    /// Where a path leads, as far as the roles are at hand.
    pub(super) fn way(&mut self, path: &str) -> End<Way> {
        let (mut used, mut named) = (Vec::new(), None);
        let missing = self.visit(&mut used, |file, budget| {
            budget.take_matching(path.len())?;
            if file.find(path).is_some() {
                named = Some(Arc::clone(file));
                return Ok(None);
            }
            budget.take_matching(file.delegations.matched_bytes())?;
            Ok(Some(file.delegations.towards(path)))
        })?;
        Ok(missing.map_or(Ok((named, used)), Err))
    }

    /// The roles that may name some path that begins so, in their order, and the first of them that
    /// is not at hand or does not hold.
    pub(super) fn all_that_may_name(
        &mut self,
        prefix: &str,
    ) -> (Vec<Arc<VerifiedTargets>>, Result<Option<Role>, Refusal>) {
        let mut used = Vec::new();
        let end = self.visit(&mut used, |file, budget| {
            budget.take_matching(file.delegations.matched_bytes())?;
            let roles = file.delegations.may_name(prefix).map_err(|bins| {
                let found = format!("a digest without a tag, which may be in any of {bins} roles");
                let hint = "ask for the image with its tag: the repository parts its tags by hash";
                Refusal {
                    hint: hint.to_owned(),
                    ..over_limit(&found, 64, "targets roles in one search")
                }
            })?;
            Ok(Some(roles.into_iter().map(Edge::open).collect()))
        });
        (used, end)
    }

    /// Goes from role to role, each once, as far as they are at hand. `next` says where each leads,
    /// or that it is the end. Returns the role that is not at hand.
    fn visit(
        &mut self,
        used: &mut Vec<Arc<VerifiedTargets>>,
        mut next: impl FnMut(&Arc<VerifiedTargets>, &mut Budget) -> Result<Option<Vec<Edge>>, Refusal>,
    ) -> Result<Option<Role>, Refusal> {
        let mut visited = BTreeSet::new();
        let mut budget = Budget::of_tuf();
        let mut left = vec![Edge::open(self.state.chain.last.role("targets")?.clone())];
        while let Some(Edge { role, .. }) = left.pop() {
            if !visited.insert(role.name.clone()) {
                continue;
            }
            budget.take_role()?;
            let Some(file) = self.at_hand(&role)? else {
                return Ok(Some(role));
            };
            used.push(Arc::clone(&file));
            let Some(mut edges) = next(&file, &mut self.budget)? else {
                break;
            };
            if let Some(end) = edges.iter().position(|edge| edge.terminating) {
                edges.truncate(end + 1);
                left.clear();
            }
            left.extend(edges.into_iter().rev());
        }
        Ok(None)
    }

    /// So many bytes of tags to look at.
    pub(super) fn take_tags(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.budget.take_matching(bytes)
    }

    /// A role's file, if it was verified under these very keys (each edge by its own delegator) and
    /// is not over.
    pub(super) fn at_hand(&self, role: &Role) -> Result<Option<Arc<VerifiedTargets>>, Refusal> {
        let file = self
            .state
            .roles
            .get(&role.name)
            .filter(|file| file.authority == role.authority());
        if let Some(file) = file {
            file.envelope.check_expiry(self.now)?;
            self.check_seen(&role.name, &file.envelope)?;
        }
        Ok(file.cloned())
    }

    pub(super) fn ask(&mut self, role: Role, from: FetchFrom) -> Result<Want, Refusal> {
        let pin = self.state.snapshot.pin_of(&role.name)?;
        let max_bytes = pin.cap(&format!("{}.json", shown(&role.name)), TUF_TARGETS_BYTES)?;
        let request = self.state.chain.last.request(&role.name, pin.version);
        if from == FetchFrom::Cache {
            self.budget.take_role()?;
        }
        self.asked = Some((role, from));
        Ok(Want {
            request,
            max_bytes,
            from,
        })
    }

    fn read(&mut self, role: &Role, bytes: &[u8]) -> Result<VerifiedTargets, Refusal> {
        VerifiedTargets::read(
            role,
            self.state.snapshot.pin_of(&role.name)?,
            bytes,
            self.state.chain.counting(&self.state.revoked),
            &mut self.budget,
        )
    }

    fn recall(&mut self, role: &Role, bytes: Vec<u8>) -> Result<VerifiedTargets, Refusal> {
        let TrustedState {
            chain,
            snapshot,
            floor,
            revoked,
            ..
        } = &self.state;
        let pin = snapshot.pin_of(&role.name)?;
        let (seen, counting) = (noted(floor, &role.name, pin), chain.counting(revoked));
        VerifiedTargets::recall(role, pin, bytes, seen, counting, &mut self.budget)
    }

    fn take(&mut self, role: &Role, read: VerifiedTargets) -> Result<(), Refusal> {
        self.news |= note(&mut self.state.floor, &role.name, &read.pin, &read.envelope)?;
        read.envelope.check_expiry(self.now)?;
        self.state.roles.insert(role.name.clone(), Arc::new(read));
        Ok(())
    }
}

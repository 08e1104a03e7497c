//! Every targets role of a repository that may name something below a prefix: for whoever carries a
//! repository elsewhere or publishes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;

use crate::role::Role;
use crate::{Answer, FetchFrom, Progress, Refusal, Step, Verification, Verified};

use super::trusted::Trusted;
use super::walk::Walk;

/// One way through all delegations. A role that doesn't hold leads nowhere, and the way goes on
/// past it: nothing is allowed by it. Those nearer to the top come first, so that no delegated
/// role, by listing another's name with keys of its own, has that one fail.
#[derive(Debug)]
pub struct Sweep {
    walk: Walk,
    prefix: String,
    left: VecDeque<Role>,
    visited: BTreeSet<String>,
    asked: Option<Role>,
    failed: BTreeMap<String, Refusal>,
}

/// The result of a sweep.
#[derive(Debug)]
pub struct Swept {
    /// The verified metadata, with every role that was looked at.
    pub trusted: Trusted,
    /// The roles that don't hold, or were not to be had, and why. One that the snapshot doesn't
    /// list was never published and is none of them.
    pub failed: BTreeMap<String, Refusal>,
}

impl Verification for Sweep {
    type Outcome = Swept;

    fn next(&mut self, answer: Option<Answer>) -> Result<Step<Swept>, Refusal> {
        match (self.walk.receive(answer), self.asked.take()) {
            (Ok(Some(want)), asked) => {
                self.asked = asked;
                return Ok(Step::Fetch(want));
            }
            (Ok(None), None) => {}
            (Ok(None), Some(role)) => {
                self.pass(&role)?;
            }
            (Err(refusal), Some(role)) => drop(self.failed.insert(role.name, refusal)),
            (Err(refusal), None) => return Err(refusal),
        }
        while let Some(role) = self.left.pop_front() {
            let is_new = self.visited.insert(role.name.clone()) && self.walk.is_published(&role);
            if is_new && !self.pass(&role)? {
                let want = self.walk.ask(role.clone(), FetchFrom::Cache)?;
                self.asked = Some(role);
                return Ok(Step::Fetch(want));
            }
        }
        Ok(Step::Done(Swept {
            trusted: self.walk.trusted(),
            failed: std::mem::take(&mut self.failed),
        }))
    }

    fn progress(&mut self) -> Option<Verified<Progress>> {
        self.walk.progress()
    }

    fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        self.walk.files()
    }
}

impl Sweep {
    /// Begins. `prefix`: what the paths begin with that count, for example a registry's host and
    /// `/`; empty, for all.
    ///
    /// # Errors
    /// None that a [`Trusted`] can have; it has all top-level roles.
    pub fn start(trusted: &Trusted, prefix: &str, now: Timestamp) -> Result<Self, Refusal> {
        let left = VecDeque::from([trusted.0.chain.last.role("targets")?.clone()]);
        let walk = Walk::sweep(trusted, now);
        Ok(Self {
            walk,
            prefix: prefix.to_owned(),
            left,
            visited: BTreeSet::new(),
            asked: None,
            failed: BTreeMap::new(),
        })
    }

    /// Goes past a role to those it delegates to; returns false for one that is not at hand. A
    /// delegated one that names too many fails alone.
    fn pass(&mut self, role: &Role) -> Result<bool, Refusal> {
        let reached = match self.walk.at_hand(role) {
            Ok(Some(file)) => file.delegations.reaching(&self.prefix),
            Ok(None) => return Ok(false),
            Err(refusal) => {
                self.failed.insert(role.name.clone(), refusal);
                return Ok(true);
            }
        };
        match reached {
            Ok(roles) => self.left.extend(roles),
            Err(refusal) if role.name == "targets" => return Err(refusal),
            Err(refusal) => drop(self.failed.insert(role.name.clone(), refusal)),
        }
        Ok(true)
    }
}

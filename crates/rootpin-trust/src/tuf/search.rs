//! Searches for an image, or for a path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::image::Repository;
use crate::{
    Answer, Code, Collection, FetchFrom, Floor, KeyId, Progress, Refusal, Step, Target,
    Verification, Verified,
};

use super::targets::{VerifiedTargets, listing, target};
use super::trusted::Trusted;
use super::walk::{End, Walk};
use super::{Found, Listing, Question};

/// One search for an image.
#[derive(Debug)]
pub struct Search {
    walk: Walk,
    gun: Repository,
    question: Question,
}

/// One search for a target by its path, whatever it is.
#[derive(Debug)]
pub struct PathSearch {
    walk: Walk,
    path: String,
}

/// The targets that were found, and the roles that led there.
struct Named {
    role: String,
    targets: BTreeMap<String, Target>,
    used: Vec<Arc<VerifiedTargets>>,
}

impl Search {
    /// Begins.
    #[must_use]
    pub fn start(trusted: &Trusted, gun: &Repository, question: &Question, now: Timestamp) -> Self {
        Self {
            walk: Walk::start(trusted, now),
            gun: gun.clone(),
            question: question.clone(),
        }
    }

    /// Begins a search in earlier metadata, while newer metadata is half published. A role does not
    /// answer if a newer version of it was verified, by these floors or in `newest`.
    ///
    /// # Errors
    /// A newer root was verified.
    pub fn earlier(
        trusted: &Trusted,
        newest: Option<&Trusted>,
        seen: &[Floor],
        (gun, question): (&Repository, &Question),
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let chain = &trusted.0.chain;
        let (mut seen, owner) = (seen.to_vec(), &trusted.0.owner);
        if let Some(newest) = newest {
            let mut floors = newest.0.chain.floors(&[], newest.0.owner.clone());
            floors.raise(newest.0.chain.claim());
            seen.extend(floors.parts().0);
            seen.push(newest.0.floor.clone());
        }
        let floors = chain.floors(&seen, owner.clone());
        floors.judge(&chain.claim())?;
        let mut search = Self::start(trusted, gun, question, now);
        search.walk.bind(floors.of_role("snapshot"));
        Ok(search)
    }

    /// As [`Self::tag`]. A target without a SHA-256 is named, and nothing can be compared with it.
    fn image(&mut self, tag: &str) -> End<Named> {
        let end = self.tag(tag)?;
        let path = format!("{}:{tag}", self.gun);
        if let Ok(named) = &end
            && named.targets.is_empty()
            && let Some(role) = named.used.last()
            && role.find(&path).is_some()
        {
            let file = &role.envelope.file;
            let found = format!("{file} with the target {path} and no sha256 of 64 digits");
            let wanted = "a target with the digest of an image";
            let hint = "have the publisher list the sha256 of its manifest or index; other hashes are no image's digest";
            return Err(Refusal::new(Code::Malformed, found, wanted, hint));
        }
        Ok(end)
    }

    /// The tag's target.
    fn tag(&mut self, tag: &str) -> End<Named> {
        let path = format!("{}:{tag}", self.gun);
        let end = self.walk.way(&path)?;
        Ok(end.map(|(named, used)| {
            let target = named.as_ref().and_then(|role| target(role.find(&path)?));
            let target = target.map(|target| (tag.to_owned(), target));
            Named {
                role: named.map_or("targets".to_owned(), |role| role.role.clone()),
                targets: target.into_iter().collect(),
                used,
            }
        }))
    }

    /// A tag whose target is as wanted. As for a tag, roles after the one that names it are neither
    /// fetched nor need they hold.
    fn any(&mut self, stands: impl Fn(&Target) -> bool) -> End<Named> {
        let prefix = format!("{}:", self.gun);
        let (all, end) = self.walk.all_that_may_name(&prefix);
        let mut tags = BTreeSet::new();
        for (tag, value) in all.iter().flat_map(|role| role.below(&prefix)) {
            self.walk.take_tags(prefix.len() + tag.len())?;
            if target(value).is_some_and(|target| stands(&target)) {
                tags.insert(tag);
            }
        }
        for tag in tags {
            // A role that is asked first may say that the tag is something else.
            match self.tag(&tag)? {
                Ok(named) if named.targets.values().all(&stands) && !named.targets.is_empty() => {
                    return Ok(Ok(named));
                }
                Ok(_) => {}
                Err(role) => return Ok(Err(role)),
            }
        }
        match end? {
            Some(role) => Ok(Err(role)),
            None => Ok(Ok(Named {
                role: "targets".to_owned(),
                targets: BTreeMap::new(),
                used: all,
            })),
        }
    }

    fn found(&self, named: Named) -> Found {
        let trusted = self.walk.trusted();
        let ends = named.used.iter().map(|role| role.envelope.expires);
        let expires = ends.fold(trusted.expires(), Timestamp::min);
        let signers = named.used.iter().flat_map(|role| &role.signers);
        let signers: BTreeSet<KeyId> = signers.copied().collect();
        let (root_keys, versions) = (trusted.root_keys(), trusted.versions());
        let Named { role, targets, .. } = named;
        let collection = Collection {
            gun: self.gun.clone(),
            role,
            targets,
            untagged: BTreeSet::new(),
            expires,
            root_keys,
            signers_needed: signers.len(),
            signers,
            versions,
        };
        Found {
            collection: Verified::after_every_check(collection),
            trusted,
        }
    }
}

impl Verification for Search {
    type Outcome = Found;

    fn next(&mut self, answer: Option<Answer>) -> Result<Step<Found>, Refusal> {
        if let Some(want) = self.walk.receive(answer)? {
            return Ok(Step::Fetch(want));
        }
        let named = match self.question.clone() {
            Question::Tag(tag) => self.image(tag.as_str())?,
            Question::Digest(digest) | Question::Image { digest, .. } => {
                self.any(|target| target.digest == digest || target.manifests.contains(&digest))?
            }
            Question::Any => self.any(|_| true)?,
        };
        match named {
            Ok(named) => Ok(Step::Done(self.found(named))),
            Err(role) => Ok(Step::Fetch(self.walk.ask(role, FetchFrom::Cache)?)),
        }
    }

    fn progress(&mut self) -> Option<Verified<Progress>> {
        self.walk.progress()
    }

    fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        self.walk.files()
    }
}

impl PathSearch {
    /// Begins.
    #[must_use]
    pub fn start(trusted: &Trusted, path: &str, now: Timestamp) -> Self {
        Self {
            walk: Walk::start(trusted, now),
            path: path.to_owned(),
        }
    }
}

impl Verification for PathSearch {
    /// The path's listing, if there is one.
    type Outcome = (Option<Listing>, Trusted);

    fn next(&mut self, answer: Option<Answer>) -> Result<Step<Self::Outcome>, Refusal> {
        if let Some(want) = self.walk.receive(answer)? {
            return Ok(Step::Fetch(want));
        }
        match self.walk.way(&self.path)? {
            Err(role) => Ok(Step::Fetch(self.walk.ask(role, FetchFrom::Cache)?)),
            Ok((named, _)) => {
                let listing = named.and_then(|role| listing(role.find(&self.path)?));
                Ok(Step::Done((listing, self.walk.trusted())))
            }
        }
    }

    fn progress(&mut self) -> Option<Verified<Progress>> {
        self.walk.progress()
    }

    fn files(&mut self) -> Vec<(String, Vec<u8>)> {
        self.walk.files()
    }
}

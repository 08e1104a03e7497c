//! A host that looks at what a publisher signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::publisher::{Files, NOW, Publisher};
use crate::image::{Digest, Repository};
use crate::tuf::{Found, PinnedRoot, Question, RootPins, Search, Sweep, Swept, Trusted, Update};
use crate::{Answer, FetchFrom, Floor, Refusal, Verification, Want};

/// What one host keeps.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) pins: RootPins,
    pub(super) floors: Vec<Floor>,
    pub(super) cache: Files,
    pub(super) trusted: Option<Trusted>,
    pub(super) asked: Vec<String>,
    pub(super) now: String,
}

impl Host {
    pub(super) fn of(publisher: &Publisher) -> Self {
        let root = Arc::new(PinnedRoot::read(publisher.files["1.root.json"].clone()).unwrap());
        let pins = RootPins {
            id: "repository".to_owned(),
            root,
            revoked: BTreeSet::new(),
            floor: BTreeMap::new(),
            max_age: None,
        };
        Self {
            pins,
            floors: Vec::new(),
            cache: Files::new(),
            trusted: None,
            asked: Vec::new(),
            now: NOW.to_owned(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.parse().unwrap()
    }

    fn serve(&mut self, files: &Files, want: &Want) -> Answer {
        let request = &want.request;
        let bytes = match want.from {
            FetchFrom::Cache => self.cache.get(&request.cache_name()),
            FetchFrom::Source => {
                self.asked.push(request.file_name());
                files.get(&request.file_name())
            }
        };
        bytes
            .filter(|bytes| bytes.len() <= want.max_bytes)
            .cloned()
            .into()
    }

    /// Runs a verification, as a daemon does: what was seen is kept, whatever comes of it.
    fn run<V: Verification>(
        &mut self,
        files: &Files,
        mut verification: V,
    ) -> Result<V::Outcome, Refusal> {
        let result = verification.run(|want| Ok::<_, Refusal>(self.serve(files, want)));
        if let Some(progress) = verification.progress() {
            self.floors = progress.get().merge_into(&self.floors).unwrap();
        }
        self.cache.extend(verification.files());
        result
    }

    pub(super) fn update(&mut self, publisher: &Publisher) -> Result<Trusted, Refusal> {
        self.asked.clear();
        let (floors, trusted) = (self.floors.clone(), self.trusted.clone());
        let update = Update::start(&self.pins, floors, trusted, self.now());
        let result = self.run(&publisher.files, update);
        if let Ok(trusted) = &result {
            self.trusted = Some(trusted.clone());
        }
        result
    }

    /// A process that starts anew, with what is on disk.
    pub(super) fn restart(&mut self) {
        self.trusted = None;
    }

    pub(super) fn code(&mut self, publisher: &Publisher) -> &'static str {
        self.update(publisher)
            .map_or_else(|refusal| refusal.code.as_str(), |_| "ok")
    }

    pub(super) fn search(
        &mut self,
        publisher: &Publisher,
        gun: &str,
        question: &Question,
    ) -> Result<Found, Refusal> {
        let trusted = self.update(publisher)?;
        let gun = Repository::from_full(gun).unwrap();
        let search = Search::start(&trusted, &gun, question, self.now());
        let result = self.run(&publisher.files, search);
        if let Ok(found) = &result {
            self.trusted = Some(found.trusted.clone());
        }
        result
    }

    pub(super) fn sweep(&mut self, publisher: &Publisher, prefix: &str) -> Result<Swept, Refusal> {
        let trusted = self.update(publisher)?;
        let mut sweep = Sweep::start(&trusted, prefix, self.now()).unwrap();
        sweep.run(|want| Ok(self.serve(&publisher.files, want)))
    }

    /// What a tag stands for: content, as [`target`] was given it, is known by its digest.
    pub(super) fn tag(&mut self, publisher: &Publisher, gun: &str, tag: &str) -> Option<Digest> {
        let found = self
            .search(publisher, gun, &Question::Tag(tag.parse().unwrap()))
            .unwrap();
        found
            .collection
            .get()
            .targets
            .get(tag)
            .map(|target| target.digest)
    }
}

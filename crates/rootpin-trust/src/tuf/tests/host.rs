//! A host that looks at what a publisher signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::publisher::{Files, NOW, Publisher};
use crate::image::{Digest, Repository};
use crate::tuf::{
    Answer, Found, From, History, PinnedRoot, Pins, Question, Request, Search, Step, Sweep, Swept,
    Trusted, Update,
};
use crate::{Floor, Progress, Refusal, Verified};

/// What one host keeps.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) pins: Pins,
    pub(super) floors: Vec<Floor>,
    pub(super) cache: Files,
    pub(super) trusted: Option<Trusted>,
    pub(super) asked: Vec<String>,
    pub(super) now: String,
}

impl Host {
    pub(super) fn of(publisher: &Publisher) -> Self {
        let root = Arc::new(PinnedRoot::read(publisher.files["1.root.json"].clone()).unwrap());
        let pins = Pins {
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

    fn serve(&mut self, files: &Files, request: &Request, from: From, max_bytes: usize) -> Answer {
        let bytes = match from {
            From::Cache => self.cache.get(&request.cache_name()),
            From::Source => {
                self.asked.push(request.file_name());
                files.get(&request.file_name())
            }
        };
        bytes
            .filter(|bytes| bytes.len() <= max_bytes)
            .map_or(Answer::Missing, |bytes| Answer::Bytes(bytes.clone()))
    }

    fn keep(&mut self, progress: Option<&Verified<Progress>>, files: Vec<(String, Vec<u8>)>) {
        if let Some(progress) = progress.map(Verified::get) {
            self.floors.retain(|kept| {
                let replaced = progress.floors.iter().any(|new| {
                    new.role == kept.role && !new.root_keys.is_disjoint(&kept.root_keys)
                });
                !replaced && !progress.fallen.contains(kept)
            });
            self.floors.extend(progress.floors.iter().cloned());
        }
        self.cache.extend(files);
    }

    /// One update, as a daemon makes it: what was seen is kept, whatever comes of it.
    pub(super) fn update(&mut self, publisher: &Publisher) -> Result<Trusted, Refusal> {
        self.asked.clear();
        let history = History {
            floors: self.floors.clone(),
            trusted: self.trusted.clone(),
        };
        let mut update = Update::start(&self.pins, history, self.now());
        let mut answer = None;
        let result = loop {
            match update.next(answer.take()) {
                Ok(Step::Fetch(want)) => {
                    answer = Some(self.serve(
                        &publisher.files,
                        &want.request,
                        want.from,
                        want.max_bytes,
                    ));
                }
                Ok(Step::Done(trusted)) => break Ok(trusted),
                Err(refusal) => break Err(refusal),
            }
        };
        let progress = update.progress();
        let files = update.files();
        self.keep(progress.as_ref(), files);
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
        let mut search = Search::start(
            &trusted,
            &Repository::from_full(gun).unwrap(),
            question,
            self.now(),
        );
        let mut answer = None;
        let result = loop {
            match search.next(answer.take()) {
                Ok(Step::Fetch(want)) => {
                    answer = Some(self.serve(
                        &publisher.files,
                        &want.request,
                        want.from,
                        want.max_bytes,
                    ));
                }
                Ok(Step::Done(found)) => break Ok(found),
                Err(refusal) => break Err(refusal),
            }
        };
        let progress = search.progress();
        let files = search.files();
        self.keep(progress.as_ref(), files);
        if let Ok(found) = &result {
            self.trusted = Some(found.trusted.clone());
        }
        result
    }

    pub(super) fn sweep(&mut self, publisher: &Publisher, prefix: &str) -> Result<Swept, Refusal> {
        let trusted = self.update(publisher)?;
        let mut sweep = Sweep::start(&trusted, prefix, self.now()).unwrap();
        let mut answer = None;
        loop {
            match sweep.next(answer.take())? {
                Step::Fetch(want) => {
                    answer = Some(self.serve(
                        &publisher.files,
                        &want.request,
                        want.from,
                        want.max_bytes,
                    ));
                }
                Step::Done(swept) => return Ok(swept),
            }
        }
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

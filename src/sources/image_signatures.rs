//! The signatures that a registry keeps beside an image: its referrers (OCI distribution-spec,
//! "Listing Referrers"), the tag that stands in for them, and cosign's `.sig` tag.
//!
//! Whoever may push to the repository, or runs a mirror, may list thousands here. So a search goes
//! one step at a time, reads a bounded number of manifests and blobs of each list, so that no list
//! hides what another one has, and ends when its caller has enough.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use reqwest::{Method, Url};

use super::hosts::Capability;
use super::http::{Ask, HttpClient, Reply};
use super::next_page::{NextPage, next_page};
use super::registry::{self, Endpoint, REDIRECTS};
use super::replies::RegistryReplies;
use super::signature_list::{
    CutLists, SignatureKind, WithoutReferrers, is_json, is_of_repository, listed, wrong,
};
use super::signature_manifest::{Layer, NotRead, SignatureManifest};
use super::signature_steps::{INDEX, Step};
use super::{SourceError, share};
use rootpin_trust::image::{Descriptor, Digest, Document, Repository};
use rootpin_trust::{MOST_SIGNATURES, SIGNATURE_BYTES, SignatureFile};

/// Manifests of signatures that are read of one list. cosign says in a manifest that it is an
/// attestation, and in the tag that stands in for a list it does not say so.
const MOST_MANIFESTS: usize = 96;
/// Pages of one list of referrers.
const MOST_PAGES: usize = 4;

/// One search for an image's signatures.
#[derive(Debug)]
pub(crate) struct SignatureSearch<'a> {
    known: &'a WithoutReferrers,
    /// What is known already of this question's registries, where all signatures are looked for: then
    /// a registry is asked for all places at once.
    replies: Option<&'a RegistryReplies>,
    repository: &'a Repository,
    digest: Digest,
    wanted: SignatureKind,
    ways: VecDeque<Endpoint>,
    steps: VecDeque<Step>,
    /// Manifests that were read, at whichever way.
    read: BTreeSet<Digest>,
    /// Files and blobs of the list that is read now.
    files: usize,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// Why something that may have been a signature was not read.
    failed: Option<SourceError>,
    /// Signatures that were read and those that were left out, and whether a list has more pages.
    looked_at: usize,
    left_out: usize,
    goes_on: bool,
    /// What came of plain http, where nobody speaks that.
    by_http: Option<SourceError>,
    /// Whether the present way answered anything.
    answered: bool,
    /// Until when it may take; `None`: nothing was asked there yet.
    way_until: Option<Instant>,
}

impl<'a> SignatureSearch<'a> {
    pub(super) fn start(
        client: &HttpClient,
        (known, replies): (&'a WithoutReferrers, Option<&'a RegistryReplies>),
        repository: &'a Repository,
        digest: Digest,
        wanted: SignatureKind,
    ) -> Result<Self, SourceError> {
        let ways = registry::endpoints(client, repository, Capability::Pull)?;
        let mut search = Self {
            known,
            replies,
            repository,
            digest,
            wanted,
            ways: ways.into(),
            steps: VecDeque::new(),
            read: BTreeSet::new(),
            files: 0,
            blobs: BTreeMap::new(),
            failed: None,
            looked_at: 0,
            left_out: 0,
            goes_on: false,
            by_http: None,
            answered: false,
            way_until: None,
        };
        search.begin();
        Ok(search)
    }

    /// Why the search is not known to have seen all that is there.
    pub(crate) fn failed(&self) -> Option<&SourceError> {
        self.failed.as_ref()
    }

    /// What was left out of lists that are longer than what is looked at.
    pub(crate) fn cut(&self) -> Option<CutLists> {
        let is_cut = self.left_out > 0 || self.goes_on;
        is_cut.then_some(CutLists {
            looked_at: self.looked_at,
            listed: self.looked_at + self.left_out,
            goes_on: self.goes_on,
        })
    }

    /// The signatures of the next place; `None`: there is no other place.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Option<Vec<SignatureFile>> {
        loop {
            let endpoint = self.ways.front()?.clone();
            let remembers = self.replies.is_some();
            if self.way_until.is_none() {
                let ways = self.ways.len();
                self.way_until = Some(share(Instant::now(), deadline, ways));
                // A mirror that keeps us waiting takes no more of the registry's time by it.
                if remembers && !endpoint.is_mirror() {
                    // On the heap: the search's future would be three times as large otherwise.
                    Box::pin(self.look_ahead(&endpoint, self.step_until(deadline))).await;
                }
            }
            let Some(step) = self.steps.pop_front() else {
                // Nobody speaks plain http where nothing was answered to it.
                let is_wrong = self.by_http.is_some() && !self.answered && self.ways.len() > 1;
                // What a mirror does not have, the registry itself may have.
                if !endpoint.is_mirror() && !is_wrong {
                    self.failed = self.failed.take().or(self.by_http.take());
                    return None;
                }
                self.next_way();
                continue;
            };
            let deadline = self.step_until(deadline);
            // That there is no list of referrers, servers say in many ways.
            let is_answer = !matches!(step, Step::Referrers);
            match self.look(&endpoint, step, deadline).await {
                Ok(files) => {
                    self.answered |= is_answer;
                    if !files.is_empty() {
                        return Some(files);
                    }
                }
                Err(error) if !self.answered && endpoint.was_guessed_wrong(&error) => {
                    if matches!(error, SourceError::Unreachable { .. }) {
                        self.steps.clear();
                    }
                    self.by_http = Some(error);
                }
                Err(error) => {
                    let error = error.after(self.by_http.take());
                    self.unread(error);
                }
            }
        }
    }

    /// Something that may be a signature, or name one, was not read.
    fn unread(&mut self, error: SourceError) {
        log::debug!("not read beside {}: {error}", self.digest);
        self.failed.get_or_insert(error);
    }

    /// An equal part of the way's time for each of its places: one that keeps us waiting hides no
    /// other one.
    fn step_until(&self, deadline: Instant) -> Instant {
        let is_place = |step: &&Step| !step.is_of_list();
        let mut places = 1 + self.steps.iter().filter(is_place).count();
        if self.steps.front().is_some_and(Step::is_of_list) {
            places = places.max(2);
        }
        let deadline = self.way_until.map_or(deadline, |until| until.min(deadline));
        share(Instant::now(), deadline, places)
    }

    fn next_way(&mut self) {
        self.ways.pop_front();
        self.answered = false;
        self.begin();
    }

    fn begin(&mut self) {
        let first = self
            .ways
            .front()
            .map(|way| self.known.has(way.api(), self.repository));
        self.way_until = None;
        self.steps = match first {
            Some(true) => [Step::IndexTag, Step::SignatureTag].into(),
            Some(false) => [Step::Referrers, Step::IndexTag, Step::SignatureTag].into(),
            None => VecDeque::new(),
        };
        // The tag is cosign's own.
        if self.wanted == SignatureKind::Notation {
            self.steps
                .retain(|step| !matches!(step, Step::SignatureTag));
        }
    }

    /// Asks for all places of a way at once, where all of them are wanted.
    async fn look_ahead(&self, endpoint: &Endpoint, deadline: Instant) {
        let mut asking = self.steps.iter().map(async |step| {
            // The reply is remembered; where there was none, the step asks again.
            let _ = self.get(endpoint, step, deadline).await;
        });
        let all = (asking.next(), asking.next(), asking.next());
        tokio::join!(awaited(all.0), awaited(all.1), awaited(all.2));
    }

    async fn look(
        &mut self,
        endpoint: &Endpoint,
        step: Step,
        deadline: Instant,
    ) -> Result<Vec<SignatureFile>, SourceError> {
        match step {
            Step::Referrers => {
                self.referrers(endpoint, deadline).await?;
                Ok(Vec::new())
            }
            Step::IndexTag => {
                if let Some(reply) = self.get(endpoint, &step, deadline).await?
                    && is_json(&reply)
                {
                    let listed = listed(&reply, self.wanted)?;
                    self.queue(listed, false);
                }
                Ok(Vec::new())
            }
            Step::SignatureTag => {
                let reply = self.get(endpoint, &step, deadline).await?;
                self.begin_list();
                match reply {
                    Some(reply) => {
                        let (_, layers) = self.layers(&reply, None);
                        Ok(self.files(endpoint, layers, deadline).await)
                    }
                    None => Ok(Vec::new()),
                }
            }
            Step::Manifest(ref descriptor) => {
                let Some(reply) = self.get(endpoint, &step, deadline).await? else {
                    return Ok(Vec::new());
                };
                if Digest::of(&reply.body) != descriptor.digest {
                    return Err(wrong(
                        &reply.url,
                        "sent other bytes than those of the digest",
                    ));
                }
                let (order, layers) = self.layers(&reply, Some(self.digest));
                self.read.insert(descriptor.digest);
                if SignatureKind::is_last(order) {
                    let others = self.steps.iter();
                    let rest = others.take_while(|step| step.is_of_list()).count();
                    self.steps.insert(rest, Step::Layers(layers));
                    return Ok(Vec::new());
                }
                Ok(self.files(endpoint, layers, deadline).await)
            }
            Step::Layers(layers) => Ok(self.files(endpoint, layers, deadline).await),
        }
    }

    /// Reads the list of referrers, page by page, if the registry has one.
    async fn referrers(
        &mut self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<(), SourceError> {
        let mut url = endpoint.url(self.repository, &format!("referrers/{}", self.digest))?;
        let (mut all, mut goes_on) = (Vec::new(), true);
        for page in 0..MOST_PAGES {
            let reply = self.ask(
                endpoint,
                url.clone(),
                INDEX,
                Document::LIMITS.bytes,
                deadline,
            );
            let reply = match reply.await {
                Ok(reply) => reply,
                // Registries without the list say so in many ways; it may also be denied for this
                // repository alone.
                Err(SourceError::Denied { .. }) if page == 0 => return Ok(()),
                Err(error) if page == 0 => return Err(error),
                // What was read of it before counts all the same.
                Err(error) => {
                    self.unread(error);
                    break;
                }
            };
            let status = reply.status.as_u16();
            // One that answers everything with a page of its own has no such list. A list that is
            // too long, or broken, is this image's alone: who may push beside it made it.
            let is_none = match status {
                200 => !is_json(&reply),
                _ => !reply.error().is_silent(),
            };
            if page == 0 && is_none {
                let says_so = matches!(status, 200 | 400 | 404 | 405 | 501);
                if says_so && !is_of_repository(&reply) {
                    self.known.add(endpoint.api(), self.repository);
                }
                return Ok(());
            }
            let listed = match status {
                200 => listed(&reply, self.wanted),
                _ => Err(reply.error()),
            };
            match listed {
                Ok(listed) => all.extend(listed),
                Err(error) if page == 0 => return Err(error),
                Err(error) => {
                    self.unread(error);
                    break;
                }
            }
            match next_page(&reply.headers, &reply.url) {
                NextPage::At(next) => url = next,
                NextPage::None => {
                    goes_on = false;
                    break;
                }
                NextPage::Elsewhere => break,
            }
        }
        self.queue(all, goes_on);
        Ok(())
    }

    /// Each list has a budget of its own.
    fn begin_list(&mut self) {
        self.files = 0;
        self.blobs.clear();
    }

    /// Has the manifests of a list read next, the likely ones first.
    fn queue(&mut self, mut listed: Vec<(u8, Descriptor)>, goes_on: bool) {
        self.begin_list();
        listed.retain(|(_, descriptor)| !self.read.contains(&descriptor.digest));
        listed.sort_by_key(|(order, _)| *order);
        let count = listed.len();
        listed.truncate(MOST_MANIFESTS);
        self.left_out += count - listed.len();
        self.goes_on |= goes_on;
        for (_, descriptor) in listed.into_iter().rev() {
            self.steps.push_front(Step::Manifest(descriptor));
        }
    }

    /// The layers of a signature's manifest that are looked at, and the manifest's own place in the
    /// order of looking. `subject`: the image that it must refer to.
    fn layers(&mut self, reply: &Reply, subject: Option<Digest>) -> (u8, Vec<Layer>) {
        match SignatureManifest::read(&reply.body, self.wanted, subject) {
            Ok(manifest) => {
                self.left_out += manifest.left_out;
                (manifest.order, manifest.layers)
            }
            Err(NotRead) if is_json(reply) => {
                self.unread(wrong(&reply.url, "no manifest, or one that is too long"));
                (SignatureKind::LAST, Vec::new())
            }
            Err(NotRead) => (SignatureKind::LAST, Vec::new()),
        }
    }

    /// The bytes of layers, as many as the list has left. One that can't be read hides no other one.
    async fn files(
        &mut self,
        endpoint: &Endpoint,
        mut layers: Vec<Layer>,
        deadline: Instant,
    ) -> Vec<SignatureFile> {
        let count = layers.len();
        layers.truncate(MOST_SIGNATURES.saturating_sub(self.files));
        self.left_out += count - layers.len();
        let mut files = Vec::new();
        let last = layers.len().saturating_sub(1);
        for (at, (descriptor, signature)) in layers.into_iter().enumerate() {
            self.files += 1;
            self.looked_at += 1;
            // One that keeps us waiting leaves time for the next one.
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            let until = if at < last { now + left / 2 } else { deadline };
            match self.blob(endpoint, descriptor.digest, until).await {
                Ok(bytes) => files.push(SignatureFile {
                    media_type: descriptor.media_type,
                    bytes,
                    signature,
                }),
                Err(error) => self.unread(error),
            }
        }
        files
    }

    /// A blob, which several layers may share.
    async fn blob(
        &mut self,
        endpoint: &Endpoint,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Vec<u8>, SourceError> {
        if let Some(known) = self.blobs.get(&digest) {
            return Ok(known.clone());
        }
        let url = endpoint.url(self.repository, &format!("blobs/{digest}"))?;
        let reply = self
            .ask(endpoint, url, "*/*", SIGNATURE_BYTES, deadline)
            .await?;
        if reply.status.as_u16() != 200 {
            return Err(reply.error());
        }
        if Digest::of(&reply.body) != digest {
            return Err(wrong(
                &reply.url,
                "sent other bytes than those of the digest",
            ));
        }
        self.blobs.insert(digest, reply.body.clone());
        Ok(reply.body)
    }

    /// The document that a step asks for; `None`: nothing is there.
    async fn get(
        &self,
        endpoint: &Endpoint,
        step: &Step,
        deadline: Instant,
    ) -> Result<Option<Reply>, SourceError> {
        let Some(place) = step.place(self.digest) else {
            return Ok(None);
        };
        let url = endpoint.url(self.repository, &place.rest)?;
        let (accept, cap) = (place.accept, place.cap);
        let reply = self.ask(endpoint, url, accept, cap, deadline).await?;
        match step {
            // What a list names is there, or can't be read.
            Step::Manifest(_) if reply.status.as_u16() != 200 => Err(reply.error()),
            _ => Ok((!registry::missing(&reply)?).then_some(reply)),
        }
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        if let Some(known) = self.replies.and_then(|replies| replies.get(&url)) {
            return known;
        }
        let scope = registry::scope(self.repository);
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            accept,
            cap,
            scope: &scope,
            redirects: REDIRECTS,
            send: None,
        };
        let reply = endpoint.ask(&ask, deadline.into()).await;
        if let Some(replies) = self.replies {
            replies.add(url, &reply);
        }
        reply
    }
}

async fn awaited(asking: Option<impl Future<Output = ()>>) {
    if let Some(asking) = asking {
        asking.await;
    }
}

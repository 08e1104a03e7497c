//! The signatures that a registry keeps beside an image: its referrers (OCI distribution-spec,
//! "Listing Referrers"), the tag that stands in for them, and cosign's `.sig` tag.
//!
//! Whoever may push to the repository, or runs a mirror, may list thousands here. So a search goes
//! one place after the other, reads a bounded number of manifests and blobs of each list in a share
//! of the time, so that no list hides what another one has, and ends when its caller has enough.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::SourceError;
use super::at_once::{AT_ONCE, all};
use super::hosts::Capability;
use super::http::HttpClient;
use super::referrer_list::{ReferrerList, referrers};
use super::registry::{self, Endpoint};
use super::replies::RegistryReplies;
use super::search_time::{SearchTime, turn};
use super::search_turns::SearchTurn;
use super::signature_answer::{ListedManifests, listed, manifest};
use super::signature_list::{CutLists, ListCounts, ListsRead, SignatureKind};
use super::signature_manifest::{Layer, SignatureManifest, take_files};
use super::signature_requests::SignatureRequests;
use super::signature_steps::{ListPart, Step};
use super::without_referrers::WithoutReferrers;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::{MOST_SIGNATURES, SignatureFile};

/// Manifests of signatures that are read of one list. cosign says in a manifest that it is an
/// attestation, and in the tag that stands in for a list it does not say so.
const MOST_MANIFESTS: usize = 96;

/// Manifests and signatures that one search reads beyond these, for as many signatures that count.
const MOST_MORE: usize = 7 * MOST_SIGNATURES;

/// How much of one list may still be read.
#[derive(Debug)]
struct LeftOfList {
    manifests: usize,
    signatures: usize,
}

/// One search for an image's signatures.
#[derive(Debug)]
pub(crate) struct SignatureSearch<'a> {
    _turn: SearchTurn,
    known: &'a WithoutReferrers,
    requests: SignatureRequests<'a>,
    digest: Digest,
    wanted: SignatureKind,
    ways: VecDeque<Endpoint>,
    steps: VecDeque<Step>,
    /// Manifests that were read, at the present way.
    read: BTreeSet<Digest>,
    /// How many lists there were, what may still be read of each, and of which the last files were.
    lists: usize,
    left: BTreeMap<usize, LeftOfList>,
    last_list: usize,
    /// How many more are read for those that count.
    more_left: usize,
    /// Blobs of the list that is read now.
    blobs: (usize, BTreeMap<Digest, Vec<u8>>),
    time: SearchTime,
    /// Why something that may have been a signature was not read.
    failed: Option<SourceError>,
    /// What was seen of the lists, at the present way.
    counts: ListCounts,
    /// What came of plain http, where nobody speaks that.
    by_http: Option<SourceError>,
    /// Whether the present way answered anything.
    answered: bool,
    /// Whether nothing was asked there yet.
    is_new_way: bool,
    /// Whether it was not asked for its list of referrers, as it is remembered to have none.
    rests_on_memory: bool,
}

impl LeftOfList {
    fn whole() -> Self {
        Self {
            manifests: MOST_MANIFESTS,
            signatures: MOST_SIGNATURES,
        }
    }
}

impl<'a> SignatureSearch<'a> {
    pub(super) fn start(
        client: &HttpClient,
        (known, replies): (&'a WithoutReferrers, Option<&'a RegistryReplies>),
        repository: &'a Repository,
        (digest, wanted): (Digest, SignatureKind),
        turn: SearchTurn,
    ) -> Result<Self, SourceError> {
        let ways = registry::endpoints(client, repository, Capability::Pull)?;
        let now = Instant::now();
        let mut search = Self {
            _turn: turn,
            known,
            requests: SignatureRequests {
                repository,
                replies,
            },
            digest,
            wanted,
            ways: ways.into(),
            steps: VecDeque::new(),
            read: BTreeSet::new(),
            lists: 0,
            left: BTreeMap::new(),
            last_list: 0,
            more_left: MOST_MORE,
            blobs: (0, BTreeMap::new()),
            time: SearchTime::new(now),
            failed: None,
            counts: ListCounts::default(),
            by_http: None,
            answered: false,
            is_new_way: true,
            rests_on_memory: false,
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
        self.counts.cut()
    }

    /// How much was read of what lists beside the image name.
    pub(crate) fn lists_read(&self) -> ListsRead {
        self.counts.read
    }

    /// So many of the signatures that were given last count, each for a key and tag of its own. As many
    /// more are read of their list: the many tags of a pinned key hide no other signature there.
    pub(crate) fn make_room(&mut self, count: usize) {
        if let Some(left) = self.left.get_mut(&self.last_list) {
            let more = count.min(self.more_left);
            left.manifests += more;
            left.signatures += more;
            self.more_left -= more;
        }
    }

    /// Some signatures of the next place, no more than [`AT_ONCE`]; `None`: there is no other place.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Option<Vec<SignatureFile>> {
        loop {
            let endpoint = self.ways.front()?.clone();
            let remembers = self.requests.replies.is_some();
            if std::mem::take(&mut self.is_new_way) {
                let others_wait = self.ways.len() > 1;
                self.time.begin_way(Instant::now(), deadline, others_wait);
                if remembers && !endpoint.is_mirror() {
                    // On the heap: the search's future would be three times as large otherwise.
                    Box::pin(self.look_ahead(&endpoint)).await;
                }
            }
            let Some(step) = self.steps.pop_front() else {
                if self.asks_once_more(&endpoint) {
                    continue;
                }
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
            if self.answered && !endpoint.is_mirror() {
                self.time
                    .only_this_way(Instant::now(), self.others_wait(step.of_list()));
            }
            let until = self.until(&step);
            // That there is no list of referrers, servers say in many ways.
            let is_answer = !matches!(step, Step::Referrers | Step::Manifests(_));
            match self.look(&endpoint, step, until).await {
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

    /// Until when a step may take. The entries of all lists that say that they are no signatures are
    /// the last list.
    fn until(&mut self, step: &Step) -> Instant {
        let now = Instant::now();
        match step.of_list() {
            None => self.time.begin_place(now, self.others_wait(None)),
            Some(is_late) => {
                if is_late {
                    self.time.begin_last();
                }
                self.time.part(now, self.goes_on_after(step.of_list()))
            }
        }
    }

    /// Whether other places wait, or other lists than this one.
    fn others_wait(&self, own: Option<bool>) -> bool {
        let mut others = self.steps.iter().map(Step::of_list);
        others.any(|other| other != own || other.is_none())
    }

    /// Whether more of the list waits that is read now.
    fn goes_on_after(&self, of_list: Option<bool>) -> bool {
        let next = self.steps.front();
        next.is_some_and(|next| next.of_list() == of_list)
    }

    /// The next way is asked for all of it: this one may not have given what it lists, and says
    /// nothing of what the registry itself has.
    fn next_way(&mut self) {
        self.ways.pop_front();
        self.read.clear();
        self.failed = None;
        self.counts = ListCounts::default();
        self.answered = false;
        self.begin();
    }

    fn begin(&mut self) {
        let first = self.ways.front().map(|way| self.without_list(way.api()));
        self.is_new_way = true;
        self.rests_on_memory = first == Some(true);
        self.steps = match first {
            Some(without_list) => Step::first(without_list, self.wanted),
            None => VecDeque::new(),
        };
    }

    /// Whether it is remembered that the registry has no list of referrers. A person who asks is told
    /// what it says now.
    fn without_list(&self, api: &str) -> bool {
        let by_a_person = self.requests.replies.is_some();
        !by_a_person && self.known.has(api, self.requests.repository)
    }

    /// Before the image is said to have no signature: whether the list is asked for once more, that
    /// it was remembered not to be there.
    fn asks_once_more(&mut self, endpoint: &Endpoint) -> bool {
        let (api, repository) = (endpoint.api(), self.requests.repository);
        let asks = self.rests_on_memory && self.known.asks_again(api, repository);
        self.rests_on_memory = false;
        if asks {
            self.steps.push_back(Step::Referrers);
        }
        asks
    }

    /// Asks for all places of a way at once, where all of them are wanted.
    async fn look_ahead(&mut self, endpoint: &Endpoint) {
        let until = self.time.begin_place(Instant::now(), true);
        let places = self.steps.iter().filter_map(|step| step.place(self.digest));
        // The replies are remembered; where there was none, the step asks again.
        let asking =
            places.map(async |place| self.requests.get(endpoint, &place, until).await.is_ok());
        all(asking).await;
    }

    async fn look(
        &mut self,
        endpoint: &Endpoint,
        step: Step,
        deadline: Instant,
    ) -> Result<Vec<SignatureFile>, SourceError> {
        let place = step.place(self.digest);
        match (step, place) {
            (Step::Referrers, _) => {
                let (requests, wanted) = (&self.requests, (self.digest, self.wanted));
                let list = referrers((endpoint, requests), wanted, self.known, deadline);
                if let Some(ReferrerList { listed, goes_on }) = list.await? {
                    self.answered = true;
                    self.queue(listed, goes_on);
                }
                Ok(Vec::new())
            }
            (Step::SignatureTag, Some(place)) => {
                let Some(reply) = self.requests.get(endpoint, &place, deadline).await? else {
                    return Ok(Vec::new());
                };
                let manifest = manifest(&reply, self.wanted, None)?;
                let list = self.new_list();
                let (_, layers) = self.layers(manifest);
                let part = ListPart::new(list, false, layers);
                Ok(self.files(endpoint, part).await)
            }
            (_, Some(place)) => {
                let reply = self.requests.get(endpoint, &place, deadline).await?;
                // GitLab takes the tag for the digest in it, and gives the image itself (oras-go, issue
                // 1396).
                let list = reply.filter(|reply| Digest::of(&reply.body) != self.digest);
                if let Some(reply) = list {
                    self.queue(listed(&reply, self.wanted)?, false);
                }
                Ok(Vec::new())
            }
            (Step::Manifests(some), _) => Ok(self.manifests(endpoint, some, deadline).await),
            (Step::Layers(some), _) => Ok(self.files(endpoint, some).await),
            (Step::IndexTag | Step::SignatureTag, None) => Ok(Vec::new()),
        }
    }

    /// The signatures that some manifests of a list have, which are read at once.
    async fn manifests(
        &mut self,
        endpoint: &Endpoint,
        mut manifests: ListPart<Digest>,
        deadline: Instant,
    ) -> Vec<SignatureFile> {
        let left = self.left.entry(manifests.list);
        let left = &mut left.or_insert_with(LeftOfList::whole).manifests;
        let count = *left;
        if let Some(rest) = manifests.split_after(count) {
            if count == 0 {
                self.counts.left_out += rest.entries.len();
                self.counts.read.listed -= rest.entries.len();
                return Vec::new();
            }
            self.steps.push_front(Step::Manifests(rest));
        }
        *left -= manifests.entries.len();
        let ListPart {
            list,
            is_late,
            entries,
        } = manifests;
        // One that keeps us waiting leaves time for what the others have.
        let until = turn(Instant::now(), deadline, true);
        let asking = entries
            .iter()
            .map(|digest| self.requests.manifest(endpoint, *digest, until));
        let replies = all(asking).await;
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for (digest, reply) in entries.iter().zip(replies) {
            let read = reply.and_then(|reply| {
                self.answered = true;
                self.counts.read.read += 1;
                self.read.insert(*digest);
                manifest(&reply, self.wanted, Some(self.digest))
            });
            match read {
                Ok(manifest) => {
                    let (order, layers) = self.layers(manifest);
                    if SignatureKind::is_last(order) && !is_late {
                        later.extend(layers);
                    } else {
                        now.extend(layers);
                    }
                }
                Err(error) => self.unread(error),
            }
        }
        if !later.is_empty() {
            let later = ListPart::new(list, true, later);
            self.steps.push_back(Step::Layers(later));
        }
        let part = ListPart::new(list, is_late, now);
        self.files(endpoint, part).await
    }

    /// Each list has a budget of its own.
    fn new_list(&mut self) -> usize {
        self.lists += 1;
        self.lists
    }

    /// Has the manifests of a list read next, the likely ones first, and at the end those that say
    /// that they are no signatures.
    fn queue(&mut self, listed: ListedManifests, goes_on: bool) {
        if let Some(error) = listed.unread {
            self.unread(error);
        }
        let mut listed = listed.manifests;
        let (list, mut known) = (self.new_list(), self.read.clone());
        listed.sort_by_key(|(order, _)| *order);
        listed.retain(|(_, digest)| known.insert(*digest));
        let count = listed.len();
        listed.truncate(MOST_MANIFESTS + MOST_MORE);
        self.counts.left_out += count - listed.len();
        self.counts.read.listed += listed.len();
        self.counts.goes_on |= goes_on;
        let (mut next, late) = Step::of_listed(list, &listed);
        self.steps.extend(late);
        let begins = !next.is_empty();
        next.append(&mut self.steps);
        self.steps = next;
        if begins {
            // That its place kept us waiting takes nothing of the list's own time.
            let others_wait = self.others_wait(Some(false));
            self.time.begin_place(Instant::now(), others_wait);
        }
    }

    /// The layers of a signature's manifest that are looked at, and the manifest's own place in the
    /// order of looking.
    fn layers(
        &mut self,
        (manifest, unread): (SignatureManifest, Option<SourceError>),
    ) -> (u8, Vec<Layer>) {
        self.counts.left_out += manifest.left_out;
        if let Some(error) = unread {
            self.unread(error);
        }
        (manifest.order, manifest.layers)
    }

    /// The first signatures of layers, few at a time, so that what is large is not all in memory at once;
    /// the others are read next, as many as the list has left. One that can't be read hides no other one.
    async fn files(
        &mut self,
        endpoint: &Endpoint,
        mut part: ListPart<Layer>,
    ) -> Vec<SignatureFile> {
        let left = self.left.entry(part.list);
        let left = &mut left.or_insert_with(LeftOfList::whole).signatures;
        let count = AT_ONCE.min(*left);
        let rest = part.split_after(count);
        *left -= part.entries.len();
        self.counts.looked_at += part.entries.len();
        self.last_list = part.list;
        match rest {
            Some(rest) if count == 0 => self.counts.left_out += rest.entries.len(),
            Some(rest) => self.steps.push_front(Step::Layers(rest)),
            None => {}
        }
        // One that keeps us waiting leaves time for the next ones.
        let goes_on = self.goes_on_after(Some(part.is_late));
        let until = self.time.part(Instant::now(), goes_on);
        if self.blobs.0 != part.list {
            self.blobs = (part.list, BTreeMap::new());
        }
        self.read_blobs(endpoint, &part.entries, until).await;
        take_files(&mut self.blobs.1, part.entries)
    }

    /// Reads the blobs of layers, which several layers may share, at once.
    async fn read_blobs(&mut self, endpoint: &Endpoint, layers: &[Layer], until: Instant) {
        let mut known: BTreeSet<Digest> = self.blobs.1.keys().copied().collect();
        let digests = layers.iter().map(|(descriptor, _)| descriptor.digest);
        let wanted: Vec<Digest> = digests.filter(|digest| known.insert(*digest)).collect();
        self.counts.read.listed += wanted.len();
        let blobs = all(wanted
            .iter()
            .map(|digest| self.requests.blob(endpoint, *digest, until)))
        .await;
        for (digest, blob) in wanted.iter().zip(blobs) {
            match blob {
                Ok(bytes) => {
                    self.counts.read.read += 1;
                    self.blobs.1.insert(*digest, bytes);
                }
                Err(error) => self.unread(error),
            }
        }
    }
}

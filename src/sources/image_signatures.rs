//! The signatures that a registry keeps beside an image: its referrers (OCI distribution-spec,
//! "Listing Referrers"), the tag that stands in for them, and cosign's `.sig` tag.
//!
//! Whoever may push to the repository, or runs a mirror, may list thousands here. So a search goes
//! one step at a time, reads a bounded number of manifests and blobs of each list, so that no list
//! hides what another one has, and ends when its caller has enough.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::LINK;
use reqwest::{Method, Url};

use super::hosts::Capability;
use super::http::{Ask, HttpClient, Reply};
use super::registry::{self, Endpoint, REDIRECTS};
use super::{SourceError, shown};
use rootpin_trust::canonical::{Text, rewrite_doubles};
use rootpin_trust::image::{Descriptor, Digest, Document, Repository};
use rootpin_trust::{MOST_SIGNATURES, SIGNATURE_BYTES, SignatureFile};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// Where cosign puts the signature over a payload.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Manifests of signatures that are read of one list.
const MOST_MANIFESTS: usize = 32;
/// Pages of one list of referrers.
const MOST_PAGES: usize = 4;
/// Signatures that one manifest of such a list may have, so that one can't use up the whole list's:
/// tools write one or two.
const MOST_LAYERS: usize = 8;
/// Bytes of one signature's manifest; cosign's `.sig` manifest grows with each signature.
const MANIFEST_BYTES: usize = 512 << 10;
/// What the list's own words say is a signature is read first. They leave nothing out: cosign with
/// older libraries writes another type there.
const LIKELY: [&str; 3] = [
    "application/vnd.dev.sigstore.bundle",
    "application/vnd.dev.cosign.artifact.sig",
    "application/vnd.cncf.notary.signature",
];

/// The APIs that are known to have no list of referrers, and since when: they are not asked for one
/// again for a while.
#[derive(Debug, Default)]
pub(super) struct WithoutReferrers(Mutex<HashMap<String, Instant>>);

/// So many are remembered.
const MOST_KNOWN: usize = 4096;
/// A registry may learn it: then new signatures are there and nowhere else.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

impl WithoutReferrers {
    fn has(&self, api: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(api)
            .is_some_and(|since| since.elapsed() < KNOWN_FOR)
    }

    fn add(&self, api: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(api.to_owned(), Instant::now());
    }
}

/// One search for an image's signatures.
#[derive(Debug)]
pub(crate) struct SignatureSearch<'a> {
    known: &'a WithoutReferrers,
    repository: &'a Repository,
    digest: Digest,
    /// Whether a layer of that media type may be a signature.
    wanted: fn(&str) -> bool,
    ways: VecDeque<Endpoint>,
    steps: VecDeque<Step>,
    /// Manifests that were read, at whichever way.
    read: BTreeSet<Digest>,
    /// Files and blobs of the list that is read now.
    files: usize,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// Why something that may have been a signature was not read.
    failed: Option<SourceError>,
}

/// A place to look next.
#[derive(Debug)]
enum Step {
    Referrers,
    IndexTag,
    SignatureTag,
    Manifest(Descriptor),
}

impl<'a> SignatureSearch<'a> {
    pub(super) fn start(
        client: &HttpClient,
        known: &'a WithoutReferrers,
        repository: &'a Repository,
        digest: Digest,
        wanted: fn(&str) -> bool,
    ) -> Result<Self, SourceError> {
        let ways = registry::endpoints(client, repository, Capability::Pull)?;
        let mut search = Self {
            known,
            repository,
            digest,
            wanted,
            ways: ways.into(),
            steps: VecDeque::new(),
            read: BTreeSet::new(),
            files: 0,
            blobs: BTreeMap::new(),
            failed: None,
        };
        search.begin();
        Ok(search)
    }

    /// Why the search is not known to have seen all that is there.
    pub(crate) fn failed(&self) -> Option<&SourceError> {
        self.failed.as_ref()
    }

    /// The signatures of the next place; `None`: there is no other place.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Option<Vec<SignatureFile>> {
        loop {
            let endpoint = self.ways.front()?.clone();
            let Some(step) = self.steps.pop_front() else {
                // What a mirror does not have, the registry itself may have.
                if !endpoint.is_mirror() {
                    return None;
                }
                self.next_way();
                continue;
            };
            let deadline = self.share(deadline);
            match self.look(&endpoint, step, deadline).await {
                Ok(files) if files.is_empty() => {}
                Ok(files) => return Some(files),
                Err(error) if endpoint.was_guessed_wrong(&error) && self.ways.len() > 1 => {
                    self.next_way();
                }
                Err(error) => {
                    log::debug!("no signature of {}: {error}", self.digest);
                    if error.is_silent() && !endpoint.is_mirror() {
                        // Its other places would keep us waiting too.
                        self.steps.clear();
                    }
                    // What is there and is no signature says no more than nothing does.
                    if error.is_silent() || matches!(error, SourceError::Denied { .. }) {
                        self.failed.get_or_insert(error);
                    }
                }
            }
        }
    }

    /// An equal part of the time that is left for each way.
    fn share(&self, deadline: Instant) -> Instant {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        now + left / u32::try_from(self.ways.len().max(1)).unwrap_or(u32::MAX)
    }

    fn next_way(&mut self) {
        self.ways.pop_front();
        self.begin();
    }

    fn begin(&mut self) {
        let first = self.ways.front().map(|way| self.known.has(way.api()));
        self.steps = match first {
            Some(true) => [Step::IndexTag, Step::SignatureTag].into(),
            Some(false) => [Step::Referrers, Step::IndexTag, Step::SignatureTag].into(),
            None => VecDeque::new(),
        };
    }

    async fn look(
        &mut self,
        endpoint: &Endpoint,
        step: Step,
        deadline: Instant,
    ) -> Result<Vec<SignatureFile>, SourceError> {
        let hex = self.digest.hex();
        match step {
            Step::Referrers => {
                self.referrers(endpoint, deadline).await?;
                Ok(Vec::new())
            }
            Step::IndexTag => {
                let rest = format!("manifests/sha256-{hex}");
                let (accept, cap) = (INDEX, Document::LIMITS.bytes);
                if let Some(reply) = self.get(endpoint, &rest, accept, cap, deadline).await? {
                    let listed = listed(&reply)?;
                    self.queue(listed);
                }
                Ok(Vec::new())
            }
            Step::SignatureTag => {
                let rest = format!("manifests/sha256-{hex}.sig");
                let cap = MANIFEST_BYTES;
                self.begin_list();
                match self.get(endpoint, &rest, MANIFEST, cap, deadline).await? {
                    Some(reply) => self.layers(endpoint, &reply, false, deadline).await,
                    None => Ok(Vec::new()),
                }
            }
            Step::Manifest(descriptor) => {
                let rest = format!("manifests/{}", descriptor.digest);
                let cap = MANIFEST_BYTES;
                let Some(reply) = self.get(endpoint, &rest, MANIFEST, cap, deadline).await? else {
                    return Ok(Vec::new());
                };
                if Digest::of(&reply.body) != descriptor.digest {
                    return Err(wrong(
                        &reply.url,
                        "sent other bytes than those of the digest",
                    ));
                }
                let files = self.layers(endpoint, &reply, true, deadline).await?;
                self.read.insert(descriptor.digest);
                Ok(files)
            }
        }
    }

    /// Reads the list of referrers, page by page, if the registry has one.
    async fn referrers(
        &mut self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<(), SourceError> {
        let mut url = endpoint.url(self.repository, &format!("referrers/{}", self.digest))?;
        let mut all = Vec::new();
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
                Err(error) => return Err(error),
            };
            let listed = match reply.status.as_u16() {
                200 => listed(&reply),
                400 | 404 | 405 | 501 if page == 0 => Err(reply.error()),
                _ => return Err(reply.error()),
            };
            match listed {
                Ok(listed) => all.extend(listed),
                Err(error) if page > 0 => return Err(error),
                // One that answers everything with a page of its own has no such list. A list that
                // is too long, or broken, is this image's alone: who may push beside it made it.
                Err(_) => {
                    let is_list = reply.status.as_u16() == 200 && reply.body.starts_with(b"{");
                    if !is_list && !is_of_repository(&reply) {
                        self.known.add(endpoint.api());
                    }
                    return Ok(());
                }
            }
            match next_page(&reply) {
                Some(next) => url = next,
                None => break,
            }
        }
        self.queue(all);
        Ok(())
    }

    /// Each list has a budget of its own.
    fn begin_list(&mut self) {
        self.files = 0;
        self.blobs.clear();
    }

    /// Has the manifests of a list read next, the likely ones first.
    fn queue(&mut self, mut listed: Vec<(bool, Descriptor)>) {
        self.begin_list();
        listed.retain(|(_, descriptor)| !self.read.contains(&descriptor.digest));
        listed.sort_by_key(|(is_likely, _)| !is_likely);
        listed.truncate(MOST_MANIFESTS);
        for (_, descriptor) in listed.into_iter().rev() {
            self.steps.push_front(Step::Manifest(descriptor));
        }
    }

    /// The layers of a signature's manifest that may be signatures.
    async fn layers(
        &mut self,
        endpoint: &Endpoint,
        reply: &Reply,
        has_subject: bool,
        deadline: Instant,
    ) -> Result<Vec<SignatureFile>, SourceError> {
        let no_manifest = |_| wrong(&reply.url, "no manifest of signatures");
        let text = rewrite_doubles(&reply.body, Document::LIMITS).map_err(no_manifest)?;
        let manifest = Text::of(&text);
        let subject = manifest
            .get("subject")
            .and_then(|subject| subject.get("digest"));
        if has_subject && !subject.is_some_and(|subject| subject.is(&self.digest.to_string())) {
            return Err(wrong(&reply.url, "a manifest that refers to another image"));
        }
        let most = if has_subject {
            MOST_LAYERS
        } else {
            MOST_SIGNATURES
        };
        let (mut files, mut known) = (Vec::new(), HashSet::new());
        for layer in manifest
            .get("layers")
            .and_then(Text::elements)
            .into_iter()
            .flatten()
        {
            let Ok(descriptor) = Descriptor::read(layer) else {
                continue;
            };
            let is_small =
                usize::try_from(descriptor.size).is_ok_and(|size| size <= SIGNATURE_BYTES);
            if !is_small || !(self.wanted)(&descriptor.media_type) {
                continue;
            }
            let signature = layer
                .get("annotations")
                .and_then(|annotations| annotations.get(SIGNATURE)?.as_str());
            let signature = signature.map(std::borrow::Cow::into_owned);
            if !known.insert((descriptor.digest, signature.clone())) {
                continue;
            }
            if self.files >= MOST_SIGNATURES || files.len() >= most {
                break;
            }
            self.files += 1;
            let bytes = self.blob(endpoint, descriptor.digest, deadline).await?;
            files.push(SignatureFile {
                media_type: descriptor.media_type,
                bytes,
                signature,
            });
        }
        Ok(files)
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

    async fn get(
        &self,
        endpoint: &Endpoint,
        rest: &str,
        accept: &str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Option<Reply>, SourceError> {
        let url = endpoint.url(self.repository, rest)?;
        let reply = self.ask(endpoint, url, accept, cap, deadline).await?;
        Ok((!registry::missing(&reply)?).then_some(reply))
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        let scope = registry::scope(self.repository);
        let ask = Ask {
            method: Method::GET,
            url,
            accept,
            cap,
            scope: &scope,
            redirects: REDIRECTS,
            send: None,
        };
        endpoint.ask(&ask, deadline.into()).await
    }
}

/// The manifests that a list names, and whether its own words make each a likely signature.
fn listed(reply: &Reply) -> Result<Vec<(bool, Descriptor)>, SourceError> {
    let no_list = || wrong(&reply.url, "no list of referrers");
    let text = rewrite_doubles(&reply.body, Document::LIMITS).map_err(|_| no_list())?;
    let manifests = Text::of(&text).get("manifests").and_then(Text::elements);
    let is_likely = |entry: Text<'_>| {
        let kind = entry.get("artifactType").and_then(Text::as_str);
        kind.is_some_and(|kind| LIKELY.iter().any(|likely| kind.starts_with(likely)))
    };
    let read = |entry: Text<'_>| Some((is_likely(entry), Descriptor::read(entry).ok()?));
    Ok(manifests.ok_or_else(no_list)?.filter_map(read).collect())
}

/// Whether a registry says that it has no such repository, and nothing of its API.
fn is_of_repository(reply: &Reply) -> bool {
    let error: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
    let code = error
        .as_ref()
        .and_then(|error| error.pointer("/errors/0/code"));
    code.and_then(serde_json::Value::as_str) == Some("NAME_UNKNOWN")
}

/// The next page of the same list.
fn next_page(reply: &Reply) -> Option<Url> {
    let link = reply.headers.get(LINK)?.to_str().ok()?;
    let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
    let next = reply.url.join(target).ok()?;
    let same =
        next.origin() == reply.url.origin() && next.path() == reply.url.path() && next != reply.url;
    (relation.contains("rel=\"next\"") && same).then_some(next)
}

fn wrong(url: &Url, cause: &str) -> SourceError {
    SourceError::Other {
        url: shown(url),
        cause: cause.to_owned(),
    }
}

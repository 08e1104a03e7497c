//! The manifest under a digest that a tag was resolved to. HEAD needs its length and media type,
//! which no statement has, so a registry that is down must not be the only one to know: what was
//! seen before is kept, and what an engine holds is read there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::engines::ContainerdClient;
use crate::sources::{Description, Sources};
use rootpin_trust::image::{Digest, ImageRef, MAX_INDEXES};
use rootpin_trust::{Code, Refusal};

/// As much of manifests is kept; then it is begun anew.
const MAX_KEPT: usize = 16 << 20;
const MAX_MANIFESTS: usize = 4096;
/// So many digests that they list, and so many indexes above one of them, at all levels.
const MAX_LISTED: usize = 65_536;
const MAX_ABOVE: usize = 16;
/// So many registries' answers are waited for at a time, each of which may be 4 MiB.
const MAX_FETCHES: usize = 16;
/// For the engines' content stores, which are on this host.
const RESIDENT: Duration = Duration::from_secs(1);

/// Manifests by their digest.
#[derive(Debug)]
pub(super) struct Manifests {
    sources: Arc<Sources>,
    engines: Vec<Arc<ContainerdClient>>,
    kept: Mutex<CachedManifest>,
    /// One at a time looks for a digest: those that wait find what it found, or when and why it
    /// found nothing.
    looking: Mutex<HashMap<Digest, Arc<Turn>>>,
    fetches: Semaphore,
}

type Turn = tokio::sync::Mutex<Option<(Instant, Refusal)>>;

#[derive(Debug, Default)]
struct CachedManifest {
    known: HashMap<Digest, Arc<Description>>,
    /// The indexes among them that list a manifest.
    above: HashMap<Digest, Vec<Digest>>,
    bytes: usize,
}

impl Manifests {
    pub(super) fn new(sources: Arc<Sources>, engines: Vec<ContainerdClient>) -> Self {
        let fetches = Semaphore::new(MAX_FETCHES);
        let engines = engines.into_iter().map(Arc::new).collect();
        Self {
            sources,
            engines,
            kept: Mutex::default(),
            looking: Mutex::default(),
            fetches,
        }
    }

    /// The manifest of that digest, hashed: from here, from an engine, or from the repository's
    /// registry.
    ///
    /// # Errors
    /// Nobody has it, or nobody who does answers in time.
    pub(super) async fn of(
        &self,
        name: &ImageRef,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Arc<Description>, Refusal> {
        if let Some(known) = self.known(&digest) {
            return Ok(known);
        }
        let (begun, turn) = (Instant::now(), self.turn(digest));
        let late = |_| late(name, &digest);
        let mut turn = tokio::time::timeout_at(deadline.into(), turn.lock())
            .await
            .map_err(late)?;
        if let Some(known) = self.known(&digest) {
            return Ok(known);
        }
        if let Some((_, failed)) = turn.as_ref().filter(|(at, _)| *at > begun) {
            return Err(failed.clone());
        }
        match self.found(name, digest, deadline).await {
            Ok(found) => Ok(self.keep(found)),
            Err(refusal) => {
                *turn = Some((Instant::now(), refusal.clone()));
                Err(refusal)
            }
        }
    }

    /// One that is kept here.
    pub(super) fn known(&self, digest: &Digest) -> Option<Arc<Description>> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .get(digest)
            .cloned()
    }

    /// The indexes that list a manifest, and those above them: as far as they are kept here.
    pub(super) fn above(&self, digest: &Digest) -> Vec<Digest> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut children) = (Vec::new(), vec![*digest]);
        for _ in 0..MAX_INDEXES {
            let mut higher: Vec<Digest> = children
                .iter()
                .filter_map(|child| kept.above.get(child))
                .flatten()
                .copied()
                .filter(|index| !found.contains(index))
                .collect();
            higher.truncate(MAX_ABOVE - found.len());
            found.extend(&higher);
            children = higher;
        }
        found
    }

    /// The indexes that list a manifest, in an engine's content store: a pull goes on there after a
    /// restart of rootpind.
    pub(super) async fn above_in_engines(&self, digest: Digest) -> Vec<Digest> {
        let mut looking = JoinSet::new();
        for engine in &self.engines {
            let engine = Arc::clone(engine);
            looking.spawn(async move { engine.indexes_above(&digest).await.unwrap_or_default() });
        }
        let mut found = Vec::new();
        let all = async {
            while let Some(above) = looking.join_next().await {
                found.extend(above.unwrap_or_default());
            }
        };
        let _ = tokio::time::timeout(RESIDENT, all).await;
        found.truncate(MAX_ABOVE);
        found
    }

    /// What an engine holds; once that takes long, what the registry sends as well, whichever comes
    /// first.
    async fn found(
        &self,
        name: &ImageRef,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Description, Refusal> {
        let (resident, fetched) = (self.resident(digest), self.fetched(name, digest, deadline));
        tokio::pin!(resident, fetched);
        match tokio::time::timeout(RESIDENT, &mut resident).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => return fetched.await,
            Err(_) => {}
        }
        tokio::select! {
            found = &mut resident => match found {
                Some(found) => Ok(found),
                None => fetched.await,
            },
            found = &mut fetched => match found {
                Ok(found) => Ok(found),
                Err(refusal) => tokio::time::timeout_at(deadline.into(), resident).await.ok().flatten().ok_or(refusal),
            },
        }
    }

    async fn resident(&self, digest: Digest) -> Option<Description> {
        let mut looking = JoinSet::new();
        for engine in &self.engines {
            let engine = Arc::clone(engine);
            looking.spawn(async move {
                let bytes = engine.document_bytes(&digest).await.ok()??;
                Description::of_stored(&bytes).ok()
            });
        }
        while let Some(found) = looking.join_next().await {
            if let Ok(Some(found)) = found {
                return Some(found);
            }
        }
        None
    }

    async fn fetched(
        &self,
        name: &ImageRef,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Description, Refusal> {
        let place = tokio::time::timeout_at(deadline.into(), self.fetches.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(late(name, &digest));
        };
        let by_digest = ImageRef {
            tag: None,
            ..name.with_digest(digest)
        };
        self.sources.describe(&by_digest, deadline).await
    }

    fn keep(&self, found: Description) -> Arc<Description> {
        let found = Arc::new(found);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = found.manifests.len();
        if kept.bytes + found.bytes.len() > MAX_KEPT
            || kept.known.len() >= MAX_MANIFESTS
            || kept.above.len() + listed > MAX_LISTED
        {
            *kept = CachedManifest::default();
        }
        kept.bytes += found.bytes.len();
        for child in &found.manifests {
            let above = kept.above.entry(*child).or_default();
            if above.len() < MAX_ABOVE && !above.contains(&found.digest) {
                above.push(found.digest);
            }
        }
        kept.known.insert(found.digest, Arc::clone(&found));
        found
    }

    fn turn(&self, digest: Digest) -> Arc<Turn> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        looking.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(looking.entry(digest).or_default())
    }
}

fn late(name: &ImageRef, digest: &Digest) -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        format!("no manifest {digest} of {} in time", name.repository),
        "an answer of its registry, or an engine that holds it",
        "check that the registry runs and that this host reaches it",
    )
}

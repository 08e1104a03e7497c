//! The files of a TUF repository: at a place, or in the cache.

use std::sync::Arc;
use std::time::Instant;

use super::TufLook;
use crate::evidence::NamedFiles;
use crate::evidence::drive::Fetch;
use crate::evidence::look::SourceFailure;
use crate::sources::{SourceError, TufLocation, TufReader};
use rootpin_trust::{Answer, FetchFrom, Want};

/// Where one verification gets its files.
pub(in crate::evidence) struct TufSource<'a> {
    look: &'a TufLook<'a>,
    /// A place, and until when it may take; none: no place answers, and the cache has to do.
    place: Option<(&'a TufReader, Instant)>,
    /// Roots that a place showed in this look, and that are not cached yet.
    roots: NamedFiles,
}

impl TufLook<'_> {
    /// The files of a place that was opened.
    pub(in crate::evidence) fn at<'a>(
        &'a self,
        reader: &'a TufReader,
        deadline: Instant,
    ) -> TufSource<'a> {
        TufSource {
            look: self,
            place: Some((reader, deadline)),
            roots: NamedFiles::new(),
        }
    }

    /// The cached files.
    pub(in crate::evidence) fn in_cache(&self) -> TufSource<'_> {
        TufSource {
            look: self,
            place: None,
            roots: NamedFiles::new(),
        }
    }

    /// The same, with roots that are not cached yet.
    pub(in crate::evidence) fn in_cache_with(&self, roots: NamedFiles) -> TufSource<'_> {
        TufSource {
            roots,
            ..self.in_cache()
        }
    }

    /// Where the metadata lies, in the order of the policy; a registry's mirrors before itself.
    pub(in crate::evidence) fn places(&self) -> Vec<Result<Arc<TufLocation>, SourceError>> {
        let (sources, ca) = (&self.repositories.sources, self.root.tls_ca.as_deref());
        let at = |url| match sources.tuf(url, ca) {
            Ok(locations) => locations.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        self.root.metadata.iter().flat_map(at).collect()
    }
}

impl TufSource<'_> {
    fn cached(&self, want: &Want) -> Option<Vec<u8>> {
        let (look, name) = (self.look, want.request.cache_name());
        let root = self.roots.iter().find(|(root, _)| *root == name);
        root.map(|(_, bytes)| bytes.clone())
            .or_else(|| look.repositories.cached(&look.origin, &name))
    }
}

impl Fetch for TufSource<'_> {
    async fn fetch(&self, want: &Want) -> Result<Answer, SourceFailure> {
        let (look, request) = (self.look, &want.request);
        if want.from == FetchFrom::Cache {
            let cached = (!look.anew).then(|| self.cached(want));
            return Ok(cached.flatten().into());
        }
        let Some((reader, deadline)) = self.place else {
            return match self.cached(want) {
                Some(bytes) if look.anew => Ok(Answer::Bytes(bytes)),
                // Whether there is a newer root can't be known.
                _ if request.is_root_version() => Ok(Answer::Missing),
                Some(bytes) if request.role == "timestamp" => Ok(Answer::Bytes(bytes)),
                _ => Err(SourceFailure::Silent(request.file_name())),
            };
        };
        let role = request.role.as_str();
        let role = (!matches!(role, "root" | "timestamp" | "snapshot")).then_some(role);
        let (file, deadline) = (request.file_name(), deadline.into());
        let found = reader.get(&file, role, want.max_bytes, deadline).await;
        let found = found.map_err(|error| SourceFailure::of_file(&request.role, error))?;
        Ok(found.into())
    }
}

pub(in crate::evidence) async fn open(
    place: &Result<Arc<TufLocation>, SourceError>,
    deadline: Instant,
) -> Result<TufReader, SourceFailure> {
    let location = place.as_ref().map_err(Clone::clone)?;
    Ok(location.open(deadline.into()).await?)
}

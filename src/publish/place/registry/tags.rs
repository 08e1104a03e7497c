//! Reads what publishers have put under the tags of one repository.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::{MetadataFiles, PlaceError};
use super::{
    ALL_BYTES, FILE_BYTES, FILE_NAME, FOUND, Listed, METADATA, MOST_PUBLISHERS, MOST_WRITES,
    PUBLISHERS, TAG, Top, Vector, WAITS,
};
use crate::sources::files_of;
use crate::sources::{Artifacts, Credentials};
use rootpin_trust::image::{Digest, Repository, Tag};

/// One registry's repository that is read or written.
pub(super) struct RegistryTags {
    pub(super) artifacts: Artifacts,
    pub(super) tag: Tag,
    name: String,
}

impl RegistryTags {
    pub(super) async fn open(
        repository: &Repository,
        tag: &Tag,
        credentials: &Arc<Credentials>,
    ) -> Result<Self, PlaceError> {
        let artifacts = Artifacts::open(repository, Arc::clone(credentials)).await?;
        Ok(Self {
            artifacts,
            tag: tag.clone(),
            name: format!("oci://{repository}:{tag}"),
        })
    }

    pub(super) fn strange(&self, what: &str) -> PlaceError {
        PlaceError::Strange(self.name.clone(), what.to_owned())
    }

    /// What is under a tag; nothing, where there is no such tag.
    pub(super) async fn top(&self, tag: &Tag) -> Result<Top, PlaceError> {
        let Some(bytes) = self.artifacts.manifest(tag).await? else {
            return Ok(Top::default());
        };
        let wrong =
            |what: &str| PlaceError::Strange(format!("{} (tag {tag})", self.name), what.to_owned());
        let mut files =
            files_of(&bytes, METADATA, FILE_NAME).map_err(|error| wrong(&error.to_string()))?;
        files
            .extend(files_of(&bytes, WAITS, FILE_NAME).map_err(|error| wrong(&error.to_string()))?);
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| wrong("no manifest"))?;
        let known = match value
            .get("annotations")
            .and_then(|annotations| annotations.get(PUBLISHERS))
        {
            None => Vector::new(),
            Some(text) => text
                .as_str()
                .and_then(|text| serde_json::from_str::<Vector>(text).ok())
                .filter(|known| {
                    known.len() <= MOST_PUBLISHERS
                        && known.values().all(|(count, _)| *count < MOST_WRITES)
                })
                .ok_or_else(|| wrong("a list of publishers that is not understood"))?,
        };
        let found =
            files_of(&bytes, FOUND, FILE_NAME).map_err(|error| wrong(&error.to_string()))?;
        // It would be written over.
        if files.is_empty() {
            return Err(PlaceError::Taken(format!("{} (tag {tag})", self.name)));
        }
        Ok(Top {
            digest: Some(Digest::of(&bytes)),
            files,
            found,
            known,
        })
    }

    /// The files themselves.
    pub(super) async fn files(
        &self,
        listed: &Listed,
        known: &MetadataFiles,
    ) -> Result<MetadataFiles, PlaceError> {
        let all = listed
            .values()
            .fold(0_u64, |sum, file| sum.saturating_add(file.size));
        if all > ALL_BYTES || listed.values().any(|file| file.size > FILE_BYTES) {
            return Err(self.strange(&format!(
                "files of {all} bytes, which is more than any repository has"
            )));
        }
        let mut files = MetadataFiles::new();
        for (name, descriptor) in listed {
            let at_hand = known
                .get(name)
                .filter(|bytes| Digest::of(bytes) == descriptor.digest);
            let bytes = match at_hand {
                Some(bytes) => bytes.clone(),
                None => {
                    self.artifacts
                        .blob(
                            &descriptor.digest,
                            usize::try_from(descriptor.size).unwrap_or_default(),
                        )
                        .await?
                }
            };
            files.insert(name.clone(), bytes);
        }
        Ok(files)
    }

    /// The tags of all publishers. Those that are known are looked at though a list, which may lag
    /// behind, does not have them.
    pub(super) async fn publishers(&self, known: &Vector) -> Result<Vec<Tag>, PlaceError> {
        let known = known
            .keys()
            .filter_map(|publisher| format!("{TAG}{publisher}").parse().ok());
        // Where no tags are listed, all that a publisher can have ([`crate::publish::Working`]) are
        // asked for.
        let every = || {
            "0123456789abcdef"
                .chars()
                .filter_map(|publisher| format!("{TAG}{publisher}").parse().ok())
                .collect()
        };
        let all = self
            .artifacts
            .tags()
            .await?
            .unwrap_or_else(every)
            .into_iter()
            .chain(known)
            .filter(|tag: &Tag| tag.as_str().starts_with(TAG));
        let tags: BTreeSet<_> = all.filter(|tag| *tag != self.tag).collect();
        if tags.len() > MOST_PUBLISHERS {
            return Err(self.strange(&format!(
                "{} tags {TAG}…, which is more publishers than anybody has",
                tags.len()
            )));
        }
        Ok(tags.into_iter().collect())
    }
}

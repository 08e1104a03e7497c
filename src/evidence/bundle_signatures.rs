//! Bundles of signatures that stand beside images: what counted of them goes to hosts that reach no
//! registry, where it is verified again (`signature_import`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bundle_export::ExportedBundle;
use super::signature_cache::{CacheFile, counted, read_cached};
use super::signature_pins::Pins;
use super::signatures::origin;
use super::{MAX_CACHED, MetadataOrigin, NamedFiles, Repositories, RootLook};
use crate::sources::SIGNATURES;
use crate::state::Additions;
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::tuf::Question;
use rootpin_trust::{Code, Refusal, SignedImage, Subject};

/// One file of a bundle: a file of the cache, and whose it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundledFile {
    pub(super) repository: String,
    pub(super) name: String,
    pub(super) content: String,
}

impl Repositories {
    /// Signatures under a root: of these images, for which their registries are asked, and all that
    /// the cache has of repositories with one of the prefixes.
    pub(super) async fn export_signatures(
        &self,
        look: RootLook<'_>,
        (prefixes, names): (&[String], &[ImageRef]),
        time: Duration,
    ) -> Result<ExportedBundle, Refusal> {
        let mut exported = ExportedBundle {
            root: look.root.id.clone(),
            files: BTreeMap::new(),
            versions: BTreeMap::new(),
            expires: Timestamp::MAX,
            failed: BTreeMap::new(),
        };
        let mut fetched = BTreeSet::new();
        for name in names {
            let beside = Some(&name.repository);
            let deadline = Instant::now() + time;
            let look = RootLook {
                beside,
                deadline,
                ..look
            };
            match self.fetch_signatures(look, name).await {
                Ok(repository) => _ = fetched.insert(repository),
                Err(refusal) => _ = exported.failed.insert(name.to_string(), refusal),
            }
        }
        let seen = self.store.show().map_err(|error| error.refusal())?;
        for contact in seen.contacts {
            let Subject::Gun(repository) = contact.subject else {
                continue;
            };
            let is_meant = |prefix: &String| format!("{repository}:").starts_with(prefix);
            let is_wanted = fetched.contains(&repository) || prefixes.iter().any(is_meant);
            if is_wanted && contact.source == origin(look.root, &repository).source {
                self.add(look, &repository, &mut exported);
            }
        }
        if exported.files.is_empty() && exported.failed.is_empty() {
            let found = "no signature that was looked at before, and no image to ask for";
            let hint =
                "name images: --name NAME; or the state of a host that pulled them: --state DIR";
            return Err(Refusal::new(
                Code::NoStatement,
                found,
                "signatures to export",
                hint,
            ));
        }
        Ok(exported)
    }

    /// Has what counts of an image written into the cache.
    async fn fetch_signatures(
        &self,
        look: RootLook<'_>,
        name: &ImageRef,
    ) -> Result<Repository, Refusal> {
        let digest = self.sources.resolve(name, look.deadline).await?;
        let rule = look.policy.rule_for(&name.repository);
        let signed = rule.and_then(|rule| rule.signed_name(&name.repository));
        let signed = signed.filter(|_| look.root.binds().name);
        let repository = signed.as_ref().unwrap_or(&name.repository);
        let question = match rule {
            // The host that reads the bundle may need a key of its own for each root.
            Some(rule) => rule
                .question_of_image(look.root, name.tag.as_ref(), digest)
                .with_every_signer(rule.quorum > 1),
            None => Question::Image {
                digest,
                tag: name.tag.clone().filter(|_| look.root.binds().tag),
                by_manifests: false,
                every_signer: false,
            },
        };
        let evidence = self.evidence(look, repository, &question).await?;
        let files = evidence.unsaved_files();
        self.keep_signatures(look.now, &evidence.origin, &files)?;
        Ok(repository.clone())
    }

    pub(super) fn keep_signatures(
        &self,
        now: Timestamp,
        origin: &MetadataOrigin,
        files: &NamedFiles,
    ) -> Result<(), Refusal> {
        let MetadataOrigin { source, subject } = origin;
        let additions = Additions {
            now,
            verified: Vec::new(),
            contacts: vec![(source.as_str(), subject, now)],
            rows: Vec::new(),
        };
        let written = self.writer.write(&additions);
        written.map_err(|error| error.refusal())?;
        let written = self.writer.try_cache(origin, files);
        written.map_err(|error| super::keep::lost(&error))
    }

    fn add(&self, look: RootLook<'_>, repository: &Repository, exported: &mut ExportedBundle) {
        let of = origin(look.root, repository);
        let cache = self.cache.as_ref();
        let files = cache.map(|cache| cache.files(&of.source, &of.subject, MAX_CACHED));
        for (name, bytes) in files.unwrap_or_default() {
            match verified(look, repository, &name, &bytes) {
                Ok((bytes, expires)) => {
                    exported.expires = exported.expires.min(expires);
                    let file = BundledFile {
                        repository: repository.to_string(),
                        name: name.clone(),
                        content: STANDARD.encode(bytes),
                    };
                    // Text alone: it can't fail.
                    let file = serde_json::to_vec(&file).unwrap_or_default();
                    let of = Digest::of(repository.as_str().as_bytes()).hex();
                    let of = of.get(..16).unwrap_or_default();
                    exported
                        .files
                        .insert(format!("{SIGNATURES}{of}-{name}"), file);
                }
                Err(refusal) => {
                    exported
                        .failed
                        .insert(format!("{name} of {repository}"), refusal);
                }
            }
        }
    }
}

/// What of a file of the cache counts now under a root, and until when.
fn verified(
    look: RootLook<'_>,
    repository: &Repository,
    name: &str,
    bytes: &[u8],
) -> Result<(Vec<u8>, Timestamp), Refusal> {
    match CacheFile::of(name) {
        Some(CacheFile::Signatures(digest)) => {
            let image = SignedImage {
                repository,
                digest,
                tag: None,
                every_signer: false,
            };
            let files = read_cached(bytes).ok_or_else(|| malformed(name))?;
            let outcome = Pins::of(look)?.verify(image, &files, Vec::new());
            let counted = counted(&files, &outcome.findings);
            Ok((counted, outcome.result?.get().expires))
        }
        // Its manifests are judged when it is asked for.
        Some(CacheFile::Index(digest)) if Digest::of(bytes) == digest => {
            Ok((bytes.to_vec(), Timestamp::MAX))
        }
        _ => Err(malformed(name)),
    }
}

pub(super) fn malformed(name: &str) -> Refusal {
    Refusal::new(
        Code::Malformed,
        format!("{name:?} is no file of signatures"),
        "a file that `rootpin bundle export` wrote",
        "export the bundle again",
    )
}

//! May an image that an engine has be used under a name? Asked where no registry is asked any more:
//! a container is made or started, an image gets one more name.

use std::time::Instant;

use jiff::Timestamp;
use rootpin_policy::judge::{Action, Denial, NameSource, NamedBytes, Origin, Question};
use rootpin_trust::Code;
use rootpin_trust::image::{Digest, ImageRef};

use super::question::Door;
use super::{Decider, Decision, Verdict};

/// An image that an engine has, and the name under which somebody wants to use it.
#[derive(Debug, Clone)]
pub struct HeldImage {
    /// Where it was asked.
    pub door: Door,
    /// The engine's name in rootpin.toml.
    pub engine: String,
    /// Where the policy's `[local]` must let bytes of no registry in.
    pub namespace: String,
    /// The name that was written; none: the image's ID was.
    pub asked: Option<ImageRef>,
    /// Every repository that the engine knows the image in, with its digest there.
    pub known: Vec<ImageRef>,
    /// The engine's ID of it: the digest of a configuration, or of what is in `known` too.
    pub id: Digest,
    /// When the question came in.
    pub begun: Instant,
}

impl HeldImage {
    /// What the image is known as. Where that is nothing, its ID may be the digest of an index or
    /// manifest.
    fn digests(&self) -> Vec<Digest> {
        let mut digests: Vec<Digest> = self.known.iter().filter_map(|name| name.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        if digests.is_empty() {
            vec![self.id]
        } else {
            digests
        }
    }

    /// The judge's question about it.
    pub(super) fn question(&self, action: Action, shown: String) -> Question {
        let digests = self.digests();
        // One that calls an image by the digest it is known under says that it is of a registry of
        // every image, also of those that were built here.
        let of_registry = !self.known.is_empty() && !digests.contains(&self.id);
        let known = self
            .known
            .iter()
            .map(|name| named(name, NameSource::Source, name.digest.unwrap_or(self.id)));
        Question {
            names: self.asked_as(&digests).into_iter().chain(known).collect(),
            bytes: digests.into_iter().chain([self.id]).collect(),
            origin: if of_registry {
                Origin::Registry
            } else {
                Origin::Local
            },
            ..Question::of(action, shown, self.namespace.clone())
        }
    }

    /// The name that was written, with what it may stand for. It counts as one that a registry was
    /// asked for where the engine knows the image in that repository.
    fn asked_as(&self, digests: &[Digest]) -> Vec<NamedBytes> {
        let Some(asked) = &self.asked else {
            return Vec::new();
        };
        let is_known = self
            .known
            .iter()
            .any(|known| known.repository == asked.repository);
        let source = if is_known {
            NameSource::Client
        } else {
            NameSource::Record
        };
        // A digest in the name is one that the image is known under, or the name is not this
        // image's.
        let own = asked.digest.filter(|digest| digests.contains(digest));
        let tops = own.map_or(digests.to_vec(), |digest| vec![digest]);
        tops.into_iter()
            .map(|top| named(asked, source, top))
            .collect()
    }
}

fn named(name: &ImageRef, source: NameSource, top: Digest) -> NamedBytes {
    NamedBytes {
        name: name.clone(),
        source,
        top,
        manifests: Vec::new(),
        contents: Vec::new(),
    }
}

/// dockerd has the image already, so no registry is to blame for other bytes.
fn blame_no_registry(denial: &mut Denial, name: &ImageRef) {
    if denial.refusal.code == Code::DigestMismatch {
        denial.refusal.hint =
            format!("these are not the bytes that the name is for; pull {name} to get those");
    }
}

impl Decider {
    /// May this image be used under this name?
    pub async fn held(&self, held: &HeldImage, now: Timestamp) -> Verdict {
        let question = held.question(Action::Create, format!("image {}", held.id));
        let verdict = self
            .of_dockerd(question, &held.namespace, held.begun, now)
            .await;
        Verdict {
            door: held.door,
            engine: Some(held.engine.clone()),
            digest: verdict
                .digest
                .or_else(|| verdict.name.is_none().then_some(held.id)),
            name: verdict.name.or_else(|| held.asked.clone()),
            ..verdict
        }
    }

    /// The verdict on what dockerd is asked to do with an image, and the name that decided.
    pub(super) async fn of_dockerd(
        &self,
        question: Question,
        namespace: &str,
        begun: Instant,
        now: Timestamp,
    ) -> Verdict {
        let names = question.names.clone();
        let (decision, decided_by) = match self.policy() {
            Err(refusal) => (Decision::Deny(Denial::plain(refusal)), None),
            Ok(policy) => {
                let mut session = self.session(&policy, now, begun);
                let mut judgement = session.judge(question).await;
                let decided_by = judgement.decided_by;
                if let (Err(denial), Some(at)) = (&mut judgement.result, decided_by)
                    && let Some(named) = names.get(at)
                {
                    blame_no_registry(denial, &named.name);
                }
                (
                    self.conclude(session, judgement, None, &[]).await,
                    decided_by,
                )
            }
        };
        let (name, digest) = decided_by
            .and_then(|at| names.get(at))
            .map(|named| (named.name.clone(), named.top))
            .unzip();
        Verdict {
            namespaces: vec![namespace.to_owned()],
            name,
            digest,
            ..Verdict::of(decision, Door::Authz, now, begun)
        }
    }
}

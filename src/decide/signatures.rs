//! Each signature that a rule's roots find beside an image, for people: no decision rests on it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Decider;
use crate::evidence::{RootLook, share};
use crate::sources::RegistryReplies;
use rootpin_policy::{IndexSigning, Root};
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{SignatureFinding, SignedImage};

/// The decision is there already: a registry that does not answer must not hold it up for long.
const TIME: Duration = Duration::from_secs(4);

/// How people are shown signatures.
#[derive(Debug, Default)]
pub(crate) struct SignatureDisplay {
    /// Whether the registry is asked for all of them, also where those that are cached are enough.
    pub(crate) anew: bool,
    /// What the registries answered for the decision.
    pub(crate) replies: RegistryReplies,
}

/// The signatures that a root found, as they are shown.
#[derive(Default)]
struct Listing {
    found: Vec<Value>,
    /// Whether they are those that are cached, and no registry was asked.
    is_cached: bool,
    /// Why there may be more.
    errors: Vec<String>,
}

impl Decider {
    /// What the signature roots of the rule for a name make of each signature of an image, and of the
    /// manifests that it lists where the rule takes theirs; one object for each root. Where the
    /// decision asked no registry, for enough signatures are cached, none is asked now.
    pub(crate) async fn signatures(
        &self,
        name: &ImageRef,
        digest: Digest,
        now: Timestamp,
        display: &SignatureDisplay,
    ) -> Vec<Value> {
        let Ok(policy) = self.policy() else {
            return Vec::new();
        };
        let Some(rule) = policy.rule_for(&name.repository) else {
            return Vec::new();
        };
        let (mut all, begun) = (Vec::new(), Instant::now());
        for root in rule.roots.iter().filter(|root| !root.lists_tags()) {
            let signed_name = rule.signed_name(&name.repository);
            let repository = signed_name.filter(|_| root.binds().name);
            let look = RootLook {
                policy: &policy,
                root,
                beside: Some(&name.repository),
                now,
                begun,
                deadline: begun + self.deadline().min(TIME),
                again: true,
                replies: Some(&display.replies),
            };
            let image = SignedImage {
                repository: repository.as_ref().unwrap_or(&name.repository),
                digest,
                tag: name.tag.as_ref().filter(|_| root.binds().tag),
                every_signer: false,
            };
            let takes_manifests = rule.index == IndexSigning::OrManifests;
            let may_be_cached = !display.anew && !display.replies.asked();
            let cached = if may_be_cached {
                self.list_cached(look, image, takes_manifests).await
            } else {
                None
            };
            let mut listing = cached.unwrap_or_default();
            if !listing.is_cached {
                Box::pin(self.list(look, image, takes_manifests, &mut listing)).await;
            }
            all.push(listing.object(root));
        }
        all
    }

    /// The cached signatures, where they are enough: of the image, or of each manifest that it lists.
    async fn list_cached(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        takes_manifests: bool,
    ) -> Option<Listing> {
        let repositories = &self.repositories;
        let mut found = Vec::new();
        if let Some(of_image) = repositories.enough_cached(look, image).await {
            found.extend(of_image.iter().map(|one| finding(one, image, None)));
        } else {
            let manifests = repositories.cached_manifests(look, image);
            let manifests = manifests.filter(|all| takes_manifests && !all.is_empty())?;
            for digest in manifests {
                let manifest = SignedImage { digest, ..image };
                let of_manifest = repositories.enough_cached(look, manifest).await?;
                found.extend(
                    of_manifest
                        .iter()
                        .map(|one| finding(one, image, Some(digest))),
                );
            }
        }
        Some(Listing {
            found,
            is_cached: true,
            ..Listing::default()
        })
    }

    async fn list(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        takes_manifests: bool,
        listing: &mut Listing,
    ) {
        let half = |sharers| RootLook {
            deadline: share(Instant::now(), look.deadline, sharers),
            ..look
        };
        let sharers = if takes_manifests { 2 } else { 1 };
        self.list_one(half(sharers), image, None, listing).await;
        if !takes_manifests {
            return;
        }
        match self.repositories.manifests_of(look, image).await {
            Ok(manifests) => {
                for (at, digest) in manifests.iter().copied().enumerate() {
                    let manifest = SignedImage { digest, ..image };
                    let look = half(manifests.len() - at);
                    self.list_one(look, manifest, Some(digest), listing).await;
                }
            }
            Err(refusal) => listing.errors.push(refusal.found),
        }
    }

    async fn list_one(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        manifest: Option<Digest>,
        listing: &mut Listing,
    ) {
        let known = self.repositories.cached_signatures(look, image).await;
        let (known, _) = known.unwrap_or_default();
        let known = (known, None);
        match self.repositories.search(look, image, known, true).await {
            Ok(found) => {
                let findings = found.outcome.findings.iter();
                listing
                    .found
                    .extend(findings.map(|one| finding(one, image, manifest)));
                let failed = found.failed.map(|error| error.refusal().found);
                let cut = found.cut.map(|cut| cut.to_string());
                listing.errors.extend(failed.into_iter().chain(cut));
            }
            Err(refusal) => listing.errors.push(refusal.found),
        }
    }
}

impl Listing {
    fn object(self, root: &Root) -> Value {
        let mut errors = self.errors;
        errors.dedup();
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        json!({
            "root": root.id,
            "binds": root.binds().to_string(),
            "found": self.found,
            "cached": self.is_cached,
            "error": error,
        })
    }
}

/// `manifest`: the one that it is of, where an index is asked for.
fn finding(found: &SignatureFinding, image: SignedImage<'_>, manifest: Option<Digest>) -> Value {
    let why_not = found.rejected.clone().or_else(|| not_for(found, image));
    json!({
        "format": found.format,
        "manifest": manifest.map(|digest| digest.to_string()),
        "key": found.key.map(|key| key.to_string()),
        "claimed_key": found.claimed_key,
        "tag": found.tag,
        "counts": why_not.is_none(),
        "why_not": why_not,
    })
}

/// Why a good signature counts for nothing here: it binds another tag than the one that is asked for.
fn not_for(found: &SignatureFinding, image: SignedImage<'_>) -> Option<String> {
    let (bound, asked) = (found.tag.as_deref()?, image.tag?.as_str());
    (bound != asked).then(|| format!("it is not for {asked}"))
}

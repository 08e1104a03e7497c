//! Each signature that a rule's roots find beside an image, for people: no decision rests on it.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Decider;
use crate::evidence::RootLook;
use rootpin_policy::Root;
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{SignatureFinding, SignedImage};

impl Decider {
    /// What the signature roots of the rule for a name make of each signature of an image; one
    /// object for each root.
    pub(crate) async fn signatures(
        &self,
        name: &ImageRef,
        digest: Digest,
        now: Timestamp,
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
                deadline: begun + self.deadline(),
                again: true,
            };
            let image = SignedImage {
                repository: repository.as_ref().unwrap_or(&name.repository),
                digest,
            };
            let found = self.repositories.search(look, image, true).await;
            let found = found.map(|found| found.outcome.findings);
            all.push(match found {
                Ok(findings) => object(root, &findings, None),
                Err(refusal) => object(root, &[], Some(&refusal.found)),
            });
        }
        all
    }
}

fn object(root: &Root, findings: &[SignatureFinding], error: Option<&str>) -> Value {
    let finding = |found: &SignatureFinding| {
        json!({
            "format": found.format,
            "key": found.key.map(|key| key.to_string()),
            "claimed_key": found.claimed_key,
            "tag": found.tag,
            "counts": found.rejected.is_none(),
            "why_not": found.rejected,
        })
    };
    json!({
        "root": root.id,
        "binds": root.binds().to_string(),
        "found": findings.iter().map(finding).collect::<Vec<_>>(),
        "error": error,
    })
}

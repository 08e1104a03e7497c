//! What a no says: what was found, what was wanted, and what would change it.

use jiff::Timestamp;

use super::decision::{Denial, rank};
use super::question::Place;
use rootpin_policy::{Exempt, Rule};
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

/// policy.md rule 9: refused only if the quorum couldn't be reached even were all silent roots to
/// agree.
pub(super) fn short_of_quorum(
    rule: &Rule,
    signed: usize,
    refused: Vec<Refusal>,
    unjudged: Vec<Refusal>,
    name: &ImageRef,
) -> Denial {
    let possible = signed + unjudged.len() >= rule.quorum;
    let decisive = if possible { unjudged } else { refused };
    let worst = decisive
        .into_iter()
        .max_by_key(|refusal| rank(refusal.code));
    let refusal = worst.unwrap_or_else(|| no_rule(name).refusal);
    let roots = rule.roots.iter().map(|root| root.id.clone()).collect();
    Denial {
        refusal,
        rule: Some(rule.to_string()),
        roots,
    }
}

pub(super) fn no_rule(name: &ImageRef) -> Denial {
    let refusal = Refusal::new(
        Code::NoRule,
        format!("no rule that covers {}", name.repository),
        "a [[rule]], [[image]] or [[exempt]] for it",
        format!(
            "see `rootpin policy explain {}`; add a [[rule]] with the roots that may sign it",
            name.repository
        ),
    );
    Denial {
        refusal,
        rule: None,
        roots: Vec::new(),
    }
}

pub(super) fn no_signed_name(rule: &Rule, name: &ImageRef) -> Refusal {
    let signed_as = rule
        .signed_as
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    Refusal::new(
        Code::NoStatement,
        format!(
            "{}, which signed-as {signed_as:?} carries to no name in full form",
            name.repository
        ),
        "a name that a signed statement can carry",
        "mend `signed-as`; official Docker images are docker.io/library/…",
    )
}

/// A layer that no place holds.
pub(super) fn nowhere(layer: &Digest) -> Denial {
    let refusal = Refusal::new(
        Code::NotLocal,
        format!("layer {layer} in no namespace of this containerd"),
        "a layer of an image that containerd holds",
        "pull the image by its signed name",
    );
    Denial {
        refusal,
        rule: None,
        roots: Vec::new(),
    }
}

/// Bytes that came from a registry, under no name.
pub(super) fn no_word(digest: &Digest, namespace: &str) -> Denial {
    let refusal = Refusal::new(
        Code::NoRule,
        format!(
            "{digest} in namespace {namespace} without a name, from a registry that the policy does not name"
        ),
        "an image with a name that a rule covers",
        "pull the image by its signed name, or remove this one",
    );
    Denial {
        refusal,
        rule: None,
        roots: Vec::new(),
    }
}

pub(super) fn unnamed(place: &Place, what: &str) -> Denial {
    let refusal = Refusal::new(
        Code::NoRule,
        format!(
            "{what} in namespace {}, from a registry that the policy does not name",
            place.namespace
        ),
        "an image that a rule covers",
        "add a [[rule]] for the registry and repository that it was pulled from",
    );
    Denial {
        refusal,
        rule: None,
        roots: Vec::new(),
    }
}

/// The only exemption that covers a name has ended.
pub(super) fn exemption_over(exempt: &Exempt, now: Timestamp) -> Denial {
    let refusal = Refusal::new(
        Code::ExemptionOver,
        format!("an exemption until {}", exempt.until),
        format!("one that holds at {now}"),
        "have the image signed, or renew the exemption with a new `until`",
    );
    Denial {
        refusal,
        rule: Some(exempt.to_string()),
        roots: Vec::new(),
    }
}

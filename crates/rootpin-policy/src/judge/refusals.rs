//! The judge's refusals: what was found, what was wanted, and what would change the answer.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef, MAX_INDEXES, Tag};
use rootpin_trust::{Code, Collection, KeyId, Refusal, Target};

use super::answer::Denial;
use super::question::{Action, Origin, Question, Sought};
use crate::{BoundImage, Exempt, Pattern, Rule};

pub(super) fn revoked(digest: Digest, reason: &str) -> Denial {
    let found = format!("{digest}, which the policy revokes: {reason}");
    let hint = "use another version of the image";
    let refusal = Refusal::new(Code::Revoked, found, "bytes that are not revoked", hint);
    let rule = format!("[[revoked]] digest = \"{digest}\"");
    Denial::by(rule, refusal).staying()
}

pub(super) fn own_digest(top: Digest, own: Digest) -> Denial {
    let wanted = format!("{own}, the digest in the name itself");
    let hint = "the name and the bytes don't belong together; pull again";
    let refusal = Refusal::new(Code::DigestMismatch, top.to_string(), wanted, hint);
    Denial::plain(refusal).staying()
}

pub(super) fn bound_elsewhere(top: Digest, image: &BoundImage) -> Denial {
    let listed: Vec<_> = image.digests.iter().map(ToString::to_string).collect();
    let (found, wanted) = (top.to_string(), listed.join(" or "));
    let hint = "the name is bound to its bytes; change the [[image]] entry if these are meant";
    let refusal = Refusal::new(Code::DigestMismatch, found, wanted, hint);
    Denial::by(image.to_string(), refusal)
}

pub(super) fn exemption_over(exempt: &Exempt, now: Timestamp) -> Denial {
    let found = format!("an exemption until {}", exempt.until);
    let wanted = format!("one that is in force at {now:.0}");
    let hint = "have the image signed, or renew the exemption with a new `until`";
    let refusal = Refusal::new(Code::ExemptionOver, found, wanted, hint);
    Denial::by(exempt.to_string(), refusal)
}

pub(super) fn no_rule(name: &ImageRef) -> Denial {
    let repository = &name.repository;
    let found = format!("no rule that covers {repository}");
    let wanted = "a [[rule]], [[image]] or [[exempt]] for it";
    let hint = format!(
        "see `rootpin policy explain {name}`; add a [[rule]] with the roots that may sign it"
    );
    Denial::plain(Refusal::new(Code::NoRule, found, wanted, hint))
}

pub(super) fn no_signed_name(rule: &Rule, name: &ImageRef) -> Refusal {
    let signed_as = rule.signed_as.as_ref().map_or("", Pattern::as_str);
    let repository = &name.repository;
    let found =
        format!("{repository}, which signed-as {signed_as:?} carries to no name in full form");
    let wanted = "a name that a signed statement can carry";
    let hint = "mend `signed-as`; official Docker images are docker.io/library/…";
    Refusal::new(Code::NoStatement, found, wanted, hint)
}

pub(super) fn no_roots() -> Refusal {
    let found = "a rule without roots, which refuses its names";
    let hint = "add a root to the rule, or list the image by [[image]] or [[exempt]]";
    Refusal::new(Code::NoStatement, found, "a root that signs them", hint)
}

/// Roots that agree, but by the same keys. `cut`: how much of long lists was looked at.
pub(super) fn one_voice(rule: &Rule, shared: &BTreeSet<KeyId>, cut: &str) -> Refusal {
    let keys = KeyId::list(shared);
    let found =
        format!("signatures for several roots by the same key, which has one voice: {keys}{cut}");
    let quorum = rule.quorum;
    let wanted = format!("{quorum} roots that agree, each by keys that sign for no other");
    let hint = "have it signed for another of the rule's roots by a key of its own";
    Refusal::new(Code::BadSignature, found, wanted, hint)
}

/// A signer of another key may be beyond what was looked at.
pub(super) fn cut_signers(cut: &str) -> Refusal {
    let found = format!("only signers that signed for another root too{cut}");
    let wanted = "a signer of its own, among what is looked at";
    let hint =
        "have the registry's owner remove what is beside the image and is no signature of it";
    Refusal::new(Code::OverLimit, found, wanted, hint)
}

/// Signed metadata does not name the tag, or the digest if the name has no tag.
pub(super) fn not_named(collection: &Collection, sought: Sought<'_>) -> Refusal {
    let (asked, wanted) = match sought {
        Sought::Tagged(tag) | Sought::Bytes(Some(tag), _) => {
            (format!("tag {tag}"), "a tag that is signed")
        }
        Sought::Bytes(None, digest) => {
            let wanted = "some tag that is signed for this digest";
            (digest.to_string(), wanted)
        }
    };
    let (role, repository) = (&collection.role, &collection.gun);
    let found = format!("{asked}, which {role} of {repository} does not name");
    let hint = "have the publisher sign it, or pull one that is signed";
    Refusal::new(Code::NoStatement, found, wanted, hint)
}

pub(super) fn other_bytes(of: &Collection, tag: &Tag, target: &Target, found: Digest) -> Refusal {
    let (signed, role, repository) = (target.digest, &of.role, &of.gun);
    let wanted = format!("{signed}, signed for tag {tag} in {role} of {repository}");
    let hint = "the registry serves other bytes than the publisher signed; sign the new ones, or find out who put them there";
    Refusal::new(Code::DigestMismatch, found.to_string(), wanted, hint)
}

pub(super) fn not_local(found: String, namespace: &str) -> Denial {
    let wanted = format!(
        "bytes of an image that a rule covers, or [local] content = \"allow\" for namespace {namespace}"
    );
    let hint = "pull the image by its signed name, or allow local content in the policy";
    let refusal = Refusal::new(Code::NotLocal, found, wanted, hint);
    Denial::by("[local]".to_owned(), refusal)
}

pub(super) fn made_under_covered_name(shown: &str, name: &ImageRef) -> Denial {
    let found = format!("{shown}, of an image that would be called {name}");
    let wanted = "a name that no [[rule]] and no [[image]] covers";
    let hint = "choose a name of its own for what is made here; to use this name, push it and have it signed";
    Denial::plain(Refusal::new(Code::NotLocal, found, wanted, hint))
}

/// Bytes that came from a registry, or may have, under no name that the policy knows.
pub(super) fn unnamed(question: &Question) -> Denial {
    let (shown, namespace) = (&question.shown, &question.namespace);
    let is_resident = question.action == Action::Resident;
    let origin = match question.origin {
        Origin::Unknown if is_resident => "of which it is not known where it came from",
        Origin::Unknown => {
            "of which more images, indexes or names may be here than are looked at, so that a rule may cover one"
        }
        _ => "from a registry that the policy does not name",
    };
    let hint = match question.origin {
        _ if is_resident => "pull the image by its signed name, or remove this one".to_owned(),
        Origin::Unknown => format!(
            "pull the image by its signed name; of indexes over a manifest {MAX_INDEXES} are followed"
        ),
        _ => "add a [[rule]] for the registry and repository that it was pulled from".to_owned(),
    };
    let found = format!("{shown} in namespace {namespace}, {origin}");
    let refusal = Refusal::new(Code::NoRule, found, "an image that a rule covers", hint);
    Denial::plain(refusal)
}

pub(super) fn too_many_names(names: usize, most: usize) -> Denial {
    let found = format!("an image under {names} repositories");
    let wanted = format!("one under at most {most}");
    let hint = "remove names that are not needed: docker rmi NAME";
    Denial::plain(Refusal::new(Code::OverLimit, found, wanted, hint))
}

pub(super) fn by_key(question: &Question, rule: String, key: &str) -> Denial {
    let wanted = match question.action {
        Action::Swarm => "no use of Swarm, whose nodes pull what a manager names without asking",
        _ => "no plugins, which are images that run as root and that nobody has signed for rootpin",
    };
    let hint = format!("[docker] {key} = \"allow\" in the policy lets all of it pass");
    let refusal = Refusal::new(Code::NoRule, question.shown.clone(), wanted, hint);
    Denial::by(rule, refusal).staying()
}

/// The answer was to another question: an error of this program, which admits nothing.
pub(super) fn unheard() -> Refusal {
    let (found, wanted) = ("another answer", "the one that the judge asked for");
    let hint = "this is an error in rootpin: report it, with the log";
    Refusal::new(Code::StateUnusable, found, wanted, hint)
}

//! What a no says: what was found, what was wanted, and what would change it.

use std::borrow::Cow;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef, Tag};
use rootpin_trust::{Code, Collection, Refusal, Target};

use super::answer::{Denial, rank};
use super::question::{Action, Question};
use crate::{BoundImage, DEFAULT_DIR, Exempt, Policy, Root, RootKind, Rule};

pub(super) fn revoked(digest: Digest, reason: &str) -> Denial {
    let refusal = Refusal::new(
        Code::Revoked,
        format!("{digest}, which the policy revokes: {reason}"),
        "bytes that are not revoked",
        "use another version of the image",
    );
    Denial::by(format!("[[revoked]] digest = \"{digest}\""), refusal)
}

pub(super) fn own_digest(top: Digest, asked: Digest) -> Denial {
    Denial::plain(Refusal::new(
        Code::DigestMismatch,
        top.to_string(),
        format!("{asked}, as the name itself says"),
        "the name and the bytes don't belong together; pull again",
    ))
}

pub(super) fn bound_elsewhere(top: Digest, image: &BoundImage) -> Denial {
    let listed: Vec<_> = image.digests.iter().map(ToString::to_string).collect();
    let refusal = Refusal::new(
        Code::DigestMismatch,
        top.to_string(),
        listed.join(" or "),
        "the policy binds this name to its bytes; change the [[image]] entry if these are meant",
    );
    Denial::by(image.to_string(), refusal)
}

/// The only exemption that covers a name has ended.
pub(super) fn exemption_over(exempt: &Exempt, now: Timestamp) -> Denial {
    let refusal = Refusal::new(
        Code::ExemptionOver,
        format!("an exemption until {}", exempt.until),
        format!("one that holds at {now:.0}"),
        "have the image signed, or renew the exemption with a new `until`",
    );
    Denial::by(exempt.to_string(), refusal)
}

pub(super) fn no_rule(name: &ImageRef) -> Denial {
    Denial::plain(Refusal::new(
        Code::NoRule,
        format!("no rule that covers {}", name.repository),
        "a [[rule]], [[image]] or [[exempt]] for it",
        format!(
            "see `rootpin policy explain {}`; add a [[rule]] with the roots that may sign it",
            name.repository
        ),
    ))
}

/// The most specific of the roots' refusals.
pub(super) fn by_roots(rule: &Rule, decisive: Vec<Refusal>, name: &ImageRef) -> Denial {
    let worst = decisive
        .into_iter()
        .max_by_key(|refusal| rank(refusal.code));
    let refusal = worst.unwrap_or_else(|| no_rule(name).refusal);
    let roots = rule.roots.iter().map(|root| root.id.clone()).collect();
    Denial {
        roots,
        ..Denial::by(rule.to_string(), refusal)
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

pub(super) fn no_statement(collection: &Collection, asked: &str, wanted: &str) -> Refusal {
    Refusal::new(
        Code::NoStatement,
        format!(
            "{asked}, which {} of {} does not name",
            collection.role, collection.gun
        ),
        wanted,
        "have the publisher sign it, or pull one that is signed",
    )
}

pub(super) fn no_tag(collection: &Collection, tag: &Tag) -> Refusal {
    no_statement(collection, &format!("tag {tag}"), "a tag that is signed")
}

pub(super) fn signed_for_another(
    collection: &Collection,
    tag: &Tag,
    target: &Target,
    digest: Digest,
) -> Refusal {
    Refusal::new(
        Code::DigestMismatch,
        digest.to_string(),
        format!(
            "{}, signed for tag {tag} in {} of {}",
            target.digest, collection.role, collection.gun
        ),
        "the registry serves other bytes than the publisher signed; sign the new ones, or find out who put them there",
    )
}

pub(super) fn not_local(found: String, namespace: &str) -> Denial {
    let refusal = Refusal::new(
        Code::NotLocal,
        found,
        format!(
            "bytes of an image that a rule covers, or [local] content = \"allow\" for namespace {namespace}"
        ),
        "pull the image by its signed name, or let local content in by the policy",
    );
    Denial::by("[local]".to_owned(), refusal)
}

pub(super) fn made_under_covered_name(shown: &str, name: &ImageRef) -> Denial {
    Denial::plain(Refusal::new(
        Code::NotLocal,
        format!("{shown}, of an image that is to be called {name}"),
        "a name that no [[rule]] and no [[image]] covers",
        "give what is made here a name of its own; push it and have it signed to use that one",
    ))
}

/// Bytes that came from a registry, under no name that the policy knows.
pub(super) fn unnamed(question: &Question) -> Denial {
    let hint = match question.action {
        Action::Resident => "pull the image by its signed name, or remove this one",
        _ => "add a [[rule]] for the registry and repository that it was pulled from",
    };
    Denial::plain(Refusal::new(
        Code::NoRule,
        format!(
            "{} in namespace {}, from a registry that the policy does not name",
            question.shown, question.namespace
        ),
        "an image that a rule covers",
        hint,
    ))
}

pub(super) fn too_many_names(names: usize, most: usize) -> Denial {
    Denial::plain(Refusal::new(
        Code::OverLimit,
        format!("an image under {names} repositories"),
        format!("one under at most {most}"),
        "remove names that are not needed: docker rmi NAME",
    ))
}

/// The answer was to another question: an error of this program, which lets nothing in.
pub(super) fn unheard() -> Refusal {
    Refusal::new(
        Code::StateUnusable,
        "an answer that was not asked for",
        "what the judge asked for",
        "this is an error in rootpin: report it, with the log",
    )
}

/// What a person can do about a root that nothing pinned speaks for: a command that pins it, once
/// they have its fingerprint.
///
/// The command holds no fingerprint and stands last: pasted alone, or with all that is told, it
/// asks for one and pins nothing without. It ends in a comment, because engines go on behind it
/// with words of their own.
pub(super) fn with_pin_command(
    refusal: Refusal,
    policy: &Policy,
    root: &Root,
    name: &ImageRef,
) -> Refusal {
    if !refusal.unpinned_root {
        return refusal;
    }
    let source = match &root.kind {
        RootKind::Notary(_) => Some(format!("--scan {}", name.repository)),
        RootKind::Tuf(tuf) => tuf
            .metadata
            .first()
            .map(|url| format!("--replace --scan {}", word(&url.to_string()))),
    };
    let Some(source) = source else { return refusal };
    let dir = policy
        .dir
        .as_deref()
        .filter(|dir| *dir != DEFAULT_DIR)
        .map_or(String::new(), |dir| format!(" --policy {}", word(dir)));
    let hint = format!(
        "see what differs: rootpin pin diff{dir} {}; if the publisher changed the root key, have them tell you its fingerprint by another \
         way than this source, then run: rootpin pin add {}{dir} {source}   # asks for the fingerprint",
        name.repository, root.id
    );
    Refusal { hint, ..refusal }
}

/// One word for a shell.
fn word(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@+,=%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''")).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load;
    use rootpin_trust::Code;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_would_read_more_into_it() {
        for plain in [
            "/etc/rootpin",
            "https://t.example:8/a",
            "oci://r.example/a:latest",
        ] {
            assert_eq!(word(plain), plain);
        }
        for (odd, quoted) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("it's", r"'it'\''s'"),
            ("http://[::1]", "'http://[::1]'"),
        ] {
            assert_eq!(word(odd), quoted);
        }
    }

    #[test]
    fn the_command_stands_last_and_holds_no_key() {
        let key = "d0c623c80000000000000000000000000000000000000000000000000000abcd";
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{key}\"]\n\
             role = \"targets\"\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"acme\"]\n"
        );
        let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
        let policy = load(&files, "2026-11-20T00:00:00Z".parse().unwrap()).unwrap();
        let name = "r.example/app:1".parse().unwrap();
        let tell = |refusal: Refusal, dir: Option<&str>| {
            let mut policy = load(&files, "2026-11-20T00:00:00Z".parse().unwrap()).unwrap();
            policy.dir = dir.map(str::to_owned);
            with_pin_command(refusal, &policy, &policy.roots["acme"], &name).hint
        };
        let unpinned = Refusal {
            unpinned_root: true,
            ..Refusal::new(Code::RootNotPinned, "a key", "another", "ask")
        };
        assert!(
            tell(unpinned.clone(), None).ends_with(
                ": rootpin pin add acme --scan r.example/app   # asks for the fingerprint"
            )
        );
        assert!(
            tell(unpinned.clone(), Some("/etc/rootpin"))
                .contains(": rootpin pin add acme --scan r.example/app   #")
        );
        let elsewhere = tell(unpinned, Some("/srv/a b"));
        assert!(
            elsewhere
                .contains(": rootpin pin add acme --policy '/srv/a b' --scan r.example/app   #")
                && !elsewhere.contains(key)
        );
        let other = Refusal::new(Code::BadSignature, "a", "b", "ask");
        assert_eq!(
            with_pin_command(other.clone(), &policy, &policy.roots["acme"], &name),
            other
        );
    }
}

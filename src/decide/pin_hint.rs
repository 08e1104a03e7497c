//! The hint for a root that no pinned key signed: how to compare it, and how to pin it.

use crate::plain_text::shell_word;
use rootpin_policy::{DEFAULT_DIR, Policy, Root, RootKind};
use rootpin_trust::Refusal;
use rootpin_trust::image::ImageRef;

/// Adds to a refusal of a root that no pinned key signed the command that pins it.
///
/// The command contains no fingerprint and stands last: pasted alone, or with the whole message, it
/// asks for one and pins nothing without. It ends in a comment, because engines add words of their
/// own behind it.
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
            .map(|url| format!("--replace --scan {}", shell_word(&url.to_string()))),
        RootKind::Cosign(_) | RootKind::Notation(_) => None,
    };
    let Some(source) = source else { return refusal };
    let dir = policy
        .dir
        .as_deref()
        .filter(|dir| *dir != DEFAULT_DIR)
        .map_or(String::new(), |dir| {
            format!(" --policy {}", shell_word(dir))
        });
    let hint = format!(
        "see what differs: rootpin pin diff{dir} {}; if the publisher changed the root key, have them tell you its fingerprint by another \
         way than this source, then run: rootpin pin add {}{dir} {source}   # asks for the fingerprint",
        name.repository, root.id
    );
    Refusal { hint, ..refusal }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use rootpin_policy::load;
    use rootpin_trust::Code;

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

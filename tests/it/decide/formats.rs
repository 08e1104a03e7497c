//! The table of real metadata once more, by the whole way from a server's answer to a decision.

use super::setup::{Host, Server, pull_at, said};
use crate::fixtures::{expected, tree};
use rootpin_trust::image::Digest;

#[tokio::test]
async fn every_tree_of_the_fixtures_ends_in_its_expected_decision() {
    let mut decided = 0;
    for line in expected("# tree\t") {
        let [path, gun, keys, role, now, outcome] = &line[..] else {
            panic!("{line:?}")
        };
        let server = Server::empty();
        server.serve(gun, &tree(path));
        let keys: Vec<_> = keys.split(',').map(|key| format!("{key:?}")).collect();
        let policy = format!(
            "[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"{}\"\nkeys = [{}]\nrole = \"{role}\"\n[[rule]]\nmatch = \"{gun}\"\nroots = [\"a\"]\n",
            server.url(),
            keys.join(", ")
        );
        let host = Host::new();
        let daemon = host.decider(&policy);
        let at = now.parse().unwrap();
        let asked = async |tag: &str, digest| {
            said(&pull_at(&daemon, &format!("{gun}:{tag}"), digest, at).await)
        };
        let other = Digest::of(b"other");
        decided += 1;
        if !outcome.contains('=') && outcome != "(no tags)" {
            assert!(
                ["refused", "unjudged"]
                    .map(|word| format!("{word} {outcome}"))
                    .contains(&asked("any", other).await),
                "{line:?}"
            );
            continue;
        }
        assert_eq!(
            asked("no-such-tag", other).await,
            "refused no-statement",
            "{line:?}"
        );
        for named in outcome.split(' ').filter(|named| named.contains('=')) {
            let (tag, digest) = named.split_once('=').unwrap();
            assert_eq!(
                asked(tag, Digest::from_hex(digest).unwrap()).await,
                "allowed signed",
                "{tag} of {line:?}"
            );
            assert_eq!(
                asked(tag, other).await,
                "refused digest-mismatch",
                "{tag} of {line:?}"
            );
        }
    }
    assert!(decided > 90, "{decided}");
}

//! Which digest a tag is: what its rule's roots have signed, by the quorum that every other door
//! wants too.

use rootpin::decide::{Decider, Door, Verdict};
use rootpin_trust::image::Digest;

use super::quorum::rekeyed;
use super::setup::{APP, Host, Manner, NOW, Server, Usual, at, image, publisher, rule, said};

async fn resolve(decider: &Decider, tag: &str) -> Verdict {
    decider
        .resolve(
            Door::Resolver,
            &format!("{APP}:{tag}").parse().unwrap(),
            at(NOW),
        )
        .await
}

/// What was decided, and for which digest.
async fn resolved(decider: &Decider, tag: &str) -> (String, Option<Digest>) {
    let verdict = resolve(decider, tag).await;
    (said(&verdict), verdict.digest)
}

/// What a root's server has to say.
#[derive(Clone, Copy, Debug)]
enum Says {
    First,
    Second,
    Nothing,
    Silence,
}

#[tokio::test]
async fn a_tag_is_the_digest_that_has_the_quorum() {
    use Says::{First, Nothing, Second, Silence};
    let cases: [(usize, &[Says], &str, Option<Says>); 12] = [
        (1, &[First, Second], "allowed signed", Some(First)),
        (1, &[Nothing, Second], "allowed signed", Some(Second)),
        (1, &[Silence, Second], "allowed signed", Some(Second)),
        (1, &[Nothing, Nothing], "refused no-statement", None),
        (1, &[Silence, Nothing], "unjudged source-unreachable", None),
        (2, &[First, First], "allowed signed", Some(First)),
        (2, &[First, Second, Second], "allowed signed", Some(Second)),
        (2, &[First, Silence, First], "allowed signed", Some(First)),
        (2, &[First, Second], "refused digest-mismatch", Some(First)),
        (2, &[First, Nothing], "refused no-statement", Some(First)),
        (
            2,
            &[First, Silence],
            "unjudged source-unreachable",
            Some(First),
        ),
        (
            3,
            &[First, First, Second],
            "refused digest-mismatch",
            Some(First),
        ),
    ];
    let (first, second) = (image("first"), image("second"));
    let good = publisher(APP, "v1", &first);
    for (quorum, roots, wanted, digest) in cases {
        let host = Host::new();
        let (mut policy, mut ids, mut servers) = (String::new(), Vec::new(), Vec::new());
        for (place, says) in roots.iter().enumerate() {
            let mut publisher = rekeyed(&good, &format!("root {place}"));
            let server = Server::of(&publisher).await;
            match says {
                First => {}
                Second => {
                    publisher.tag("v1", &second.digest().to_string(), 7);
                    server.publish(&publisher);
                }
                Nothing => server.behave(Manner::Status(404)),
                Silence => server.behave(Manner::Status(503)),
            }
            policy += &server.root(&format!("root{place}"), &[publisher.root_key()]);
            ids.push(format!("root{place}"));
            servers.push(server);
        }
        let names: Vec<_> = ids.iter().map(String::as_str).collect();
        let decider = host.decider(&(policy + &rule(APP, &names, &format!("quorum = {quorum}"))));
        let found = resolved(&decider, "v1").await;
        let digest = digest.map(|says| {
            if matches!(says, First) {
                first.digest()
            } else {
                second.digest()
            }
        });
        // Whose digest a refusal is about does not matter: it is only told.
        let told = found.1.filter(|_| found.0.starts_with("allowed"));
        assert_eq!(
            (found.0.as_str(), told),
            (wanted, digest.filter(|_| wanted.starts_with("allowed"))),
            "{quorum} of {roots:?}"
        );
    }
}

#[tokio::test]
async fn a_root_is_asked_once_for_one_question_and_no_more_roots_than_it_takes() {
    let usual = Usual::new().await;
    let other = rekeyed(&usual.publisher, "other");
    let second = Server::of(&other).await;
    let roots = usual.root() + "recheck = \"0s\"\n" + &second.root("second", &[other.root_key()]);
    let decider = usual
        .host
        .decider(&(roots + &rule(APP, &["acme", "second"], "quorum = 1")));
    assert_eq!(
        resolved(&decider, "v1").await,
        ("allowed signed".to_owned(), Some(usual.image.digest()))
    );
    usual.server.asked();
    assert_eq!(resolved(&decider, "v1").await.0, "allowed signed");
    let timestamps = usual
        .server
        .asked()
        .iter()
        .filter(|path| path.ends_with("/timestamp.json"))
        .count();
    assert_eq!((timestamps, second.asked().len()), (1, 0));
}

#[tokio::test]
async fn a_signed_digest_comes_before_one_that_is_only_exempt() {
    let usual = Usual::new().await;
    let bad = image("vendor").digest();
    let exempt = |until: &str| {
        format!(
            "[[exempt]]\nmatch = \"{APP}\"\nuntil = {until}\nreason = \"vendor build\"\ndigests = [\"{bad}\"]\n[limits]\nmax-exempt = \"90d\"\n"
        )
    };
    let holds = usual
        .host
        .decider(&usual.policy(&exempt("2030-02-01T00:00:00Z")));
    assert_eq!(
        resolved(&holds, "v1").await,
        ("allowed signed".to_owned(), Some(usual.image.digest()))
    );
    // Of a tag that nobody signed, the exempt digest is all that may be pulled.
    assert_eq!(
        resolved(&holds, "v2").await,
        ("allowed exempt".to_owned(), Some(bad))
    );
    let over = usual.host.decider(&exempt("2029-12-01T00:00:00Z"));
    assert_eq!(
        resolved(&over, "v1").await,
        ("refused exemption-over".to_owned(), None)
    );
}

#[tokio::test]
async fn what_is_resolved_can_be_pulled_and_is_written_down_like_any_admission() {
    let usual = Usual::new().await;
    let revoked = format!(
        "[[revoked]]\ndigest = \"{}\"\nreason = \"CVE-2026-0001\"\n",
        usual.image.digest()
    );
    let decider = usual.host.decider(&usual.policy(""));
    let verdict = resolve(&decider, "v1").await;
    assert_eq!(said(&verdict), "allowed signed");
    let rows = usual.host.store().admitted(&usual.image.digest()).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let decider = usual.host.decider(&usual.policy(&revoked));
    assert_eq!(
        resolved(&decider, "v1").await,
        ("refused revoked".to_owned(), Some(usual.image.digest()))
    );
}

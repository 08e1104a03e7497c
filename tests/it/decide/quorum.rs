//! `quorum`, and docs/policy.md rule 7: refused only if it couldn't be reached even were all silent
//! roots to agree.

use rootpin_trust::Subject;

use super::setup::{APP, Host, Manner, Server, image, publisher, pull, rule, said};
use crate::publisher::{Key, Publisher};

/// The same repository under keys of its own.
pub(super) fn rekeyed(publisher: &Publisher, name: &str) -> Publisher {
    let mut other = publisher.clone();
    for (role, listed) in &mut other.roles {
        let key = Key::named(&format!("{name} {role}"));
        listed.keys = vec![if role == "root" {
            key.certificate(APP)
        } else {
            key.bare()
        }];
    }
    other
}

/// What a root's server has to say.
#[derive(Clone, Copy, Debug)]
enum Says {
    Yes,
    /// Another digest under the tag.
    Other,
    /// Nothing of the repository.
    Nothing,
    /// Nothing at all.
    Silence,
    /// 401
    Denies,
}

#[tokio::test]
async fn a_quorum_is_met_refused_or_open_by_what_its_roots_say() {
    use Says::{Denies, Nothing, Other, Silence, Yes};
    let cases: [(usize, &[Says], &str); 16] = [
        (1, &[Yes, Nothing], "allowed signed"),
        (1, &[Nothing, Yes], "allowed signed"),
        (1, &[Silence, Yes], "allowed signed"),
        (1, &[Silence, Nothing], "unjudged source-unreachable"),
        (1, &[Nothing, Other], "refused digest-mismatch"),
        (2, &[Yes, Yes], "allowed signed"),
        (2, &[Yes, Nothing], "refused no-statement"),
        (2, &[Yes, Other], "refused digest-mismatch"),
        (2, &[Yes, Silence], "unjudged source-unreachable"),
        (2, &[Yes, Denies], "unjudged source-denied"),
        (2, &[Silence, Silence], "unjudged source-unreachable"),
        (2, &[Silence, Nothing], "refused no-statement"),
        (2, &[Other, Silence], "refused digest-mismatch"),
        (2, &[Yes, Silence, Yes], "allowed signed"),
        (2, &[Silence, Nothing, Yes], "unjudged source-unreachable"),
        (3, &[Yes, Silence, Other], "refused digest-mismatch"),
    ];
    let image = image("signed");
    let good = publisher(APP, "v1", &image);
    for (quorum, roots, wanted) in cases {
        let host = Host::new();
        let (mut policy, mut ids, mut servers) = (String::new(), Vec::new(), Vec::new());
        for (at, says) in roots.iter().enumerate() {
            let mut publisher = rekeyed(&good, &format!("root {at}"));
            let server = Server::of(&publisher).await;
            match says {
                Yes => {}
                Other => {
                    publisher.tag("v1", &super::setup::image("other").digest().to_string(), 7);
                    server.publish(&publisher);
                }
                Nothing => server.behave(Manner::Status(404)),
                Silence => server.behave(Manner::Status(503)),
                Denies => server.behave(Manner::Status(401)),
            }
            policy += &server.root(&format!("root{at}"), &[publisher.root_key()]);
            ids.push(format!("root{at}"));
            servers.push(server);
        }
        let names: Vec<_> = ids.iter().map(String::as_str).collect();
        let decider = host.decider(&(policy + &rule(APP, &names, &format!("quorum = {quorum}"))));
        let verdict = pull(&decider, &format!("{APP}:v1"), image.digest()).await;
        assert_eq!(said(&verdict), wanted, "{quorum} of {roots:?}: {verdict}");
        let kept = host
            .store()
            .history(&Subject::Gun(verdict.name.unwrap().repository))
            .unwrap()
            .len();
        // Five roles for each root whose metadata held, up to the one that met the quorum, whatever
        // came of the question.
        let mut left = quorum;
        let asked = roots.iter().take_while(|root| {
            let goes_on = left > 0;
            left -= usize::from(matches!(root, Yes) && goes_on);
            goes_on
        });
        assert_eq!(
            kept,
            5 * asked.filter(|root| matches!(root, Yes | Other)).count(),
            "{quorum} of {roots:?}"
        );
    }
}

#[tokio::test]
async fn an_admission_names_the_roots_that_signed_and_a_refusal_those_that_were_asked() {
    let image = image("signed");
    let publisher = publisher(APP, "v1", &image);
    let (one, two) = (
        Server::of(&publisher).await,
        Server::of(&rekeyed(&publisher, "two")).await,
    );
    let keys = |name: &str| [rekeyed(&publisher, name).root_key()];
    let policy = one.root("one", &[publisher.root_key()])
        + &two.root("two", &keys("two"))
        + &rule(APP, &["one", "two"], "quorum = 2");
    let host = Host::new();
    let judged = rootpin::observe::judgement(
        &pull(&host.decider(&policy), &format!("{APP}:v1"), image.digest()).await,
    );
    assert_eq!(judged["roots"], serde_json::json!(["one", "two"]));
    let judged = rootpin::observe::judgement(
        &pull(&host.decider(&policy), &format!("{APP}:v2"), image.digest()).await,
    );
    assert_eq!(
        (judged["roots"].clone(), judged["code"].clone()),
        (serde_json::json!(["one", "two"]), "no-statement".into())
    );
}

#[tokio::test]
async fn a_root_that_shows_another_root_s_keys_is_not_that_root() {
    let image = image("signed");
    let publisher = publisher(APP, "v1", &image);
    let server = Server::of(&rekeyed(&publisher, "two")).await;
    let host = Host::new();
    let decider =
        host.decider(&(server.root("one", &[publisher.root_key()]) + &rule(APP, &["one"], "")));
    let verdict = pull(&decider, &format!("{APP}:v1"), image.digest()).await;
    assert_eq!(said(&verdict), "refused root-not-pinned");
    assert!(
        host.store()
            .history(&Subject::Gun(verdict.name.unwrap().repository))
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_root_that_keeps_us_waiting_does_not_take_the_time_of_the_next_one() {
    let image = image("signed");
    let good = publisher(APP, "v1", &image);
    let other = rekeyed(&good, "other");
    let (slow, quick) = (Server::of(&good).await, Server::of(&other).await);
    slow.behave(Manner::Hangs);
    let roots = slow.root("slow", &[good.root_key()]) + &quick.root("quick", &[other.root_key()]);
    let host = Host::new();
    let decider = host.unhurried(&(roots + &rule(APP, &["slow", "quick"], "quorum = 1")));
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), image.digest()).await),
        "allowed signed"
    );
}

//! Earlier metadata answers while newer metadata is half published.

use crate::image::{Digest, Repository};
use crate::refusal::Refusal;
use crate::tuf::{Question, Search, Trusted};
use crate::{Answer, Verification};

use super::host::Host;
use super::publisher::Publisher;

const TEAM: &str = "r.example/team/app";

fn publisher() -> Publisher {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "delegated"),
        false,
    );
    publisher.publish();
    publisher
}

/// The answer of what held earlier, with nothing to fetch.
fn earlier(
    host: &Host,
    trusted: &Trusted,
    newest: Option<&Trusted>,
) -> Result<Option<Digest>, Refusal> {
    let gun = Repository::from_full(TEAM).unwrap();
    let question = Question::Tag("1".parse().unwrap());
    let about = (&gun, &question);
    let mut search = Search::earlier(trusted, newest, &host.floors, about, host.now())?;
    let found = search.run(|_| Ok::<_, Refusal>(Answer::Missing))?;
    let targets = &found.collection.get().targets;
    Ok(targets.get("1").map(|target| target.digest))
}

#[test]
fn a_role_that_was_verified_answers_until_a_newer_one_of_those_above_it_was_verified() {
    let mut publisher = publisher();
    let mut host = Host::of(&publisher);
    let right = Some(Digest::of(b"delegated"));
    assert_eq!(host.tag(&publisher, TEAM, "1"), right);
    let before = host.trusted.clone().unwrap();
    publisher.publish_delegated("team");
    let newest = host.update(&publisher).unwrap();
    assert_eq!(earlier(&host, &before, Some(&newest)), Ok(right));
    publisher.publish();
    let newest = host.update(&publisher).unwrap();
    // By what holds now, and by the floors alone.
    for newest in [Some(&newest), None] {
        let refusal = earlier(&host, &before, newest).unwrap_err();
        assert!(
            refusal.found.contains("targets.json version 2"),
            "{refusal}"
        );
    }
}

#[test]
fn a_role_that_was_verified_answers_no_more_once_its_newer_file_or_a_newer_root_was() {
    for of_root in [false, true] {
        let mut publisher = publisher();
        let mut host = Host::of(&publisher);
        host.tag(&publisher, TEAM, "1");
        let before = host.trusted.clone().unwrap();
        if of_root {
            publisher.publish_root(&[]);
        } else {
            publisher.publish_delegated("team");
        }
        host.tag(&publisher, TEAM, "1");
        let newest = host.trusted.clone().unwrap();
        for newest in [Some(&newest), None] {
            let refusal = earlier(&host, &before, newest).unwrap_err();
            assert_eq!(refusal.code.as_str(), "rollback", "{refusal}");
        }
    }
}

#[test]
fn only_what_a_source_that_is_behind_explains_is_marked_so() {
    let mut publisher = publisher();
    let mut host = Host::of(&publisher);
    let first = publisher.clone();
    publisher.publish();
    host.update(&publisher).unwrap();
    let refusal = host.update(&first).unwrap_err();
    assert!(refusal.source_behind && !refusal.hint.contains("state reset"));
    for name in ["3.snapshot.json", "3.targets.json"] {
        let mut half = publisher.clone();
        half.publish();
        let name = name.replace(
            '3',
            &half.versions[name[2..].trim_end_matches(".json")].to_string(),
        );
        half.files.remove(&name);
        assert!(host.update(&half).unwrap_err().source_behind, "{name}");
    }
    let mut forged = publisher.clone();
    forged.timestamp = vec![99];
    forged.publish();
    assert!(!host.update(&forged).unwrap_err().source_behind);
    let mut empty = publisher.clone();
    empty.files.remove("timestamp.json");
    assert!(!host.update(&empty).unwrap_err().source_behind);
}

//! Targets files that come back from the cache as the text that was verified.

use proptest::prelude::*;

use crate::Request;
use crate::canonical::{Limits, rewrite};
use crate::image::Digest;

use super::host::Host;
use super::publisher::Publisher;

const ROLES: [&str; 2] = ["targets", "team"];

/// A process that starts anew, where the cache has the canonical text of both targets roles.
fn restarted() -> (Host, Publisher) {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "delegated"),
        false,
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(answers(&mut host, &publisher), Ok(right()));
    for role in ROLES {
        let name = Request::newest(role).cache_name();
        let text = rewrite(
            &host.cache[&name],
            Limits {
                bytes: 1 << 20,
                depth: 32,
                values: 1 << 16,
            },
        )
        .unwrap();
        assert!(
            !publisher.files.values().any(|file| *file == text),
            "no file is canonical as it is published"
        );
        host.cache.insert(name, text);
    }
    host.restart();
    (host, publisher)
}

fn right() -> [Option<Digest>; 2] {
    [Some(Digest::of(b"one")), Some(Digest::of(b"delegated"))]
}

fn answers(host: &mut Host, publisher: &Publisher) -> Result<[Option<Digest>; 2], &'static str> {
    host.update(publisher)
        .map_err(|refusal| refusal.code.as_str())?;
    let asked = host.asked.clone();
    let found = [
        host.tag(publisher, "r.example/app", "1"),
        host.tag(publisher, "r.example/team/app", "1"),
    ];
    host.asked.extend(asked);
    Ok(found)
}

fn asked_for_targets(host: &Host) -> bool {
    host.asked
        .iter()
        .any(|name| name.ends_with("targets.json") || name.ends_with("team.json"))
}

#[test]
fn what_was_verified_is_taken_back_as_it_was_read_though_the_published_file_has_other_bytes() {
    let (mut host, publisher) = restarted();
    assert_eq!(answers(&mut host, &publisher), Ok(right()));
    assert!(!asked_for_targets(&host), "{:?}", host.asked);
}

#[test]
fn without_its_floor_it_is_no_more_than_a_file_that_does_not_fit_its_pin() {
    let (mut host, publisher) = restarted();
    host.floors.clear();
    assert_eq!(answers(&mut host, &publisher), Ok(right()));
    assert!(asked_for_targets(&host));
}

#[test]
fn its_signatures_are_counted_again() {
    let (mut host, publisher) = restarted();
    let trusted = host.update(&publisher).unwrap();
    host.pins
        .revoked
        .clone_from(&trusted.0.roles["targets"].signers);
    host.restart();
    assert_eq!(answers(&mut host, &publisher), Err("revoked"));
    let (mut host, publisher) = restarted();
    let text = String::from_utf8(host.cache["targets.json"].clone()).unwrap();
    let at = text.find("\"sig\":\"").unwrap() + 7;
    let digit = if text[at..].starts_with('0') {
        "1"
    } else {
        "0"
    };
    host.cache.insert(
        "targets.json".to_owned(),
        format!("{}{digit}{}", &text[..at], &text[at + 1..]).into_bytes(),
    );
    assert_eq!(answers(&mut host, &publisher), Ok(right()));
    assert!(asked_for_targets(&host));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bit_of_it_that_flips_changes_an_answer(role in prop::sample::select(ROLES.to_vec()), place in any::<prop::sample::Index>(), bit in 0..8) {
        let (mut host, publisher) = restarted();
        let text = host.cache.get_mut(&format!("{role}.json")).unwrap();
        let signed = text.windows(9).position(|bytes| bytes == b"\"signed\":").unwrap() + 9..text.len() - 1;
        let place = place.index(text.len());
        text[place] ^= 1_u8 << bit;
        prop_assert_eq!(answers(&mut host, &publisher), Ok(right()));
        prop_assert!(asked_for_targets(&host) || !signed.contains(&place), "what was signed is not believed with another bit");
    }
}

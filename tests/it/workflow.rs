//! Runs updates over trees of files, and proves the workflow on good ones.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rootpin_trust::image::Repository;
use rootpin_trust::notary::{GunUpdate, KeyPins};
use rootpin_trust::{
    Answer, Collection, Edition, FetchFrom, Floor, Progress, Refusal, Request, Verification,
    Verified, Want,
};

use crate::publisher::{Key, Publisher, Tree};

pub(crate) const GUN: &str = "registry.test/team/app";
pub(crate) const NOW: &str = "2030-01-01T00:00:00Z";
const DIGEST: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// What a host keeps between two looks.
#[derive(Default, Clone, Debug)]
pub(crate) struct Host {
    pub(crate) root: Option<Vec<u8>>,
    pub(crate) floors: Vec<Floor>,
}

/// What a good look ends with.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) collection: Verified<Collection>,
    pub(crate) progress: Verified<Progress>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Host {
    /// Looks at a tree; keeps what a good look leaves behind.
    pub(crate) fn look(&mut self, tree: &Tree, pins: &KeyPins) -> Result<Outcome, Refusal> {
        self.look_at(tree, GUN, pins, NOW).0
    }

    /// The same for any repository and time; also says what was asked for.
    pub(crate) fn look_at(
        &mut self,
        tree: &Tree,
        gun: &str,
        pins: &KeyPins,
        now: &str,
    ) -> (Result<Outcome, Refusal>, Vec<Request>) {
        let gun = Repository::from_full(gun).unwrap();
        let now = now.parse::<Timestamp>().unwrap();
        let mut update = GunUpdate::start(&gun, pins, self.floors.clone(), now);
        let mut asked = Vec::new();
        let result = update.run(|want| {
            if want.from == FetchFrom::Cache {
                let root = self.root.clone().filter(|_| want.request.role == "root");
                return Ok::<_, Refusal>(root.into());
            }
            asked.push(want.request.clone());
            Ok(serve(tree, want))
        });
        let result = result.map(|collection| Outcome {
            collection,
            progress: update.progress().unwrap(),
            files: update.files(),
        });
        if let Ok(outcome) = &result {
            self.root = outcome
                .files
                .iter()
                .find(|(name, _)| name == "root.json")
                .map(|(_, bytes)| bytes.clone());
            self.floors = outcome.progress.get().merge_into(&self.floors).unwrap();
        }
        (result, asked)
    }
}

/// What a server with these files says. Bytes beyond the cap are an error of the source; here they
/// are handed on, and must be refused.
fn serve(tree: &Tree, want: &Want) -> Answer {
    let name = want.request.file_name();
    // A folder of a fixture has no hash names: then the current file answers, whatever its hash is.
    let current = || name.split_once('.').map(|(role, _)| format!("{role}.json"));
    let by_hash = matches!(want.request.edition, Edition::Sha256(_));
    let bytes = tree.files.get(&name).or_else(|| {
        if by_hash {
            tree.files.get(&current()?)
        } else {
            None
        }
    });
    bytes.cloned().into()
}

/// Pins of these keys, for `targets/releases`.
pub(crate) fn pins(keys: &[Key]) -> KeyPins {
    pins_of(&keys.iter().map(Key::id).collect::<Vec<_>>())
}

pub(crate) fn pins_of(ids: &[String]) -> KeyPins {
    KeyPins {
        keys: ids.iter().map(|id| id.parse().unwrap()).collect(),
        revoked: [].into(),
        role: "targets/releases".to_owned(),
        certificate_dates: false,
        allow_rsa_pkcs1v15: false,
        max_age: None,
    }
}

/// A repository with one tag, and the pins for it.
pub(crate) fn published() -> (Publisher, KeyPins) {
    let mut publisher = Publisher::new(GUN);
    publisher.tag("v1", DIGEST, 7);
    let pins = pins(&[publisher.root_key()]);
    (publisher, pins)
}

/// Looks at a tree for the first time.
pub(crate) fn first_look(tree: &Tree, pins: &KeyPins) -> Result<Outcome, Refusal> {
    Host::default().look(tree, pins)
}

/// Tag to hex digest.
pub(crate) fn tags(collection: &Collection) -> BTreeMap<String, String> {
    collection
        .targets
        .iter()
        .map(|(tag, target)| (tag.clone(), target.digest.hex()))
        .collect()
}

#[test]
fn a_good_repository_gives_its_tags_and_everything_about_them() {
    let (publisher, pins) = published();
    let outcome = first_look(&publisher.tree(), &pins).unwrap();
    let collection = outcome.collection.get();
    assert_eq!(
        tags(collection),
        BTreeMap::from([("v1".to_owned(), DIGEST.to_owned())])
    );
    assert_eq!(collection.targets["v1"].length, 7);
    assert_eq!(collection.role, "targets/releases");
    assert_eq!(collection.expires.to_string(), "2036-01-01T00:00:00Z");
    assert_eq!(collection.root_keys, pins.keys);
    assert_eq!(collection.versions.len(), 5);
    assert_eq!(outcome.progress.get().statements.len(), 2);
    assert_eq!(collection.signers.len(), 2);
    let names: Vec<_> = outcome
        .files
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "root.json",
            "timestamp.json",
            "snapshot.json",
            "targets.json",
            "targets/releases.json"
        ]
    );
    let floors: Vec<_> = outcome
        .progress
        .get()
        .floors
        .iter()
        .map(|floor| (floor.role.as_str(), floor.version))
        .collect();
    assert_eq!(
        floors,
        [
            ("root", 1),
            ("timestamp", 1),
            ("snapshot", 1),
            ("targets", 1),
            ("targets/releases", 1)
        ]
    );
    assert!(
        outcome
            .progress
            .get()
            .floors
            .iter()
            .all(|floor| *floor.root_keys == pins.keys && floor.threshold == 1)
    );
}

#[test]
fn a_second_look_starts_from_the_cached_root_and_asks_for_the_next_one_first() {
    let (mut publisher, pins) = published();
    let mut host = Host::default();
    let (_, asked) = host.look_at(&publisher.tree(), GUN, &pins, NOW);
    assert_eq!(asked[..2], [Request::newest("root"), Request::root(2)]);
    publisher.tick();
    let (result, asked) = host.look_at(&publisher.tree(), GUN, &pins, NOW);
    result.unwrap();
    assert_eq!(asked[..2], [Request::root(2), Request::newest("timestamp")]);
    assert_eq!(asked.len(), 5);
}

#[test]
fn a_root_rotated_twice_within_the_pins_while_the_host_slept_is_followed() {
    let (mut publisher, _) = published();
    let (first, second, third) = (
        publisher.root_key(),
        Key::named("second"),
        Key::named("third"),
    );
    let pins = pins(&[first, second.clone(), third.clone()]);
    let mut host = Host::default();
    host.look(&publisher.tree(), &pins).unwrap();
    publisher.rotate_root(&[second]);
    publisher.rotate_root(std::slice::from_ref(&third));
    publisher.tick();
    let outcome = host.look(&publisher.tree(), &pins).unwrap();
    assert_eq!(outcome.collection.get().versions["root"], 3);
    assert_eq!(
        outcome.collection.get().root_keys,
        self::pins(&[third]).keys
    );
    assert_eq!(*outcome.progress.get().floors[0].root_keys, pins.keys);
}

#[test]
fn delegations_below_delegations_are_reached_within_the_paths_of_each() {
    let (mut publisher, mut pins) = published();
    publisher.role("targets/releases").paths = vec!["v", "nightly"];
    publisher.delegate(
        "targets/releases/deep",
        vec![Key::named("deep").bare()],
        vec!["nightly-", "other-"],
    );
    for tag in ["nightly-1", "nightly", "other-1", "v1"] {
        publisher.tag_in("targets/releases/deep", tag, DIGEST, 7);
    }
    pins.role = "targets/releases/deep".to_owned();
    let outcome = first_look(&publisher.tree(), &pins).unwrap();
    assert_eq!(
        tags(outcome.collection.get())
            .into_keys()
            .collect::<Vec<_>>(),
        ["nightly-1"]
    );
    assert_eq!(outcome.progress.get().statements.len(), 3);
    // No path, no tag; the empty path is every tag.
    publisher.role("targets/releases").paths = vec![];
    assert!(
        first_look(&publisher.tree(), &pins)
            .unwrap()
            .collection
            .get()
            .targets
            .is_empty()
    );
    publisher.role("targets/releases").paths = vec![""];
    publisher.role("targets/releases/deep").paths = vec![""];
    assert_eq!(
        first_look(&publisher.tree(), &pins)
            .unwrap()
            .collection
            .get()
            .targets
            .len(),
        4
    );
}

#[test]
fn a_local_ceiling_on_freshness_makes_it_expire_sooner() {
    let (publisher, mut pins) = published();
    pins.max_age = Some(jiff::SignedDuration::from_hours(72));
    let outcome = first_look(&publisher.tree(), &pins).unwrap();
    assert_eq!(
        outcome.collection.get().expires.to_string(),
        "2030-01-04T00:00:00Z"
    );
}

#[test]
fn the_expiry_is_the_earliest_of_all_files_and_its_instant_is_past_it() {
    for role in [
        "root",
        "timestamp",
        "snapshot",
        "targets",
        "targets/releases",
    ] {
        let (mut publisher, pins) = published();
        publisher.role(role).expires = "2030-01-01T01:00:00+01:00";
        let refusal = first_look(&publisher.tree(), &pins).unwrap_err();
        assert_eq!(refusal.code.as_str(), "expired", "{role}");
        assert!(refusal.found.starts_with(role), "{}", refusal.found);
        publisher.role(role).expires = "2030-01-01T00:00:00.000000001Z";
        let outcome = first_look(&publisher.tree(), &pins).unwrap();
        assert_eq!(
            outcome.collection.get().expires.to_string(),
            "2030-01-01T00:00:00.000000001Z",
            "{role}"
        );
    }
}

#[test]
fn unknown_members_null_containers_and_missing_delegations_are_accepted() {
    let (mut publisher, pins) = published();
    publisher.edit("targets/releases", |signed| {
        signed.as_object_mut().unwrap().remove("delegations");
        signed["more"] = serde_json::json!({"x": [null, true]});
    });
    first_look(&publisher.tree(), &pins).unwrap();
    publisher.edit("targets/releases", |signed| {
        signed["delegations"] = serde_json::json!({"keys": null, "roles": null});
        signed["targets"] = serde_json::Value::Null;
    });
    assert!(
        first_look(&publisher.tree(), &pins)
            .unwrap()
            .collection
            .get()
            .targets
            .is_empty()
    );
}

#[test]
fn a_threshold_of_two_is_met_by_two_keys() {
    let (mut publisher, pins) = published();
    let role = publisher.role("targets/releases");
    role.keys.push(Key::named("second signer").bare());
    role.threshold = 2;
    first_look(&publisher.tree(), &pins).unwrap();
}

#[test]
fn an_update_that_is_over_says_so() {
    let (publisher, pins) = published();
    let gun = Repository::from_full(GUN).unwrap();
    let mut update = GunUpdate::start(&gun, &pins, Vec::new(), NOW.parse().unwrap());
    update.next(None).unwrap();
    update.next(Some(Answer::Missing)).unwrap();
    update.next(Some(Answer::Missing)).unwrap_err();
    let root = publisher.tree().files["root.json"].clone();
    assert_eq!(
        update
            .next(Some(Answer::Bytes(root)))
            .unwrap_err()
            .code
            .as_str(),
        "malformed"
    );
}

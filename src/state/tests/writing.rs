//! A commit writes, and the same is read.

use std::fs;
use std::time::{Duration, Instant};

use super::support::{
    DAY, SERVER, at, floor, gun, key, keys, row, see, under, verified, version, with_floors,
};
use crate::state::error::FileFault;
use crate::state::reset::Forgotten;
use crate::state::seen::Trouble;
use crate::state::{Additions, RowKind, Scope, StateError, Store};
use rootpin_trust::Code;
use rootpin_trust::image::Digest;

#[test]
fn what_was_committed_is_there_when_the_state_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, row) = (Digest::of(b"layer"), row("app:v1", 60));
    let shown = {
        let store = Store::open(dir.path()).unwrap();
        let (collection, gun) = (verified("app", 3), gun("app"));
        let additions = Additions {
            now: at(9),
            verified: vec![&collection],
            contacts: vec![(SERVER, &gun, at(1))],
            rows: vec![(digest, row.clone())],
        };
        assert!(store.commit(&additions).unwrap().wrote);
        assert_eq!(store.history(&gun).unwrap().len(), 5);
        store.show().unwrap()
    };
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.show().unwrap(), shown);
    assert_eq!(version(&store, "app", "targets/releases"), Some(3));
    assert_eq!(store.contact(SERVER, &gun("app")).unwrap(), Some(at(1)));
    let replayed = |name: &str, key: u8| {
        let (statement, signers) = (Digest::of(b"app 3"), keys(&[key]));
        store.replayed(&gun(name), &statement, &signers).unwrap()
    };
    assert_eq!(replayed("other", 4), Some(gun("app")));
    assert_eq!((replayed("other", 9), replayed("app", 4)), (None, None));
    assert_eq!(store.signer_repositories(&key(4)).unwrap(), [gun("app")]);
    assert_eq!(store.admitted(&digest).unwrap(), [row]);
    assert_eq!(store.admitted(&Digest::of(b"other")).unwrap(), []);
}

#[test]
fn a_repeated_decision_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let file = dir.path().join("state.redb");
    let (collection, gun) = (verified("app", 3), gun("app"));
    let rows = vec![
        (Digest::of(b"layer"), row("app:v1", 60)),
        (Digest::of(b"over at once"), row("app:v1", 1)),
    ];
    let mut additions = Additions {
        now: at(1),
        verified: vec![&collection],
        contacts: vec![(SERVER, &gun, at(1))],
        rows,
    };
    assert!(store.commit(&additions).unwrap().wrote);
    let before = fs::read(&file).unwrap();
    additions.now = at(5);
    additions.contacts[0].2 = at(5);
    additions.rows[1].1.valid_until = at(5);
    assert!(!store.commit(&additions).unwrap().wrote);
    assert!(fs::read(&file).unwrap() == before);
    additions.contacts[0].2 = at(7);
    assert!(
        store.commit(&additions).unwrap().wrote,
        "the contact moved by more than its granularity"
    );
    assert_eq!(store.contact(SERVER, &gun).unwrap(), Some(at(7)));
}

#[test]
fn signed_bytes_of_another_repository_are_refused_and_nothing_of_that_decision_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    see(&store, 1, &verified("app", 3)).unwrap();
    let replayed = with_floors("other", vec![floor("targets", &[1], 9, &[4])], "app 3");
    let fine = verified("fine", 1);
    let both = Additions {
        now: at(2),
        verified: vec![&fine, &replayed],
        contacts: vec![],
        rows: vec![],
    };
    let error = store.commit(&both).unwrap_err();
    assert!(
        matches!(&error, StateError::Replay { owner, .. } if *owner == gun("app")),
        "{error}"
    );
    assert_eq!(
        (
            version(&store, "other", "targets"),
            version(&store, "fine", "targets")
        ),
        (None, None)
    );
}

#[test]
fn a_signer_of_two_repositories_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(
        see(&store, 1, &verified("app", 3)).unwrap().shared_signers,
        []
    );
    let shared = see(&store, 1, &verified("other", 3))
        .unwrap()
        .shared_signers;
    assert_eq!(shared, [(key(4), gun("app")), (key(5), gun("app"))]);
    assert_eq!(
        see(&store, 9, &verified("other", 4))
            .unwrap()
            .shared_signers,
        []
    );
}

#[test]
fn a_decision_that_was_overtaken_lowers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    see(&store, 1, &verified("app", 4)).unwrap();
    see(&store, 1, &verified("app", 3)).unwrap();
    assert_eq!(version(&store, "app", "timestamp"), Some(4));
}

#[test]
fn other_bytes_under_a_version_that_was_seen_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    see(&store, 1, &verified("app", 4)).unwrap();
    let mut twin = floor("targets", &[1], 4, &[4]);
    twin.signed = Digest::of(b"twin");
    assert_eq!(
        see(&store, 1, &with_floors("app", vec![twin], "x"))
            .unwrap_err()
            .code(),
        Code::Rollback
    );
}

#[test]
fn one_digest_has_a_row_for_each_name_and_kind() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = Digest::of(b"base");
    let manifest = crate::state::Row {
        kind: RowKind::Manifest,
        ..row("a:v1", 60)
    };
    let rows = vec![
        (digest, row("a:v1", 60)),
        (digest, row("b:v1", 60)),
        (digest, manifest),
        (Digest::of(b"c"), row("c:v1", 60)),
    ];
    store
        .commit(&Additions {
            now: at(0),
            verified: vec![],
            contacts: vec![],
            rows,
        })
        .unwrap();
    assert_eq!(store.admitted(&digest).unwrap().len(), 3);
    let later = vec![(digest, row("a:v1", 90))];
    store
        .commit(&Additions {
            now: at(0),
            verified: vec![],
            contacts: vec![],
            rows: later,
        })
        .unwrap();
    assert_eq!(
        store
            .admitted(&digest)
            .unwrap()
            .iter()
            .filter(|row| row.valid_until == at(90))
            .count(),
        1
    );
    assert_eq!(store.admitted(&digest).unwrap().len(), 3);
}

#[test]
fn rows_that_are_long_over_go_with_a_later_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let commit = |now, digest: &[u8], until| {
        let rows = vec![(Digest::of(digest), row("app:v1", until))];
        store
            .commit(&Additions {
                now: at(now),
                verified: vec![],
                contacts: vec![],
                rows,
            })
            .unwrap();
    };
    commit(0, b"short", 5);
    commit(DAY - 1, b"long", 2 * DAY);
    commit(DAY + 6, b"longer", 2 * DAY);
    assert_eq!(
        store.admitted(&Digest::of(b"short")).unwrap().len(),
        1,
        "it is looked for every ten minutes only"
    );
    commit(DAY + 10, b"more", 2 * DAY);
    assert_eq!(store.admitted(&Digest::of(b"short")).unwrap(), []);
    assert_eq!(store.show().unwrap().rows.len(), 3);
}

#[test]
fn a_full_ledger_makes_room_by_what_is_over_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let commit = |from: u32, to: u32| {
        let rows = (from..to)
            .map(|number| {
                (
                    Digest::of(&number.to_be_bytes()),
                    row("app:v1", 100 + number),
                )
            })
            .collect();
        store
            .commit(&Additions {
                now: at(1),
                verified: vec![],
                contacts: vec![],
                rows,
            })
            .unwrap();
    };
    commit(0, 150);
    commit(150, 200);
    assert_eq!(store.show().unwrap().rows.len(), 200);
    commit(200, 201);
    let rows = store.show().unwrap().rows;
    assert_eq!(rows.len(), 180);
    assert!(rows.iter().all(|(_, row)| row.valid_until >= at(121)));
}

#[test]
fn after_a_failed_write_the_file_is_opened_again_with_all_its_checks() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    see(&store, 1, &verified("app", 3)).unwrap();
    let fail =
        |_: &redb::Database| -> Result<(), Trouble> { Err(FileFault::new("disk full").into()) };
    assert_eq!(
        store.with_database(fail).unwrap_err().code(),
        Code::StateUnusable
    );
    assert!(store.trouble().unwrap().contains("a write failed"));
    see(&store, 2, &verified("app", 4)).unwrap();
    assert_eq!(
        (version(&store, "app", "timestamp"), store.trouble()),
        (Some(4), None)
    );
    // A full disk lets the file be opened and read: only a write says that it is well again.
    store.with_database(fail).unwrap_err();
    assert_eq!(store.show().unwrap().repositories.len(), 1);
    assert!(store.trouble().unwrap().contains("a write failed"));
    let committed = see(&store, 2, &verified("app", 4)).unwrap();
    assert_eq!((committed.wrote, store.trouble()), (false, None));
    // Not for each of many questions.
    store.with_database(fail).unwrap_err();
    see(&store, 2, &verified("app", 4)).unwrap();
    assert!(store.trouble().unwrap().contains("a write failed"));
    see(&store, 3, &verified("app", 4)).unwrap();
    assert_eq!(store.trouble(), None);
    store.with_database(fail).unwrap_err();
    std::fs::write(dir.path().join("state.redb"), b"gone").unwrap();
    assert_eq!(
        see(&store, 5, &verified("app", 5)).unwrap_err().code(),
        Code::StateUnusable
    );
}

#[test]
fn a_repository_of_a_reset_root_is_forgotten_and_the_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    see(&store, 1, &verified("app", 3)).unwrap();
    see(
        &store,
        1,
        &with_floors("kept", vec![floor("root", &[7], 2, &[7])], "kept"),
    )
    .unwrap();
    see(
        &store,
        1,
        &with_floors(
            "both",
            vec![
                floor("root", &[1], 2, &[1]),
                floor("timestamp", &[7], 2, &[2]),
            ],
            "both",
        ),
    )
    .unwrap();
    let rows = vec![(Digest::of(b"layer"), row("app:v1", 60))];
    store
        .commit(&Additions {
            now: at(1),
            verified: vec![],
            contacts: vec![],
            rows,
        })
        .unwrap();
    let forgotten = store.reset(Scope::Floors(&under(&[1, 2])), false).unwrap();
    let told: Vec<_> = forgotten
        .repositories
        .iter()
        .map(|one| {
            (
                one.subject.to_string(),
                one.floors.len(),
                one.statements,
                one.contacts.len(),
            )
        })
        .collect();
    assert_eq!(
        (told, forgotten.rows),
        (
            vec![
                (gun("app").to_string(), 5, 1, 1),
                (gun("both").to_string(), 1, 0, 0)
            ],
            1
        )
    );
    let after = store.show().unwrap();
    assert_eq!(after.repositories.len(), 2);
    assert_eq!(
        (
            version(&store, "kept", "root"),
            version(&store, "both", "timestamp")
        ),
        (Some(2), Some(2))
    );
    assert_eq!(store.contact(SERVER, &gun("app")).unwrap(), None);
    assert_eq!(
        store.reset(Scope::Floors(&under(&[1])), false).unwrap(),
        Forgotten::default()
    );
    assert_eq!(
        store
            .reset(Scope::Repository(&gun("kept")), false)
            .unwrap()
            .repositories
            .len(),
        1
    );
    drop(store);
    assert_eq!(
        Store::open(dir.path())
            .unwrap()
            .show()
            .unwrap()
            .repositories
            .len(),
        1
    );
}

#[test]
fn a_write_that_does_not_end_is_trouble_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let begun = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    let write = store.writing.begin(begun);
    let told = store.trouble().unwrap();
    assert!(
        told.contains("state.redb: a write has not ended for 60 s"),
        "{told}"
    );
    assert_eq!(store.usable().map_err(|error| error.to_string()), Ok(()));
    drop(write);
    assert_eq!(store.trouble(), None);
}

#[test]
fn who_asks_for_the_trouble_does_not_wait_until_the_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let opening = store.database.write().unwrap();
    let told = std::thread::scope(|scope| {
        let (say, hear) = std::sync::mpsc::channel();
        let store = &store;
        scope.spawn(move || say.send(store.trouble()));
        let told = hear.recv_timeout(Duration::from_secs(60));
        drop(opening);
        told
    });
    assert!(told.unwrap().is_some());
    assert_eq!(store.trouble(), None);
}

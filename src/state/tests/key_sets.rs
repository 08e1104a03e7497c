//! Large sets of root keys: written once, shown once, and never lost.

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::disk::{Disk, open};
use super::support::{at, gun, see, verified, version, with_floors};
use crate::state::form::{FLOORS, SeenRecord};
use crate::state::key_sets::KEY_SETS;
use crate::state::record;
use crate::state::report::overview_json;
use crate::state::seen::SeenDraft;
use crate::state::{Additions, Scope, file};
use rootpin_trust::{Floor, KeyId, Progress, Verified};
use std::collections::BTreeSet;

const SETS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new(KEY_SETS);

/// So many keys, of which the first one is `first`.
fn many(first: u16, count: u16) -> BTreeSet<KeyId> {
    let key = |number: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        KeyId::from_bytes(bytes)
    };
    (first..first + count).map(key).collect()
}

fn floors_under(keys: &BTreeSet<KeyId>, at: u64) -> Vec<Floor> {
    let floors = verified("any", at).get().floors.clone().into_iter();
    let floors = floors.map(|floor| Floor {
        root_keys: keys.clone().into(),
        ..floor
    });
    floors.collect()
}

fn seen_under(keys: &BTreeSet<KeyId>, name: &str, at: u64) -> Verified<Progress> {
    with_floors(name, floors_under(keys, at), &format!("{name} {at}"))
}

fn names(disk: &Disk) -> Vec<String> {
    let database = disk.database();
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(SETS).unwrap();
    let rows = table.iter().unwrap();
    rows.map(|row| row.unwrap().0.value().to_owned()).collect()
}

/// Writes what a rootpin without such sets wrote of these records, whose floors have those keys.
fn write_in_place(disk: &Disk, keys: &BTreeSet<KeyId>, records: &[(&str, &SeenRecord)]) {
    let database = disk.database();
    file::initialise(&database).unwrap();
    let mut draft = SeenDraft::of(&file::load(&database).unwrap());
    for (name, record) in records {
        let mut form = serde_json::to_value(record.form()).unwrap();
        form["format"] = 1.into();
        for floor in form["floors"].as_array_mut().unwrap() {
            let floor = floor.as_object_mut().unwrap();
            assert!(floor.remove("root_key_set").is_some());
            let texts: Vec<_> = keys.iter().map(ToString::to_string).collect();
            floor.insert("root_keys".to_owned(), texts.into());
        }
        let key = gun(name).to_string();
        let framed = record::encode(FLOORS, key.as_bytes(), &form).unwrap();
        draft.seen.take(FLOORS, &key, &framed.bytes).unwrap();
        draft.changes.insert((FLOORS, key), Some(framed.bytes));
    }
    file::write(&database, &mut draft, &[]).unwrap();
}

#[test]
fn the_keys_of_five_hundred_repositories_under_one_root_are_written_once_and_shown_once() {
    let keys = many(0, 500);
    let seen: Vec<_> = (0..500)
        .map(|number| seen_under(&keys, &format!("app{number}"), 3))
        .collect();
    let disk = Disk::default();
    let store = open(&disk).unwrap();
    let additions = Additions {
        now: at(1),
        verified: seen.iter().collect(),
        contacts: Vec::new(),
        rows: Vec::new(),
    };
    store.commit(&additions).unwrap();
    // Within each floor they would be 84 MB.
    let shown = store.show().unwrap();
    let json = overview_json(&shown).to_string();
    assert!(json.len() < 3 << 20, "{}", json.len());
    drop(store);
    let written = disk.bytes().len();
    assert!(written < 8 << 20, "{written}");
    assert_eq!(names(&disk).len(), 1);
    let again = open(&disk).unwrap();
    assert_eq!(again.show().unwrap(), shown);
    let floors = &shown.repositories[0].floors;
    assert_eq!((floors.len(), &*floors[0].root_keys), (5, &keys));
}

#[test]
fn floors_with_their_keys_in_place_go_on_to_bind_and_name_them_once_they_are_raised() {
    let keys = many(0, 9);
    let record = SeenRecord {
        floors: floors_under(&keys, 7),
        ..SeenRecord::default()
    };
    let disk = Disk::default();
    write_in_place(&disk, &keys, &[("app", &record)]);
    let store = open(&disk).unwrap();
    assert_eq!(store.history(&gun("app")).unwrap(), record.floors);
    // A lower version changes nothing.
    see(&store, 1, &seen_under(&keys, "app", 6)).unwrap();
    assert_eq!(version(&store, "app", "targets"), Some(7));
    see(&store, 2, &seen_under(&keys, "app", 8)).unwrap();
    drop(store);
    assert_eq!(names(&disk).len(), 1);
    let store = open(&disk).unwrap();
    assert_eq!(version(&store, "app", "targets"), Some(8));
    assert_eq!(*store.history(&gun("app")).unwrap()[0].root_keys, keys);
}

#[test]
fn a_set_that_is_missing_or_has_other_keys_makes_the_state_unusable() {
    let written = || {
        let disk = Disk::default();
        let store = open(&disk).unwrap();
        see(&store, 1, &seen_under(&many(0, 9), "app", 3)).unwrap();
        drop(store);
        disk
    };
    let [name] = <[String; 1]>::try_from(names(&written())).unwrap();
    let change = |bytes: Option<Vec<u8>>| {
        let disk = written();
        let database = disk.database();
        let transaction = database.begin_write().unwrap();
        let mut table = transaction.open_table(SETS).unwrap();
        match &bytes {
            Some(bytes) => drop(table.insert(name.as_str(), bytes.as_slice()).unwrap()),
            None => drop(table.remove(name.as_str()).unwrap()),
        }
        drop(table);
        transaction.commit().unwrap();
        drop(database);
        open(&disk).map(|_| ()).map_err(|error| error.to_string())
    };
    let error = change(None).unwrap_err();
    assert!(error.contains("is missing"), "{error}");
    let others: Vec<_> = many(1, 9).iter().map(ToString::to_string).collect();
    let others = record::encode(KEY_SETS, name.as_bytes(), &others).unwrap();
    let error = change(Some(others.bytes)).unwrap_err();
    assert!(error.contains("other keys"), "{error}");
}

#[test]
fn a_set_that_no_floor_belongs_to_any_more_leaves_the_file_with_the_next_write() {
    let disk = Disk::default();
    let store = open(&disk).unwrap();
    let (first, second) = (many(0, 9), many(100, 10));
    see(&store, 1, &seen_under(&first, "app", 3)).unwrap();
    see(&store, 1, &seen_under(&second, "other", 3)).unwrap();
    let of_first = |floor: &Floor| *floor.root_keys == first;
    store.reset(Scope::Floors(&of_first), false).unwrap();
    drop(store);
    assert_eq!(names(&disk).len(), 2);
    let store = open(&disk).unwrap();
    see(&store, 2, &seen_under(&second, "other", 4)).unwrap();
    drop(store);
    assert_eq!(names(&disk).len(), 1);
    // One that is left and comes back in one write stays.
    let store = open(&disk).unwrap();
    store.reset(Scope::Floors(&|_| true), false).unwrap();
    drop(store);
    let store = open(&disk).unwrap();
    see(&store, 3, &seen_under(&second, "other", 1)).unwrap();
    drop(store);
    assert_eq!(version(&open(&disk).unwrap(), "other", "targets"), Some(1));
}

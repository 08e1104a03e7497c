//! A state is opened where it may be, and not elsewhere.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::{see, verified, version};
use crate::state::error::FileFault;
use crate::state::seen::Trouble;
use crate::state::{StateError, Store, start_anew};
use rootpin_trust::Code;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Why a directory is refused.
fn refusal(dir: &Path) -> String {
    match Store::open(dir) {
        Err(error @ StateError::Unusable { .. }) => {
            assert_eq!(error.code(), Code::StateUnusable);
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_is_made_in_a_missing_or_empty_directory_and_nobody_else_can_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("a/b");
    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    set_mode(&empty, 0o755);
    for dir in [missing, empty] {
        see(&Store::open(&dir).unwrap(), 1, &verified("app", 3)).unwrap();
        assert_eq!((mode(&dir), mode(&dir.join("state.redb"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(
            version(&Store::open(&dir).unwrap(), "app", "timestamp"),
            Some(3)
        );
    }
}

#[test]
fn a_directory_that_is_not_new_is_refused_where_the_file_is_not_in_it() {
    let dir = tempfile::tempdir().unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    fs::create_dir(dir.path().join("cache")).unwrap();
    fs::remove_file(dir.path().join("state.redb")).unwrap();
    assert!(refusal(dir.path()).contains("not new"));
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    // The cache's files may be on their way when the state gets its name.
    fs::create_dir(dir.path().join("cache")).unwrap();
    let draft = dir.path().join("state.redb.new");
    fs::write(&draft, b"redb").unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    assert!(!draft.exists());
    assert_eq!(
        version(&Store::open(dir.path()).unwrap(), "app", "timestamp"),
        Some(3)
    );
}

#[test]
fn a_new_state_gets_its_name_with_the_first_thing_that_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let names = || {
        fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    for _ in 0..2 {
        drop(Store::open(dir.path()).unwrap());
        assert_eq!(names(), ["state.redb.new"]);
    }
    let store = Store::open(dir.path()).unwrap();
    see(&store, 1, &verified("app", 3)).unwrap();
    assert_eq!(names(), ["state.redb"]);
    see(&store, 2, &verified("app", 4)).unwrap();
    drop(store);
    assert_eq!(
        version(&Store::open(dir.path()).unwrap(), "app", "timestamp"),
        Some(4)
    );
}

#[test]
fn a_new_state_that_can_get_no_name_keeps_nothing_and_says_so_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let store = Store::open(dir.path()).unwrap();
    fs::create_dir(&file).unwrap();
    for _ in 0..2 {
        see(&store, 1, &verified("app", 3)).unwrap_err();
    }
    fs::remove_dir(&file).unwrap();
    see(&store, 1, &verified("app", 3)).unwrap();
    drop(store);
    assert_eq!(
        version(&Store::open(dir.path()).unwrap(), "app", "timestamp"),
        Some(3)
    );
}

#[test]
fn a_new_state_whose_first_write_fails_is_made_anew_by_the_next_one_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let fail =
        |_: &redb::Database| -> Result<(), Trouble> { Err(FileFault::new("disk full").into()) };
    for _ in 0..2 {
        assert_eq!(
            store.with_database(fail).unwrap_err().code(),
            Code::StateUnusable
        );
    }
    see(&store, 1, &verified("app", 3)).unwrap();
    assert_eq!(store.trouble(), None);
    drop(store);
    assert_eq!(
        version(&Store::open(dir.path()).unwrap(), "app", "timestamp"),
        Some(3)
    );
}

#[test]
fn a_name_that_a_lost_first_start_left_beside_the_file_does_not_speak_for_a_new_state() {
    let dir = tempfile::tempdir().unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    let file = dir.path().join("state.redb");
    fs::hard_link(&file, dir.path().join("state.redb.new")).unwrap();
    assert_eq!(
        version(&Store::open(dir.path()).unwrap(), "app", "timestamp"),
        Some(3)
    );
    fs::create_dir(dir.path().join("cache")).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(refusal(dir.path()).contains("not new"));
}

#[test]
fn a_file_that_is_empty_truncated_or_something_else_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    let file = dir.path().join("state.redb");
    let whole = fs::read(&file).unwrap();
    let mut cuts: Vec<usize> = (0..whole.len()).step_by(4096).collect();
    cuts.extend([1, 8, 100, whole.len() - 1]);
    for cut in cuts {
        fs::write(&file, &whole[..cut]).unwrap();
        refusal(dir.path());
        assert_eq!(
            fs::metadata(&file).unwrap().len(),
            u64::try_from(cut).unwrap()
        );
    }
    fs::write(&file, b"{}").unwrap();
    refusal(dir.path());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refusal(dir.path());
    fs::remove_dir(&file).unwrap();
    fs::write(dir.path().join("elsewhere"), &whole).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    refusal(dir.path());
}

#[test]
fn a_file_or_directory_that_others_can_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    let file = dir.path().join("state.redb");
    set_mode(dir.path(), 0o750);
    assert!(refusal(dir.path()).contains("0750"));
    set_mode(dir.path(), 0o700);
    set_mode(&file, 0o604);
    assert!(refusal(dir.path()).contains("0604"));
    set_mode(&file, 0o600);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_file_or_directory_of_another_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    let file = dir.path().join("state.redb");
    if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
        return; // Only root can give files away.
    }
    assert!(refusal(dir.path()).contains("12345"));
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
    assert!(refusal(dir.path()).contains("12345"));
}

#[test]
fn a_second_opener_is_told_that_the_state_is_in_use_and_may_wait() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    assert!(matches!(
        Store::open(dir.path()),
        Err(StateError::InUse { .. })
    ));
    assert!(matches!(
        Store::open_waiting(dir.path(), Instant::now()),
        Err(StateError::InUse { .. })
    ));
    assert!(matches!(
        start_anew(dir.path()),
        Err(StateError::InUse { .. })
    ));
    std::thread::scope(|scope| {
        let second = scope
            .spawn(|| Store::open_waiting(dir.path(), Instant::now() + Duration::from_secs(30)));
        drop(first);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn first_starts_at_one_moment_lose_nothing_of_what_one_of_them_was_told_is_kept() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let (dir, together) = (&dir, &together);
                scope.spawn(move || {
                    together.wait();
                    let store =
                        Store::open_waiting(dir.path(), Instant::now() + Duration::from_secs(30))
                            .unwrap();
                    see(&store, 1, &verified(name, 3)).unwrap();
                });
            }
        });
        let store = Store::open(dir.path()).unwrap();
        assert!(
            ["a", "b", "c", "d"]
                .iter()
                .all(|name| version(&store, name, "timestamp") == Some(3))
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_state_that_cannot_be_opened_is_set_aside_only_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    assert!(
        start_anew(dir.path())
            .unwrap_err()
            .to_string()
            .contains("can be read")
    );
    let file = dir.path().join("state.redb");
    fs::write(&file, b"gone").unwrap();
    refusal(dir.path());
    let aside = start_anew(dir.path()).unwrap().unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"gone");
    assert_eq!(
        version(&Store::open(dir.path()).unwrap(), "app", "timestamp"),
        None
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(start_anew(dir.path()).unwrap(), None);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_state_that_others_may_enter_is_not_set_aside_and_the_hint_mends_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    for (path, loose, right) in [(dir.path(), 0o755, 0o700), (&*file, 0o644, 0o600)] {
        set_mode(path, loose);
        let refused = start_anew(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("lets others in"), "{refused}");
        let hint = refused.refusal().hint;
        assert_eq!(hint, format!("chmod {right:o} {}", path.display()));
        set_mode(path, right);
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(version(&store, "app", "timestamp"), Some(3));
}

#[test]
fn a_state_that_is_set_aside_takes_no_place_of_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let damages: [&[u8]; 3] = [b"first", b"second", b"third"];
    let aside = damages.map(|damage| {
        let file = dir.path().join("state.redb");
        fs::write(&file, damage).unwrap();
        set_mode(&file, 0o600);
        start_anew(dir.path()).unwrap().unwrap()
    });
    for (path, damage) in aside.iter().zip(damages) {
        assert_eq!(fs::read(path).unwrap(), damage, "{}", path.display());
    }
}

#[test]
fn a_state_that_could_not_be_opened_and_is_gone_since_is_not_begun_anew_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    see(&Store::open(&dir).unwrap(), 1, &verified("app", 7)).unwrap();
    let (file, aside) = (dir.join("state.redb"), folder.path().join("aside"));
    fs::copy(&file, &aside).unwrap();
    fs::write(&file, "damaged").unwrap();
    let store = Store::broken(&dir, &Store::open(&dir).unwrap_err());
    fs::remove_dir_all(&dir).unwrap();
    for _ in 0..2 {
        assert!(!store.try_again());
        let error = see(&store, 2, &verified("app", 3)).unwrap_err();
        assert!(error.refusal().found.contains("is gone"), "{error:?}");
        assert!(!dir.exists());
    }
    // It is taken where it is brought back.
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    fs::copy(&aside, &file).unwrap();
    set_mode(&file, 0o600);
    let error = see(&store, 2, &verified("app", 3)).unwrap_err();
    assert!(
        error.refusal().found.contains("is gone"),
        "no question opens it: {error:?}"
    );
    assert!(store.try_again() && store.try_again());
    assert_eq!(version(&store, "app", "targets"), Some(7));
}

#[test]
fn a_state_that_is_opened_for_one_answer_stays_as_it_is_until_something_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    see(&Store::open(dir.path()).unwrap(), 1, &verified("app", 3)).unwrap();
    let before = fs::read(&file).unwrap();
    let open = || Store::open_for_one_answer(dir.path(), Instant::now()).unwrap();
    let store = open();
    assert_eq!(version(&store, "app", "timestamp"), Some(3));
    assert!(matches!(
        Store::open(dir.path()),
        Err(StateError::InUse { .. })
    ));
    // What is known already is no change.
    see(&store, 1, &verified("app", 3)).unwrap();
    drop(store);
    assert!(fs::read(&file).unwrap() == before);
    let store = open();
    see(&store, 2, &verified("app", 4)).unwrap();
    // The process ends without closing it: what is on the disk then is the whole state.
    let copy = tempfile::tempdir().unwrap();
    set_mode(copy.path(), 0o700);
    fs::copy(&file, copy.path().join("state.redb")).unwrap();
    std::sync::Arc::new(store).abandon();
    let copied = Store::open(copy.path()).unwrap();
    assert_eq!(version(&copied, "app", "timestamp"), Some(4));
    see(&copied, 3, &verified("app", 5)).unwrap();
}

#[test]
fn an_empty_file_is_no_state_for_one_answer_either() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    fs::write(&file, "").unwrap();
    set_mode(&file, 0o600);
    let opened = Store::open_for_one_answer(dir.path(), Instant::now());
    assert!(matches!(opened, Err(StateError::Unusable { .. })));
    assert!(fs::read(&file).unwrap().is_empty());
}

use super::*;

fn state(version: u64) -> MetadataFiles {
    let names = [
        "1.root.json".to_owned(),
        format!("{version}.snapshot.json"),
        format!("{version}.a%2Fb.json"),
        "timestamp.json".to_owned(),
    ];
    names
        .into_iter()
        .map(|name| (name, format!("version {version}").into_bytes()))
        .collect()
}

#[test]
fn a_folder_holds_what_was_written_and_of_older_files_the_version_before() {
    let folder = tempfile::tempdir().unwrap();
    for version in 1..=3 {
        write_folder(folder.path(), &state(version)).unwrap();
    }
    let names: Vec<_> = read_folder(folder.path()).unwrap().into_keys().collect();
    assert_eq!(
        names,
        [
            "1.root.json",
            "2.a%2Fb.json",
            "2.snapshot.json",
            "3.a%2Fb.json",
            "3.snapshot.json",
            "timestamp.json"
        ]
    );
    assert_eq!(
        fs::metadata(folder.path().join("timestamp.json"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );
}

#[tokio::test]
async fn who_read_another_state_than_is_there_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let read = |version: u64| in_place(&state(version));
    assert!(matches!(
        write(folder.path(), &read(1), &state(2)).await.unwrap(),
        WriteOutcome::Lost
    ));
    assert!(matches!(
        write(folder.path(), &MetadataFiles::new(), &state(1))
            .await
            .unwrap(),
        WriteOutcome::Done(_)
    ));
    assert!(matches!(
        write(folder.path(), &MetadataFiles::new(), &state(2))
            .await
            .unwrap(),
        WriteOutcome::Lost
    ));
    assert_eq!(read_folder(folder.path()).unwrap(), state(1));
    let mut waits = state(1);
    waits.insert("waiting/team.json".to_owned(), b"team".to_vec());
    assert!(matches!(
        write(folder.path(), &read(1), &waits).await.unwrap(),
        WriteOutcome::Done(_)
    ));
    assert!(matches!(
        write(folder.path(), &read(1), &state(2)).await.unwrap(),
        WriteOutcome::Lost
    ));
    assert!(matches!(
        write(folder.path(), &in_place(&waits), &state(2))
            .await
            .unwrap(),
        WriteOutcome::Done(_)
    ));
}

#[test]
fn what_waits_is_there_until_it_does_not_wait_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = state(1);
    files.insert("waiting/team.json".to_owned(), b"team".to_vec());
    write_folder(folder.path(), &files).unwrap();
    assert_eq!(read_folder(folder.path()).unwrap(), files);
    write_folder(folder.path(), &state(1)).unwrap();
    assert_eq!(read_folder(folder.path()).unwrap(), state(1));
}

#[test]
fn a_link_a_folder_and_a_pipe_are_no_metadata() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("timestamp.json")).unwrap();
    assert!(read_folder(folder.path()).is_err());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1.targets.json")).unwrap();
    assert!(read_folder(folder.path()).is_err());
}

#[test]
fn what_is_written_while_it_is_read_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &state(1)).unwrap();
    fs::write(folder.path().join(".newabcdef"), "broke off").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (2..60).for_each(|version| write_folder(folder.path(), &state(version)).unwrap());
        });
        for _ in 0..200 {
            let files = read_folder(folder.path()).unwrap();
            let (_, version) = std::str::from_utf8(&files["timestamp.json"])
                .unwrap()
                .split_once(' ')
                .unwrap();
            assert!(
                files.contains_key(&format!("{version}.snapshot.json")),
                "{version}: {:?}",
                files.keys()
            );
        }
    });
    assert!(!folder.path().join(".newabcdef").exists());
}

#[tokio::test]
async fn what_somebody_puts_there_leads_to_no_file_elsewhere_and_holds_nobody() {
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = others.path().join("daemon.json");
    fs::write(&theirs, "{}").unwrap();
    std::os::unix::fs::symlink(others.path(), folder.path().join("waiting")).unwrap();
    assert!(read_folder(folder.path()).is_err() && write_folder(folder.path(), &state(1)).is_err());
    assert!(theirs.exists());
    fs::remove_file(folder.path().join("waiting")).unwrap();
    let lock = folder.path().join(LOCK);
    std::os::unix::fs::symlink(others.path().join("made"), &lock).unwrap();
    assert!(
        write(folder.path(), &MetadataFiles::new(), &state(1))
            .await
            .is_err()
    );
    assert!(!others.path().join("made").exists());
    fs::remove_file(&lock).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&lock)
            .status()
            .unwrap()
            .success()
    );
    assert!(
        write(folder.path(), &MetadataFiles::new(), &state(1))
            .await
            .is_err()
    );
    fs::remove_file(&lock).unwrap();
    assert!(matches!(
        write(folder.path(), &MetadataFiles::new(), &state(1))
            .await
            .unwrap(),
        WriteOutcome::Done(_)
    ));
}

#[tokio::test]
async fn who_never_lets_go_of_the_lock_is_not_waited_for_forever() {
    let folder = tempfile::tempdir().unwrap();
    let _held = locked(folder.path(), Duration::ZERO).await.unwrap();
    let error = locked(folder.path(), Duration::ZERO)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("somebody else has held it"), "{error}");
}

#[test]
fn a_write_that_breaks_off_leaves_the_old_state_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &state(1)).unwrap();
    // The snapshot can't take its place: it comes before the timestamp.
    fs::create_dir(folder.path().join("2.snapshot.json")).unwrap();
    assert!(write_folder(folder.path(), &state(2)).is_err());
    fs::remove_dir(folder.path().join("2.snapshot.json")).unwrap();
    let left = read_folder(folder.path()).unwrap();
    assert!(state(1).iter().all(|(name, bytes)| left[name] == *bytes));
    write_folder(folder.path(), &state(2)).unwrap();
    assert_eq!(
        read_folder(folder.path()).unwrap()["timestamp.json"],
        b"version 2"
    );
}

//! Files are written whole, and taken back where one fails.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::super::check::tests::in_order;
use super::super::super::code::Code;
use super::super::super::hole::{Fix, Hole};
use super::super::verifier::is_runnable;
use super::super::{FileEdit, RepairPlan, Tools, none_beside_the_verifier, plan};
use super::tools;

fn edit(path: &Path, before: Option<&str>) -> FileEdit {
    FileEdit {
        path: path.to_owned(),
        before: before.map(str::to_owned),
        after: "new".to_owned(),
        mode: 0o644,
    }
}

#[tokio::test]
async fn files_are_replaced_whole_with_a_copy_beside_and_keep_their_mode() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        folder.path().join("config.toml"),
        folder.path().join("deep/er/new.toml"),
    );
    fs::write(&old, "old").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
    let plan = RepairPlan {
        texts: vec![edit(&old, Some("old")), edit(&new, None)],
        ..RepairPlan::default()
    };
    let written = plan.write("T").await.unwrap();
    assert_eq!(
        written[0].backup,
        Some(folder.path().join("config.toml.bak-T"))
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("config.toml.bak-T")).unwrap(),
        "old"
    );
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&old), mode(&new)), (0o640, 0o644));
    assert_eq!(fs::read_to_string(&new).unwrap(), "new");
    let why = plan.write("U").await.unwrap_err().to_string();
    assert!(
        why.ends_with("changed meanwhile; nothing is written; hint: run it again"),
        "{why}"
    );
}

#[tokio::test]
async fn what_was_written_is_taken_back_where_a_later_file_can_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        folder.path().join("config.toml"),
        folder.path().join("new.toml"),
    );
    fs::write(&old, "old").unwrap();
    let plan = RepairPlan {
        texts: vec![
            edit(&old, Some("old")),
            edit(&new, None),
            edit(&old.join("below"), None),
        ],
        ..RepairPlan::default()
    };
    let why = plan.write("T").await.unwrap_err().to_string();
    assert!(why.contains("; nothing is written"), "{why}");
    assert_eq!(fs::read_to_string(&old).unwrap(), "old");
    assert!(!new.exists() && fs::read_dir(folder.path()).unwrap().count() == 1);
}

#[tokio::test]
async fn a_link_stays_a_link_to_the_file_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (link, file) = (
        folder.path().join("daemon.json"),
        folder.path().join("real.json"),
    );
    fs::write(&file, "{}").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    RepairPlan {
        texts: vec![edit(&link, Some("{}"))],
        ..RepairPlan::default()
    }
    .write("T")
    .await
    .unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[tokio::test]
async fn the_verifier_is_copied_or_told_of_its_socket_and_nothing_else_comes_into_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (program, place) = (
        folder.path().join("rootpin-verifier"),
        folder.path().join("verifier"),
    );
    fs::write(&program, "program").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut facts = in_order("2.1.9");
    facts.verifier.as_mut().unwrap().path.clone_from(&place);
    let facts = [facts];
    let hole = [Hole::new(Code::VerifierMissing, "main", "").fix(Fix::Verifier(place.clone()))];
    let write = async |control: Option<&str>| {
        let plan = plan(
            &hole,
            &facts,
            &[],
            &Tools {
                control: control.map(PathBuf::from),
                ..tools(&program)
            },
        )
        .await;
        assert!(
            plan.diff().contains("verifier/rootpin-verifier"),
            "{}",
            plan.diff()
        );
        plan.write("T").await.unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        let file = place.join("rootpin-verifier");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
            0o755
        );
        fs::read_to_string(file).unwrap()
    };
    assert_eq!(write(None).await, "program");
    let script = write(Some("/it's here/control.sock")).await;
    assert!(
        script.contains("--control '/it'\\''s here/control.sock' \"$@\""),
        "{script}"
    );
    assert!(
        folder.path().join("rootpin-verifier.bak-T").exists(),
        "beside the folder"
    );
    // One that is there is not put there again.
    let again = plan(&hole, &facts, &[], &tools(&program)).await;
    assert!(again.is_empty() && again.left.is_empty(), "{again:?}");
}

#[tokio::test]
async fn a_verifier_that_nobody_may_run_gets_its_mode_and_no_copy_of_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (program, place) = (
        folder.path().join("rootpin-verifier"),
        folder.path().join("verifier"),
    );
    let file = place.join("rootpin-verifier");
    fs::create_dir(&place).unwrap();
    let put = |path: &Path, text: &str, mode: u32| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    put(&program, "program", 0o755);
    let mut facts = in_order("2.1.9");
    facts.verifier.as_mut().unwrap().path.clone_from(&place);
    let facts = [facts];
    let hole = [Hole::new(Code::VerifierUnusable, "main", "").fix(Fix::Verifier(place.clone()))];
    let script = format!(
        "#!/bin/sh\nexec '{}' --control '/c' \"$@\"\n",
        program.display()
    );
    for (text, control) in [("program", None), (script.as_str(), Some("/c"))] {
        put(&file, text, 0o644);
        let tools = Tools {
            control: control.map(PathBuf::from),
            ..tools(&program)
        };
        let plan = plan(&hole, &facts, &[], &tools).await;
        assert_eq!(plan.modes, [(file.clone(), 0o755)], "{plan:?}");
        assert!(
            plan.programs.is_empty() && plan.texts.is_empty(),
            "{plan:?}"
        );
    }
    // Another release's is replaced, and may be run then.
    put(&file, "old", 0o644);
    let plan = plan(&hole, &facts, &[], &tools(&program)).await;
    plan.write("T").await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "program");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o755
    );
}

#[test]
fn a_folder_with_programs_of_others_is_not_made_the_verifiers() {
    let folder = tempfile::tempdir().unwrap();
    let of = || none_beside_the_verifier(folder.path()).map_err(|why| why.to_string());
    assert_eq!(of(), Ok(()));
    for name in ["rootpin-verifier", ".rootpin-Ab3dE9"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(of(), Ok(()), "rootpin's own");
    fs::create_dir(folder.path().join("zip")).unwrap();
    assert!(
        of().unwrap_err()
            .contains(" holds zip, and containerd would run each")
    );
    for name in ["awk", "bash", "cp"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let why = of().unwrap_err();
    assert!(
        why.contains(" holds awk, bash, cp and others, and") && why.contains("--verifier DIR"),
        "{why}"
    );
    assert!(none_beside_the_verifier(Path::new("/none/verifier")).is_ok());
    assert!(
        none_beside_the_verifier(Path::new("/etc/passwd")).is_err(),
        "no folder"
    );
}

#[test]
fn no_verifier_is_put_where_containerd_could_not_run_it() {
    let folder = Path::new("/none/verifier");
    assert_eq!(is_runnable(folder, false), Ok(()));
    let why = is_runnable(folder, true).unwrap_err().to_string();
    assert!(
        why.contains("/none/verifier is on a file system that is mounted noexec")
            && why.contains("--verifier DIR"),
        "{why}"
    );
}

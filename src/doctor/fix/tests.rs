//! What would be written, and that it is written whole with a copy of what was there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::check::tests::{files, in_order, set};
use super::super::code::Code;
use super::super::config_files::ConfigFiles;
use super::super::facts::Containerd;
use super::super::hole::{Fix, Hole};
use super::super::version::Version;
use super::{Edit, Plan, Tools, drop_in, plan, toml_file};

const OWN: &str = "/usr/libexec/rootpin/verifier";
const DIFF: [&str; 3] = ["plugins", "io.containerd.service.v1.diff-service", "default"];

/// A folder of containerd's files, and the facts of a containerd that reads them.
fn host(version: &str, main: &str, drop_ins: &[(&str, &str)]) -> (tempfile::TempDir, Containerd) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("config.toml"), main.replace("HERE", &folder.path().display().to_string())).unwrap();
    for (name, text) in drop_ins {
        fs::write(folder.path().join("conf.d").join(name), text).unwrap();
    }
    let mut facts = in_order(version);
    let config = facts.config.as_mut().unwrap();
    config.main = folder.path().join("config.toml");
    config.files = ConfigFiles::read(&config.main, &std::collections::BTreeMap::new()).unwrap();
    (folder, facts)
}

fn planned(facts: &Containerd, fix: Fix) -> Plan {
    let hole = Hole::new(Code::GateOrder, "main", "").fix(fix);
    plan(&[hole], std::slice::from_ref(facts), &[], &Tools { verifier: "/none".into(), folder: OWN.into(), control: None })
}

fn table(edit: &Edit) -> toml::Table {
    edit.after.parse().unwrap()
}

const IMPORTS: &str = "version = 3\nimports = [\"HERE/conf.d/*.toml\"]\n";

#[test]
fn the_drop_in_is_what_the_installer_writes() {
    for (version, told) in [("1.7.24", "1.7.24~ds1"), ("2.1.9", "v2.1.9"), ("2.0.4", "v2.0.4")] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("containerd");
        fs::write(&program, format!("#!/bin/sh\necho containerd github.com/containerd/containerd {told} 1234\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let install = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/containerd/install");
        let output = Command::new(install).arg("--print").arg("--containerd").arg(program).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let installed: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
        let (_folder, mut facts) = host(version, IMPORTS, &[]);
        facts.version = Version::parse(version).unwrap();
        assert_eq!(table(drop_in::edits(&facts, Path::new(OWN)).unwrap().last().unwrap()), installed, "{version}");
    }
}

#[test]
fn it_goes_where_nothing_is_read_after_it() {
    let name = |drop_ins: &[(&str, &str)]| {
        let (_folder, facts) = host("2.1.9", IMPORTS, drop_ins);
        let edits = drop_in::edits(&facts, Path::new(OWN)).unwrap();
        assert_eq!(edits.len(), 1);
        edits[0].path.file_name().unwrap().to_string_lossy().into_owned()
    };
    assert_eq!(name(&[]), "rootpin.toml");
    assert_eq!(name(&[("90-site.toml", ""), ("rootpin.toml", "")]), "rootpin.toml");
    assert_eq!(name(&[("rootpin.toml", ""), ("site.toml", "")]), "zz-rootpin.toml");
    assert_eq!(name(&[("zz-site.toml", ""), ("zzz.toml", "")]), "zzzz-rootpin.toml");
}

#[test]
fn a_main_file_that_imports_nothing_gets_the_one_line_and_keeps_every_other_byte() {
    for main in ["version = 3 # three\n\n[grpc]\n  address = \"/x\"   # here\n", "# nothing\n", "version = 3\nimports = [ ] # none yet\n"] {
        let (folder, facts) = host("2.1.9", main, &[]);
        let edits = drop_in::edits(&facts, Path::new(OWN)).unwrap();
        assert_eq!(edits.len(), 2);
        let pattern = format!("\"{}/conf.d/*.toml\"", folder.path().display());
        assert!(edits[0].after.contains(&pattern), "{}", edits[0].after);
        let imports = table(&edits[0])["imports"].as_array().unwrap().clone();
        assert_eq!(imports.last().unwrap().to_string(), pattern);
        let before = edits[0].before.clone().unwrap();
        assert!(before.lines().filter(|line| !line.starts_with("imports")).all(|line| edits[0].after.contains(line)), "{}", edits[0].after);
        assert!(edits[0].after.lines().count() <= before.lines().count() + 1);
        assert_eq!(edits[1].path, folder.path().join("conf.d/rootpin.toml"));
    }
}

#[test]
fn other_differs_snapshotters_and_whole_sections_are_kept() {
    let (_folder, mut facts) = host("1.7.24", &IMPORTS.replace('3', "2"), &[]);
    set(&mut facts, &DIFF, toml::Value::Array(vec!["erofs".into(), "rootpin".into(), "walking".into()]));
    set(&mut facts, &["plugins", "io.containerd.transfer.v1.local", "max_concurrent_downloads"], 7);
    set(&mut facts, &["plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"], "zfs");
    facts.plugins.push(super::super::facts::Plugin {
        kind: "io.containerd.snapshotter.v1".to_owned(),
        id: "zfs".to_owned(),
        address: None,
        error: None,
    });
    facts.plugins.retain(|plugin| plugin.id != "native");
    let written = table(drop_in::edits(&facts, Path::new(OWN)).unwrap().last().unwrap());
    let order = &written["plugins"][DIFF[1]]["default"];
    assert_eq!(order.to_string(), "[\"rootpin\", \"erofs\", \"walking\"]");
    let transfer = &written["plugins"]["io.containerd.transfer.v1.local"];
    assert_eq!(transfer["max_concurrent_downloads"].as_integer(), Some(7));
    let snapshotters: Vec<_> =
        transfer["unpack_config"].as_array().unwrap().iter().map(|entry| entry["snapshotter"].as_str().unwrap()).collect();
    assert_eq!(snapshotters, ["overlayfs", "zfs"], "one that containerd lacks would keep it from starting");
}

#[test]
fn settings_that_make_cri_pull_by_itself_are_set_back_and_none_is_set_that_was_right() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    set(&mut facts, &["plugins", "io.containerd.cri.v1.images", "max_concurrent_downloads"], 9);
    set(&mut facts, &["plugins", "io.containerd.cri.v1.images", "registry", "config_path"], "/a:/b");
    let written = table(drop_in::edits(&facts, Path::new(OWN)).unwrap().last().unwrap());
    let images = &written["plugins"]["io.containerd.cri.v1.images"];
    assert_eq!((images["max_concurrent_downloads"].as_integer(), images["registry"]["config_path"].as_str()), (Some(3), Some("/a")));
    assert!(images.get("discard_unpacked_layers").is_none());
}

#[test]
fn the_run_time_door_is_opened_where_rootpin_toml_wants_it_with_all_else_of_its_section() {
    for version in ["1.7.24", "2.1.9"] {
        let (_folder, mut facts) = host(version, IMPORTS, &[]);
        facts.engine.nri = Some("/run/nri/nri.sock".into());
        let written = table(drop_in::edits(&facts, Path::new(OWN)).unwrap().last().unwrap());
        let nri = written["plugins"]["io.containerd.nri.v1.nri"].as_table().unwrap();
        assert_eq!((nri["disable"].as_bool(), nri.contains_key("socket_path")), (Some(false), version == "1.7.24"), "{version}");
    }
}

#[test]
fn the_one_key_of_cri_1_7_goes_into_the_file_whose_section_is_in_force() {
    let section = "# cri\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"x\" # ours\n";
    let main = format!("version = 2\nimports = [\"HERE/conf.d/*.toml\"]\n{section}");
    let (folder, facts) = host("1.7.24", &main, &[("cri.toml", section)]);
    let edit = toml_file::cri_annotations(&facts, &[]).unwrap();
    assert_eq!(edit.path, folder.path().join("conf.d/cri.toml"));
    assert!(edit.after.starts_with(section), "{}", edit.after);
    let cri = &table(&edit)["plugins"]["io.containerd.grpc.v1.cri"];
    assert_eq!((cri["containerd"]["disable_snapshot_annotations"].as_bool(), cri["sandbox_image"].as_str()), (Some(false), Some("x")));

    let set = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = true # default\n";
    let (_folder, facts) = host("1.7.24", set, &[]);
    assert_eq!(toml_file::cri_annotations(&facts, &[]).unwrap().after, set.replace("true", "false"));
}

#[test]
fn two_changes_of_one_file_are_one_edit() {
    let (folder, facts) = host("1.7.24", "version = 2\n", &[]);
    let holes = [Fix::DropIn, Fix::CriAnnotations].map(|fix| Hole::new(Code::GateOrder, "main", "").fix(fix));
    let plan = plan(&holes, &[facts], &[], &Tools { verifier: "/none".into(), folder: OWN.into(), control: None });
    assert_eq!(plan.texts.len(), 2);
    let main = table(&plan.texts[0]);
    assert_eq!(plan.texts[0].path, folder.path().join("config.toml"));
    assert!(main.contains_key("imports") && main.contains_key("plugins"));
    assert_eq!(plan.restart, ["main"]);
}

#[test]
fn a_containerd_without_a_file_that_reads_a_folder_all_the_same_gets_the_drop_in() {
    let (folder, mut facts) = host("2.1.9", IMPORTS, &[("site.toml", "")]);
    fs::remove_file(folder.path().join("config.toml")).unwrap();
    facts.version = Version(2, 2, 0);
    let edits = drop_in::edits(&facts, Path::new(OWN)).unwrap();
    assert!(matches!(&edits[..], [edit] if edit.path == folder.path().join("conf.d/zz-rootpin.toml")), "{edits:?}");
}

#[test]
fn what_cannot_be_planned_is_told() {
    let (folder, facts) = host("2.1.9", IMPORTS, &[]);
    fs::remove_file(folder.path().join("config.toml")).unwrap();
    let mut bare = facts;
    bare.config.as_mut().unwrap().files = files(&[]);
    let plan = planned(&bare, Fix::DropIn);
    assert!(plan.is_empty() && plan.left[0].contains("main: there is no ") && plan.left[0].contains("config default"), "{plan:?}");
    let plan = planned(&bare, Fix::Verifier(OWN.into()));
    assert!(plan.is_empty() && plan.left[0].contains("/none is not there"), "{plan:?}");
}

#[test]
fn files_are_replaced_whole_with_a_copy_beside_and_keep_their_mode() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("config.toml"), folder.path().join("deep/er/new.toml"));
    fs::write(&old, "old").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
    let edit = |path: &Path, before: Option<&str>| Edit {
        path: path.to_owned(),
        before: before.map(str::to_owned),
        after: "new".to_owned(),
        mode: 0o644,
    };
    let plan = Plan { texts: vec![edit(&old, Some("old")), edit(&new, None)], ..Plan::default() };
    let written = plan.write("T").unwrap();
    assert_eq!(written[0].backup, Some(folder.path().join("config.toml.bak-T")));
    assert_eq!(fs::read_to_string(folder.path().join("config.toml.bak-T")).unwrap(), "old");
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&old), mode(&new)), (0o640, 0o644));
    assert_eq!(fs::read_to_string(&new).unwrap(), "new");
    let (done, why) = plan.write("U").unwrap_err();
    assert!(done.is_empty() && why.contains("changed meanwhile"), "{why}");
}

#[test]
fn a_link_stays_a_link_to_the_file_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (link, file) = (folder.path().join("daemon.json"), folder.path().join("real.json"));
    fs::write(&file, "{}").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let edit = Edit { path: link.clone(), before: Some("{}".to_owned()), after: "{ }".to_owned(), mode: 0o644 };
    Plan { texts: vec![edit], ..Plan::default() }.write("T").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "{ }");
}

#[test]
fn the_verifier_is_copied_or_told_of_its_socket_and_nothing_else_comes_into_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (program, place) = (folder.path().join("rootpin-verifier"), folder.path().join("verifier"));
    fs::write(&program, "program").unwrap();
    let mut facts = in_order("2.1.9");
    facts.verifier.as_mut().unwrap().path.clone_from(&place);
    let facts = [facts];
    let hole = [Hole::new(Code::VerifierMissing, "main", "").fix(Fix::Verifier(place.clone()))];
    let write = |control: Option<&str>| {
        let tools = Tools { verifier: program.clone(), folder: OWN.into(), control: control.map(PathBuf::from) };
        let plan = plan(&hole, &facts, &[], &tools);
        assert!(plan.diff().contains("verifier/rootpin-verifier"), "{}", plan.diff());
        plan.write("T").unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        let file = place.join("rootpin-verifier");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o755);
        fs::read_to_string(file).unwrap()
    };
    assert_eq!(write(None), "program");
    let script = write(Some("/it's here/control.sock"));
    assert!(script.contains("--control '/it'\\''s here/control.sock' \"$@\""), "{script}");
    assert!(folder.path().join("rootpin-verifier.bak-T").exists(), "beside the folder");
}

#[test]
fn a_folder_that_is_everyones_is_left_and_one_of_rootpins_own_is_named_instead() {
    let (folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    let (program, own) = (folder.path().join("rootpin-verifier"), folder.path().join("own"));
    fs::write(&program, "program").unwrap();
    facts.verifier.as_mut().unwrap().path = "/opt/containerd/image-verifier/bin".into();
    let hole = [Hole::new(Code::VerifierMissing, "main", "").fix(Fix::Verifier(own.clone()))];
    let tools = Tools { verifier: program.clone(), folder: own.clone(), control: None };
    // A drop-in for another hole moves the folder too, and an empty one would let every pull pass.
    let other = plan(&[Hole::new(Code::GateOrder, "main", "").fix(Fix::DropIn)], std::slice::from_ref(&facts), &[], &tools);
    assert_eq!(other.programs, [(program.clone(), own.join("rootpin-verifier"))]);
    let plan = plan(&hole, &[facts], &[], &tools);
    assert_eq!(plan.programs, [(program, own.join("rootpin-verifier"))]);
    assert!(plan.texts[0].after.contains("# for what the transfer service unpacks"), "the packaged comments stay: {}", plan.texts[0].after);
    let bin_dir = &table(&plan.texts[0])["plugins"]["io.containerd.image-verifier.v1.bindir"]["bin_dir"];
    assert_eq!(bin_dir.as_str(), own.to_str());
}

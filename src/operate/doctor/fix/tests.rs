//! A repair plans what it writes, and writes it whole with a copy of what was there.

mod contents;
mod startup;
mod writing;

use std::fs;
use std::path::Path;

use super::super::check::tests::{in_order, set};
use super::super::code::Code;
use super::super::config_files::ConfigFiles;
use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::hole::{Fix, Hole};
use super::super::version::Version;
use super::{FileEdit, Tools, drop_in, plan, settings, toml_file};
use crate::problem::Problem;

const OWN: &str = "/usr/libexec/rootpin/verifier";

const DIFF: [&str; 3] = [
    "plugins",
    "io.containerd.service.v1.diff-service",
    "default",
];

const TRANSFER: &str = "io.containerd.transfer.v1.local";

/// A folder of containerd's files, and the facts of a containerd that reads them.
fn host(
    version: &str,
    main: &str,
    drop_ins: &[(&str, &str)],
) -> (tempfile::TempDir, ContainerdFacts) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(
        folder.path().join("config.toml"),
        main.replace("HERE", &folder.path().display().to_string()),
    )
    .unwrap();
    for (name, text) in drop_ins {
        fs::write(folder.path().join("conf.d").join(name), text).unwrap();
    }
    let mut facts = in_order(version);
    let config = facts.config.as_mut().unwrap();
    config.main = folder.path().join("config.toml");
    config.files = ConfigFiles::read(&config.main, &std::collections::BTreeMap::new()).unwrap();
    (folder, facts)
}

fn config(facts: &ContainerdFacts) -> &EngineConfig {
    facts.config.as_ref().unwrap()
}

fn tools(verifier: &Path) -> Tools {
    Tools {
        platform: None,
        verifier: verifier.to_owned(),
        folder: OWN.into(),
        is_folder_named: false,
        control: None,
        deadline: std::time::Duration::from_secs(8),
    }
}

/// The drop-in in the first style.
fn rendered(facts: &ContainerdFacts) -> String {
    let settings = settings::settings(facts, config(facts), &tools(Path::new("/none"))).unwrap();
    drop_in::render(
        facts,
        config(facts),
        &settings,
        drop_in::styles(facts, config(facts), None)[0],
    )
}

fn written(facts: &ContainerdFacts) -> toml::Table {
    let text = rendered(facts);
    text.parse()
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn edits(facts: &ContainerdFacts) -> Vec<FileEdit> {
    drop_in::edits(facts, config(facts), "text = 1\n", false, None)
        .unwrap()
        .edits
}

const IMPORTS: &str = "version = 3\nimports = [\"HERE/conf.d/*.toml\"]\n";

#[test]
fn it_goes_where_nothing_is_read_after_it() {
    let name = |drop_ins: &[(&str, &str)]| {
        let (_folder, facts) = host("2.1.9", IMPORTS, drop_ins);
        let edits = edits(&facts);
        edits[0]
            .path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    assert_eq!(name(&[]), "rootpin.toml");
    assert_eq!(
        name(&[("90-site.toml", ""), ("rootpin.toml", "")]),
        "rootpin.toml"
    );
    assert_eq!(
        name(&[("rootpin.toml", ""), ("site.toml", "")]),
        "zz-rootpin.toml"
    );
    assert_eq!(
        name(&[("zz-site.toml", ""), ("zzz.toml", "")]),
        "zzzz-rootpin.toml"
    );
}

#[test]
fn it_is_imported_alone_where_no_folder_has_a_place_for_it() {
    for pattern in ["conf.d/[a-q]*.toml", "conf.d/site-*.toml"] {
        let main = format!("version = 3\nimports = [\"HERE/{pattern}\"]\n");
        let (folder, facts) = host(
            "2.1.9",
            &main,
            &[("site-a.toml", ""), ("z.toml", "x = 1\n")],
        );
        let edits = edits(&facts);
        let own = folder.path().join("conf.d/rootpin.toml");
        assert_eq!(edits[0].path, own, "{pattern}");
        let proposed = super::proposed(&edits);
        let files = ConfigFiles::read(&config(&facts).main, &proposed).unwrap();
        assert_eq!(files.files.last().unwrap().path, own, "{pattern}");
        let is_z = |file: &super::super::config_files::ConfigFile| file.path.ends_with("z.toml");
        assert!(!files.files.iter().any(is_z), "{pattern}: it stays out");
    }
}

#[test]
fn an_earlier_drop_in_that_is_read_before_others_says_nothing_any_more() {
    let (folder, facts) = host(
        "2.1.9",
        IMPORTS,
        &[("rootpin.toml", "version = 3\n"), ("site.toml", "")],
    );
    let edits = edits(&facts);
    assert_eq!(edits[1].path, folder.path().join("conf.d/rootpin.toml"));
    assert!(
        edits[1].after.starts_with("# rootpin's settings are in ")
            && edits[1].after.lines().count() == 1,
        "{edits:?}"
    );
}

#[test]
fn wherever_the_writing_is_cut_off_containerd_starts_and_an_earlier_drop_in_is_in_force() {
    // The file that is imported by its name, and one drop-in after another.
    let alone = "version = 3\nimports = [\"HERE/conf.d/site-*.toml\"]\n";
    let earlier: &[(&str, &str)] = &[("rootpin.toml", "text = 1\n"), ("site.toml", "")];
    for (main, drop_ins, exactly) in [
        (alone, &[("site-a.toml", "")][..], false),
        ("version = 3\n", &[("z.toml", "")], true),
        (IMPORTS, earlier, false),
    ] {
        let (_folder, facts) = host("2.1.9", main, drop_ins);
        let config = config(&facts);
        let edits = drop_in::edits(&facts, config, "text = 1\n", exactly, None)
            .unwrap()
            .edits;
        let read = |written: usize| {
            let proposed = super::proposed(edits.get(..written).unwrap());
            ConfigFiles::read(&config.main, &proposed).unwrap()
        };
        let is_guarded = |written: usize| read(written).who_sets(&["text"]).is_some();
        let was = is_guarded(0);
        for written in 0..=edits.len() {
            let is_done = written == edits.len();
            assert!(
                is_guarded(written) || !was && !is_done,
                "{main}: {written} of {edits:?}"
            );
        }
    }
}

#[test]
fn a_main_file_that_imports_nothing_gets_the_one_line_and_keeps_every_other_byte() {
    let list = "version = 3\nimports = [\n  \"HERE/one.toml\", # ours\n]\n";
    for main in [
        "version = 3 # three\n\n[grpc]\n  address = \"/x\"   # here\n",
        "# nothing\n",
        "version = 3\nimports = [ ] # none yet\n",
        list,
    ] {
        let (folder, mut facts) = host("2.1.9", &main.replace("HERE/one.toml", "/none/one*"), &[]);
        facts.config.as_mut().unwrap().files.patterns.clear();
        let edits = edits(&facts);
        assert_eq!(edits.len(), 2);
        let pattern = format!("\"{}/conf.d/*.toml\"", folder.path().display());
        assert!(edits[1].after.contains(&pattern), "{}", edits[1].after);
        let imports = edits[1].after.parse::<toml::Table>().unwrap()["imports"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(imports.last().unwrap().to_string(), pattern);
        let before = edits[1].before.clone().unwrap();
        let kept = before.lines().filter(|line| {
            !line.starts_with("imports") && !line.contains("/none/one") && *line != "]"
        });
        assert!(
            kept.into_iter().all(|line| edits[1].after.contains(line)),
            "{}",
            edits[1].after
        );
        assert_eq!(edits[0].path, folder.path().join("conf.d/rootpin.toml"));
    }
}

#[test]
fn without_a_main_file_one_is_made_because_containerd_reads_no_drop_in_otherwise() {
    let (folder, mut facts) = host("2.1.9", "", &[("99-site.toml", "")]);
    fs::remove_file(folder.path().join("config.toml")).unwrap();
    facts.config.as_mut().unwrap().files = ConfigFiles::default();
    let edits = edits(&facts);
    assert_eq!(edits[1].path, folder.path().join("config.toml"));
    assert_eq!(
        edits[1].after,
        format!(
            "version = 3\nimports = [\"{}/conf.d/*.toml\"]\n",
            folder.path().display()
        )
    );
    assert_eq!(
        (edits.len(), &edits[0].path),
        (2, &folder.path().join("conf.d/rootpin.toml"))
    );
    let exactly = drop_in::edits(&facts, config(&facts), "text = 1\n", true, None)
        .unwrap()
        .edits;
    assert!(
        exactly[1].after.contains("conf.d/rootpin.toml\"]"),
        "{exactly:?}"
    );
    assert_eq!(exactly[0].path, folder.path().join("conf.d/rootpin.toml"));
}

#[test]
fn a_list_of_folders_is_cut_where_that_loses_nothing_and_else_not_before_a_person_copied_them() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    let there = tempfile::tempdir().unwrap();
    let path = |name: &str| there.path().join(name).display().to_string();
    let images = ["plugins", "io.containerd.cri.v1.images"];
    set(
        &mut facts,
        &[images[0], images[1], "registry", "config_path"],
        format!("{}:{}", path("a"), path("b")),
    );
    set(
        &mut facts,
        &[images[0], images[1], "discard_unpacked_layers"],
        true,
    );
    assert_eq!(
        written(&facts)["plugins"][images[1]]["registry"]["config_path"].as_str(),
        Some(path("a").as_str())
    );
    fs::create_dir_all(path("a/docker.io")).unwrap();
    fs::create_dir_all(path("b/r.example")).unwrap();
    let why = settings::settings(&facts, config(&facts), &tools(Path::new("/none")))
        .unwrap_err()
        .to_string();
    assert!(why.contains("hint: cp -an "), "{why}");
}

#[test]
fn cri_tells_names_before_the_drop_in_is_in_force_wherever_the_writing_is_cut_off() {
    for (main, wanted) in [
        (IMPORTS, ["config.toml", "conf.d/rootpin.toml"]),
        ("version = 2\n", ["conf.d/rootpin.toml", "config.toml"]),
    ] {
        let (folder, facts) = host("1.7.24", main, &[]);
        let mut edits = edits(&facts);
        let edit = toml_file::cri_annotations(config(&facts), &edits).unwrap();
        super::add_annotations(&mut edits, edit);
        let order: Vec<_> = edits.iter().map(|edit| edit.path.clone()).collect();
        assert_eq!(order, wanted.map(|name| folder.path().join(name)), "{main}");
    }
}

#[test]
fn the_one_key_of_cri_1_7_goes_into_the_file_whose_section_is_in_force() {
    let section =
        "# cri\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"x\" # ours\n";
    let main = format!("version = 2\nimports = [\"HERE/conf.d/*.toml\"]\n{section}");
    let (folder, facts) = host("1.7.24", &main, &[("cri.toml", section)]);
    let edit = toml_file::cri_annotations(config(&facts), &[]).unwrap();
    assert_eq!(edit.path, folder.path().join("conf.d/cri.toml"));
    assert!(edit.after.starts_with(section), "{}", edit.after);
    let cri = &edit.after.parse::<toml::Table>().unwrap()["plugins"]["io.containerd.grpc.v1.cri"];
    assert_eq!(
        (
            cri["containerd"]["disable_snapshot_annotations"].as_bool(),
            cri["sandbox_image"].as_str()
        ),
        (Some(false), Some("x"))
    );

    let set = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = true # default\n";
    let (_folder, facts) = host("1.7.24", set, &[]);
    assert_eq!(
        toml_file::cri_annotations(config(&facts), &[])
            .unwrap()
            .after,
        set.replace("true", "false")
    );
    let generated =
        format!("# File generated by k3s. DO NOT EDIT. Use config.toml.tmpl instead.\n{set}");
    let (_folder, facts) = host("1.7.24", &generated, &[]);
    assert!(
        toml_file::cri_annotations(config(&facts), &[])
            .unwrap_err()
            .what
            .contains("written anew by k3s")
    );
}

#[tokio::test]
async fn what_cannot_be_planned_is_told() {
    let (folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    facts.config = Err("it can't be asked".to_owned());
    facts.verifier.as_mut().unwrap().path = folder.path().join("verifier");
    let planned = async |fix| {
        let hole = Hole::new(Code::GateOrder, "main", "").fix(fix);
        plan(
            &[hole],
            std::slice::from_ref(&facts),
            &[],
            &tools(Path::new("/none")),
        )
        .await
    };
    let planned_drop_in = planned(Fix::DropIn).await;
    assert!(
        planned_drop_in.is_empty()
            && planned_drop_in.left == [Problem::new("main: it can't be asked")],
        "{planned_drop_in:?}"
    );
    let own = facts.verifier.as_ref().unwrap().path.clone();
    let planned = planned(Fix::Verifier(own)).await;
    assert!(
        planned.is_empty() && planned.left[0].what.contains("/none is not there"),
        "{planned:?}"
    );
}

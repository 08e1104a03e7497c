//! What is taken back of engines' files, and what stays, with a containerd that prints its files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::facts::Idle;
use super::{UninstallPlan, has_nothing_of, plan};
use crate::config::{self, Config};
use crate::operate::record::{InstallRecord, ModeRecord, ProgramRecord, TextRecord};

/// It merges nothing, so that no two of its files may have the same section.
const CONTAINERD: &str = r#"#!/bin/sh
[ "$1" != --version ] || { echo "containerd example.com/containerd v2.1.9 x"; exit; }
[ -e "$2" ] || exit 0
! grep -q garbage "$2" || { echo 'toml: expected character =' >&2; exit 1; }
echo 'version = 3'
for file in "$2" $(sed -n 's/^imports = \[\(.*\)\].*/\1/p' "$2" | tr -d '",'); do
  [ ! -e "$file" ] || grep -v -e '^imports' -e '^version' "$file"
done
exit 0
"#;
const DROP_IN: &str =
    "version = 3\n[proxy_plugins.rootpin]\n  type = \"diff\"\n  address = \"/g\"\n";
const TOML: &str =
    "[[engine]]\nname = \"main\"\ncontainerd = \"/none.sock\"\ngate = \"/g\"\napply = \"/a\"\n";

struct Host {
    folder: tempfile::TempDir,
    record: InstallRecord,
}

impl Host {
    /// A host on which rootpin wrote `after` into the main file, and its drop-in.
    fn installed(before: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Self {
            folder,
            record: InstallRecord::default(),
        };
        fs::create_dir(host.at("conf.d")).unwrap();
        // Copied by another process: a file that this one wrote can be busy.
        fs::write(host.at("draft"), CONTAINERD).unwrap();
        fs::set_permissions(host.at("draft"), fs::Permissions::from_mode(0o755)).unwrap();
        let copied = std::process::Command::new("cp")
            .args([host.at("draft"), host.at("containerd")])
            .status();
        assert!(copied.unwrap().success());
        let import = format!("imports = [\"{}/*.toml\"]\n", host.at("conf.d").display());
        let after = format!("{import}{}", before.unwrap_or("version = 3\n"));
        host.wrote("rootpin.toml", None, TOML);
        host.wrote("config.toml", before, &after);
        host.wrote("conf.d/rootpin.toml", None, DROP_IN);
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wrote(&mut self, name: &str, before: Option<&str>, after: &str) {
        fs::write(self.at(name), after).unwrap();
        self.record.texts.push(TextRecord {
            path: self.at(name),
            before: before.map(str::to_owned),
            after: after.to_owned(),
            folders: Vec::new(),
            backups: Vec::new(),
            earlier: Vec::new(),
        });
    }

    /// Somebody edits a file.
    fn edit(&self, name: &str, edit: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.at(name)).unwrap_or_default();
        fs::write(self.at(name), edit(&text)).unwrap();
    }

    async fn plan(&self) -> UninstallPlan {
        let config: Config = config::parse(TOML).unwrap();
        let (containerd, main) = (self.at("containerd"), self.at("config.toml"));
        let idle = Idle {
            containerd: &containerd,
            main: &main,
            daemon_json: Path::new("/none/daemon.json"),
            authorization_by_flag: None,
            containerd_unclear: None,
            docker_unclear: None,
            containerd_unit: None,
            docker_unit: None,
            tells_socket: false,
            is_image: false,
        };
        let at = self.at("rootpin.toml");
        plan(
            &self.record,
            (&at, &config),
            |_| idle,
            Path::new("/none/daemon.json"),
        )
        .await
    }

    /// What each file then is; none: it is gone.
    fn then(&self, plan: &UninstallPlan, name: &str) -> Option<String> {
        plan.texts
            .iter()
            .find(|change| change.path == self.at(name))
            .map_or_else(
                || fs::read_to_string(self.at(name)).ok(),
                |change| change.then.clone(),
            )
    }
}

fn left(plan: &UninstallPlan) -> String {
    plan.left
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

const MAIN: &str = "version = 3\n[debug]\n  level = \"info\"\n";

#[tokio::test]
async fn what_nobody_touched_is_as_it_was_and_the_engine_is_named_for_its_restart() {
    for before in [Some(MAIN), None] {
        let host = Host::installed(before);
        let plan = host.plan().await;
        assert_eq!((left(&plan), &plan.kept), (String::new(), &Vec::new()));
        assert_eq!(host.then(&plan, "config.toml").as_deref(), before);
        for gone in ["conf.d/rootpin.toml", "rootpin.toml"] {
            assert_eq!(host.then(&plan, gone), None);
        }
        assert_eq!(plan.restart, ["main"]);
    }
}

#[tokio::test]
async fn the_import_goes_before_the_drop_in_so_that_containerd_starts_wherever_that_is_cut_off() {
    let host = Host::installed(Some(MAIN));
    let plan = host.plan().await;
    let order: Vec<&Path> = plan.texts.iter().map(|change| &*change.path).collect();
    let wanted = ["config.toml", "conf.d/rootpin.toml", "rootpin.toml"];
    assert_eq!(order, wanted.map(|name| host.at(name)));
}

#[tokio::test]
async fn an_import_by_which_another_file_is_read_stays_and_is_told() {
    for before in [Some(MAIN), None] {
        let host = Host::installed(before);
        let now = fs::read_to_string(host.at("config.toml")).unwrap();
        host.edit("conf.d/99-nvidia.toml", |_| {
            "version = 3\n[plugins.x.runtimes.nvidia]\n  a = 1\n".to_owned()
        });
        let plan = host.plan().await;
        assert_eq!(left(&plan), "");
        assert_eq!(host.then(&plan, "config.toml"), Some(now));
        assert_eq!(host.then(&plan, "conf.d/rootpin.toml"), None);
        assert!(
            plan.kept[0].contains("keeps the import") && plan.kept[0].ends_with("99-nvidia.toml"),
            "{:?}",
            plan.kept
        );
        assert_eq!(plan.restart, ["main"]);
    }
}

#[tokio::test]
async fn lines_that_config_migrate_put_into_the_main_file_are_named_and_nothing_is_taken_back() {
    let host = Host::installed(Some(MAIN));
    host.edit("config.toml", |now| {
        let (import, _) = now.split_once('\n').unwrap();
        let lines = DROP_IN.split_once('\n').unwrap().1;
        format!(
            "version = 3\n{import}\n\n[debug]\n  level = 'info'\n\n{}",
            lines.replace('"', "'")
        )
    });
    // The drop-in says the same, and containerd merges the two.
    host.edit("conf.d/rootpin.toml", |_| "version = 3\n".to_owned());
    let mut host = host;
    host.record.texts[2].after = "version = 3\n".to_owned();
    let plan = host.plan().await;
    let left = left(&plan);
    assert!(
        left.contains("config.toml: line 8 proxy_plugins.rootpin.address")
            && left.contains("nothing is taken back"),
        "{left}"
    );
}

#[tokio::test]
async fn a_main_file_that_containerd_refuses_is_mended_first() {
    let host = Host::installed(Some(MAIN));
    host.edit("config.toml", |now| format!("{now}garbage = [\n"));
    let plan = host.plan().await;
    let left = left(&plan);
    assert!(
        left.contains("expected character =") && left.contains("mend that first"),
        "{left}"
    );
    // One whose program is gone is removed, and keeps nobody.
    let host = Host::installed(Some(MAIN));
    fs::remove_file(host.at("containerd")).unwrap();
    let plan = host.plan().await;
    assert_eq!(
        (self::left(&plan), &plan.restart[..]),
        (String::new(), &["main".to_owned()][..])
    );
}

#[tokio::test]
async fn a_rootpin_toml_that_an_operator_edited_stays_and_is_told() {
    for edit in [
        |now: &str| format!("{now}\n[[docker]]\nname = \"d\"\nsocket = \"/d\"\n"),
        |now: &str| now.replace("/none.sock", "/run/other.sock"),
    ] {
        let host = Host::installed(Some(MAIN));
        host.edit("rootpin.toml", edit);
        let plan = host.plan().await;
        assert_eq!(left(&plan), "");
        assert!(host.then(&plan, "rootpin.toml").is_some());
        assert!(
            plan.kept[0].contains("rootpin.toml was edited since"),
            "{:?}",
            plan.kept
        );
        assert_eq!(host.then(&plan, "config.toml").as_deref(), Some(MAIN));
        assert_eq!(plan.restart, ["main"]);
    }
}

#[tokio::test]
async fn a_main_file_that_rootpin_made_loses_its_import_and_keeps_what_others_added() {
    let host = Host::installed(None);
    host.edit("config.toml", |now| {
        format!("{now}[debug]\n  level = \"warn\"\n")
    });
    let plan = host.plan().await;
    assert_eq!(left(&plan), "");
    assert_eq!(
        host.then(&plan, "config.toml").as_deref(),
        Some("version = 3\n[debug]\n  level = \"warn\"\n")
    );
    // Whose lines a drop-in of rootpin's has is not known.
    host.edit("conf.d/rootpin.toml", |now| format!("{now}[x]\n"));
    assert!(left(&host.plan().await).contains("conf.d/rootpin.toml was changed"));
}

#[tokio::test]
async fn a_main_file_that_was_written_anew_stays_and_the_rest_is_taken_back() {
    let host = Host::installed(None);
    host.edit("config.toml", |_| {
        "version = 3\n[plugins]\n# distro\n".to_owned()
    });
    let plan = host.plan().await;
    assert_eq!(left(&plan), "");
    let kept = plan.kept.join("; ");
    assert!(
        kept.contains("config.toml was written anew, without anything of rootpin's"),
        "{kept}"
    );
    assert_eq!(host.then(&plan, "conf.d/rootpin.toml"), None);
}

#[test]
fn a_file_that_has_what_rootpin_wrote_as_it_was_or_changed_was_not_written_anew() {
    let mut host = Host::installed(Some(MAIN));
    host.wrote(
        "daemon.json",
        Some("{}"),
        "{\"authorization-plugins\": [\"rootpin\"]}",
    );
    let of = |name: &str| {
        let mut texts = host.record.texts.iter();
        texts.find(|text| text.path == host.at(name)).unwrap()
    };
    let (main, json) = (of("config.toml"), of("daemon.json"));
    let import = main.after.lines().next().unwrap();
    assert!(has_nothing_of(main, "version = 3\n[plugins]\n"));
    assert!(!has_nothing_of(main, &format!("[plugins]\n  {import}\n")));
    assert!(has_nothing_of(json, "{\"debug\": true}"));
    assert!(!has_nothing_of(
        json,
        "{\"authorization-plugins\": [\"rootpin\", \"opa\"]}"
    ));
}

#[tokio::test]
async fn without_a_record_the_files_by_which_an_engine_asks_are_named() {
    let mut host = Host::installed(Some(MAIN));
    host.record = InstallRecord::default();
    let plan = host.plan().await;
    let left = left(&plan);
    assert!(
        left.contains("no installed.json") && left.contains("conf.d/rootpin.toml: line"),
        "{left}"
    );
    fs::remove_file(host.at("conf.d/rootpin.toml")).unwrap();
    assert_eq!(self::left(&host.plan().await), "");
}

#[tokio::test]
async fn a_drop_in_in_force_that_is_not_recorded_is_named_and_nothing_is_taken_back() {
    // Only rootpin.toml is recorded, or a main file and a drop-in of another engine too.
    for others in [false, true] {
        let mut host = Host::installed(Some(MAIN));
        host.record.texts.truncate(1);
        if others {
            host.wrote("other.toml", Some(MAIN), "version = 3\n");
        }
        let plan = host.plan().await;
        let left = left(&plan);
        assert!(
            left.contains("main: rootpin's settings would stay in force")
                && left.contains("conf.d/rootpin.toml: line")
                && left.contains("nothing is taken back"),
            "{left}"
        );
        assert_eq!(plan.left.len(), 1, "{left}");
        fs::remove_file(host.at("conf.d/rootpin.toml")).unwrap();
        assert_eq!(self::left(&host.plan().await), "");
    }
    // One that was there before rootpin wrote anything stays, and is told.
    let mut host = Host::installed(Some(MAIN));
    host.record.texts[2].before = Some(DROP_IN.to_owned());
    host.record.texts.remove(1);
    let plan = host.plan().await;
    assert_eq!(left(&plan), "");
    assert!(
        plan.kept[0].contains("conf.d/rootpin.toml had rootpin's settings before"),
        "{:?}",
        plan.kept
    );
}

#[test]
fn what_a_try_that_was_cut_off_has_left_goes_with_the_folders_that_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["conf.d", "libexec", "libexec/verifier"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for left in ["conf.d/.rootpin-Ab3dE9", "libexec/.rootpin-xYz012"] {
        fs::write(at(left), "half").unwrap();
    }
    let text = TextRecord {
        path: at("conf.d/zz-rootpin.toml"),
        before: None,
        after: DROP_IN.to_owned(),
        folders: vec![at("conf.d")],
        backups: Vec::new(),
        earlier: Vec::new(),
    };
    let program = ProgramRecord {
        path: at("libexec/verifier/rootpin-verifier"),
        digest: "sha256:00".to_owned(),
        folders: vec![at("libexec"), at("libexec/verifier")],
        backups: Vec::new(),
        own_backups: Vec::new(),
        earlier: Vec::new(),
        replaces: None,
    };
    let mut record = InstallRecord::of_texts(vec![text]);
    record.programs.push(program);
    let plan = UninstallPlan::of_record(&record, Path::new("/etc/rootpin/rootpin.toml"));
    assert!(plan.is_empty() && plan.left.is_empty(), "{plan:?}");
    plan.carry_out().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_drop_in_that_was_edited_is_named_alone_and_its_keys_are_nobody_s_lost_settings() {
    let host = Host::installed(Some("version = 3\n"));
    host.edit("conf.d/rootpin.toml", |text| {
        text.replace("\"diff\"", "\"snapshot\"") + "[debug]\n  level = \"debug\"\n"
    });
    let plan = host.plan().await;
    let told = left(&plan);
    assert!(
        told.contains("conf.d/rootpin.toml was changed at the lines that rootpin wrote"),
        "{told}"
    );
    assert!(!told.contains("settings of others"), "{told}");
}

#[tokio::test]
async fn a_folder_of_verifiers_that_the_site_named_stays_named_and_is_told() {
    let mut host = Host::installed(Some(MAIN));
    let own = host.at("own");
    let line = format!("[plugins.v]\n  bin_dir = \"{}\"\n", own.display());
    let program = own.join("rootpin-verifier");
    fs::create_dir(&own).unwrap();
    fs::write(&program, "program").unwrap();
    host.record.programs.push(ProgramRecord {
        path: program.clone(),
        digest: rootpin_trust::image::Digest::of(b"program").to_string(),
        folders: vec![own.clone()],
        backups: Vec::new(),
        own_backups: Vec::new(),
        earlier: Vec::new(),
        replaces: None,
    });
    host.edit("config.toml", |now| format!("{now}{line}"));
    let main = &mut host.record.texts[1];
    main.before = Some(format!("{MAIN}{line}"));
    main.after.push_str(&line);
    let plan = host.plan().await;
    assert_eq!(left(&plan), "");
    assert!(
        plan.kept[0].contains("config.toml: line 5 plugins.v.bin_dir stays, as it was before")
            && plan.kept[0].contains(&format!("in {}, and nobody", own.display())),
        "{:?}",
        plan.kept
    );
    assert_eq!(plan.programs.len(), 1);
    assert_eq!(
        host.then(&plan, "config.toml"),
        Some(format!("{MAIN}{line}"))
    );
    // Where the same file has more of rootpin's, config migrate printed it there.
    let migrated = "[proxy_plugins.r]\n  address = \"/g\"\n";
    host.edit("config.toml", |now| format!("{now}{migrated}"));
    let told = left(&host.plan().await);
    assert!(
        told.contains("plugins.v.bin_dir") && told.contains("proxy_plugins.r.address"),
        "{told}"
    );
}

#[test]
fn a_mode_is_not_given_back_to_a_program_that_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rootpin-verifier");
    fs::write(&path, "program").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let Ok(before) = crate::trusted_path::give_to_root(&path, 0o755) else {
        // Only root gives a file to root.
        return;
    };
    let program = ProgramRecord {
        path: path.clone(),
        digest: rootpin_trust::image::Digest::of(b"program").to_string(),
        folders: Vec::new(),
        backups: Vec::new(),
        own_backups: Vec::new(),
        earlier: Vec::new(),
        replaces: None,
    };
    let mut record = InstallRecord::default();
    record.programs.push(program);
    record.modes.push(ModeRecord {
        path: path.clone(),
        before,
        mode: 0o755,
    });
    let plan = UninstallPlan::of_record(&record, Path::new("/etc/rootpin/rootpin.toml"));
    plan.carry_out().unwrap();
    assert!(!path.exists());
    // One that is not rootpin's keeps its place, and gets its mode back.
    fs::write(&path, "theirs").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let plan = UninstallPlan::of_record(&record, Path::new("/etc/rootpin/rootpin.toml"));
    plan.carry_out().unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
}

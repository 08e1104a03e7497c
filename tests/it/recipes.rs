//! The recipes that hosts are set up by: cloud-init's user data, and kind's cluster. What they
//! type, name and write is what rootpin has. tests/real/recipes.rs carries them out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

use crate::documents::{text, top};
use crate::world::run;

const CLOUD_INIT: &str = "packaging/cloud-init/user-data.yaml";
const KIND: &str = "packaging/platforms/kind.yaml";
const KIND_NODE: &str = "packaging/platforms/kind-node.sh";

fn yaml(file: &str) -> Yaml {
    YamlLoader::load_from_str(&text(file)).unwrap().remove(0)
}

/// The shell script of the user data.
fn cloud_script() -> String {
    let data = yaml(CLOUD_INIT);
    let commands = data["runcmd"].as_vec().unwrap();
    assert_eq!(commands.len(), 1, "one script, so that a failure ends it");
    let words: Vec<_> = commands[0]
        .as_vec()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!((words.len(), &words[..2]), (3, &["sh", "-euc"][..]));
    words[2].to_owned()
}

/// Path and text of each file that the user data writes.
fn cloud_files() -> Vec<(String, String)> {
    let data = yaml(CLOUD_INIT);
    let files = data["write_files"].as_vec().unwrap().iter();
    let of = |file: &Yaml, key: &str| file[key].as_str().unwrap().to_owned();
    files
        .map(|file| (of(file, "path"), of(file, "content")))
        .collect()
}

/// The commands of a script, without comments.
fn commands(script: &str) -> Vec<String> {
    let lines = script.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_user_data_is_of_cloud_init_and_has_keys_that_it_knows() {
    assert!(text(CLOUD_INIT).starts_with("#cloud-config\n"));
    let data = yaml(CLOUD_INIT);
    let keys: BTreeSet<_> = data
        .as_hash()
        .unwrap()
        .keys()
        .map(|key| key.as_str().unwrap())
        .collect();
    assert_eq!(keys, BTreeSet::from(["runcmd", "write_files"]));
    for file in data["write_files"].as_vec().unwrap() {
        for key in file.as_hash().unwrap().keys() {
            assert!(
                ["path", "content", "permissions"].contains(&key.as_str().unwrap()),
                "{key:?}"
            );
        }
    }
}

#[test]
fn the_recipes_are_scripts_whose_failure_ends_them_and_each_unit_and_program_in_them_is_there() {
    for (name, script) in [(CLOUD_INIT, cloud_script()), (KIND_NODE, text(KIND_NODE))] {
        let ended = run(Command::new("sh").arg("-n"), script.as_bytes());
        assert_eq!(ended.code, 0, "{name}: {ended:?}");
        let mut typed = 0;
        for command in commands(&script.replace('"', "")) {
            let command = command.split(" || ").next().unwrap();
            let words: Vec<_> = command.split_whitespace().collect();
            if words[0] == "rootpin" {
                let parsed = rootpin::cli::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{name}: {command}: {:?}", parsed.err());
                typed += 1;
            }
            if words[0] == "systemctl" {
                for unit in words
                    .iter()
                    .skip(2)
                    .filter(|word| word.starts_with("rootpin"))
                {
                    let unit = if unit.contains('.') {
                        (*unit).to_owned()
                    } else {
                        format!("{unit}.service")
                    };
                    assert!(
                        top().join("packaging/systemd").join(&unit).is_file(),
                        "{name}: {unit}"
                    );
                }
            }
            if let Some(program) = words[0].strip_prefix("/usr/libexec/rootpin/") {
                assert!(
                    top().join("packaging").join(program).is_file(),
                    "{name}: {command}"
                );
            }
        }
        assert!(typed >= 3, "{name}: {typed}");
    }
    assert!(text(KIND_NODE).lines().any(|line| line == "set -eu"));
}

/// An engine whose files are written asks from its next start on, also where install could not do
/// all of it.
#[test]
fn an_install_that_could_not_do_all_leaves_a_rootpind_that_runs_and_the_recipe_fails() {
    let kind = text(KIND_NODE);
    let kind = kind[..kind.rfind("\nall </dev/null").unwrap()].to_owned() + "\nall\n";
    for (name, script) in [(CLOUD_INIT, cloud_script()), (KIND_NODE, kind)] {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        let script = script.replace("/usr/libexec/rootpin/put-policy", "put_policy");
        let nothing =
            ["curl", "sha256sum", "dpkg", "put_policy"].map(|name| format!("{name}() {{ :; }}\n"));
        let script = format!(
            "{}rootpin() {{ case $1 in install) echo install >>{at}/done; return 1 ;; esac; }}\nsystemctl() {{ echo \"$*\" >>{at}/done; }}\n{script}",
            nothing.concat()
        );
        let ended = run(Command::new("sh").args(["-euc", &script]), b"");
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        let done = fs::read_to_string(folder.path().join("done")).unwrap();
        let (before, after) = done.split_once("install\n").unwrap();
        assert!(before.contains("enable "), "{name}: {done}");
        let started = ["start ", "restart "].map(|verb| {
            after
                .lines()
                .any(|line| line.starts_with(verb) && line.contains("rootpind"))
        });
        assert!(started.contains(&true), "{name}: {done}");
        assert!(!after.contains("containerd"), "{name}: {done}");
    }
}

#[test]
fn the_user_data_restarts_no_engine_and_no_host() {
    for command in commands(&cloud_script()) {
        for word in [
            "restart",
            "reboot",
            "reload",
            "kexec",
            "shutdown",
            "containerd",
            "docker",
        ] {
            assert!(!command.contains(word), "{command}");
        }
    }
}

#[test]
fn the_user_data_uses_the_files_that_it_writes_and_its_policy_is_one() {
    let script = cloud_script();
    let folder = tempfile::tempdir().unwrap();
    let mut policies = 0;
    for (path, text) in cloud_files() {
        let path = Path::new(&path);
        let parent = path.parent().unwrap().to_str().unwrap();
        if path.ends_with("policy.toml") {
            policies += 1;
            assert!(
                script.contains(&format!("rootpin policy check {parent}\n")),
                "{parent}"
            );
            assert!(
                script.contains(&format!("put-policy {parent}\n")),
                "{parent}"
            );
            fs::write(folder.path().join("policy.toml"), text).unwrap();
        } else {
            assert!(script.contains(path.to_str().unwrap()), "{path:?}");
        }
    }
    assert_eq!(policies, 1);
    let mut check = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let ended = run(check.args(["policy", "check"]).arg(folder.path()), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn kinds_cluster_mounts_what_its_nodes_read_and_imports_where_install_writes() {
    let cluster = yaml(KIND);
    assert_eq!(cluster["kind"].as_str(), Some("Cluster"));
    assert_eq!(
        cluster["apiVersion"].as_str(),
        Some("kind.x-k8s.io/v1alpha4")
    );
    let (_, mounted) = text(KIND_NODE)
        .split_once("files=${ROOTPIN_FILES:-")
        .map(|(before, after)| {
            (
                before.to_owned(),
                after.split('}').next().unwrap().to_owned(),
            )
        })
        .unwrap();
    for node in cluster["nodes"].as_vec().unwrap() {
        let mounts = node["extraMounts"].as_vec().unwrap();
        assert_eq!(mounts[0]["containerPath"].as_str(), Some(mounted.as_str()));
        assert_eq!(mounts[0]["readOnly"].as_bool(), Some(true));
    }
    let patches = cluster["containerdConfigPatches"].as_vec().unwrap();
    let patch: toml::Table = patches[0].as_str().unwrap().parse().unwrap();
    let known: BTreeSet<_> = patch.keys().map(String::as_str).collect();
    assert_eq!(
        (patches.len(), known),
        (1, BTreeSet::from(["imports"])),
        "with a version kind would leave it out of another one"
    );
    let imports = patch["imports"].as_array().unwrap();
    assert_eq!(imports[0].as_str(), Some("/etc/containerd/conf.d/*.toml"));
}

//! `packaging/put-policy`, by which configuration management puts a policy in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::documents::{files, text, top};
use crate::world::{Ended, run};

const GOOD: &str = "version = 1\ndefault = \"deny\"\n";
const REVOKED: &str = "[[revoked]]\ndigest = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nreason = \"a test\"\n";

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        host.write("new/policy.toml", GOOD);
        host.write("new/policy.d/10-team.toml", REVOKED);
        host.write("new/roots/team.pub", "a key");
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn put(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(top().join("packaging/put-policy"));
        command
            .args(words)
            .args([self.path("new"), self.path("force")])
            .env("ROOTPIN", env!("CARGO_BIN_EXE_rootpin"));
        run(&mut command, b"")
    }

    /// The files in force.
    fn force(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("force")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let short = path.strip_prefix(self.path("force")).unwrap();
                    found.push(short.display().to_string());
                }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn a_policy_is_put_in_force_once_and_what_it_has_no_more_is_removed() {
    let host = Host::new();
    assert_eq!(host.put(&["--check"]).code, 1);
    let ended = host.put(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        host.force(),
        ["policy.d/10-team.toml", "policy.toml", "roots/team.pub"]
    );
    assert_eq!(host.put(&["--check"]).code, 0);
    // Files of rootpin's own stay.
    host.write("force/rootpin.toml", "");
    host.write("force/state-id", "x");
    fs::remove_file(host.path("new/policy.d/10-team.toml")).unwrap();
    assert_eq!(host.put(&["--check"]).code, 1);
    assert_eq!(host.put(&[]).code, 0);
    assert_eq!(
        host.force(),
        ["policy.toml", "rootpin.toml", "roots/team.pub", "state-id"]
    );
}

#[test]
fn a_policy_with_an_error_is_not_put_in_force_and_the_one_in_force_stays() {
    let host = Host::new();
    assert_eq!(host.put(&[]).code, 0);
    host.write("new/policy.toml", "version = 1\ndefault = \"dney\"\n");
    host.write("new/roots/team.pub", "another key");
    let ended = host.put(&[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.out.contains("dney") || ended.err.contains("dney"),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_to_string(host.path("force/policy.toml")).unwrap(),
        GOOD
    );
    assert_eq!(
        fs::read_to_string(host.path("force/roots/team.pub")).unwrap(),
        "a key"
    );
    assert_eq!(
        host.put(&["--check"]).code,
        1,
        "there is still something to do"
    );
}

#[test]
fn a_file_that_a_policy_names_elsewhere_is_refused_and_a_link_is_put_as_the_file_it_leads_to() {
    let host = Host::new();
    let key = include_str!("../data/keys/ed25519.pub");
    let policy = |file: &str| {
        format!(
            "{GOOD}[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{file}\"]\nrole = \"targets\"\n[[rule]]\nmatch = \"h.example/**\"\nroots = [\"a\"]\n"
        )
    };
    host.write("new/keys/a.pub", key);
    host.write("new/policy.toml", &policy("keys/a.pub"));
    let ended = host.put(&[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("hint: move the files"), "{ended:?}");
    assert_eq!(host.force(), [""; 0]);
    std::os::unix::fs::symlink("../keys/a.pub", host.path("new/roots/a.pub")).unwrap();
    host.write("new/policy.toml", &policy("roots/a.pub"));
    assert_eq!(host.put(&[]).code, 0);
    assert_eq!(
        fs::read_to_string(host.path("force/roots/a.pub")).unwrap(),
        key
    );
    assert_eq!(host.put(&["--check"]).code, 0);
}

#[test]
fn a_folder_that_is_not_there_puts_nothing_in_force() {
    let host = Host::new();
    fs::remove_dir_all(host.path("new")).unwrap();
    assert_ne!(host.put(&[]).code, 0);
    assert_ne!(host.put(&["--check"]).code, 0);
    assert!(!host.path("force").exists());
}

/// What a recipe types is what the programs have: verbs and options, and files of the packages.
#[test]
fn the_recipes_type_commands_that_there_are() {
    let mut typed = 0;
    for recipe in ["packaging/ansible", "packaging/puppet", "packaging/salt"]
        .map(files)
        .concat()
    {
        let words = text(&recipe).replace(['\'', '"', ',', '[', ']', '|'], " ");
        for line in words
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            let Some((_, command)) = line.split_once("rootpin ") else {
                continue;
            };
            let mut now = rootpin::cli::command();
            for word in command
                .split_whitespace()
                .filter(|word| !word.starts_with('/'))
            {
                if let Some(option) = word.strip_prefix("--") {
                    let known = now
                        .get_arguments()
                        .any(|argument| argument.get_long() == Some(option));
                    assert!(known || option == "json", "{recipe}: {line}");
                    typed += 1;
                } else if let Some(verb) = now.find_subcommand(word).cloned() {
                    now = verb;
                } else {
                    break;
                }
            }
        }
        for path in words
            .split_whitespace()
            .filter(|word| word.starts_with("/usr/libexec/rootpin/"))
        {
            let program = Path::new(path).file_name().unwrap();
            assert!(
                top().join("packaging").join(program).is_file(),
                "{recipe}: {path}"
            );
        }
    }
    assert!(typed > 3, "{typed}");
}

/// A recipe's commands: what it types, and the question whose yes leaves that out.
struct Step {
    command: String,
    unless: String,
}

const PUPPET: &str = "packaging/puppet/rootpin/manifests/init.pp";
const SALT: &str = "packaging/salt/rootpin/init.sls";

/// The last two steps of the Puppet class: have the engines ask, and restart one.
fn of_puppet() -> Vec<Step> {
    let manifest = text(PUPPET);
    // A string in double quotes, as Puppet reads it.
    let string = |name: &str, from: &str| {
        let (_, rest) = from.split_once(name).unwrap();
        let (_, rest) = rest.split_once('"').unwrap();
        let (mut read, mut letters) = (String::new(), rest.chars());
        loop {
            match letters.next().unwrap() {
                '"' => break,
                '\\' => read.push(letters.next().unwrap()),
                letter => read.push(letter),
            }
        }
        read.replace("${platform}", "auto")
            .replace("${units}", "containerd")
    };
    let [plan, then, again] = ["$plan =", "$then =", "$again ="].map(|at| string(at, &manifest));
    let step = |at: &str| {
        let (_, resource) = manifest.split_once(at).unwrap();
        let of = |name| {
            string(name, resource)
                .replace("${plan}", &plan)
                .replace("${then}", &then)
                .replace("${again}", &again)
                .replace("${kept}", "kept")
        };
        Step {
            command: of("command "),
            unless: of("unless "),
        }
    };
    vec![
        step("exec { 'rootpin install':"),
        step("exec { \"systemctl restart ${engine_service}\":"),
    ]
}

/// The same steps of the Salt state.
fn of_salt() -> Vec<Step> {
    let source = text(SALT);
    let line = source
        .lines()
        .find_map(|line| line.strip_prefix("{% set plan = '"))
        .unwrap();
    let plan = line
        .trim_end_matches("' %}")
        .replace("' ~ platform ~ '", "auto");
    let (_, body) = source.rsplit_once("%}\n").unwrap();
    let body = body
        .replace("{{ plan }}", &plan)
        .replace("{{ platform }}", "auto")
        .replace("{{ engine }}", "containerd")
        .replace("{{ kept }}", "kept");
    let state = yaml_rust2::YamlLoader::load_from_str(&body)
        .unwrap()
        .remove(0);
    let step = |id: &str| {
        let parts = state[id]["cmd.run"].as_vec().unwrap();
        let of = |name: &str| {
            let mut parts = parts.iter();
            let part = parts.find_map(|part| part[name].as_str()).unwrap();
            part.to_owned()
        };
        Step {
            command: of("name"),
            unless: of("unless"),
        }
    };
    vec![
        step("rootpin install"),
        step("systemctl restart containerd"),
    ]
}

/// rootpin and systemctl of a host whose files, rootpind and engine are of a version each.
const STAND_INS: &str = r#"
is() { [ "$(cat $1)" = "$(cat $2)" ]; }
rootpin() {
  case "$*" in
    *--dry-run*)
      diff=x stale=true restart='"e"' then="$THEN"
      ! is disk wanted || diff=''
      ! is daemon disk || stale=false
      ! is engine disk || restart='' then=''
      echo '{"install":{"diff":"'$diff'","restart":['$restart'],"rootpind-is-stale":'$stale',"then":"'$then'"}}'
      [ ! -e left ] ;;
    *) echo install >>done; cp wanted disk; [ ! -e left ] ;;
  esac
}
systemctl() {
  [ "$1" = restart ] || return 0
  echo "$*" >>done
  [ "$2" != "$(cat fails)" ] || return 1
  if [ "$2" = rootpind ]; then cp disk daemon; elif [ ! -e incurable ]; then cp disk engine; fi
}
"#;

/// A run of these steps on the host in that folder, whose engines are restarted by `then`: what was
/// done, and whether each step succeeded.
fn carry_out(steps: &[Step], host: &Path, then: &str) -> (String, bool) {
    let _ = fs::remove_file(host.join("done"));
    let mut succeeded = true;
    for step in steps {
        let sh = |typed: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-c", &format!("{STAND_INS}\n{typed}")])
                .env("THEN", then)
                .current_dir(host);
            run(&mut command, b"").code == 0
        };
        // What requires a step that failed is left out.
        succeeded = succeeded && (sh(&step.unless) || sh(&step.command));
    }
    let done = fs::read_to_string(host.join("done")).unwrap_or_default();
    (done.lines().collect::<Vec<_>>().join(", "), succeeded)
}

#[test]
fn a_restart_that_failed_is_made_by_the_next_run_of_a_recipe_and_then_nothing_changes() {
    for (recipe, steps) in [(PUPPET, of_puppet()), (SALT, of_salt())] {
        let host = tempfile::tempdir().unwrap();
        let set = |name: &str, text: &str| fs::write(host.path().join(name), text).unwrap();
        for (file, version) in [
            ("wanted", "2"),
            ("disk", "1"),
            ("daemon", "1"),
            ("engine", "1"),
        ] {
            set(file, version);
        }
        let (daemon, engine) = ("restart rootpind", "restart containerd");
        for (fails, done, succeeded) in [
            ("rootpind", format!("install, {daemon}"), false),
            ("containerd", format!("install, {daemon}, {engine}"), false),
            ("none", engine.to_owned(), true),
            ("none", String::new(), true),
        ] {
            set("fails", fails);
            let found = carry_out(&steps, host.path(), "systemctl restart containerd");
            assert_eq!(found, (done, succeeded), "{recipe}: {fails} fails");
        }
    }
}

#[test]
fn a_restart_that_cures_nothing_is_made_once_by_a_recipe_and_again_for_other_files() {
    for (recipe, steps) in [(PUPPET, of_puppet()), (SALT, of_salt())] {
        let host = tempfile::tempdir().unwrap();
        let set = |name: &str, text: &str| fs::write(host.path().join(name), text).unwrap();
        for (file, version) in [
            ("wanted", "2"),
            ("disk", "2"),
            ("daemon", "2"),
            ("engine", "1"),
            ("fails", "containerd"),
            ("incurable", ""),
        ] {
            set(file, version);
        }
        let then = "systemctl restart containerd";
        let run = || carry_out(&steps, host.path(), then);
        let engine = "restart containerd".to_owned();
        assert_eq!(run(), (engine.clone(), false), "{recipe}: it fails");
        set("fails", "none");
        assert_eq!(run(), (engine.clone(), true), "{recipe}: it cures nothing");
        for _ in 0..2 {
            assert_eq!(run(), (String::new(), false), "{recipe}: not again");
        }
        // A person mends it, and later it is to be restarted anew.
        set("engine", "2");
        assert_eq!(run(), (String::new(), true), "{recipe}");
        set("engine", "1");
        assert_eq!(run(), (engine.clone(), true), "{recipe}");
        assert_eq!(run(), (String::new(), false), "{recipe}");
        set("wanted", "3");
        let written = format!("install, restart rootpind, {engine}");
        assert_eq!(run(), (written, true), "{recipe}: other files");
        assert_eq!(run(), (String::new(), false), "{recipe}");
        fs::remove_file(host.path().join("incurable")).unwrap();
        set("wanted", "4");
        let written = format!("install, restart rootpind, {engine}");
        assert_eq!(run(), (written, true), "{recipe}: it helps");
        assert_eq!(run(), (String::new(), true), "{recipe}");
    }
}

/// Ansible's own modules do what the two above have commands for: the order of its tasks counts.
#[test]
fn the_role_of_ansible_notes_a_restart_that_was_made_and_fails_before_the_next_one() {
    let tasks = text("packaging/ansible/roles/rootpin/tasks/engines.yml");
    let mut rest = tasks.as_str();
    for task in [
        "- name: Forget a restart that helped, or that was made for other files",
        "- name: Read what the engine was restarted for",
        "- name: See whether the engine was restarted for this already",
        "notify: Restart the engine",
        "ansible.builtin.meta: flush_handlers",
        "- name: Keep what the engine was restarted for",
    ] {
        let found = rest.split_once(task);
        assert!(found.is_some(), "{task}");
        rest = found.unwrap().1;
    }
}

#[test]
fn a_recipe_fails_where_install_left_something_or_another_engine_is_to_be_restarted() {
    for (recipe, steps) in [(PUPPET, of_puppet()), (SALT, of_salt())] {
        let host = tempfile::tempdir().unwrap();
        let set = |name: &str, text: &str| fs::write(host.path().join(name), text).unwrap();
        for (file, version) in [
            ("wanted", "2"),
            ("disk", "2"),
            ("daemon", "2"),
            ("engine", "1"),
        ] {
            set(file, version);
        }
        set("fails", "none");
        for then in [
            "systemctl restart k3s, or k3s-agent",
            "systemctl restart containerd-2",
            "systemctl restart containerd docker",
            "snap restart containerd",
            "boot the node anew",
        ] {
            let found = carry_out(&steps, host.path(), then);
            assert_eq!(found, (String::new(), false), "{recipe}: {then}");
        }
        set("left", "");
        let found = carry_out(&steps, host.path(), "systemctl restart containerd");
        assert_eq!(found, ("install".to_owned(), false), "{recipe}");
        fs::remove_file(host.path().join("left")).unwrap();
        let kubelet = "systemctl restart my-engine, or containerd; for the kubelet: x";
        let found = carry_out(&steps, host.path(), kubelet);
        assert_eq!(found, ("restart containerd".to_owned(), true), "{recipe}");
    }
}

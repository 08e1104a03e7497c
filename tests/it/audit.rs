//! `rootpin audit` on a host: the questions of those who asked for it, on real metadata, and what a
//! host may hold against it.

pub(crate) mod dockerd;
mod hostile;
mod images;
mod merge;
mod trust_directories;
mod views;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::publisher::Publisher;
use crate::schema;
use crate::world::{Ended, World, run};

/// The root key of the two repositories that share one, and of the chain of roots at its start.
const SHARED: &str = "ef4fdd6bba80081ad3f32448e7c59f209033f48be943bf7366bc8aa2644481e5";

fn data(path: &str) -> String {
    format!("{}/tests/data/notary/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Copies a folder of metadata into a trust directory, as a client has it.
fn trusts(directory: &Path, gun: &str, from: &str) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    copy(
        Path::new(from),
        &directory.join("tuf").join(gun).join("metadata"),
    );
}

/// The same of what a publisher has now.
fn trusts_published(directory: &Path, publisher: &Publisher) {
    let metadata = directory.join("tuf").join(&publisher.gun).join("metadata");
    for (name, bytes) in publisher.tree().files {
        // A client keeps files by their roles, a server by their hashes too.
        let stem = name.strip_suffix(".json").unwrap();
        if stem.split_once('.').is_none_or(|(_, kind)| kind == "root") {
            let path = metadata.join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// A policy that pins these root keys for these repositories.
fn policy_for(world: &World, pattern: &str, keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
    format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"publisher\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:{}\"\n\
         keys = [{}]\nrole = \"targets/releases\"\n[[rule]]\nmatch = \"{pattern}\"\nroots = [\"publisher\"]\n",
        world.notary.port,
        keys.join(", ")
    )
}

/// Runs an audit of nothing but what is named: the machine that the tests run on has a home and
/// maybe engines of its own.
fn audit(world: &World, words: &[&str]) -> Ended {
    let home = world.path("home");
    fs::create_dir_all(&home).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .arg("audit")
        .args(words)
        .arg("--control")
        .arg(world.path("control"))
        .env("HOME", home);
    let config = world.path("audited.toml");
    let at = |name: &str| world.path(name).display().to_string();
    let (state, containerd) = (at("state"), at("containerd"));
    let text = format!(
        "state = {state:?}\n[[engine]]\nname = \"main\"\ncontainerd = {containerd:?}\ngate = \"/g\"\napply = \"/a\"\n"
    );
    fs::write(&config, text).unwrap();
    if !words.contains(&"--config") {
        command.arg("--config").arg(config);
    }
    if !words.contains(&"--docker") && !words.contains(&"--config") {
        let dockerd = dockerd::empty(world);
        command.arg("--docker").arg(dockerd);
    }
    run(&mut command, b"")
}

/// The report, which is as the schema says, and the exit code that goes with it.
fn report(world: &World, words: &[&str]) -> (Value, i32) {
    let ended = audit(world, &[words, &["--json"]].concat());
    let report: Value =
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!(
        schema::errors(&host_schema(), &report),
        Vec::<String>::new()
    );
    (report, ended.code)
}

/// The report of an audit by a policy and a state, without a daemon.
fn report_by_files(world: &World, words: &[&str]) -> (Value, i32) {
    let (policy, state) = (
        world.path("policy").display().to_string(),
        world.path("state").display().to_string(),
    );
    if !world.path("state").exists() {
        // The state is made by whoever first judges.
        let digest = format!("r.test/none/none@sha256:{}", "0".repeat(64));
        world.rootpin(&["verify", &digest, "--policy", &policy, "--state", &state]);
    }
    report(
        world,
        &[words, &["--policy", &policy, "--state", &state]].concat(),
    )
}

fn host_schema() -> Value {
    serde_json::from_str(include_str!("../../docs/audit.schema.json")).unwrap()
}

/// `code subject-up-to-a-space` of each finding.
fn findings(report: &Value) -> Vec<String> {
    let word = |one: &Value| {
        format!(
            "{} {}",
            one["code"].as_str().unwrap(),
            one["subject"]
                .as_str()
                .unwrap()
                .split(" in /")
                .next()
                .unwrap()
        )
    };
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(word)
        .collect()
}

fn finding<'a>(report: &'a Value, code: &str) -> &'a Value {
    let all = report["findings"].as_array().unwrap();
    all.iter()
        .find(|one| one["code"] == code)
        .unwrap_or_else(|| panic!("no {code} in {all:#?}"))
}

#[test]
fn the_schema_refuses_what_the_report_does_not_have() {
    let Some(world) = World::new("a-schema") else {
        return;
    };
    trusts(
        &world.path("trust"),
        "registry.example.com/acme/app",
        &data("vectors/delegations"),
    );
    let trust = world.path("trust").display().to_string();
    let (whole, _) = report_by_files(&world, &["--trust-dir", &trust]);
    let schema = host_schema();
    for path in [
        "/host",
        "/policy/hash",
        "/roots/0/keys",
        "/trust_directories/0/repositories/0/roles/0/keys/0/id",
        "/findings/0/severity",
    ] {
        let (above, name) = path.rsplit_once('/').unwrap();
        let mut without = whole.clone();
        without
            .pointer_mut(above)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name)
            .unwrap();
        assert_eq!(
            schema::errors(&schema, &without).len(),
            1,
            "{path} is not required"
        );
        let mut more = whole.clone();
        more.pointer_mut(above).unwrap()["surplus"] = json!(1);
        assert_eq!(
            schema::errors(&schema, &more).len(),
            1,
            "more beside {path}"
        );
        let mut other = whole.clone();
        *other.pointer_mut(path).unwrap() = json!({});
        assert!(
            !schema::errors(&schema, &other).is_empty(),
            "{path} as an object"
        );
    }
}

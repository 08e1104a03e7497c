//! Configurations as distributions ship them, each by every containerd at hand: `rootpin install`
//! writes what that containerd takes and loses nothing that was in force, or writes nothing and
//! says why. No engine has to run.
//!
//! `ROOTPIN_ENGINES` names a folder with more engines than the lab has: `containerd-2.2`,
//! `containerd-2.3`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use toml::{Table, Value};

use crate::lab::write;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/containerd");
const DIFF: [&str; 3] = [
    "plugins",
    "io.containerd.service.v1.diff-service",
    "default",
];
const UNPACK: [&str; 3] = [
    "plugins",
    "io.containerd.transfer.v1.local",
    "unpack_config",
];
const IMAGES: [&str; 2] = ["plugins", "io.containerd.cri.v1.images"];

/// What rootpin is there to change.
const CHANGES: [&[&str]; 16] = [
    &["version"],
    &["imports"],
    &["required_plugins"],
    &["proxy_plugins", "rootpin"],
    &["proxy_plugins", "rootpin-apply"],
    &DIFF,
    &UNPACK,
    &["plugins", "io.containerd.image-verifier.v1.bindir"],
    &[
        "plugins",
        "io.containerd.cri.v1.images",
        "use_local_image_pull",
    ],
    &[
        "plugins",
        "io.containerd.cri.v1.images",
        "disable_snapshot_annotations",
    ],
    &[
        "plugins",
        "io.containerd.cri.v1.images",
        "discard_unpacked_layers",
    ],
    &[
        "plugins",
        "io.containerd.cri.v1.images",
        "max_concurrent_downloads",
    ],
    &[
        "plugins",
        "io.containerd.cri.v1.images",
        "image_pull_with_sync_fs",
    ],
    &[
        "plugins",
        "io.containerd.grpc.v1.cri",
        "containerd",
        "disable_snapshot_annotations",
    ],
    &[
        "proxy_plugins",
        "stargz",
        "exports",
        "enable_remote_snapshot_annotations",
    ],
    &[
        "proxy_plugins",
        "soci",
        "exports",
        "enable_remote_snapshot_annotations",
    ],
];

/// One containerd, by its program.
struct Engine {
    name: String,
    program: PathBuf,
}

fn engines() -> Vec<Engine> {
    let lab = crate::lab::environment();
    let of = |name: &str, program: PathBuf| Engine {
        name: name.to_owned(),
        program,
    };
    let own = [("1.7", "LAB_BIN17"), ("2.1", "LAB_BIN2")]
        .map(|(name, bin)| of(name, Path::new(&lab[bin]).join("containerd")));
    let more = std::env::var_os("ROOTPIN_ENGINES").map(PathBuf::from);
    let more = more.iter().flat_map(|folder| {
        ["2.2", "2.3"].map(|name| of(name, folder.join(format!("containerd-{name}"))))
    });
    own.into_iter()
        .chain(more)
        .filter(|engine| engine.program.exists())
        .collect()
}

/// A host of its own with one shape of configuration.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn with(shape: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self { folder };
        let put = |from: &Path, to: &str| {
            let text = fs::read_to_string(from)
                .unwrap()
                .replace("@ROOT@", &host.at("").display().to_string());
            write(&host.at(to), text);
        };
        put(
            &Path::new(DATA).join(format!("{shape}.toml")),
            "config.toml",
        );
        if let Ok(drop_ins) = fs::read_dir(Path::new(DATA).join(format!("{shape}.d"))) {
            for entry in drop_ins.map(|entry| entry.unwrap().path()) {
                put(
                    &entry,
                    &format!("conf.d/{}", entry.file_name().unwrap().to_string_lossy()),
                );
            }
        }
        write(&host.at("containerd-cri.toml"), "version = 3\n");
        let sockets = |door: &str| host.at(&format!("{door}.sock"));
        write(
            &host.at("rootpin.toml"),
            format!(
                "control = {:?}\n[[engine]]\nname = \"main\"\ncontainerd = {:?}\ngate = {:?}\napply = {:?}\n",
                sockets("control"),
                sockets("none"),
                sockets("gate"),
                sockets("apply")
            ),
        );
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.folder.path().to_owned()
        } else {
            self.folder.path().join(name)
        }
    }

    fn main(&self) -> PathBuf {
        self.at("config.toml")
    }

    /// What the engine makes of the files.
    fn dump(&self, engine: &Engine) -> Result<Table, String> {
        let main = self.main();
        // 1.7 dumps nothing where there is no main file.
        let verb = if main.exists() { "dump" } else { "default" };
        let output = Command::new(&engine.program)
            .arg("--config")
            .arg(main)
            .args(["config", verb])
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8(output.stdout).unwrap().parse().unwrap())
    }

    fn install(&self, engine: &Engine) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .args(["install", "--yes", "--config"])
            .arg(self.at("rootpin.toml"))
            .arg("--containerd")
            .arg(&engine.program);
        command
            .arg("--containerd-config")
            .arg(self.main())
            .arg("--verifier")
            .arg(self.at("verifier"))
            .output()
            .unwrap()
    }

    /// Every file of the engine's configuration.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.at("")];
        while let Some(folder) = pending.pop() {
            for path in fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
            {
                if path.is_dir() {
                    pending.push(path);
                } else {
                    found.insert(path.clone(), fs::read_to_string(path).unwrap_or_default());
                }
            }
        }
        found
    }
}

fn leaves(table: &Table) -> BTreeMap<Vec<String>, Value> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(Vec::new(), table.clone())];
    while let Some((path, table)) = pending.pop() {
        for (key, value) in table {
            let path: Vec<String> = path.iter().cloned().chain([key]).collect();
            match value {
                Value::Table(inner) => pending.push((path, inner)),
                value => _ = found.insert(path, value),
            }
        }
    }
    found
}

/// What was in force and is not any more, or the other way round, but for what rootpin changes.
fn lost(before: &Table, after: &Table, also: &[&[&str]]) -> Vec<String> {
    let (before, after) = (leaves(before), leaves(after));
    let ours = |path: &[String]| {
        CHANGES.iter().chain(also).any(|change| {
            path.len() >= change.len()
                && path
                    .iter()
                    .zip(change.iter())
                    .all(|(one, other)| one == other)
        })
    };
    let all: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = all
        .into_iter()
        .filter(|path| !ours(path) && before.get(*path) != after.get(*path));
    changed
        .map(|path| {
            format!(
                "{}: {:?} became {:?}",
                path.join("."),
                before.get(path),
                after.get(path)
            )
        })
        .collect()
}

fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, tables) = path.split_last()?;
    tables
        .iter()
        .try_fold(table, |table, key| table.get(*key)?.as_table())?
        .get(*last)
}

/// That the doors are where an engine asks them.
fn guarded(engine: &Engine, after: &Table) -> Result<(), String> {
    let first = at(after, &DIFF).and_then(|order| order.as_array()?.first()?.as_str());
    if first != Some("rootpin") {
        return Err(format!("the first differ is {first:?}"));
    }
    let entries = at(after, &UNPACK)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if entries.is_empty()
        || entries
            .iter()
            .any(|entry| entry["differ"].as_str() != Some("rootpin-apply"))
    {
        return Err(format!("unpack_config is {entries:?}"));
    }
    let required = at(after, &["required_plugins"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !required.iter().any(|name| {
        name.as_str()
            .is_some_and(|name| name.ends_with("rootpin-apply"))
    }) {
        return Err(format!("required_plugins is {required:?}"));
    }
    if !["1.7", "2.0"].contains(&engine.name.as_str()) {
        for (key, wanted) in [
            ("use_local_image_pull", false),
            ("disable_snapshot_annotations", true),
            ("discard_unpacked_layers", false),
        ] {
            let found = at(after, &[IMAGES[0], IMAGES[1], key]).and_then(Value::as_bool);
            if found != Some(wanted) {
                return Err(format!("{key} is {found:?}"));
            }
        }
    }
    Ok(())
}

/// What must come of a shape: written, or left with these words.
fn wanted(shape: &str) -> Option<&'static str> {
    match shape {
        "k3s" => Some("is written anew by k3s"),
        "k0s" => Some("is written anew by k0s"),
        _ => None,
    }
}

fn check(
    engine: &Engine,
    shape: &str,
    prepare: impl Fn(&Host),
    also: &[&[&str]],
) -> Result<&'static str, String> {
    let host = Host::with(shape);
    prepare(&host);
    let (before, files) = (host.dump(engine), host.files());
    let output = host.install(engine);
    let words = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let unchanged = host.files() == files;
    let left = match (&before, wanted(shape)) {
        (Err(_), _) => Some("refuses its configuration"),
        (Ok(_), left) => left,
    };
    if let Some(left) = left {
        let right = output.status.code() == Some(1)
            && unchanged
            && words.contains(left)
            && !words.contains("restart main");
        return if right {
            Ok("left")
        } else {
            Err(format!("should be left, unchanged: {unchanged}: {words}"))
        };
    }
    let before = before?;
    if output.status.code() != Some(0) {
        return Err(format!("not written, unchanged: {unchanged}: {words}"));
    }
    let after = host
        .dump(engine)
        .map_err(|why| format!("the engine would not start any more: {why}"))?;
    let lost = lost(&before, &after, also);
    if !lost.is_empty() {
        return Err(format!("{}\n{words}", lost.join("\n")));
    }
    guarded(engine, &after)?;
    let files = host.files();
    let again = host.install(engine);
    if again.status.code() != Some(0) || host.files() != files {
        return Err(format!(
            "a second time is not the same: {}",
            String::from_utf8_lossy(&again.stdout)
        ));
    }
    Ok("written")
}

fn all_shapes() -> Vec<String> {
    let mut shapes: Vec<String> = fs::read_dir(DATA)
        .unwrap()
        .filter_map(|entry| {
            Some(
                entry
                    .unwrap()
                    .file_name()
                    .to_str()?
                    .strip_suffix(".toml")?
                    .to_owned(),
            )
        })
        .collect();
    shapes.sort();
    shapes
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_was_in_force_is_in_force_after_an_install_or_nothing_was_written() {
    let mut failures = Vec::new();
    for engine in engines() {
        for shape in all_shapes() {
            let config_path: &[&str] = &[
                "plugins",
                "io.containerd.cri.v1.images",
                "registry",
                "config_path",
            ];
            // What CRI pulled with, the transfer service pulls with now.
            let downloads: &[&str] = &[
                "plugins",
                "io.containerd.transfer.v1.local",
                "max_concurrent_downloads",
            ];
            let also: &[&[&str]] = match shape.as_str() {
                "eks" | "list" => &[config_path],
                "keys" => &[downloads],
                _ => &[],
            };
            let result = check(&engine, &shape, |_| {}, also);
            crate::say(&format!(
                "{:4} {shape:14} {}",
                engine.name,
                result.as_ref().map_or("FAIL", |told| told)
            ));
            if let Err(why) = result {
                failures.push(format!("{} {shape}: {why}", engine.name));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} are wrong:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// The lines behind a hint that ends with a colon, and what the hint says before them.
fn hint(words: &str) -> (String, String) {
    let (hint, lines) = words
        .split_once("hint: ")
        .and_then(|(_, hint)| hint.split_once(":\n"))
        .unwrap_or_else(|| panic!("no hint: {words}"));
    (hint.to_owned(), lines.to_owned())
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_is_said_of_a_generated_file_has_the_doors_asked_when_it_is_done() {
    for engine in engines().iter().filter(|engine| engine.name != "1.7") {
        let host = Host::with("k3s");
        let (base, before) = (
            fs::read_to_string(host.main()).unwrap(),
            host.dump(engine).unwrap(),
        );
        let (said, lines) = hint(&words(&host.install(engine)));
        let copy = format!(
            " a copy of {} with this line at its top, restart k3s, and run this again",
            host.main().display()
        );
        assert!(said.ends_with(&copy), "{said}");
        // The restart: k3s renders the template, which has nothing to fill in.
        write(&host.main(), format!("{}\n{base}", lines.trim_end()));
        let output = host.install(engine);
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", engine.name);
        let after = host.dump(engine).unwrap();
        assert_eq!(
            (lost(&before, &after, &[]), guarded(engine, &after)),
            (Vec::new(), Ok(())),
            "{}",
            engine.name
        );

        let host = Host::with("k0s");
        let before = host.dump(engine).unwrap();
        let (said, lines) = hint(&words(&host.install(engine)));
        assert_eq!(
            said,
            "write these lines to /etc/k0s/containerd.d/rootpin.toml, and restart k0s"
        );
        write(&host.at("rootpin-k0s.toml"), lines);
        // The restart: k0s imports what has no section of the CRI of version 2.
        let main = fs::read_to_string(host.main()).unwrap();
        write(
            &host.main(),
            main.replace(
                "containerd-cri.toml\"]",
                &format!("containerd-cri.toml\", {:?}]", host.at("rootpin-k0s.toml")),
            ),
        );
        let after = host.dump(engine).unwrap();
        assert_eq!(
            (lost(&before, &after, &[]), guarded(engine, &after)),
            (Vec::new(), Ok(())),
            "{}",
            engine.name
        );
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_list_of_folders_is_cut_once_what_would_be_lost_was_copied_as_said() {
    for engine in engines().iter().filter(|engine| engine.name != "1.7") {
        for shape in ["list", "eks"] {
            let host = Host::with(shape);
            write(
                &host.at("certs.d/docker.io/hosts.toml"),
                "server = \"https://one.example\"\n",
            );
            write(
                &host.at("docker/certs.d/reg.example_5000_/hosts.toml"),
                "server = \"https://two.example\"\n",
            );
            let files = host.files();
            let output = host.install(engine);
            let told = words(&output);
            assert!(
                output.status.code() == Some(1) && host.files() == files,
                "{} {shape}: {told}",
                engine.name
            );
            let command = told
                .split_once("hint: ")
                .unwrap()
                .1
                .split_once(" and run this again")
                .unwrap()
                .0;
            assert!(
                Command::new("sh")
                    .args(["-c", command])
                    .status()
                    .unwrap()
                    .success(),
                "{command}"
            );
            let output = host.install(engine);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{} {shape}: {}",
                engine.name,
                words(&output)
            );
            let after = host.dump(engine).unwrap();
            let path = at(&after, &[IMAGES[0], IMAGES[1], "registry", "config_path"])
                .and_then(Value::as_str)
                .map(PathBuf::from);
            assert_eq!(path, Some(host.at("certs.d")));
            assert!(
                host.at("certs.d/reg.example_5000_/hosts.toml").exists()
                    && host.at("certs.d/docker.io/hosts.toml").exists()
            );
        }
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_drop_in_of_an_earlier_rootpin_at_another_version_is_written_anew_and_gives_back_what_it_took()
{
    for engine in engines().iter().filter(|engine| engine.name != "1.7") {
        let host = Host::with("nvidia");
        let whole = host.dump(engine).unwrap();
        let earlier = include_str!("../data/doctor/2.1.9.drop-in.toml");
        write(
            &host.at("conf.d/rootpin.toml"),
            earlier.replace(
                "/usr/libexec/rootpin/verifier",
                &host.at("verifier").display().to_string(),
            ),
        );
        // 2.3 would not start with it, and the others have lost the runtimes.
        let harmed = host
            .dump(engine)
            .map_or(true, |dump| !lost(&whole, &dump, &[]).is_empty());
        assert!(harmed, "{}: this is no case", engine.name);
        let output = host.install(engine);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}: {}",
            engine.name,
            words(&output)
        );
        let after = host.dump(engine).unwrap();
        assert_eq!(
            (lost(&whole, &after, &[]), guarded(engine, &after)),
            (Vec::new(), Ok(())),
            "{}",
            engine.name
        );
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_host_without_a_main_file_gets_one_that_reads_the_drop_in_and_nothing_that_was_not_read() {
    for engine in engines() {
        let host = Host::with("nvidia");
        fs::remove_file(host.main()).unwrap();
        let before = host.dump(&engine).unwrap();
        let output = host.install(&engine);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}: {}",
            engine.name,
            words(&output)
        );
        let after = host.dump(&engine).unwrap();
        assert_eq!(
            (lost(&before, &after, &[]), guarded(&engine, &after)),
            (Vec::new(), Ok(())),
            "{}",
            engine.name
        );
    }
}

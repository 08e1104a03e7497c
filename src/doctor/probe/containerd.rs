//! One containerd: version and plugins by its API, its configuration by its process, its verifier's folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::PluginsRequest;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::version_client::VersionClient;

use super::super::check::VERIFIER;
use super::super::config_files::{ConfigFiles, at};
use super::super::facts::{Config, Containerd, Folder, Plugin, Process};
use super::super::version::Version;
use crate::config::Engine;
use crate::hooks;
use crate::observe::plain;
use crate::policy_dir::{Owner, check_way};

/// Where containerd looks where its command line says nothing.
const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";
/// More than any plugin list.
const MAX_PLUGINS: usize = 1000;
/// More entries than this are shown as so many.
const MAX_ENTRIES: usize = 100;
/// By how much the start of a process may be told wrong.
const SLACK: Duration = Duration::from_millis(100);

/// All that is to be known of a containerd that answers.
pub(in super::super) async fn containerd(engine: &Engine, process: &Process) -> Result<Containerd, String> {
    let client = hooks::Containerd::at(&engine.containerd).map_err(|error| error.to_string())?;
    let said = |status: tonic::Status| format!("{}: {}", engine.containerd.display(), status.message());
    let version = super::in_time("version", async { VersionClient::new(client.channel()).version(()).await.map_err(said) }).await?;
    let version = version.into_inner().version;
    let version = Version::parse(&version).ok_or_else(|| format!("it says that its version is {version:?}"))?;
    let request = PluginsRequest { filters: Vec::new() };
    let asked = super::in_time("plugins", async { IntrospectionClient::new(client.channel()).plugins(request).await.map_err(said) });
    let listed = asked.await?.into_inner().plugins;
    if listed.len() > MAX_PLUGINS {
        return Err(format!("it lists more than {MAX_PLUGINS} plugins"));
    }
    let plugins = listed.into_iter().map(|mut plugin| Plugin {
        address: plugin.exports.remove("address"),
        error: plugin.init_err.map(|error| error.message).filter(|message| !message.contains("skip plugin")),
        kind: plugin.r#type,
        id: plugin.id,
    });
    let config = configuration(process).await;
    let mut facts = Containerd { engine: engine.clone(), version, plugins: plugins.collect(), config, verifier: None };
    if version >= VERIFIER {
        facts.verifier = facts.config.as_ref().ok().and_then(folder);
    }
    Ok(facts)
}

async fn configuration(process: &Process) -> Result<Config, String> {
    if process.name != "containerd" {
        let Process { pid, name, .. } = process;
        return Err(format!("process {pid}, which listens there, is {}, and not containerd: its configuration is not known", plain(name)));
    }
    let given = process.option(&["config", "c"]);
    let main = given.map_or_else(|| DEFAULT_CONFIG.into(), |given| process.path(&given));
    // It may see other files than we do: in a container, or in a mount namespace of its own.
    let seen = PathBuf::from(format!("/proc/{}/root{}", process.pid, main.display()));
    let place = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if place(&main) != place(&seen) {
        return Err(format!("{} is another file for containerd than for this program", main.display()));
    }
    let effective = super::dump::dump(process, &main).await?;
    let mut proposed = BTreeMap::new();
    if !main.exists() {
        // What is imported without a word: from 2.2 on a folder of drop-ins.
        let imports = effective.get("imports").cloned().unwrap_or(toml::Value::Array(Vec::new()));
        proposed.insert(main.clone(), format!("imports = {imports}\n"));
    }
    let files = ConfigFiles::read(&main, &proposed)?;
    let changed = process.started().and_then(|started| changed_after(&files, started + SLACK));
    let stray = stray(&main, &files);
    Ok(Config { effective, files, changed, main, stray })
}

/// A file, or a folder of drop-ins, that changed after that. The change of an entry counts, as that of bytes does: a drop-in that was
/// moved there keeps its old time.
fn changed_after(files: &ConfigFiles, then: SystemTime) -> Option<PathBuf> {
    let all = files.files.iter().map(|file| &file.path).chain(files.patterns.iter().map(|pattern| &pattern.folder));
    let changed = |path: &&PathBuf| {
        let found = fs::metadata(path).ok();
        let time = found.and_then(|found| Some((u64::try_from(found.ctime()).ok()?, u32::try_from(found.ctime_nsec()).ok()?)));
        time.is_some_and(|(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos) > then)
    };
    all.into_iter().find(changed).cloned()
}

/// Drop-ins of rootpin in the usual folder, where that is not imported.
fn stray(main: &Path, files: &ConfigFiles) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new("/")).join("conf.d");
    let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok).take(MAX_ENTRIES);
    let ours = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("rootpin") && Path::new(name.as_ref()).extension().is_some_and(|extension| extension == "toml")
    });
    ours.filter(|path| !files.files.iter().any(|file| file.path == *path)).collect()
}

/// The verifier's folder, and who can change it.
fn folder(config: &Config) -> Option<Folder> {
    let path: PathBuf = at(&config.effective, &["plugins", "io.containerd.image-verifier.v1.bindir", "bin_dir"])?.as_str()?.into();
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Folder { path, ..Folder::default() }),
        found => found.into_iter().flatten().filter_map(Result::ok).take(MAX_ENTRIES),
    };
    let mut entries: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    entries.sort();
    let all = std::iter::once(path.clone()).chain(entries.iter().map(|entry| path.join(entry)));
    let writable = all.into_iter().find_map(|path| check_way(&path, Owner::Root).err().map(|fault| (fault.message, at_fault(&path))));
    Some(Folder { path, entries: Some(entries), writable })
}

/// The path itself, where it is its own mode or owner that is wrong, and not something above it.
fn at_fault(path: &Path) -> Option<PathBuf> {
    let found = fs::symlink_metadata(path).ok()?;
    let wrong = !found.is_symlink() && (found.uid() != 0 || found.mode() & 0o022 != 0);
    let above = path.parent().is_some_and(|folder| check_way(folder, Owner::Root).is_ok());
    (wrong && above).then(|| path.to_owned())
}

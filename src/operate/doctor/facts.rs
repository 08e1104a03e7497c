//! The facts about an engine: the doctor asks for them once, and judges them without asking again.

use std::path::{Path, PathBuf};

use super::config_files::{ConfigFiles, at};
use super::program::Program;
use super::runnable::Hindrance;
use super::unit::UnitCommand;
use super::version::Version;
use crate::config::{Dockerd, Engine};
use crate::problem::Problem;

/// CRI's plugin, which before containerd 2 has all its settings.
const CRI: &str = "io.containerd.grpc.v1.cri";
pub(super) const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
const DIFFER: &str = "io.containerd.differ.v1";
/// Plugins that containerd is not to load: the lists of all files count.
pub(super) const DISABLED: &str = "disabled_plugins";

/// What is asked about engines that don't run.
#[derive(Debug, Clone, Copy)]
pub struct Idle<'a> {
    /// containerd.
    pub containerd: &'a Path,
    /// Its main file.
    pub main: &'a Path,
    /// dockerd's daemon.json.
    pub daemon_json: &'a Path,
    /// What names authorization plugins on dockerd's command line, if anything does.
    pub authorization_by_flag: Option<&'a Path>,
    /// Why it is not known how containerd is started.
    pub containerd_unclear: Option<&'a Problem>,
    /// The same for dockerd.
    pub docker_unclear: Option<&'a Problem>,
    /// How containerd is started by its unit; none: that is not known, or its file was given.
    pub containerd_unit: Option<&'a UnitCommand>,
    /// The same of dockerd.
    pub docker_unit: Option<&'a UnitCommand>,
    /// Whether its unit or its configuration tells containerd's socket; else the platform does.
    pub tells_socket: bool,
    /// Whether this is an image of a host: then no engine is asked, and programs are run as nobody.
    pub is_image: bool,
}

/// One containerd.
#[derive(Debug, Clone)]
pub struct ContainerdFacts {
    /// As rootpin.toml names it.
    pub engine: Engine,
    /// What it says it is.
    pub version: Version,
    /// What it has loaded, or tried to; of one that doesn't run, what its configuration makes sure.
    pub plugins: Vec<PluginFacts>,
    /// Whether it runs, and was asked for them.
    pub runs: bool,
    /// Its configuration; or why that cannot be told.
    pub config: Result<EngineConfig, String>,
    /// Why it would not start with its files as they are now.
    pub refused: Option<String>,
    /// The folder of its image verifier, where it has one.
    pub verifier: Option<ProgramFolder>,
}

/// A plugin, as containerd's introspection service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFacts {
    /// As `io.containerd.differ.v1`.
    pub kind: String,
    /// As `walking`.
    pub id: String,
    /// Of a proxy: the socket of the other process.
    pub address: Option<String>,
    /// Why it did not load.
    pub error: Option<String>,
}

/// A configuration that is in force.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// What containerd makes of its files: `containerd config dump`.
    pub effective: toml::Table,
    /// Why containerd would not start with its files, where that is the fault of rootpin's own
    /// drop-in; `effective` is without it then.
    pub refused: Option<String>,
    /// The files.
    pub files: ConfigFiles,
    /// A file or folder of them that changed after containerd had started.
    pub changed: Option<PathBuf>,
    /// The main file.
    pub main: PathBuf,
    /// Drop-ins of rootpin in a folder that is not imported.
    pub stray: Vec<PathBuf>,
    /// Whom to ask what it makes of other files.
    pub program: Program,
}

/// A folder of programs that are asked.
#[derive(Debug, Clone, Default)]
pub struct ProgramFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The names in it; none: there is no such folder.
    pub entries: Option<Vec<String>>,
    /// Why others than root can change it.
    pub writable: Option<Writable>,
    /// Why a program in it can't be run, rootpin's first.
    pub hindrance: Option<Hindrance>,
}

/// Something that others than root can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    /// Whose it is, or its mode.
    pub why: String,
    /// The command that mends it.
    pub hint: String,
    /// The folder or the file in it whose own mode is at fault; none: it is something above it.
    pub own: Option<PathBuf>,
}

/// One dockerd, as it runs.
#[derive(Debug, Clone)]
pub struct DockerFacts {
    /// As rootpin.toml names it.
    pub docker: Dockerd,
    /// What it says it is.
    pub version: Version,
    /// Whether its images are in containerd.
    pub containerd_store: bool,
    /// The storage driver; with images in containerd it is a snapshotter.
    pub driver: String,
    /// containerd's socket, where dockerd tells it.
    pub containerd: Option<PathBuf>,
    /// Its authorization plugins.
    pub authorization: Vec<String>,
    /// What it warns of itself.
    pub warnings: Vec<String>,
    /// Its configuration.
    pub config: PathBuf,
    /// Whether plugins are named on its command line, where daemon.json must not name them again.
    pub authorization_by_flag: bool,
    /// Whether it answers gRPC on its socket, past every plugin; none: that could not be tried.
    pub answers_grpc: Option<bool>,
    /// Docker Hub's mirrors: `registry-mirrors`.
    pub mirrors: Vec<String>,
    /// The features that its configuration turns on, as far as that could be read.
    pub features: Vec<String>,
    /// Those of them that its command line turns on.
    pub features_by_flag: Vec<String>,
    /// What it is in a swarm; none: it is in none.
    pub swarm: Option<SwarmRole>,
}

#[cfg(test)]
impl DockerFacts {
    /// One whose images are in containerd, and that asks no plugin.
    pub(super) fn of_test(docker: Dockerd, version: Version) -> Self {
        Self {
            docker,
            version,
            containerd_store: true,
            driver: "overlayfs".to_owned(),
            containerd: None,
            authorization: Vec::new(),
            warnings: Vec::new(),
            config: "/etc/docker/daemon.json".into(),
            authorization_by_flag: false,
            answers_grpc: Some(false),
            mirrors: Vec::new(),
            features: Vec::new(),
            features_by_flag: Vec::new(),
            swarm: None,
        }
    }
}

/// What a node is in its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwarmRole {
    /// It runs what managers say.
    Worker,
    /// It leaves by force only.
    Manager,
}

impl PluginFacts {
    /// One of containerd's own.
    pub(super) fn own(kind: &str, id: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
            address: None,
            error: None,
        }
    }

    /// As `io.containerd.differ.v1.walking`: the name in `required_plugins`.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}.{}", self.kind, self.id)
    }
}

/// Where a containerd listens by a configuration, in which 2.3 has another place for it.
pub(super) fn address_of(config: &toml::Table) -> Option<&str> {
    let of_server = || {
        at(
            config,
            &["plugins", "io.containerd.server.v1.grpc", "address"],
        )
    };
    let address = at(config, &["grpc", "address"]).or_else(of_server)?;
    address.as_str().filter(|address| !address.is_empty())
}

impl EngineConfig {
    /// Where this containerd listens. 2.3 leaves out of its dump what an older main file says.
    #[must_use]
    pub fn address(&self) -> Option<&Path> {
        let files = self.files.files.iter().rev().map(|file| &file.table);
        let all = std::iter::once(&self.effective).chain(files);
        all.into_iter().find_map(address_of).map(Path::new)
    }

    /// The name that a plugin's section has in the main file: before version 3 CRI has one section
    /// for all, and in version 1 by a short name.
    #[must_use]
    pub fn section<'a>(&self, plugin: &'a str) -> &'a str {
        let of_cri = plugin.starts_with("io.containerd.cri.v1.") || plugin == CRI;
        let version = match self.files.files.first() {
            Some(_) => self.files.version().unwrap_or(1),
            None => 3,
        };
        match version {
            ..=1 if of_cri => "cri",
            2 if of_cri => CRI,
            _ => plugin,
        }
    }
}

impl EngineConfig {
    /// The entry of `disabled_plugins` that keeps this plugin from loading. In version 1 it is the
    /// last part of the name.
    #[must_use]
    pub fn disabled(&self, plugin: &str) -> Option<&str> {
        at(&self.effective, &[DISABLED])
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
            .find(|entry| {
                plugin == *entry
                    || !entry.contains('.')
                        && plugin.rsplit_once('.').is_some_and(|(_, id)| id == *entry)
            })
    }
}

impl EngineConfig {
    /// The plugins that have a section in the dump, where each has one that can be configured, and
    /// those of other processes. Of snapshotters and differs only the latter, and walking: whether
    /// one of containerd's own works, the host's file systems and programs decide.
    pub(super) fn plugins(&self) -> Vec<PluginFacts> {
        let tables = |key| {
            at(&self.effective, &[key])
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
        };
        let is_on = |full: &str| self.disabled(full).is_none();
        let own = tables("plugins").filter(|(full, _)| {
            is_on(full) && !full.starts_with(SNAPSHOTTER) && !full.starts_with(DIFFER)
        });
        let own = own.filter_map(|(full, _)| {
            full.rsplit_once('.')
                .map(|(kind, id)| PluginFacts::own(kind, id))
        });
        let proxies = tables("proxy_plugins").filter_map(|(id, proxy)| {
            let kind = match proxy.get("type")?.as_str()? {
                "diff" => DIFFER,
                "snapshot" => SNAPSHOTTER,
                _ => return None,
            };
            Some(PluginFacts {
                address: proxy.get("address")?.as_str().map(str::to_owned),
                ..PluginFacts::own(kind, id)
            })
        });
        let walking = PluginFacts::own(DIFFER, "walking");
        own.chain(proxies)
            .chain(is_on(&walking.full()).then_some(walking))
            .collect()
    }
}

impl ContainerdFacts {
    /// The same after a restart with that configuration, as far as it tells: plugins of other
    /// processes are those that it names, and none is there that it turns off.
    pub(super) fn restarted(&self, config: &EngineConfig) -> Self {
        let mut after = self.clone();
        after
            .plugins
            .retain(|plugin| plugin.address.is_none() && config.disabled(&plugin.full()).is_none());
        for plugin in config.plugins() {
            if after.plugin(&plugin.full()).is_none() {
                after.plugins.push(plugin);
            }
        }
        after
    }

    /// The plugin of that full name.
    #[must_use]
    pub fn plugin(&self, full: &str) -> Option<&PluginFacts> {
        self.plugins.iter().find(|plugin| plugin.full() == full)
    }

    /// Whether it is there and works.
    #[must_use]
    pub fn works(&self, full: &str) -> bool {
        self.plugin(full)
            .is_some_and(|plugin| plugin.error.is_none())
    }

    /// Whether it will have this snapshotter when it starts with that configuration: one of its own
    /// that works, or one of another process that the configuration names.
    #[must_use]
    pub fn will_have(&self, config: &EngineConfig, snapshotter: &str) -> bool {
        let full = format!("io.containerd.snapshotter.v1.{snapshotter}");
        let is_proxy = self
            .plugin(&full)
            .is_some_and(|plugin| plugin.address.is_some());
        self.works(&full)
            && config.disabled(&full).is_none()
            && (!is_proxy || at(&config.effective, &["proxy_plugins", snapshotter]).is_some())
    }

    /// The differs that are proxies to this socket.
    #[must_use]
    pub fn differs_at(&self, socket: &std::path::Path) -> Vec<&str> {
        let there = |plugin: &&PluginFacts| {
            plugin.kind == "io.containerd.differ.v1"
                && plugin
                    .address
                    .as_deref()
                    .is_some_and(|address| same_socket(address, socket))
        };
        self.plugins
            .iter()
            .filter(there)
            .map(|plugin| plugin.id.as_str())
            .collect()
    }

    /// Whether CRI pulls images here, and with which settings.
    #[must_use]
    pub fn cri(&self) -> Option<Cri<'_>> {
        let config = self.config.as_ref().ok()?;
        let runs = self.works(CRI);
        runs.then(|| Cri {
            config,
            two: self.version >= Version(2, 0, 0),
        })
    }

    /// Whether its CRI can pull by the transfer service.
    #[must_use]
    pub fn cri_may_transfer(&self) -> bool {
        self.version >= Version(2, 1, 0)
    }
}

/// An address in `proxy_plugins`, which may have a scheme.
fn same_socket(address: &str, socket: &std::path::Path) -> bool {
    std::path::Path::new(address.strip_prefix("unix://").unwrap_or(address)) == socket
}

/// CRI's settings for images, wherever that version keeps them.
#[derive(Debug, Clone, Copy)]
pub struct Cri<'a> {
    config: &'a EngineConfig,
    two: bool,
}

impl<'a> Cri<'a> {
    /// The path of a setting. In 1.7 what has to do with snapshots is one table deeper.
    #[must_use]
    pub fn path(&self, key: &'a str) -> Vec<&'a str> {
        let deeper = [
            "snapshotter",
            "disable_snapshot_annotations",
            "discard_unpacked_layers",
        ]
        .contains(&key);
        let mut path = match (self.two, deeper) {
            (true, _) => vec!["plugins", "io.containerd.cri.v1.images"],
            (false, true) => vec!["plugins", CRI, "containerd"],
            (false, false) => vec!["plugins", CRI],
        };
        path.extend(key.split('.'));
        path
    }

    /// The value in force.
    #[must_use]
    pub fn get(&self, key: &'a str) -> Option<&'a toml::Value> {
        at(&self.config.effective, &self.path(key))
    }

    /// Whether that setting is `true`.
    #[must_use]
    pub fn is(&self, key: &'a str) -> bool {
        self.get(key).and_then(toml::Value::as_bool) == Some(true)
    }

    /// Every snapshotter that containers may be made with: CRI's own, and those of single runtimes.
    #[must_use]
    pub fn snapshotters(&self) -> Vec<&'a str> {
        let runtime = if self.two {
            "io.containerd.cri.v1.runtime"
        } else {
            CRI
        };
        let runtimes = at(
            &self.config.effective,
            &["plugins", runtime, "containerd", "runtimes"],
        )
        .and_then(toml::Value::as_table);
        let single = runtimes
            .into_iter()
            .flat_map(|table| table.values())
            .filter_map(|one| one.get("snapshotter"));
        let platforms = self
            .get("runtime_platforms")
            .and_then(toml::Value::as_table);
        let single = single.chain(
            platforms
                .into_iter()
                .flat_map(|table| table.values())
                .filter_map(|one| one.get("snapshotter")),
        );
        let mut names: Vec<&str> = self
            .get("snapshotter")
            .into_iter()
            .chain(single)
            .filter_map(toml::Value::as_str)
            .collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        names
    }
}

//! rootpin.toml: how the daemon runs. No trust decision lives here.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::credentials::Settings;
use crate::problem::Problem;
use crate::spelling;
use crate::trusted_path::{self, Owner};

/// How the daemon runs. Paths are absolute.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// What this host has seen: floors, ledger, cached metadata.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The socket on which `rootpin` and `rootpin-verifier` ask.
    #[serde(default = "default_control")]
    pub control: PathBuf,
    /// The folder of policy.toml, policy.d and pinned files; none: the one that this file is in.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// One JSON line a decision; none: no such file.
    #[serde(default)]
    pub audit_log: Option<PathBuf>,
    /// For one question; below the 10 s that containerd gives a verifier.
    #[serde(default = "default_deadline", deserialize_with = "duration")]
    pub deadline: Duration,
    /// Folder of a Docker config.json with credentials for trust servers and registries.
    #[serde(default)]
    pub docker_config: Option<PathBuf>,
    /// Where else credentials come from, and in which order.
    #[serde(default)]
    pub credentials: Settings,
    /// How long a program that knows credentials may take.
    #[serde(default = "default_helper_timeout", deserialize_with = "duration")]
    pub credential_helper_timeout: Duration,
    /// Folder of containerd's `hosts.toml` files, by which registries are reached: mirrors and CAs.
    #[serde(default)]
    pub hosts_dir: Option<PathBuf>,
    /// Where the resolver answers engines that find it by `hosts.toml`: a loopback address with its
    /// port. None: there is no resolver.
    #[serde(default)]
    pub resolver: Option<SocketAddr>,
    /// Where Prometheus may read the metrics: a loopback address with its port, or a socket. None:
    /// nowhere.
    #[serde(default, deserialize_with = "metrics_address")]
    pub metrics: Option<MetricsAddress>,
    /// The containerds whose doors this daemon keeps.
    #[serde(default, rename = "engine")]
    pub engines: Vec<Engine>,
    /// The dockerds whose doors this daemon keeps.
    #[serde(default, rename = "docker")]
    pub dockers: Vec<Dockerd>,
}

impl Config {
    /// Each socket at which engines ask, with its engine's name.
    pub(crate) fn doors(&self) -> impl Iterator<Item = (&str, &Path)> {
        let gates = self.engines.iter().flat_map(|engine| {
            [&engine.gate, &engine.apply].map(|socket| (engine.name.as_str(), socket.as_path()))
        });
        let plugins = self
            .dockers
            .iter()
            .filter_map(|docker| Some((docker.name.as_str(), docker.authz.as_deref()?)));
        gates.chain(plugins)
    }
}

/// Where the metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsAddress {
    /// A port of a loopback address.
    Port(SocketAddr),
    /// A socket that is root's.
    Socket(PathBuf),
}

/// One containerd and its pair of sockets: a gate must know whose content store to read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Engine {
    /// A label for logs and `status`.
    pub name: String,
    /// containerd's own socket.
    pub containerd: PathBuf,
    /// The socket of the gate: first in containerd's diff-service.
    pub gate: PathBuf,
    /// The socket of the applying gate: named in containerd's `unpack_config`.
    pub apply: PathBuf,
    /// containerd's NRI socket, where containers are judged before they are made; none: they are
    /// not.
    #[serde(default)]
    pub nri: Option<PathBuf>,
}

/// One dockerd.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dockerd {
    /// A label for logs and `status`.
    pub name: String,
    /// dockerd's own socket.
    pub socket: PathBuf,
    /// The socket of the authorization plugin, where dockerd looks for it by its name; none: there
    /// is no plugin.
    #[serde(default)]
    pub authz: Option<PathBuf>,
    /// A person knows that this dockerd answers gRPC past its plugins, and accepts it.
    #[serde(default)]
    pub accept_grpc: bool,
}

impl Config {
    /// The sockets of the containerds that have gates.
    pub(crate) fn containerds(&self) -> Vec<PathBuf> {
        let engines = self.engines.iter();
        engines.map(|engine| engine.containerd.clone()).collect()
    }
}

/// The longest that a credential helper may take.
const MAX_HELPER_TIMEOUT: Duration = Duration::from_secs(120);
/// The control socket where nothing else is said.
pub const DEFAULT_CONTROL: &str = "/run/rootpin/control.sock";
/// The configuration where nothing else is said.
pub const DEFAULT_CONFIG: &str = "/etc/rootpin/rootpin.toml";
/// The policy's folder where nothing else is said.
pub const DEFAULT_POLICY: &str = "/etc/rootpin";

/// Longer than this, containerd's own time-out would end the question first.
const MAX_DEADLINE: Duration = Duration::from_secs(600);

/// Reads the configuration. Only root and the user that runs this program may change it, as it says
/// where the policy is.
///
/// # Errors
/// Names the file, the place and what was wanted.
pub fn load(path: &Path) -> Result<Config, Problem> {
    parse(&text(path)?).map_err(|problem| {
        let hint = "packaging/rootpin.toml in rootpin's source shows how it is written";
        problem.about(path.display()).or_hint(hint)
    })
}

/// The text of a configuration that nobody else may change: it says whom engines ask, too.
///
/// # Errors
/// It can't be read, or others may write on the way there; with the file's name.
pub(crate) fn text(path: &Path) -> Result<String, Problem> {
    // Checked before it is read; a file that can't be read has a hint of its own.
    let checked = trusted_path::check(path, Owner::RootOrCaller);
    let text = fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => format!(
                "in rootpin's source: install -D -m 0644 packaging/rootpin.toml {}; another file is named by --config",
                path.display()
            ),
            ErrorKind::PermissionDenied => "run as root".to_owned(),
            _ => "name the daemon's configuration with --config".to_owned(),
        };
        Problem::hinted(error.to_string(), hint).about(path.display())
    })?;
    if let Err(untrusted) = checked {
        let problem = Problem::hinted(untrusted.message, untrusted.hint);
        return Err(problem.about(path.display()));
    }
    Ok(text)
}

/// The folder of a configuration, where the policy is that it does not name.
#[must_use]
pub(crate) fn beside(config: &Path) -> PathBuf {
    let folder = config
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// The configuration where there is no file.
///
/// # Errors
/// None, as the defaults are a configuration.
pub fn none() -> Result<Config, Problem> {
    parse("")
}

/// A configuration by its text.
///
/// # Errors
/// The place and what was wanted.
pub(crate) fn parse(text: &str) -> Result<Config, Problem> {
    let config: Config =
        toml::from_str(text).map_err(|error| spelling::with(&error, meant(text)))?;
    config.check()?;
    Ok(config)
}

/// Which key was meant by one that is not known, in the file or one of its tables.
fn meant(text: &str) -> Option<String> {
    let file: toml::Table = text.parse().ok()?;
    let of = |name: &str| {
        let tables = file.get(name).and_then(toml::Value::as_array);
        tables
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_table)
    };
    spelling::hint::<Config>(&file)
        .or_else(|| of("engine").find_map(spelling::hint::<Engine>))
        .or_else(|| of("docker").find_map(spelling::hint::<Dockerd>))
}

impl Config {
    /// What is legal but senseless, all of it in one text.
    fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        let mut names = BTreeSet::new();
        let mut sockets = BTreeSet::from([&self.control]);
        for name in self
            .engines
            .iter()
            .map(|engine| &engine.name)
            .chain(self.dockers.iter().map(|docker| &docker.name))
        {
            if name.is_empty() || !names.insert(name) {
                wrong.push(format!("engine name {name:?} is empty or stands twice"));
            }
            // It stands in lines of the log, of status and of metrics.
            if name.chars().any(char::is_control) {
                wrong.push(format!("engine name {name:?} has a control character"));
            }
        }
        let gates = self.engines.iter().flat_map(|engine| {
            [
                (&engine.gate, &engine.containerd),
                (&engine.apply, &engine.containerd),
            ]
        });
        let plugins = self
            .dockers
            .iter()
            .filter_map(|docker| Some((docker.authz.as_ref()?, &docker.socket)));
        for (socket, theirs) in gates.chain(plugins) {
            if !sockets.insert(socket) || socket == theirs {
                wrong.push(format!("socket {} is named twice", socket.display()));
            }
        }
        if let Some(resolver) = self
            .resolver
            .filter(|resolver| !resolver.ip().is_loopback() || resolver.port() == 0)
        {
            wrong.push(format!(
                "resolver {resolver} is not a loopback address with a port, as 127.0.0.1:505"
            ));
        }
        match &self.metrics {
            Some(MetricsAddress::Port(at)) if !at.ip().is_loopback() || at.port() == 0 => {
                wrong.push(format!(
                    "metrics {at} is not a loopback address with a port, as 127.0.0.1:9465"
                ));
            }
            Some(MetricsAddress::Port(at)) if Some(*at) == self.resolver => {
                wrong.push(format!("metrics {at} is the resolver's address"));
            }
            Some(MetricsAddress::Socket(path)) if !sockets.insert(path) => {
                wrong.push(format!("socket {} is named twice", path.display()));
            }
            _ => {}
        }
        let paths = self.engines.iter().flat_map(|engine| {
            [&engine.containerd, &engine.gate, &engine.apply]
                .into_iter()
                .chain(&engine.nri)
        });
        let paths = paths.chain(
            self.dockers
                .iter()
                .flat_map(|docker| [&docker.socket].into_iter().chain(&docker.authz)),
        );
        let own = [&self.state, &self.control]
            .into_iter()
            .chain(&self.policy)
            .chain(&self.audit_log)
            .chain(&self.docker_config)
            .chain(&self.hosts_dir);
        for path in own.chain(paths) {
            if !path.is_absolute() {
                wrong.push(format!("{} is not an absolute path", path.display()));
            }
        }
        if self.deadline.is_zero() || self.deadline > MAX_DEADLINE {
            wrong.push(format!(
                "deadline must be between 1s and {}s",
                MAX_DEADLINE.as_secs()
            ));
        }
        if self.credential_helper_timeout.is_zero()
            || self.credential_helper_timeout > MAX_HELPER_TIMEOUT
        {
            wrong.push(format!(
                "credential-helper-timeout must be between 1s and {}s",
                MAX_HELPER_TIMEOUT.as_secs()
            ));
        }
        wrong.extend(self.credentials.wrong(self.docker_config.is_some()));
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("; "))
        }
    }
}

fn default_state() -> PathBuf {
    "/var/lib/rootpin".into()
}

fn default_control() -> PathBuf {
    DEFAULT_CONTROL.into()
}

fn default_helper_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_deadline() -> Duration {
    Duration::from_secs(8)
}

/// A path, or an address with a port.
fn metrics_address<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MetricsAddress>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wanted = |_| {
        serde::de::Error::custom(format!(
            "metrics {text:?} is neither an address with a port, as 127.0.0.1:9465, nor an absolute path"
        ))
    };
    Ok(Some(if text.starts_with('/') {
        MetricsAddress::Socket(text.into())
    } else {
        MetricsAddress::Port(text.parse().map_err(wanted)?)
    }))
}

/// `[0-9]+(s|m|h|d)`, as in the policy.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wanted = || {
        serde::de::Error::custom(format!(
            "{text:?} is not a duration: wanted digits and one of s, m, h, d"
        ))
    };
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wanted)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| plain).ok_or_else(wanted)?;
    count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn no_name_of_an_engine_makes_a_line_of_its_own() {
        for name in ["a\\nb", "a\\\"b} 1\\nrootpin_up 0", "\\u001b[2J", "\\u009b"] {
            let docker = format!("[[docker]]\nname = \"{name}\"\nsocket = \"/s\"\n");
            let why = parse(&docker).unwrap_err();
            assert!(why.what.contains("has a control character"), "{why}");
        }
        assert!(
            parse("[[docker]]\nname = \"Docker (à côté) \\\"1\\\"\"\nsocket = \"/s\"\n").is_ok()
        );
    }

    #[test]
    fn a_file_that_others_may_write_is_refused_with_the_hint_that_closes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rootpin.toml");
        fs::write(&path, "policy = \"/tmp/evil\"\n").unwrap();
        for (place, loose, right) in [(&*path, 0o666, 0o644), (folder.path(), 0o777, 0o700)] {
            let set = |mode| fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
            set(loose);
            let why = load(&path).unwrap_err();
            assert!(why.what.contains("can be written by"), "{why}");
            let hint = format!("chmod go-w {}", place.display());
            assert_eq!(why.hint, Some(hint));
            set(right);
        }
        assert_eq!(load(&path).unwrap().policy, Some("/tmp/evil".into()));
    }

    #[test]
    fn an_empty_file_gives_the_documented_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.state, Path::new("/var/lib/rootpin"));
        assert_eq!(config.deadline, Duration::from_secs(8));
        assert!(config.engines.is_empty() && config.audit_log.is_none());
    }

    #[test]
    fn the_shipped_file_is_a_configuration() {
        let config = parse(include_str!("../packaging/rootpin.toml")).unwrap();
        assert_eq!(
            (config.engines.len(), config.control.as_path()),
            (1, Path::new(DEFAULT_CONTROL))
        );
    }

    #[test]
    fn what_is_not_understood_or_senseless_is_refused() {
        for bad in [
            "stat = \"/x\"",
            "deadline = \"8\"",
            "deadline = \"+8s\"",
            "deadline = \"0s\"",
            "deadline = \"s\"",
            "state = \"relative\"",
            "[[engine]]\nname = \"a\"",
            "[[engine]]\nname=\"a\"\ncontainerd=\"/c\"\ngate=\"/g\"\napply=\"/g\"",
            "[[engine]]\nname=\"a\"\ncontainerd=\"/c\"\ngate=\"/g\"\napply=\"/a\"\nnri=\"n\"",
            "[[engine]]\nname=\"a\"\ncontainerd=\"/c\"\ngate=\"/g\"\napply=\"/a\"\n[[docker]]\nname=\"a\"\nsocket=\"/d\"",
            "[[docker]]\nname=\"a\"\nsocket=\"/d\"\nauthz=\"/d\"",
            "[[docker]]\nname=\"a\"\nsocket=\"d\"",
            "resolver = \"192.0.2.1:5055\"",
            "resolver = \"127.0.0.1:0\"",
            "resolver = \"127.0.0.1\"",
            "metrics = \"0.0.0.0:9465\"",
            "metrics = \"127.0.0.1\"",
            "metrics = \"run/metrics.sock\"",
            "metrics = \"/run/rootpin/control.sock\"",
            "resolver = \"127.0.0.1:505\"\nmetrics = \"127.0.0.1:505\"",
            "[credentials]\norder = [\"kubelet\"]",
            "[credentials]\nkubelet-config = \"/x\"",
            "[credentials]\nauth-file = \"x\"",
            "[credentials]\nauth-file = \"/x\"\norder = [\"auth-file\", \"auth-file\"]",
            "[credentials]\nsystemd = \"../x\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_with_the_one_that_was_meant() {
        for (text, meant) in [
            ("hosts_dir = \"/x\"", Some("hosts-dir")),
            ("stat = \"/x\"", Some("state")),
            ("[[engines]]\nname = \"a\"", Some("engine")),
            ("[[engine]]\nconteinerd = \"/c\"", Some("containerd")),
            ("[[docker]]\nsockets = \"/c\"", Some("socket")),
            ("colour = 1", None),
            ("deadline = \"8\"", None),
            ("[[engine", None),
        ] {
            let said = parse(text).unwrap_err();
            let hint = meant.map(|meant| format!("did you mean {meant:?}?"));
            assert_eq!(said.hint, hint, "{said}");
        }
    }

    #[test]
    fn each_engine_has_its_own_pair_of_sockets() {
        let engine = |name: &str| {
            format!(
                "[[engine]]\nname=\"{name}\"\ncontainerd=\"/c\"\ngate=\"/{name}.g\"\napply=\"/{name}.a\"\n"
            )
        };
        assert!(parse(&(engine("a") + &engine("b"))).is_ok());
        assert!(parse(&(engine("a") + &engine("a"))).is_err());
    }
}

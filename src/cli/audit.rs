//! `rootpin audit` and `rootpin audit merge`.

mod report_text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use report_text::{fleet_text, host_text};
use serde_json::Value;

use super::named_file;
use super::output::{Output, counted};
use crate::config::{self, Config, DEFAULT_CONFIG};
use crate::control::DaemonClient;
use crate::operate::audit::{
    self, AuditScope, EngineKind, EngineSocket, Expected, JudgementSource, Merge, Reports as _,
    TrustPlace, Untold,
};
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;
use crate::sources::Credentials;

/// The daemon judges many images in one answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where containerd and dockerd listen where nothing else is said.
const CONTAINERD: &str = "/run/containerd/containerd.sock";

const DOCKER: [&str; 2] = ["/run/docker.sock", "/var/run/docker.sock"];

pub(super) const EXAMPLES: &str = "examples:\n  rootpin audit\n  rootpin audit --json --all-users   (one report, for `rootpin audit merge`)\n  \
    rootpin audit --policy ./policy --state ./state --html audit.html   (with the daemon stopped)\n\n\
    exit codes: 0 clean, 1 findings, 2 something could not be looked at; see docs/audit.md";

const MERGE_EXAMPLES: &str = "examples:\n  rootpin audit merge reports/ --html fleet.html\n  \
    rootpin audit merge one.json two.json --expect ./policy --older-than 2d\n\n\
    exit codes: 0 all alike, 1 a host differs, 2 a report could not be read";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Ask the sources too, and not the cache alone
    #[arg(long)]
    online: bool,
    /// rootpin.toml, which lists the engines
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// A containerd, instead of those in the configuration; may stand several times
    #[arg(long, value_name = "SOCKET", hide_short_help = true)]
    containerd: Vec<PathBuf>,
    /// A dockerd, instead of those in the configuration and the usual one; may stand several times
    #[arg(long, value_name = "SOCKET", hide_short_help = true)]
    docker: Vec<PathBuf>,
    /// A trust directory besides those in the caller's home, as ~/.docker/trust; may stand several
    /// times
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    trust_dir: Vec<PathBuf>,
    /// The trust directories of all users
    #[arg(long)]
    all_users: bool,
    /// Judge here, by the policy in this folder, without a daemon
    #[arg(long, value_name = "DIR", requires = "state")]
    policy: Option<PathBuf>,
    /// The folder of floors and cached metadata, with --policy
    #[arg(long, value_name = "DIR", requires = "policy")]
    state: Option<PathBuf>,
    /// Folder of a Docker config.json with credentials, with --policy
    #[arg(long, value_name = "DIR", requires = "policy", hide_short_help = true)]
    docker_config: Option<PathBuf>,
    /// The host's name in the report, instead of its own
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    host: Option<String>,
    /// Write the report as one page of HTML too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Put the reports of many hosts together, and say which hosts differ
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArguments),
}

#[derive(Debug, clap::Args)]
struct MergeArguments {
    /// Reports of `rootpin audit --json`, files of one a line, or folders of such; none: standard
    /// input
    files: Vec<PathBuf>,
    /// Hold hosts to the policy in this folder, instead of to the majority
    #[arg(long, value_name = "POLICYDIR")]
    expect: Option<PathBuf>,
    /// A host whose last report is older differs, as 2d, 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<SignedDuration>,
    /// Write the result as one page of HTML too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(control: &Path, mut arguments: Arguments, output: Output) -> Result<u8, Problem> {
    if let Some(Verb::Merge(merge)) = arguments.verb.take() {
        return self::merge(&merge, output);
    }
    if let Some(path) = &arguments.html {
        named_file::check(path, named_file::PAGE)?;
    }
    let mut untold = Vec::new();
    let engines = engines(&arguments, &mut untold);
    let mut places: Vec<TrustPlace> = arguments
        .trust_dir
        .iter()
        .cloned()
        .map(TrustPlace::Named)
        .collect();
    places.extend(homes(arguments.all_users, &mut untold));
    let host = arguments.host.clone().unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    });
    let html = arguments.html.clone();
    let report = super::block_on(async {
        let judgement_source = judgement_source(control, arguments).await;
        Ok(audit::look(
            AuditScope {
                host,
                engines,
                places,
                judgement_source: judgement_source.0,
                online: judgement_source.1,
                untold,
            },
            Timestamp::now(),
        )
        .await)
    })?;
    if let Some(path) = html {
        named_file::write(&path, &audit::host_page(&report), named_file::PAGE)?;
    }
    let value = serde_json::to_value(&report).map_err(|error| error.to_string())?;
    let why = report.untold.first().map(|first| {
        let count = report.untold.len();
        format!(
            "{count} could not be looked at, the first: {}: {}",
            first.subject, first.why
        )
    });
    output.value(&with_error(value, report.exit_code(), why), host_text);
    Ok(report.exit_code())
}

async fn judgement_source(
    control: &Path,
    arguments: Arguments,
) -> (Result<JudgementSource, Problem>, bool) {
    let online = arguments.online;
    let judgement_source = match (arguments.policy, arguments.state) {
        (Some(policy), Some(state)) => {
            let credentials = arguments
                .docker_config
                .map_or_else(Credentials::none, Credentials::in_folder);
            JudgementSource::files(&policy, &state, credentials, online)
        }
        _ => DaemonClient::connect(control, TIMEOUT)
            .await
            .map(JudgementSource::Daemon),
    };
    (judgement_source, online)
}

/// The engines that were named; else those of the configuration and whoever listens at the usual
/// places.
fn engines(arguments: &Arguments, untold: &mut Vec<Untold>) -> Vec<EngineSocket> {
    let engine = |name: &str, kind, socket: &Path| EngineSocket {
        name: name.to_owned(),
        kind,
        socket: socket.to_owned(),
    };
    let named = arguments.containerd.iter();
    let mut containerds: Vec<EngineSocket> = named
        .map(|socket| engine("containerd", EngineKind::Containerd, socket))
        .collect();
    let named = arguments.docker.iter();
    let mut dockers: Vec<EngineSocket> = named
        .map(|socket| engine("docker", EngineKind::Docker, socket))
        .collect();
    let config = if containerds.is_empty() || dockers.is_empty() {
        configuration(&arguments.config, untold)
    } else {
        None
    };
    if containerds.is_empty() {
        let configured = config.iter().flat_map(|config| &config.engines);
        containerds.extend(
            configured.map(|one| engine(&one.name, EngineKind::Containerd, &one.containerd)),
        );
        if containerds.is_empty() && Path::new(CONTAINERD).exists() {
            let usual = Path::new(CONTAINERD);
            containerds.push(engine("containerd", EngineKind::Containerd, usual));
        }
    }
    if dockers.is_empty() {
        let configured = config.iter().flat_map(|config| &config.dockers);
        dockers.extend(configured.map(|one| engine(&one.name, EngineKind::Docker, &one.socket)));
        let usual = DOCKER.iter().map(Path::new).find(|path| path.exists());
        let is_new = |usual: &&Path| !dockers.iter().any(|one| is_same(&one.socket, usual));
        let usual = usual.filter(is_new);
        dockers.extend(usual.map(|socket| engine("docker", EngineKind::Docker, socket)));
    }
    containerds.extend(dockers);
    containerds
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || real(one).is_some_and(|path| real(other) == Some(path))
}

fn configuration(path: &Path, untold: &mut Vec<Untold>) -> Option<Config> {
    // A host without rootpin can be audited as well.
    if path == Path::new(DEFAULT_CONFIG) && matches!(path.try_exists(), Ok(false)) {
        return None;
    }
    let loaded = config::load(path).map_err(|why| {
        untold.push(Untold {
            subject: "the engines".to_owned(),
            why: why.to_string(),
        });
    });
    loaded.ok()
}

fn homes(all: bool, untold: &mut Vec<Untold>) -> Vec<TrustPlace> {
    if !all {
        return std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .map(|home| TrustPlace::Home(home.into()))
            .into_iter()
            .collect();
    }
    let passwd = std::fs::read("/etc/passwd").unwrap_or_else(|error| {
        untold.push(Untold {
            subject: "/etc/passwd".to_owned(),
            why: error.to_string(),
        });
        Vec::new()
    });
    audit::homes(&String::from_utf8_lossy(&passwd), Path::new("/home"))
}

fn merge(arguments: &MergeArguments, output: Output) -> Result<u8, Problem> {
    if let Some(path) = &arguments.html {
        named_file::check(path, named_file::PAGE)?;
    }
    let now = Timestamp::now();
    let expected = arguments.expect.as_ref().map(|dir| {
        let loaded = policy_dir::load(&PolicyDir::open(dir, Owner::RootOrCaller), now);
        let policy = loaded.map_err(|errors| super::policy_fails(&errors, dir))?;
        Ok::<_, Problem>(Expected {
            policy: policy.hash.to_string(),
            roots: crate::decide::survey::pinned(&policy),
        })
    });
    let expected = expected.transpose()?;
    let mut merge = Merge::default();
    if arguments.files.is_empty() {
        merge.lines("standard input", std::io::stdin().lock());
    }
    for path in &arguments.files {
        merge.path(path);
    }
    let fleet = merge.fleet(expected.as_ref(), arguments.older_than, now);
    if let Some(path) = &arguments.html {
        named_file::write(path, &audit::fleet_page(&fleet), named_file::PAGE)?;
    }
    let value = serde_json::to_value(&fleet).map_err(|error| error.to_string())?;
    let why = fleet.unreadable.first().map(|first| {
        let count = counted(fleet.unreadable.len(), "report");
        format!(
            "{count} could not be read, the first: {}: {}",
            first.origin, first.why
        )
    });
    let value = with_error(value, fleet.exit_code(), why);
    output.value(&value, |_| fleet_text(&fleet));
    Ok(fleet.exit_code())
}

/// A report that did not see everything says why in `error`, as each document with exit code 2.
fn with_error(mut report: Value, exit: u8, why: Option<String>) -> Value {
    if exit == 2
        && let Some(members) = report.as_object_mut()
    {
        let why = why.unwrap_or_else(|| "no host was reported".to_owned());
        members.insert("error".to_owned(), why.into());
    }
    report
}

/// `[0-9]+(s|m|h|d)`, as in the policy.
fn age(text: &str) -> Result<SignedDuration, String> {
    let wanted = || "wanted digits and one of s, m, h, d, as 2d".to_owned();
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
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = digits.parse().ok().filter(|_| plain).ok_or_else(wanted)?;
    count
        .checked_mul(seconds)
        .map(SignedDuration::from_secs)
        .ok_or_else(wanted)
}

//! Docker's credential helper that stands before another one or a file: `docker-credential-rootpin
//! get|list|store|erase|version` (docker-credential-helpers, credentials/credentials.go).
//!
//! An ordinary user's policy is the host's own, which everybody may read; root asks the daemon.

mod backend;
mod file;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::{self, Config, DEFAULT_CONFIG, DEFAULT_POLICY};
use crate::control::DaemonClient;
use crate::control::wire::CredentialsRequest;
use crate::credentials::{forbid_core_dumps, withholds_key};
use crate::plain_text::policy_check;
use crate::policy_dir::{Owner, PolicyDir};
use crate::problem::Problem;
use backend::Backend;

/// How long the daemon, or the helper behind this one, may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const MOST: u64 = 1 << 20;
/// Where rootpin.toml is, if not at its usual place.
const CONFIG: &str = "ROOTPIN_CONFIG";
/// The protocol's own words for "none": whoever asks goes on without credentials.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The protocol's own words for a question without a server.
const NO_SERVER: &str = "no credentials server URL";

/// Runs the helper. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let done = forbid_core_dumps().map_err(Problem::from).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(run(std::env::args().skip(1).collect()))
    });
    let (text, code) = match done {
        Ok(text) => (text, 0),
        Err(problem) => (problem.to_string(), 1),
    };
    if !text.is_empty() && writeln!(std::io::stdout(), "{}", text.trim_end()).is_err() {
        return 1;
    }
    code
}

async fn run(words: Vec<String>) -> Result<String, Problem> {
    let [verb] = words.as_slice() else {
        let usage = "usage: docker-credential-rootpin get|list|store|erase|version";
        return Err(Problem::new(usage));
    };
    if verb == "version" {
        return Ok(format!(
            "docker-credential-rootpin (rootpin) {}",
            env!("CARGO_PKG_VERSION")
        ));
    }
    let mut input = Vec::new();
    if verb != "list" {
        let read = std::io::stdin().take(MOST).read_to_end(&mut input);
        read.map_err(|error| format!("standard input: {error}"))?;
    }
    let backend = Backend::configured()?;
    match verb.as_str() {
        "get" => {
            let server = String::from_utf8_lossy(&input).trim().to_owned();
            if server.is_empty() {
                return Err(Problem::new(NO_SERVER));
            }
            if let Some(why) = withheld(std::slice::from_ref(&server))
                .await?
                .remove(&server)
            {
                record(&server, &why);
                return Err(Problem::new(NOT_FOUND));
            }
            backend.get(&server).await
        }
        "list" => {
            let mut all = backend.list().await?;
            let servers: Vec<String> = all.keys().cloned().collect();
            let withheld = withheld(&servers).await?;
            all.retain(|server, _| !withheld.contains_key(server));
            serde_json::to_string(&all).map_err(|error| Problem::new(error.to_string()))
        }
        "store" => backend.store(&input).await,
        "erase" => backend.erase(&input).await,
        other => Err(Problem::new(format!(
            "Unknown credential action `{}`",
            crate::observe::plain(other)
        ))),
    }
}

/// Which of these servers get no credentials, and why.
async fn withheld(servers: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let config = configuration()?;
    if rustix::process::geteuid().is_root() {
        return by_daemon(&config.control, servers).await;
    }
    let dir = config.policy.unwrap_or_else(|| DEFAULT_POLICY.into());
    by_policy(&dir, servers)
}

async fn by_daemon(
    control: &Path,
    servers: &[String],
) -> Result<BTreeMap<String, String>, Problem> {
    let mut withheld = BTreeMap::new();
    let mut client = DaemonClient::connect(control, TIMEOUT)
        .await
        .map_err(|why| why.about("rootpin"))?;
    for server in servers {
        let request = CredentialsRequest {
            image: String::new(),
            server: server.clone(),
        };
        let answer = client.credentials(request).await?;
        if !answer.given {
            withheld.insert(server.clone(), answer.reason);
        }
    }
    Ok(withheld)
}

fn by_policy(dir: &Path, servers: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let (loaded, _) = PolicyDir::open(dir, Owner::RootOrCaller).load(Timestamp::now());
    let policy = loaded.map_err(|_| {
        let what = format!(
            "rootpin: the policy in {} can't be read, so no credentials are given",
            dir.display()
        );
        Problem::hinted(what, policy_check(dir))
    })?;
    let why = |server: &String| Some((server.clone(), withholds_key(&policy, server)?));
    Ok(servers.iter().filter_map(why).collect())
}

/// rootpin.toml, or what counts where there is none.
fn configuration() -> Result<Config, Problem> {
    let named = std::env::var_os(CONFIG).map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
    if named.is_none() && !path.exists() {
        return config::none().map_err(|error| error.about("rootpin"));
    }
    let mut config = config::load(&path).map_err(|error| error.about("rootpin"))?;
    // Without that key, the policy is beside the file.
    config.policy = config.policy.or_else(|| Some(config::beside(&path)));
    Ok(config)
}

/// Says on standard error, where Docker's clients show it, and in the system's log, what somebody
/// did not get. The daemon records it where it was asked.
fn record(server: &str, why: &str) {
    let line = crate::observe::plain(&format!("credentials for {server} withheld: {why}"));
    let _ = writeln!(std::io::stderr(), "rootpin: {line}");
    // Facility authpriv, severity notice (RFC 3164).
    let line = format!(
        "<85>docker-credential-rootpin[{}]: {line}",
        std::process::id()
    );
    let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(line.as_bytes(), "/dev/log"));
}

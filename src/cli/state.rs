//! `rootpin state show` and `rootpin state reset`: through the daemon, which holds the state while it runs, or on a state folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::output::{Output, list, table, text};
use crate::policy_dir::{Owner, PolicyDir};
use crate::state::{self, Store};

/// How long to wait for another process that has the state open.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show floors, last good contacts and admitted digests
    #[command(after_help = "examples:\n  rootpin state show\n  rootpin state show --state ./state --json")]
    Show {
        /// A state folder that no daemon has open
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Forget what was seen under a root of the policy, and print it: the next answer of its server is believed as the first
    #[command(after_help = "examples:\n  rootpin state reset --root acme\n  \
        rootpin state reset --unreadable --state /var/lib/rootpin   (with the daemon stopped)")]
    Reset {
        /// The root's id in the policy
        #[arg(long, value_name = "ID", required_unless_present = "unreadable", conflicts_with = "unreadable")]
        root: Option<String>,
        /// A state folder that no daemon has open
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// The policy that knows the root, with --state
        #[arg(long, value_name = "DIR", default_value = crate::config::DEFAULT_POLICY)]
        policy: PathBuf,
        /// Set a state that cannot be opened aside, and begin with nothing seen
        #[arg(long, requires = "state")]
        unreadable: bool,
    },
}

pub(super) fn run(control: &Path, verb: Verb, output: Output) -> Result<u8, String> {
    match verb {
        Verb::Show { state: Some(dir) } => {
            let overview = open(&dir)?.show().map_err(|error| error.refusal().to_string())?;
            output.value(&state::overview_json(&overview), show_text);
            Ok(0)
        }
        Verb::Show { state: None } => super::asked(control, async |client| Ok(output.report(&client.state("").await?, show_text))),
        Verb::Reset { state: Some(dir), unreadable: true, .. } => {
            let aside = state::start_anew(&dir).map_err(|error| error.refusal().to_string())?;
            let aside = aside.map(|path| path.display().to_string());
            output.value(&json!({ "version": 1, "set_aside": aside }), |value| {
                format!("a new state; the old file is {}", text(value, "set_aside"))
            });
            Ok(0)
        }
        Verb::Reset { root, state: Some(dir), policy, .. } => {
            let id = root.unwrap_or_default();
            let loaded = crate::policy::load(&PolicyDir::open(&policy, Owner::RootOrCaller), jiff::Timestamp::now());
            let loaded = loaded
                .map_err(|errors| format!("the policy has {} errors; hint: rootpin policy check {}", errors.len(), policy.display()))?;
            let root = loaded.roots.get(&id).ok_or_else(|| format!("the policy has no root {id:?}"))?;
            let forgotten = state::forget_root(&open(&dir)?, root.floor_keys()).map_err(|error| error.refusal().to_string())?;
            output.value(&forgotten, reset_text);
            Ok(0)
        }
        Verb::Reset { root, state: None, .. } => {
            let id = root.unwrap_or_default();
            super::asked(control, async |client| Ok(output.report(&client.state(&id).await?, reset_text)))
        }
    }
}

fn open(dir: &Path) -> Result<Store, String> {
    if !dir.is_dir() {
        return Err(format!("{} is no state folder", dir.display()));
    }
    Store::open_waiting(dir, Instant::now() + WAIT).map_err(|error| {
        let refusal = error.refusal();
        format!("{}; hint: {}", refusal.found, refusal.hint)
    })
}

fn show_text(value: &Value) -> String {
    let number = |value: &Value, name: &str| value.get(name).map_or("-".to_owned(), ToString::to_string);
    let mut floors = vec![["repository", "role", "version", "root keys"].map(str::to_owned).to_vec()];
    for repository in list(value, "repositories") {
        for floor in list(repository, "floors") {
            let keys: Vec<_> =
                list(floor, "root_keys").iter().filter_map(Value::as_str).map(|key| key.chars().take(12).collect::<String>()).collect();
            let version = number(floor, "version");
            floors.push(vec![text(repository, "name").to_owned(), text(floor, "role").to_owned(), version, keys.join(",")]);
        }
    }
    let mut contacts = vec![["source", "repository", "last good contact"].map(str::to_owned).to_vec()];
    contacts
        .extend(list(value, "contacts").iter().map(|one| ["source", "repository", "at"].map(|name| text(one, name).to_owned()).to_vec()));
    let admitted = list(value, "admitted").len();
    format!("{}\n\n{}\n\n{admitted} admitted digests (see --json)", table(&floors), table(&contacts))
}

fn reset_text(value: &Value) -> String {
    let mut lines = Vec::new();
    for repository in list(value, "forgotten") {
        let floors: Vec<_> = list(repository, "floors")
            .iter()
            .map(|floor| format!("{} {}", text(floor, "role"), floor.get("version").map_or(String::new(), ToString::to_string)))
            .collect();
        lines.push(format!("forgotten: {}: {}", text(repository, "name"), floors.join(", ")));
    }
    if lines.is_empty() {
        lines.push("nothing was seen under this root".to_owned());
    }
    lines.join("\n")
}

//! `rootpin state show` and `rootpin state reset`: through the daemon, which holds the state while
//! it runs, or on a state folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::consent::{agreed, is_anybody_there, nobody_to_ask};
use super::output::{Output, counted, list, shell_word, table, text};
use crate::control::DaemonClient;
use crate::control::wire::StateRequest;
use crate::policy_dir::{Owner, PolicyDir, replace_file};
use crate::problem::Problem;
use crate::state::{self, StateError, StateMark, Store};
use rootpin_trust::Floor;
use rootpin_trust::image::Repository;

/// How long to wait for another process that has the state open.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show floors, last good contacts and admitted digests
    #[command(
        after_help = "examples:\n  rootpin state show\n  rootpin state show --state ./state --json"
    )]
    Show {
        /// A state folder that no daemon has open
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Forget what was seen under a root of the policy, and print it: the next answer of its server
    /// is believed as the first
    #[command(
        after_help = "examples:\n  rootpin state reset --root acme --dry-run\n  rootpin state reset --root acme\n  \
        rootpin state reset --contacts   (after a clock that ran ahead was set right)\n  \
        rootpin state reset --unreadable --state /var/lib/rootpin   (with the daemon stopped)"
    )]
    Reset {
        /// The root's id in the policy
        #[arg(long, value_name = "ID", required_unless_present_any = ["repository", "unreadable", "contacts"], conflicts_with_all = ["repository", "unreadable", "contacts"])]
        root: Option<String>,
        /// Forget one repository of a Notary server, under whichever root; --state is then the folder
        /// `notary` of a publisher's working folder
        #[arg(long, value_name = "NAME", requires = "state", value_parser = Repository::from_full, conflicts_with_all = ["unreadable", "contacts"])]
        repository: Option<Repository>,
        /// Forget only times that lie ahead of the clock: last good contacts, and when versions
        /// were first seen. Floors stay
        #[arg(long, conflicts_with = "unreadable")]
        contacts: bool,
        /// A state folder that no daemon has open
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// The policy that knows the root, with --state
        #[arg(long, value_name = "DIR", default_value = crate::config::DEFAULT_POLICY)]
        policy: PathBuf,
        /// Set a damaged state aside, and begin with nothing seen
        #[arg(long, requires = "state", conflicts_with = "dry_run")]
        unreadable: bool,
        /// Show what would be forgotten, and forget nothing
        #[arg(long)]
        dry_run: bool,
        /// Don't ask; needed without a terminal, and with --json
        #[arg(long)]
        yes: bool,
    },
    /// Write down, beside the configuration, that this state is the one of this host: another one
    /// in its place is then a loss
    #[command(
        after_help = "examples:\n  rootpin state acknowledge   (once on a new host; changes nothing when it is run again)\n  \
        rootpin state acknowledge --lost   (the state that was known is gone for good)"
    )]
    Acknowledge {
        /// Also where another state was acknowledged on this host, whose floors are lost
        #[arg(long)]
        lost: bool,
    },
}

/// The subject of a reset.
struct Reset {
    root: String,
    repository: Option<Repository>,
    contacts: bool,
    /// The state folder, and the policy that knows the root; none: the daemon has them.
    here: Option<(PathBuf, PathBuf)>,
}

pub(super) fn run(control: &Path, verb: Verb, output: Output) -> Result<u8, Problem> {
    match verb {
        Verb::Show { state: Some(dir) } => {
            let overview = open(&dir)?.show().map_err(|error| failed(&error))?;
            output.value(&state::overview_json(&overview), show_text);
            Ok(0)
        }
        Verb::Show { state: None } => super::asked(control, async |client| {
            Ok(output.report(&client.state(StateRequest::default()).await?, show_text))
        }),
        Verb::Reset {
            state: Some(dir),
            unreadable: true,
            yes,
            ..
        } => {
            is_folder(&dir)?;
            if !yes && !is_anybody_there(output) {
                let hint = "--yes sets the state aside without a question";
                return Ok(nobody_to_ask("state reset", hint, output));
            }
            let what = format!(
                "{}: all that this host has seen is forgotten",
                dir.display()
            );
            if !yes && !agreed(&forget(&what)) {
                output.value(&json!({ "version": 1 }), |_| NOTHING.to_owned());
                return Ok(1);
            }
            let aside = state::start_anew(&dir).map_err(|error| failed(&error))?;
            let aside = aside.map(|path| path.display().to_string());
            output.value(&json!({ "version": 1, "set_aside": aside }), |value| {
                format!(
                    "a new state; the old file is {}\nhint: start rootpind, then run: rootpin state acknowledge --lost",
                    text(value, "set_aside")
                )
            });
            Ok(0)
        }
        Verb::Reset {
            root,
            repository,
            contacts,
            state,
            policy,
            dry_run,
            yes,
            ..
        } => {
            let reset = Reset {
                root: root.unwrap_or_default(),
                repository,
                contacts,
                here: state.map(|state| (state, policy)),
            };
            let shown = if contacts { contacts_text } else { reset_text };
            if !dry_run && !yes {
                if !is_anybody_there(output) {
                    let hint = "--dry-run shows what would be forgotten, --yes forgets it";
                    return Ok(nobody_to_ask("state reset", hint, output));
                }
                let would = reset.run(control, true)?;
                if !agreed(&forget(&shown(&would))) {
                    output.value(&would, |_| NOTHING.to_owned());
                    return Ok(1);
                }
            }
            output.value(&reset.run(control, dry_run)?, |value| {
                with_dry_run(shown(value), value)
            });
            Ok(0)
        }
        Verb::Acknowledge { lost } => acknowledge(control, lost, output),
    }
}

impl Reset {
    fn run(&self, control: &Path, dry_run: bool) -> Result<Value, Problem> {
        let Some((dir, policy)) = &self.here else {
            return self.ask(control, dry_run);
        };
        let store = open(dir)?;
        if self.contacts {
            return state::forget_contacts(&store, jiff::Timestamp::now(), dry_run)
                .map_err(|error| failed(&error));
        }
        if let Some(repository) = &self.repository {
            return state::forget_repository(&store, repository, dry_run)
                .map_err(|error| failed(&error));
        }
        let (loaded, _) = PolicyDir::open(policy, Owner::RootOrCaller).load(jiff::Timestamp::now());
        let loaded = loaded.map_err(|errors| super::policy_fails(&errors, policy))?;
        let root = loaded.roots.get(&self.root).ok_or_else(|| {
            let shown = shell_word(&policy.to_string_lossy());
            Problem::hinted(
                format!("the policy has no root {:?}", self.root),
                format!("rootpin pin list --policy {shown}"),
            )
        })?;
        let owns = |floor: &Floor| root.forgets(floor, &loaded);
        state::forget_root(&store, &owns, dry_run).map_err(|error| failed(&error))
    }

    fn ask(&self, control: &Path, dry_run: bool) -> Result<Value, Problem> {
        let request = StateRequest {
            reset_root: self.root.clone(),
            reset_contacts: self.contacts,
            dry_run,
            ..StateRequest::default()
        };
        told(control, request)
    }
}

/// The daemon's answer.
fn told(control: &Path, request: StateRequest) -> Result<Value, Problem> {
    super::block_on(async {
        let report = DaemonClient::connect(control, super::TIMEOUT)
            .await?
            .state(request)
            .await?;
        serde_json::from_str(&report.json)
            .map_err(|error| format!("the daemon's answer is not understood: {error}").into())
    })
}

/// After a no.
const NOTHING: &str = "nothing is forgotten";

/// The question after what would be forgotten.
fn forget(what: &str) -> String {
    format!("{what}\nforget this?")
}

/// The daemon says which state it has; the mark is written here, because the daemon has no business
/// in the configuration's folder.
fn acknowledge(control: &Path, lost: bool, output: Output) -> Result<u8, Problem> {
    let found = told(
        control,
        StateRequest {
            identify: true,
            ..StateRequest::default()
        },
    )?;
    let (id, standing, mark) = (
        text(&found, "id"),
        text(&found, "standing"),
        text(&found, "mark"),
    );
    if standing == "acknowledged" && Path::new(mark).exists() {
        output.value(&found, |_| format!("acknowledged already: {mark}"));
        return Ok(0);
    }
    // Acknowledged without a mark is what an earlier rootpin left: it has an ID from now on.
    let known = matches!(standing, "new" | "acknowledged") || lost;
    if !known {
        output.refused(Problem::hinted(format!("{mark} names another state than the one that rootpind has: its floors are lost, or its volume is not mounted"), "restore it and \
             restart rootpind; if it is gone for good: rootpin state acknowledge --lost"));
        return Ok(1);
    }
    replace_file(Path::new(mark), StateMark::text(id).as_bytes())
        .map_err(|error| Problem::hinted(format!("{mark}: {error}"), "run as root"))?;
    output.value(&found, |value| {
        format!(
            "this host's state is {id}, begun at {}\nwritten: {mark}",
            text(value, "begun")
        )
    });
    Ok(0)
}

fn open(dir: &Path) -> Result<Store, Problem> {
    is_folder(dir)?;
    Store::open_waiting(dir, Instant::now() + WAIT).map_err(|error| failed(&error))
}

/// A name that is mistyped must not become a state.
fn is_folder(dir: &Path) -> Result<(), Problem> {
    if dir.is_dir() {
        return Ok(());
    }
    Err(Problem::hinted(
        format!("{} is no state folder", dir.display()),
        "name the one with state.redb in it, as --state /var/lib/rootpin",
    ))
}

fn failed(error: &StateError) -> Problem {
    let refusal = error.refusal();
    Problem::hinted(refusal.found, refusal.hint)
}

fn show_text(value: &Value) -> String {
    let number =
        |value: &Value, name: &str| value.get(name).map_or("-".to_owned(), ToString::to_string);
    let mut floors = vec![
        ["repository", "role", "version", "root keys"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for repository in list(value, "repositories") {
        for floor in list(repository, "floors") {
            let version = number(floor, "version");
            floors.push(vec![
                text(repository, "name").to_owned(),
                text(floor, "role").to_owned(),
                version,
                root_keys(value, floor),
            ]);
        }
    }
    let mut contacts = vec![
        ["source", "repository", "last good contact"]
            .map(str::to_owned)
            .to_vec(),
    ];
    contacts.extend(list(value, "contacts").iter().map(|one| {
        ["source", "repository", "at"]
            .map(|name| text(one, name).to_owned())
            .to_vec()
    }));
    let admitted = list(value, "admitted").len();
    format!(
        "{}\n\n{}\n\n{} (see --json)",
        table(&floors),
        table(&contacts),
        counted(admitted, "admitted digest")
    )
}

/// The beginnings of a floor's root keys; of very many, how many they are and the name of their set.
fn root_keys(value: &Value, floor: &Value) -> String {
    let beginning = |key: &str| key.chars().take(12).collect::<String>();
    if let Some(set) = floor.get("root_key_set").and_then(Value::as_str)
        && let Some(keys) = value.get("key_sets")
    {
        let name = beginning(set.trim_start_matches("sha256:"));
        return format!("{} (set {name})", counted(list(keys, set).len(), "key"));
    }
    let keys = list(floor, "root_keys").iter();
    let keys: Vec<_> = keys.filter_map(Value::as_str).map(beginning).collect();
    keys.join(",")
}

fn reset_text(value: &Value) -> String {
    let mut lines = Vec::new();
    for repository in list(value, "forgotten") {
        let floors: Vec<_> = list(repository, "floors")
            .iter()
            .map(|floor| {
                format!(
                    "{} {}",
                    text(floor, "role"),
                    floor
                        .get("version")
                        .map_or(String::new(), ToString::to_string)
                )
            })
            .collect();
        lines.push(format!(
            "forgotten: {}: {}",
            text(repository, "name"),
            floors.join(", ")
        ));
    }
    if lines.is_empty() {
        lines.push("nothing was seen under this root".to_owned());
    }
    lines.join("\n")
}

fn contacts_text(value: &Value) -> String {
    let contact = |one: &Value| {
        format!(
            "forgotten: the contact with {} about {} at {}",
            text(one, "source"),
            text(one, "repository"),
            text(one, "at")
        )
    };
    let seen = |one: &Value| {
        format!(
            "forgotten: that {} {} was first seen at {}",
            text(one, "repository"),
            text(one, "role"),
            text(one, "at")
        )
    };
    let mut lines: Vec<_> = list(value, "contacts")
        .iter()
        .map(contact)
        .chain(list(value, "first_seen").iter().map(seen))
        .collect();
    if lines.is_empty() {
        lines.push("no time in the state is ahead of the clock".to_owned());
    }
    lines.join("\n")
}

/// What is shown, and after a dry run that nothing is changed. The question has no such line,
/// because who is asked gave no `--dry-run`.
fn with_dry_run(shown: String, value: &Value) -> String {
    let is_dry = value.get("dry_run").and_then(Value::as_bool);
    if is_dry.unwrap_or_default() {
        format!("{shown}\nnothing is changed: --dry-run")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_that_nothing_is_changed_and_the_question_says_no_such_thing() {
        let would = json!({ "dry_run": true, "forgotten": [] });
        for what in [reset_text, contacts_text] {
            let shown = what(&would);
            assert!(!forget(&shown).contains("--dry-run"), "{shown}");
            assert!(with_dry_run(shown, &would).ends_with("\nnothing is changed: --dry-run"));
        }
        let done = json!({ "dry_run": false, "forgotten": [] });
        assert_eq!(with_dry_run(reset_text(&done), &done), reset_text(&done));
    }
}

//! `rootpin bundle`: metadata of a TUF repository in one file, for hosts without a network.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;

use super::output::{Output, counted, list, text, time, unreadable, unwritable};
use crate::control::wire::ImportRequest;
use crate::control::{DaemonClient, import_report};
use crate::decide::Decider;
use crate::evidence::ExportedBundle;
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;
use crate::sources::{Bundle, Credentials, Sources, write_bundle};
use crate::state::{StateError, Store};
use rootpin_policy::Pattern;
use rootpin_trust::image::ImageRef;

/// For all of a large repository, from slow places.
const DEADLINE: Duration = Duration::from_secs(600);
/// For another process that has the state open.
const WAIT: Duration = Duration::from_secs(10);
/// After which people want to know that something is being done.
const SILENCE: Duration = Duration::from_secs(1);
/// Of a bundle, at a time.
const PART: usize = 1 << 20;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Read a root's metadata from its places, verify it, and write it to one file
    #[command(
        after_help = "examples:\n  rootpin bundle export --root acme acme.bundle\n  \
        rootpin bundle export --root acme --match 'acme.example/team-a/**' a.bundle\n  \
        rootpin bundle export --root builder --name acme.example/app:v1 app.bundle\n\n\
        What the file holds is all that the root signed, or all that may name what --match means. It is a tar."
    )]
    Export(Export),
    /// Verify a bundle as if it came from one of the root's places, and keep what it says
    #[command(after_help = "examples:\n  rootpin bundle import acme.bundle\n  \
        rootpin bundle import --policy ./policy --state ./state acme.bundle\n\n\
        Afterwards names are judged by it as long as no place answers: until it expires, and for [limits] offline from when this host \
        first saw it. To import it again makes it no fresher.")]
    Import(Import),
}

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// The file to write
    file: PathBuf,
    /// The root's id in the policy
    #[arg(long, value_name = "ID")]
    root: String,
    /// Only the roles that may sign such names; of a root of type cosign or notation, only the
    /// signatures of such images
    #[arg(long = "match", value_name = "PATTERN", value_parser = prefix)]
    matching: Vec<String>,
    /// An image whose signatures are fetched: of a root of type cosign or notation
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<ImageRef>,
    /// The policy that knows the root
    #[arg(long, value_name = "DIR", default_value = crate::config::DEFAULT_POLICY)]
    policy: PathBuf,
    /// A state folder that no daemon has open: its floors bind, and its cache serves while no place
    /// answers
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Folder of a Docker config.json with credentials
    #[arg(long, value_name = "DIR")]
    docker_config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The bundle
    file: PathBuf,
    /// The root's id in the policy; else the bundle's root files say whose it is
    #[arg(long, value_name = "ID")]
    root: Option<String>,
    /// Import here, by the policy in this folder, without a daemon
    #[arg(long, value_name = "DIR", requires = "state")]
    policy: Option<PathBuf>,
    /// The folder of floors and cached metadata; made if it is new
    #[arg(long, value_name = "DIR", requires = "policy")]
    state: Option<PathBuf>,
}

pub(super) fn run(control: &Path, verb: Verb, output: Output) -> Result<u8, Problem> {
    match verb {
        Verb::Export(verb) => super::block_on(patiently(
            output,
            "reading and verifying the metadata",
            export(verb, output),
        )),
        Verb::Import(verb) => {
            // Before it is opened as one, for a file that is not there is no bad bundle.
            std::fs::metadata(&verb.file).map_err(|error| unreadable(&verb.file, &error))?;
            let bundle = Bundle::open(&verb.file).map_err(|error| {
                Problem::hinted(
                    error.to_string(),
                    "name a file that `rootpin bundle export` wrote",
                )
            })?;
            match (&verb.policy, &verb.state) {
                (Some(policy), Some(state)) => super::block_on(import_here(
                    bundle,
                    verb.root.clone(),
                    policy,
                    state,
                    output,
                )),
                _ => super::block_on(patiently(
                    output,
                    "importing the bundle",
                    import(control, verb, output),
                )),
            }
        }
    }
}

async fn export(verb: Export, output: Output) -> Result<u8, Problem> {
    // A state of its own for a moment: nothing seen before, and nothing kept.
    let fresh = tempfile::tempdir().map_err(|error| error.to_string())?;
    let passing = fresh.path().to_owned();
    let open: Opening = match verb.state.clone() {
        Some(state) => opening(state),
        None => Box::new(move || Store::passing(&passing)),
    };
    let credentials = verb
        .docker_config
        .clone()
        .map_or_else(Credentials::none, Credentials::in_folder);
    let decider = decider(&verb.policy, open, credentials).await?;
    let all = vec![String::new()];
    // Of named images nothing else is meant.
    let prefixes = if verb.matching.is_empty() && verb.names.is_empty() {
        &all
    } else {
        &verb.matching
    };
    let exported = match decider
        .export(&verb.root, (prefixes, &verb.names), Timestamp::now())
        .await
    {
        Ok(exported) => exported,
        Err(refusal) => {
            let (value, exit) = import_report(&Err(refusal));
            output.value(&value, refused_text);
            return Ok(exit);
        }
    };
    // An empty one could not be imported.
    if !exported.files.is_empty() {
        write_bundle(&verb.file, &exported.files)
            .map_err(|error| unwritable(&verb.file, &error))?;
    }
    output.value(
        &ExportedBundle::json(&exported, &verb.file.display().to_string()),
        export_text,
    );
    Ok(u8::from(!exported.failed.is_empty()))
}

async fn import_here(
    bundle: Bundle,
    root: Option<String>,
    policy: &Path,
    state: &Path,
    output: Output,
) -> Result<u8, Problem> {
    let decider = decider(policy, opening(state.to_owned()), Credentials::none()).await?;
    let (value, exit) = import_report(
        &decider
            .import(Arc::new(bundle), root, Timestamp::now())
            .await,
    );
    output.value(&value, import_text);
    Ok(exit)
}

async fn import(control: &Path, verb: Import, output: Output) -> Result<u8, Problem> {
    let mut client = DaemonClient::connect(control, DEADLINE).await?;
    let failed = |error: std::io::Error| unreadable(&verb.file, &error);
    let mut file = File::open(&verb.file).map_err(failed)?;
    let (mut root, mut shown) = (
        verb.root.unwrap_or_default(),
        verb.file.display().to_string(),
    );
    let (sender, parts) = tokio::sync::mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::new();
            file.by_ref()
                .take(u64::try_from(PART).unwrap_or_default())
                .read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(());
            }
            let part = ImportRequest {
                root: std::mem::take(&mut root),
                file: std::mem::take(&mut shown),
                chunk,
            };
            // The daemon has heard enough: it says why.
            if sender.blocking_send(part).is_err() {
                return Ok(());
            }
        }
    });
    let report = client.import(ReceiverStream::new(parts)).await;
    reading
        .await
        .map_err(|error| error.to_string())?
        .map_err(failed)?;
    Ok(output.report(&report?, import_text))
}

/// Opens a state. It may wait for one.
type Opening = Box<dyn FnOnce() -> Result<Store, StateError> + Send>;

fn opening(state: PathBuf) -> Opening {
    Box::new(move || Store::open_waiting(&state, Instant::now() + WAIT))
}

async fn decider(
    policy: &Path,
    open: Opening,
    credentials: Credentials,
) -> Result<Decider, Problem> {
    let loaded = policy_dir::load(
        &PolicyDir::open(policy, Owner::RootOrCaller),
        Timestamp::now(),
    );
    let loaded = loaded.map_err(|errors| super::policy_fails(&errors, policy))?;
    let store = tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| error.to_string())?;
    let store = store.map_err(|error| {
        Problem::hinted(error.refusal().found.clone(), error.refusal().hint.clone())
    })?;
    let sources = Arc::new(Sources::new(Arc::new(credentials)));
    Ok(Decider::new(
        Ok(Arc::new(loaded)),
        sources,
        Arc::new(store),
        DEADLINE,
        true,
    ))
}

/// Does something, and says so when it takes long.
async fn patiently<T>(output: Output, what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SILENCE) => output.progress(what),
    }
    work.await
}

/// What the paths of all names begin with that a pattern means.
fn prefix(text: &str) -> Result<String, Problem> {
    let pattern: Pattern = text.parse()?;
    let literal = pattern.literal_prefix();
    Ok(if pattern.is_exact() {
        format!("{literal}:")
    } else {
        literal.to_owned()
    })
}

fn count_of(value: &Value, name: &str) -> usize {
    let count = value.get(name).and_then(Value::as_u64).unwrap_or_default();
    count.try_into().unwrap_or(usize::MAX)
}

fn export_text(value: &Value) -> String {
    let root = text(value, "root");
    let mut lines = vec![if value["files"] == 0 {
        format!("wrote nothing: nothing of root {root} counts")
    } else {
        let files = counted(count_of(value, "files"), "file");
        let bytes = counted(count_of(value, "bytes"), "byte");
        format!(
            "wrote {}: {files}, {bytes} of root {root}",
            text(value, "file")
        )
    }];
    if value["versions"]
        .as_object()
        .is_some_and(|all| !all.is_empty())
    {
        lines.push(format!("  holds until {}", time(value, "expires")));
    }
    lines.extend(failed_lines(value, "not in it"));
    lines.join("\n")
}

fn import_text(value: &Value) -> String {
    if value.get("roots").is_none() {
        return refused_text(value);
    }
    let mut lines = Vec::new();
    for root in list(value, "roots") {
        let of_signatures = root["versions"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty);
        let version = root
            .pointer("/versions/timestamp")
            .map(Value::to_string)
            .unwrap_or_default();
        let files = counted(count_of(root, "new_files"), "new file");
        if of_signatures {
            lines.push(format!(
                "imported for root {}: signatures, {files}",
                text(root, "id")
            ));
        } else {
            lines.push(format!(
                "imported for root {}: timestamp {version}, {files}",
                text(root, "id")
            ));
            lines.push(format!(
                "  holds until {}; first seen {}",
                time(root, "expires"),
                time(root, "contact")
            ));
        }
        let absent = list(root, "absent").len();
        if absent > 0 {
            lines.push(format!(
                "  not in it: {}; names that only they sign are refused while no place answers",
                counted(absent, "role")
            ));
        }
        lines.extend(failed_lines(root, "does not hold"));
    }
    lines.join("\n")
}

fn failed_lines(value: &Value, what: &str) -> Vec<String> {
    // A bundle of signatures has no metadata, and so no versions.
    let versions = value["versions"].as_object();
    let is_of_signatures = versions.is_some_and(serde_json::Map::is_empty);
    let kind = if is_of_signatures { "image" } else { "role" };
    let line = |role: &Value| {
        format!(
            "  {kind} {} {what}: {}: {}",
            text(role, "role"),
            text(role, "code"),
            text(role, "found")
        )
    };
    list(value, "failed").iter().map(line).collect()
}

fn refused_text(value: &Value) -> String {
    let word = if text(value, "outcome") == "refused" {
        "refused"
    } else {
        "could not judge"
    };
    let line = |name: &str| text(value, name).to_owned();
    format!(
        "{word}: {}\n  found: {}\n  wanted: {}\nhint: {}",
        line("code"),
        line("found"),
        line("wanted"),
        line("hint")
    )
}

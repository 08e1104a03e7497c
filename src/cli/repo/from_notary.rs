//! Reads and verifies repositories of a Notary server, for `take-over` and `compare`.

mod contents;
mod pins;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contents::repository;
use jiff::Timestamp;
use pins::{Pins, Wanted};
use tokio::task::JoinSet;

use super::Here;
use super::progress::with_progress;
use crate::cli::output::{Output, counted, shell_word};
use crate::cli::pin::{fingerprint_source, scan};
use crate::evidence::{NotaryContents, Repositories};
use crate::problem::Problem;
use crate::publish::take_over::TakeOver;
use crate::publish::{Activity, Metadata, PublishError, Working};
use crate::sources::{NotaryServer, Sources};
use crate::state::Store;
use rootpin_trust::image::Repository;
use rootpin_trust::{Code, KeyId, Refusal, Subject};

/// For one repository.
const DEADLINE: Duration = Duration::from_secs(60);
/// For the list of all repositories.
const FEED_DEADLINE: Duration = Duration::from_secs(300);
/// Repositories that are read at the same time: a server is asked no faster than by a few hosts.
const AT_ONCE: usize = 8;
/// More repositories than that are taken over in several runs.
const MOST: usize = 20_000;
/// So many names that can be no repository's are listed, and so much of each.
const MOST_NAMED: usize = 20;
const MAX_SHOWN: usize = 80;
/// Where a working folder keeps the floors of Notary repositories.
const STATE: &str = "notary";

/// Which repositories, and by which pins.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Repositories, in full form
    #[arg(value_name = "GUN", required_unless_present = "all")]
    guns: Vec<String>,
    /// All of its own names that the server's feed of changes has
    #[arg(long, conflicts_with = "guns")]
    all: bool,
    /// Canonical ID or PEM file of a root key; else the policy's pins
    #[arg(long, value_name = "ID|FILE")]
    root_key: Vec<String>,
    /// Folder of the policy that pins their root keys; else /etc/rootpin
    #[arg(long, value_name = "DIR", conflicts_with = "root_key")]
    policy: Option<PathBuf>,
    /// A role whose tags count; else those that Docker reads: targets/releases, then targets
    #[arg(long, value_name = "ROLE", hide_short_help = true)]
    role: Vec<String>,
    /// PEM file of the certificates for the server's TLS, in place of the system's
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    tls_ca: Option<PathBuf>,
}

/// What was read.
#[derive(Debug)]
pub(super) struct ReadRepositories {
    pub(super) take_over: TakeOver,
    /// What did not verify, and why.
    pub(super) refused: BTreeMap<Repository, Refusal>,
    /// What `--all` found that has none of the root keys that were given, or none that the policy
    /// pins, and that never verified here: another publisher's, unless something of it is signed here.
    unpinned: BTreeMap<Repository, Refusal>,
    /// What is left behind of those that did.
    pub(super) notes: Vec<String>,
}

type ReadContents = (
    BTreeMap<Repository, NotaryContents>,
    BTreeMap<Repository, Refusal>,
);

impl ReadRepositories {
    /// The repositories that are other publishers': nothing of them is signed in this repository, and
    /// none of them verified here before. The rest of what nothing pins is refused; all of it where nothing is
    /// pinned at all, because then the pins are wrong.
    pub(super) fn other_publishers(&mut self, metadata: &Metadata) -> Vec<Repository> {
        let known = TakeOver::known(metadata);
        let unpinned = std::mem::take(&mut self.unpinned);
        let is_ours = |gun: &Repository| known.contains(gun.as_str());
        if self.take_over.repositories.is_empty() && !unpinned.keys().any(is_ours) {
            self.refused.extend(unpinned);
            return Vec::new();
        }
        let (ours, others) = unpinned.into_iter().partition(|(gun, _)| is_ours(gun));
        let others: BTreeMap<Repository, Refusal> = others;
        self.refused.extend::<BTreeMap<_, _>>(ours);
        others.into_keys().collect()
    }
}

/// The server that `--from notary URL` names.
pub(super) fn server_of(words: &[String]) -> Result<&str, PublishError> {
    match words {
        [kind, url] if kind == "notary" => Ok(url.trim_end_matches('/')),
        _ => Err(PublishError::wrong(
            format!("{:?} is no source that is known", words.join(" ")),
            "wanted: notary URL, as notary https://notary.example",
        )),
    }
}

/// Reads all that was selected.
pub(super) async fn read(
    here: &Here,
    working: &Working,
    url: &str,
    selection: &Selection,
    output: Output,
) -> Result<ReadRepositories, PublishError> {
    let sources = Arc::new(Sources::new(Arc::clone(&here.credentials)));
    let pins = Pins::of(selection)?;
    let tls_ca = match &selection.tls_ca {
        Some(path) => Some(pins::file(path)?),
        None => pins.tls_ca(url),
    };
    let server = sources.notary_at(url, tls_ca.as_deref()).map_err(|error| {
        let wanted = "wanted https://HOST of the server, or http:// of a loopback address";
        PublishError::wrong(error.refusal().found, wanted)
    })?;
    let activity = Activity::default();
    activity.set(format!("asking {url} which repositories it has"));
    let mut notes = Vec::new();
    let asking = guns(&server, working, selection, &mut notes);
    let guns = with_progress(output, &activity, asking).await?;
    let (mut wanted, mut unpinned) = (Vec::new(), BTreeMap::new());
    for gun in guns {
        match pins.wanted(gun.clone(), url, &selection.role) {
            Ok(one) => wanted.push(one),
            Err(refusal) => drop(unpinned.insert(gun, refusal)),
        }
    }
    let state = here.repo.join(STATE);
    let store = Store::open_waiting(&state, Instant::now() + DEADLINE)
        .map_err(|error| refused(&error.refusal()))?;
    let store = Arc::new(store);
    let repositories = Repositories::new(Arc::clone(&sources), Arc::clone(&store), true);
    let reading = read_all(Arc::new(repositories), server, wanted, &activity);
    let (contents, mut refused) = with_progress(output, &activity, reading).await?;
    if let Some(given) = pins.given() {
        explain_certificate_ids(&sources, (url, tls_ca), given, &mut refused).await;
    }
    if pins.given().is_some() {
        let is_unpinned = |(_, refusal): &(Repository, Refusal)| refusal.unpinned_root;
        let (none, rest): (Vec<_>, Vec<_>) = refused.into_iter().partition(is_unpinned);
        unpinned.extend(none);
        refused = rest.into_iter().collect();
    }
    // What has a floor verified here before, so that it is nobody else's.
    let is_seen = |gun: &Repository| {
        let history = store.history(&Subject::Gun(gun.clone()));
        history.map_or(true, |floors| !floors.is_empty())
    };
    let (seen, rest): (Vec<_>, Vec<_>) = unpinned.into_iter().partition(|(gun, _)| is_seen(gun));
    refused.extend(seen);
    unpinned = rest.into_iter().collect();
    for (gun, refusal) in refused.iter_mut().chain(&mut unpinned) {
        refusal.hint = publishers_hint(gun, refusal, &pins, &state);
    }
    if !selection.all {
        refused.extend(std::mem::take(&mut unpinned));
    }
    let repositories = contents
        .into_iter()
        .map(|(gun, contents)| repository(gun, &contents, &mut notes))
        .collect();
    Ok(ReadRepositories {
        take_over: TakeOver {
            server: url.to_owned(),
            repositories,
            again: BTreeSet::new(),
        },
        refused,
        unpinned,
        notes,
    })
}

/// The hint for those who take over: their pins are words of the command, and the floors are in the
/// working folder.
fn publishers_hint(gun: &Repository, refusal: &Refusal, pins: &Pins, state: &Path) -> String {
    let hint = &refusal.hint;
    let state = shell_word(&state.to_string_lossy());
    match refusal.code {
        Code::NoStatement => "see its spelling at the server, or leave it out".to_owned(),
        Code::RoleMissing => {
            "have the publisher delegate to the role, or leave out --role".to_owned()
        }
        Code::RootNotPinned if pins.given().is_some() && hint.contains("add it to the policy") => {
            "if the root key was changed, get the new key's ID from the publisher by another way than this server, and give it too: --root-key ID"
                .to_owned()
        }
        _ => hint
            .replace(
                "rootpin state reset --root ID",
                &format!("rootpin state reset --repository {gun} --state {state}"),
            )
            .replace(
                "rootpin state reset --contacts",
                &format!("rootpin state reset --contacts --state {state}"),
            ),
    }
}

/// A refusal that ends the verb.
fn refused(refusal: &Refusal) -> PublishError {
    PublishError::Wrong(Problem::hinted(refusal.found.clone(), refusal.hint.clone()))
}

/// Says what was named by `--root-key`, where it is the ID of the certificate that a server shows:
/// `docker trust inspect` prints that one as Root Key. One repository is asked; nothing of the
/// answer is believed.
async fn explain_certificate_ids(
    sources: &Sources,
    (url, tls_ca): (&str, Option<Vec<u8>>),
    given: &BTreeSet<KeyId>,
    refused: &mut BTreeMap<Repository, Refusal>,
) {
    let mut unpinned = refused.iter_mut();
    let first = unpinned.find(|(_, refusal)| refusal.code == Code::RootNotPinned);
    let Some((gun, refusal)) = first else { return };
    let Ok(target) = scan::at_server(gun.as_str(), url.to_owned(), tls_ca) else {
        return;
    };
    let Ok(seen) = scan::ask(sources, &target, 1).await else {
        return;
    };
    let mut keys = seen.files.iter().flat_map(|(file, _)| &file.keys);
    let id = keys.find_map(|key| {
        let mut given = given.iter();
        given.find(|id| id.to_string() == key.scoped_id() && **id != key.id())
    });
    if let Some(id) = id {
        refusal.found = fingerprint_source::certificate_id(id);
        fingerprint_source::CERTIFICATE_ID.clone_into(&mut refusal.hint);
    }
}

/// The names of the repositories; each must be this repository's own.
async fn guns(
    server: &NotaryServer,
    working: &Working,
    selection: &Selection,
    notes: &mut Vec<String>,
) -> Result<BTreeSet<Repository>, PublishError> {
    if selection.all {
        let deadline = Instant::now() + FEED_DEADLINE;
        let all = server.repositories(MOST, deadline.into()).await;
        let listed = all.map_err(|error| {
            PublishError::wrong(
                error.to_string(),
                "the server must show you its feed of changes (registry:catalog:*); or name the repositories one by one",
            )
        })?;
        let mut all = listed.repositories;
        all.retain(|gun| working.settings.owns(gun));
        notes.extend(not_taken(&listed.no_names));
        if all.is_empty() {
            return Err(PublishError::wrong(
                format!("{} has none of this repository's names", server.url()),
                "names in repository.toml lists them",
            ));
        }
        return Ok(all);
    }
    let gun = |text: &String| {
        let gun = Repository::from_full(text).map_err(|error| {
            PublishError::wrong(
                error.to_string(),
                "wanted a repository in full form: docker.io/acme/app",
            )
        })?;
        if working.settings.owns(&gun) {
            return Ok(gun);
        }
        Err(PublishError::wrong(
            format!("{gun} is none of this repository's names"),
            format!("add it to names in repository.toml, as \"{gun}\""),
        ))
    };
    selection.guns.iter().map(gun).collect()
}

/// Says which names of a server can be no repository of images.
fn not_taken(names: &BTreeSet<String>) -> Vec<String> {
    let cut = |name: &String| name.chars().take(MAX_SHOWN).collect::<String>();
    let note = |name: &String| {
        let name = cut(name);
        format!("the server has {name:?}, which can be no repository of images")
    };
    let more = names.len().saturating_sub(MOST_NAMED);
    let more = (more > 0).then(|| format!("the server has {more} more such names"));
    names
        .iter()
        .take(MOST_NAMED)
        .map(note)
        .chain(more)
        .collect()
}

/// Verifies them, a few at a time.
async fn read_all(
    repositories: Arc<Repositories>,
    server: Arc<NotaryServer>,
    wanted: Vec<Wanted>,
    activity: &Activity,
) -> Result<ReadContents, PublishError> {
    let (mut read, mut refused) = (BTreeMap::new(), BTreeMap::new());
    let all = wanted.len();
    let mut left = wanted.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(one) = left.next()
        {
            let (repositories, server) = (Arc::clone(&repositories), Arc::clone(&server));
            under_way.spawn(async move {
                let (now, deadline) = (Timestamp::now(), Instant::now() + DEADLINE);
                let asked = (&one.pins, one.roles.as_slice());
                let contents = repositories
                    .notary_contents(&server, &one.gun, asked, now, deadline)
                    .await;
                (one.gun, contents)
            });
        }
        let done = read.len() + refused.len();
        activity.set(format!(
            "verified {done} of {}",
            counted(all, "Notary repository")
        ));
        let Some(ended) = under_way.join_next().await else {
            return Ok((read, refused));
        };
        let (gun, contents) =
            ended.map_err(|error| PublishError::State(error.to_string().into()))?;
        match contents {
            Ok(contents) => drop(read.insert(gun, contents)),
            Err(refusal) => drop(refused.insert(gun, refusal)),
        }
    }
}

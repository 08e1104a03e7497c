//! `rootpin import`: proposes a policy that says what Docker's, Notary's and other tools'
//! configurations on this host say.

mod confirm;
mod report;
mod source;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::failure::Failure;
use super::given_fingerprint::GivenFingerprint;
use super::new_folder;
use super::output::{Output, unwritable};
use super::pin::{Asking, broken, scan};
use crate::operate::import::{
    ImportedRoot, LeftBehind, Proposal, ServerChoice, add_registries, files,
};
use crate::plain_text::policy_check;
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::sources::Sources;
use confirm::confirm;
use rootpin_policy::Policy;
use rootpin_trust::PublicKey;

pub(super) const EXAMPLES: &str = "examples:\n  \
    rootpin import --out proposal --fingerprint 30ff0720…   (all that this host has)\n  \
    rootpin import --from docker-trust-dir ~/.docker/trust \\\n    \
        --server https://notary.example --out proposal\n\n\
    exit codes: 0 proposed, 1 some keys wait for their fingerprints, or the proposal allows no name, 2 something could not be read, or is refused by its own program, 64 wrong usage";

pub(super) const LONG: &str = "Propose a policy that says what other tools' configurations on this host say. Nothing in force changes.\n\n\
    A trust directory has what this host saw first, which proves nothing: each root key in it needs the fingerprint that its publisher gives \
    by another way (--fingerprint, or typed at the terminal). If the publisher changed the key, and the fingerprint is that of the one that the server shows now, that one is pinned. Until then its root is left out of the proposal, and its names stay refused. \
    What can't be carried over is listed line by line.";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tool or format that PATH is of
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    from: source::SourceFormat,
    /// Its file or folder; else where its tool has it
    #[arg(value_name = "FILE|DIR")]
    path: Option<PathBuf>,
    /// The new folder of the proposal
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The publisher's fingerprint of a root key
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Vec<GivenFingerprint>,
    /// The Notary server of all repositories; else as Docker's client chooses it
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Where policy.json says matchRepository, take signatures that name no tag too: then tags can be moved, and signatures for other repositories count
    #[arg(long)]
    tags_unbound: bool,
    /// Don't ask the servers what they show now
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    asking: Asking,
}

/// What the servers show now of one root: by repository, the keys, or why there are none.
type Shown = BTreeMap<String, Result<Vec<PublicKey>, String>>;

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    let out = &arguments.out;
    new_folder::check(out)?;
    let tls_ca = arguments.asking.tls_ca()?;
    // As Docker's client takes it.
    let environment = || std::env::var("DOCKER_CONTENT_TRUST_SERVER").ok();
    let server = arguments.server.clone().or_else(environment);
    let server = server.filter(|server| !server.is_empty());
    let source::Sources {
        proposals: sources,
        registries,
    } = source::read(
        arguments.from,
        arguments.path.as_deref(),
        &source::Options {
            servers: ServerChoice { server, tls_ca },
            tags_unbound: arguments.tags_unbound,
        },
    )?;
    let mut proposal = Proposal::default();
    // Where one source enforces, the proposal does.
    let (lets_pass, mut enforces) = (
        sources.iter().any(|(_, source)| source.audit),
        sources
            .iter()
            .any(|(_, source)| !source.audit && !source.rules.is_empty()),
    );
    let several = sources.len() > 1;
    for (file, source) in sources {
        if several && source.refuses_rest {
            proposal.left_behind.push(LeftBehind {
                file: file.clone(),
                what: "default: reject".to_owned(),
                why: "it refuses what no source names, and no name that another source admits"
                    .to_owned(),
            });
        }
        proposal.merge(source, &file);
    }
    let (mut proposal, blocks) = add_registries(proposal, &registries).map_err(Failure::Unknown)?;
    enforces |= blocks;
    proposal.audit = lets_pass && !enforces;
    if lets_pass && enforces {
        proposal.left_behind.push(LeftBehind {
            file: "the sources".to_owned(),
            what: "a mode that lets pass what fails".to_owned(),
            why: "another source enforces, and so does the proposal; write mode = \"audit\" to try it first".to_owned(),
        });
    }
    let shown = if arguments.offline {
        Vec::new()
    } else {
        shown_now(&proposal, arguments)?
    };
    let has_roots = !proposal.roots.is_empty() || !proposal.signed_roots.is_empty();
    if !output.json && has_roots {
        output.value(&report::found(&proposal, &shown), report::found_text);
    }
    let confirmed = confirm(&mut proposal, &shown, &arguments.fingerprint)?;
    let files = files(&proposal);
    let loaded = loaded(out, &files)?;
    // A policy has no secrets.
    new_folder::write(out, &files, 0o755)
        .map_err(|error| Failure::Unknown(unwritable(out, &error)))?;
    let waiting = proposal.used_roots().any(|(_, root)| !root.is_confirmed());
    let next = policy_check(out);
    let allowing = loaded.rules.iter().filter(|rule| !rule.roots.is_empty());
    let allowing = allowing.count();
    let mut report = report::proposed(&proposal, &shown, &confirmed, &files, (out, &next));
    if let Some(report) = report.as_object_mut() {
        report.insert("allowing_rules".to_owned(), allowing.into());
    }
    output.value(&report, report::proposed_text);
    let code = u8::from(waiting || allowing == 0);
    Ok(if proposal.unread { 2 } else { code })
}

/// The proposal as `policy check` loads it, from files beside its folder.
fn loaded(out: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<Policy, Failure> {
    let unwritten = |error: &io::Error| Failure::Unknown(unwritable(out, error));
    let beside = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let trial = tempfile::Builder::new()
        .prefix(".rootpin-import-")
        .tempdir_in(beside.unwrap_or(Path::new(".")))
        .map_err(|error| unwritten(&error))?;
    let folder = trial.path().join("policy");
    new_folder::write(&folder, files, 0o755).map_err(|error| unwritten(&error))?;
    let read = PolicyDir::open(&folder, Owner::RootOrCaller);
    policy_dir::load(&read, Timestamp::now()).map_err(|findings| {
        Failure::Unknown(broken(
            "the proposal would not load",
            &findings,
            "mend what it names in the source, have the source name less, or give --server; nothing is written",
        ))
    })
}

/// Asks the servers of exact names. Nothing of it is believed.
fn shown_now(proposal: &Proposal, arguments: &Arguments) -> Result<Vec<Shown>, Failure> {
    let sources = Sources::new(Arc::new(arguments.asking.credentials()));
    super::block_on(async {
        let mut all = Vec::new();
        for (index, root) in proposal.roots.iter().enumerate() {
            let mut shown = Shown::new();
            let names = proposal.patterns_of(index);
            for name in names.filter(|name| !name.contains('*')).take(MOST_ASKED) {
                shown.insert(name.to_owned(), ask(&sources, root, name).await);
            }
            all.push(shown);
        }
        Ok(all)
    })
    .map_err(Failure::Unknown)
}

/// Of one root, so many repositories are looked at: they have the same keys.
const MOST_ASKED: usize = 50;

async fn ask(sources: &Sources, root: &ImportedRoot, name: &str) -> Result<Vec<PublicKey>, String> {
    let target = scan::at_server(name, root.server.clone(), root.tls_ca.clone());
    let target = target.map_err(|_| "it is no name that a server can be asked for".to_owned())?;
    let seen = scan::ask(sources, &target, 1).await;
    let seen = seen.map_err(|refusal| refusal.found)?;
    let newest = seen.files.last();
    Ok(newest.map_or_else(Vec::new, |(file, _)| file.keys.clone()))
}

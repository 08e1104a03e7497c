//! `rootpin pin`: the keys that a policy pins, seen, compared with what sources show, and changed
//! by command.

mod add;
mod change;
mod diff;
pub(super) mod fingerprint_source;
mod list;
pub(super) mod material;
mod remove;
pub(super) mod scan;
mod scan_signatures;
mod shown;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::failure::Failure;
use super::output::Output;
use crate::config::DEFAULT_POLICY;
use crate::plain_text::policy_check;
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;
use crate::sources::Credentials;
use rootpin_policy::{self, Policy};
use rootpin_trust::Refusal;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show the root keys that a server presents now; nothing is changed, and nothing of it is
    /// verified
    #[command(
        long_about = "Show the root keys that a server presents now: canonical IDs, fingerprints, certificates, versions, expiry.\n\n\
            Nothing is changed, and no decision ever rests on a scan: whoever answers in the server's place can show any key. Compare a \
            fingerprint with the one that the publisher tells you by another way, and pin it by: rootpin pin add ID --scan NAME",
        after_help = scan::EXAMPLES
    )]
    Scan(scan::Arguments),
    /// Pin a key or a root file whose fingerprint the publisher gave you
    #[command(
        long_about = "Pin a key or a root file whose fingerprint the publisher gave you.\n\n\
            The key comes from a file, a trust directory or a scan; the fingerprint comes from a person, typed, piped or asked for at the \
            terminal, and never from where the key came from. It is accepted in each form that `pin scan` shows: the canonical key ID, \
            SHA256:… of the public key, the same in hex, or the sha256 of a TUF root file. Every key that is to be pinned needs one.\n\n\
            If the policy has the root already, keys are added to it; else it is written with the rules that --match gives. Only these \
            lines of the policy change, and only if the whole policy loads with them. The old text is kept as policy.toml.bak.",
        after_help = add::EXAMPLES,
        after_long_help = add::MORE_EXAMPLES
    )]
    Add(Box<add::Arguments>),
    /// List the pinned roots and their keys
    #[command(
        after_help = "examples:\n  rootpin pin list\n  rootpin pin list --policy ./policy --json"
    )]
    List(InPolicy),
    /// Compare what each source serves now with what is pinned
    #[command(
        long_about = "Compare what each source serves now with what is pinned. One answer for each source:\n  \
            known    every key of its root role is pinned\n  \
            new      there are others, and pinned keys have signed for them: a rotation; check the new keys with the publisher\n  \
            changed  there are others, and nothing that is pinned speaks for them: an attack, or a repository begun anew\n  \
            revoked  its root role lists a key that the policy revokes\n\n\
            Ends with 0 if all are known, 1 if one is not, 2 if a source could not be asked and no other is new, changed or revoked. A rule \
            for a pattern is asked for the names that are given; without names, only rules for exact names and TUF roots are.",
        after_help = diff::EXAMPLES
    )]
    Diff(diff::Arguments),
    /// Take a root, or one of its keys, out of the policy
    #[command(after_help = remove::REMOVE_EXAMPLES)]
    Remove(remove::RemovePin),
    /// Refuse a key, or bytes, whatever else says yes
    #[command(after_help = remove::REVOKE_EXAMPLES)]
    Revoke(remove::RevokePin),
}

/// Where the policy is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct InPolicy {
    /// The folder of policy.toml
    #[arg(long, value_name = "DIR", default_value = DEFAULT_POLICY)]
    policy: PathBuf,
}

/// How the policy is changed.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Changing {
    #[command(flatten)]
    dir: InPolicy,
    /// Write new entries to this file of policy.d, made if it is new
    #[arg(long, value_name = "FILE")]
    fragment: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// How a source is asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asking {
    /// PEM file of the certificates for TLS, in place of the system's
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    tls_ca: Option<PathBuf>,
    /// Folder of a Docker config.json with credentials
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    docker_config: Option<PathBuf>,
    /// Folder of hosts.toml files, by which registries are reached
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    hosts_dir: Option<PathBuf>,
}

/// `scan` has room in its help for the option by which registries are reached; `add`, which shares
/// it, has none.
pub(super) fn with_hosts(pin: clap::Command) -> clap::Command {
    pin.mut_subcommand("scan", |scan| {
        scan.mut_arg("hosts_dir", |option| option.hide_short_help(false))
    })
}

pub(super) fn run(verb: Verb, output: Output) -> u8 {
    let result = match verb {
        Verb::Scan(arguments) => super::block_on(async { Ok(scan::run(arguments, output).await) })
            .map_err(Failure::Unknown)
            .flatten(),
        Verb::Add(arguments) => add::run(&arguments, output),
        Verb::List(arguments) => list::run(&arguments, output),
        Verb::Diff(arguments) => super::block_on(async { Ok(diff::run(arguments, output).await) })
            .map_err(Failure::Unknown)
            .flatten(),
        Verb::Remove(arguments) => remove::remove(&arguments, output),
        Verb::Revoke(arguments) => remove::revoke(&arguments, output),
    };
    result.unwrap_or_else(|failure| failure.exit(output))
}

impl Asking {
    pub(super) fn credentials(&self) -> Credentials {
        self.docker_config
            .clone()
            .map_or_else(Credentials::none, Credentials::in_folder)
            .with_hosts(self.hosts_dir.clone())
    }

    pub(super) fn tls_ca(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.tls_ca.as_deref().map(material::file).transpose()
    }
}

/// The policy of that folder.
fn load(dir: &Path) -> Result<Policy, Failure> {
    let loaded = policy_dir::load(&PolicyDir::open(dir, Owner::RootOrCaller), Timestamp::now());
    loaded.map_err(|findings| {
        Failure::Unknown(broken(
            "the policy does not load",
            &findings,
            &policy_check(dir),
        ))
    })
}

/// The mistakes of a policy, in one line.
pub(super) fn broken(what: &str, findings: &[impl Display], hint: &str) -> Problem {
    let first = findings
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let more = if findings.len() > 1 {
        format!(", and {} more", findings.len() - 1)
    } else {
        String::new()
    };
    Problem::hinted(
        format!("{what}: {}{more}", first.lines().next().unwrap_or_default()),
        hint.to_string(),
    )
}

/// A refusal of a source or of a file, which could not be judged.
fn unknown(refusal: &Refusal) -> Failure {
    Failure::Unknown(Problem::hinted(refusal.found.clone(), refusal.hint.clone()))
}

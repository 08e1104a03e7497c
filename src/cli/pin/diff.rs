//! `rootpin pin diff`: what each source serves now against what is pinned.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::scan::{self, ScanTarget, ScannedRoots, Source};
use super::{Failure, InPolicy, load, shown};
use crate::cli::output::Output;
use crate::problem::Problem;
use crate::sources::{Credentials, Sources};
use rootpin_policy::{MetadataUrl, Policy, Root, RootKind};
use rootpin_trust::tuf::PinnedRoot;
use rootpin_trust::{Code, KeyId, Refusal, RootFile};

pub(super) const EXAMPLES: &str = "examples:\n  rootpin pin diff --policy ./policy\n  \
    rootpin pin diff docker.io/library/alpine:3.20 --json";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Names to ask for, where a rule is for a pattern of names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Folder of a Docker config.json with credentials
    #[arg(long, value_name = "DIR")]
    docker_config: Option<PathBuf>,
    /// Folder of containerd's hosts.toml files, by which registries are reached
    #[arg(long, value_name = "DIR")]
    hosts_dir: Option<PathBuf>,
    #[command(flatten)]
    policy: InPolicy,
}

/// How what a source serves stands to what is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PinAnswer {
    Known,
    New,
    Changed,
    Revoked,
    /// It could not be asked.
    Unknown,
}

/// Roots, each with a source of its.
type Targets<'a> = Vec<(&'a Root, ScanTarget)>;

/// One source's answer.
struct Compared {
    answer: PinAnswer,
    why: String,
    newest: Option<RootFile>,
    unpinned: BTreeSet<KeyId>,
}

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<u8, Failure> {
    let policy = load(&arguments.policy.policy)?;
    let sources = Sources::new(Arc::new(
        arguments
            .docker_config
            .map_or_else(Credentials::none, Credentials::in_folder)
            .with_hosts(arguments.hosts_dir),
    ));
    let (targets, left_out) = targets(&policy, &arguments.names)?;
    let (mut answers, mut results, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for (root, target) in &targets {
        let compared = compare(&sources, &policy, root, target).await;
        texts.push(format!(
            "{:<8} {}\n         {}",
            compared.answer.as_str(),
            target.title(),
            compared.why
        ));
        answers.push(compared.answer);
        results.push(compared.json(target));
    }
    if answers.contains(&PinAnswer::New) {
        texts.push(NEW.to_owned());
    }
    for pattern in &left_out {
        let problem = Problem::hinted(
            format!("not asked: the rule {pattern} is for many names"),
            "name some: rootpin pin diff NAME",
        );
        texts.push(problem.to_string());
    }
    let value = json!({ "version": 1, "results": results, "not_asked": left_out });
    output.value(&value, |_| {
        if texts.is_empty() {
            "nothing is pinned that has a source".to_owned()
        } else {
            texts.join("\n")
        }
    });
    Ok(exit(&answers))
}

/// Whether it is the publisher's own rotation no source can say.
const NEW: &str = "hint: have the publisher tell you the fingerprints of the new keys by another way, and compare them with what `rootpin pin scan` shows";

/// 0 all known, 1 one is not, 2 one could not be asked.
fn exit(answers: &[PinAnswer]) -> u8 {
    let found = |wanted: &[PinAnswer]| answers.iter().any(|answer| wanted.contains(answer));
    match (
        found(&[PinAnswer::New, PinAnswer::Changed, PinAnswer::Revoked]),
        found(&[PinAnswer::Unknown]),
    ) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 0,
    }
}

/// Every source of every root once, for the names that are given or that rules name in full; and
/// the patterns that are left out.
fn targets<'a>(
    policy: &'a Policy,
    names: &[String],
) -> Result<(Targets<'a>, Vec<String>), Failure> {
    let (mut targets, mut seen, mut left_out) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut add = |root: &'a Root, found: Vec<ScanTarget>| {
        for target in found {
            if seen.insert(target.title()) {
                targets.push((root, target));
            }
        }
    };
    for name in names {
        let repository = scan::repository(name)?;
        let rule = policy.rule_for(&repository).ok_or_else(|| {
            Failure::Unknown(Problem::hinted(
                format!("no rule covers {repository}"),
                "rootpin pin list shows the rules that there are",
            ))
        })?;
        rule.roots
            .iter()
            .for_each(|root| add(root, scan::of_root(root, Some(rule), &repository)));
    }
    for rule in policy.rules.iter().filter(|_| names.is_empty()) {
        let exact = scan::repository(rule.pattern.as_str())
            .ok()
            .filter(|_| rule.pattern.is_exact());
        for root in &rule.roots {
            match (&exact, &root.kind) {
                (Some(repository), _) => add(root, scan::of_root(root, Some(rule), repository)),
                (None, RootKind::Tuf(tuf)) => {
                    let target = |url: &MetadataUrl| ScanTarget {
                        root: Some(root.id.clone()),
                        source: Source::Tuf(url.clone()),
                        tls_ca: tuf.tls_ca.clone(),
                    };
                    add(root, tuf.metadata.iter().map(target).collect());
                }
                (None, RootKind::Notary(_))
                    if left_out.iter().any(|known| known == rule.pattern.as_str()) => {}
                (None, RootKind::Notary(_)) => left_out.push(rule.pattern.as_str().to_owned()),
                // Nothing but its own signatures speaks for another key.
                (None, RootKind::Cosign(_) | RootKind::Notation(_)) => {}
            }
        }
    }
    Ok((targets, left_out))
}

async fn compare(sources: &Sources, policy: &Policy, root: &Root, target: &ScanTarget) -> Compared {
    let from = match &root.kind {
        RootKind::Notary(_) | RootKind::Cosign(_) | RootKind::Notation(_) => 1,
        RootKind::Tuf(tuf) => tuf.pinned.version(),
    };
    match (scan::ask(sources, target, from).await, &root.kind) {
        (Err(refusal), _) => Compared {
            answer: PinAnswer::Unknown,
            why: refusal.found,
            newest: None,
            unpinned: BTreeSet::new(),
        },
        (Ok(seen), RootKind::Notary(_)) => compare_notary(policy, &root.keys, seen),
        (Ok(seen), RootKind::Tuf(tuf)) => compare_tuf(policy, &tuf.pinned, seen),
        (Ok(_), RootKind::Cosign(_) | RootKind::Notation(_)) => {
            Compared::unknown("a root without metadata")
        }
    }
}

fn compare_notary(policy: &Policy, pinned: &BTreeSet<KeyId>, seen: ScannedRoots) -> Compared {
    let Some((newest, _)) = seen.files.into_iter().next_back() else {
        return Compared::unknown("no root file");
    };
    let unpinned: BTreeSet<KeyId> = newest.ids().difference(pinned).copied().collect();
    let vouched = newest
        .signers
        .intersection(pinned)
        .any(|key| policy.revoked_key(key).is_none());
    Compared::of(
        policy,
        newest,
        unpinned,
        vouched,
        "nothing that is pinned has signed it",
    )
}

fn compare_tuf(policy: &Policy, pinned: &Arc<PinnedRoot>, seen: ScannedRoots) -> Compared {
    let mut files = seen.files.into_iter();
    let mut newest = match files.next() {
        Some((file, bytes)) if bytes == pinned.bytes() => file,
        Some((file, _)) => {
            let unpinned = file.ids().difference(pinned.keys()).copied().collect();
            let why = format!(
                "the source has another file of version {} than the pinned one",
                file.version
            );
            return Compared {
                answer: PinAnswer::Changed,
                why,
                newest: Some(file),
                unpinned,
            };
        }
        None => {
            return Compared::unknown(&format!("the source has no {}.root.json", pinned.version()));
        }
    };
    let mut last: Option<PinnedRoot> = None;
    for (file, bytes) in files {
        let next = last
            .as_ref()
            .unwrap_or(pinned)
            .successor(bytes, policy.revoked_keys());
        let unpinned: BTreeSet<KeyId> = file.ids().difference(pinned.keys()).copied().collect();
        match next {
            Ok(next) => (last, newest) = (Some(next), file),
            Err(Refusal {
                code: Code::BadSignature | Code::Revoked,
                found,
                ..
            }) => {
                return Compared::of(policy, file, unpinned, false, &found);
            }
            Err(refusal) => return Compared::unknown(&refusal.found),
        }
    }
    let unpinned = newest.ids().difference(pinned.keys()).copied().collect();
    Compared::of(policy, newest, unpinned, true, "")
}

impl Compared {
    fn unknown(why: &str) -> Self {
        Self {
            answer: PinAnswer::Unknown,
            why: why.to_owned(),
            newest: None,
            unpinned: BTreeSet::new(),
        }
    }

    fn of(
        policy: &Policy,
        newest: RootFile,
        unpinned: BTreeSet<KeyId>,
        vouched: bool,
        otherwise: &str,
    ) -> Self {
        let version = newest.version;
        let revoked = newest.keys.iter().find_map(|key| {
            let names = key.names();
            let reason = names.iter().find_map(|name| policy.revoked_key(name));
            Some((key.id(), reason?.to_owned()))
        });
        let listed = unpinned
            .iter()
            .map(KeyId::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let (answer, why) = match revoked {
            Some((key, reason)) => (
                PinAnswer::Revoked,
                format!("root version {version} lists {key}, which the policy revokes: {reason}"),
            ),
            None if !vouched => (
                PinAnswer::Changed,
                format!(
                    "root version {version}: {otherwise}; unpinned keys (unverified): {listed}"
                ),
            ),
            None if unpinned.is_empty() => (
                PinAnswer::Known,
                format!(
                    "root version {version}: every root key is pinned ({})",
                    newest.keys.len()
                ),
            ),
            None => (
                PinAnswer::New,
                format!(
                    "root version {version}, signed by pinned keys, has others that are not pinned: {listed}"
                ),
            ),
        };
        Self {
            answer,
            why,
            newest: Some(newest),
            unpinned,
        }
    }

    fn json(&self, target: &ScanTarget) -> Value {
        let compared = json!({
            "answer": self.answer.as_str(),
            "why": self.why,
            "unpinned": self.unpinned.iter().map(KeyId::to_string).collect::<Vec<_>>(),
            "presented": self.newest.as_ref().map(shown::root_json),
        });
        shown::with(target.json(), compared)
    }
}

impl PinAnswer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

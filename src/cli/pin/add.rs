//! `rootpin pin add`: pins keys whose fingerprint a person gives.

mod new_root;
mod pinned_files;

use std::path::PathBuf;
use std::sync::Arc;

use new_root::add_new;
use pinned_files::{Pinned, key_files, root_file, tls_ca};
use serde_json::json;

use super::change::{PolicyChange, PolicyEdit};
use super::fingerprint_source::FingerprintSource;
use super::material::{self, Material};
use super::scan::{self, ScanTarget};
use super::{Asking, Changing, Failure, shown, unknown};
use crate::cli::output::Output;
use crate::policy_dir::pins;
use crate::problem::Problem;
use crate::sources::Sources;
use rootpin_policy::{Policy, Root, RootKind};
use rootpin_trust::{PublicKey, RootFile};

pub(super) const EXAMPLES: &str = "example:\n  \
    rootpin pin add tuf --from 1.root.json --fingerprint 9f86… --dry-run \\\n    \
        --metadata https://tuf.example/metadata --match registry.example/app";
/// Those of the manual.
pub(super) const MORE_EXAMPLES: &str = "examples:\n  \
    rootpin pin add web --from web.pub --fingerprint SHA256:… \\\n    \
        --server https://notary.example \\\n    \
        --role targets/releases --match 'registry.example/web/**'\n  \
    rootpin pin add tuf --from 1.root.json --fingerprint 9f86… --dry-run \\\n    \
        --metadata https://tuf.example/metadata --match registry.example/app\n  \
    rootpin pin add team --scan registry.example/team/app --fingerprint SHA256:…   (one key more)";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whence").required(true).args(["from", "scan"]))]
pub(in crate::cli) struct Arguments {
    /// The root's id in the policy
    id: String,
    /// A PEM key or certificate, a root.json, or a trust directory
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Read the keys from a server: an image, or a TUF repository
    #[arg(long, value_name = "NAME|URL")]
    scan: Option<String>,
    /// Of a trust directory this repository's root only
    #[arg(long, value_name = "NAME", requires = "from", hide_short_help = true)]
    gun: Option<String>,
    /// The publisher's fingerprint of each key; -: standard input
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Vec<String>,
    /// Replace the root file that a TUF root has pinned
    #[arg(long, hide_short_help = true)]
    replace: bool,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    changing: Changing,
    #[command(flatten)]
    fields: Fields,
}

/// The settings of a new root in the policy.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For a root that the policy doesn't have yet")]
struct Fields {
    /// cosign, notary, notation or tuf; else --server or --metadata tell
    #[arg(long = "type", value_name = "TYPE", value_parser = ["cosign", "notary", "notation", "tuf"], hide_possible_values = true)]
    kind: Option<String>,
    /// Its Notary server
    #[arg(long, value_name = "URL", conflicts_with = "metadata")]
    server: Option<String>,
    /// The role that names images: targets/releases (Docker) or targets
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Where its TUF metadata is read; several are asked in order
    #[arg(long, value_name = "URL")]
    metadata: Vec<String>,
    /// Names that it may sign for; an existing rule gets the root added
    #[arg(long = "match", value_name = "PATTERN")]
    matches: Vec<String>,
    /// In a rule that exists: how many of its roots must sign
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    quorum: Option<u16>,
    /// Accept in its new rule that no tag is bound, so that a moved tag passes
    #[arg(long)]
    tags_unbound: bool,
    /// The oldest timestamp to accept, as 72h
    #[arg(long, value_name = "DURATION", hide_short_help = true)]
    max_age: Option<String>,
    /// How long an answer serves before the source is asked again, as 60s
    #[arg(long, value_name = "DURATION", hide_short_help = true)]
    recheck: Option<String>,
}

impl Fields {
    fn is_empty(&self) -> bool {
        let texts = [
            &self.kind,
            &self.server,
            &self.role,
            &self.max_age,
            &self.recheck,
        ];
        texts.iter().all(|text| text.is_none())
            && self.metadata.is_empty()
            && self.matches.is_empty()
            && self.quorum.is_none()
            && !self.tags_unbound
    }
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    check_id(&arguments.id)?;
    let change = PolicyChange::begin(arguments.changing.clone())?;
    let policy = change.policy()?;
    let root = policy
        .as_ref()
        .and_then(|policy| policy.roots.get(&arguments.id))
        .cloned();
    // Before anything is asked of anybody: without a fingerprint nothing comes of it.
    let teller = FingerprintSource::new(&arguments.fingerprint)?;
    let material = match (&arguments.from, &arguments.scan) {
        (Some(path), _) => material::at(path, arguments.gun.as_deref())?,
        (None, Some(name)) => scanned(name, arguments, policy.as_ref(), root.as_deref())?,
        (None, None) => {
            return Err(Failure::Usage(
                "neither --from nor --scan".to_owned().into(),
            ));
        }
    };
    match (root, material) {
        (Some(root), material) => add_to(
            change,
            arguments,
            policy.as_ref(),
            &root,
            material,
            &teller,
            output,
        ),
        (None, material) => add_new(
            change,
            arguments,
            policy.as_ref(),
            material,
            &teller,
            output,
        ),
    }
}

/// What a server presents now. Nothing of it is believed: it is only where a key comes from whose
/// fingerprint is known.
fn scanned(
    name: &str,
    arguments: &Arguments,
    policy: Option<&Policy>,
    root: Option<&Root>,
) -> Result<Material, Failure> {
    let tls_ca = arguments.asking.tls_ca()?;
    let target: ScanTarget = match (root, &arguments.fields.server) {
        _ if name.contains("://") => {
            let known = root.and_then(|root| match &root.kind {
                RootKind::Tuf(tuf) => tuf.tls_ca.clone(),
                RootKind::Notary(_) | RootKind::Cosign(_) | RootKind::Notation(_) => None,
            });
            scan::at_url(name, tls_ca.or(known))?
        }
        (Some(root), _) if !root.lists_tags() => return Err(by_file_alone(name)),
        (None, _) if is_of_signatures(arguments) => return Err(by_file_alone(name)),
        (Some(root), _) => {
            let repository = scan::repository(name)?;
            let rule = policy.and_then(|policy| policy.rule_for(&repository));
            let rule = rule.filter(|rule| rule.roots.iter().any(|one| one.id == root.id));
            let nowhere = || {
                Failure::Unknown(
                    format!("the root {} has nowhere to look for {repository}", root.id).into(),
                )
            };
            scan::of_root(root, rule, &repository)
                .into_iter()
                .next()
                .ok_or_else(nowhere)?
        }
        (None, Some(server)) => scan::at_server(name, server.clone(), tls_ca)?,
        (None, None) => {
            let text = format!(
                "the policy has no root {:?}, so whom to ask is not known",
                arguments.id
            );
            return Err(Failure::Usage(Problem::hinted(
                text.clone(),
                "name a Notary server by --server, or scan the URL of a TUF repository",
            )));
        }
    };
    let sources = Sources::new(Arc::new(arguments.asking.credentials()));
    let seen = crate::cli::block_on(async { Ok(scan::ask(&sources, &target, 1).await) })
        .map_err(Failure::Unknown)?;
    let mut files = seen.map_err(|refusal| unknown(&refusal))?.files;
    match (target.source, files.len()) {
        (scan::Source::Notary { .. }, 1) => {
            let (file, bytes) = files.remove(0);
            Ok(material::of_root_file(file, bytes))
        }
        _ => Ok(Material::Roots(files)),
    }
}

/// Whether a root is to be added whose signatures are beside images.
fn is_of_signatures(arguments: &Arguments) -> bool {
    matches!(
        arguments.fields.kind.as_deref(),
        Some("cosign" | "notation")
    )
}

/// No registry has the keys that sign images, but only what signatures say of them.
fn by_file_alone(name: &str) -> Failure {
    Failure::Usage(Problem::hinted(
        "--scan reads a root of type notary or tuf: signatures beside an image have no key that could be pinned".to_owned(),
        format!(
            "have the publisher give you the file of the key or certificate, and name it: --from FILE; `rootpin pin scan {name}` shows the fingerprints that the signatures name"
        ),
    ))
}

/// Keys for a root that the policy has, or another root file.
fn add_to(
    change: PolicyChange,
    arguments: &Arguments,
    policy: Option<&Policy>,
    root: &Root,
    material: Material,
    teller: &FingerprintSource,
    output: Output,
) -> Result<u8, Failure> {
    let file = root.location.file.to_string();
    if !arguments.fields.is_empty() || change.is_fragment_named() {
        return Err(Failure::Usage(Problem::hinted(
            format!("the policy has the root {} already, in {file}", root.id),
            format!(
                "only keys are added to it; write its fields, or the quorum of its rules, into {file} by hand"
            ),
        )));
    }
    match (&root.kind, material) {
        (RootKind::Notary(_) | RootKind::Cosign(_), Material::Keys(keys)) => {
            add_keys(change, file, policy, root, &keys, teller, output)
        }
        (RootKind::Tuf(_), Material::Roots(files)) if arguments.replace => {
            replace_root_file(change, file, policy, root, &files, teller, output)
        }
        (RootKind::Tuf(_), Material::Roots(_)) => Err(Failure::Usage(Problem::hinted(
            format!("the root {} has a root file pinned already", root.id),
            "--replace puts another in its place",
        ))),
        (kind, material) => Err(mismatch(&root.id, kind, &material)),
    }
}

/// More keys for a root of Notary or cosign.
fn add_keys(
    change: PolicyChange,
    file: String,
    policy: Option<&Policy>,
    root: &Root,
    keys: &[PublicKey],
    teller: &FingerprintSource,
    output: Output,
) -> Result<u8, Failure> {
    let before = change.text(&file)?.unwrap_or_default();
    let new: Vec<&PublicKey> = keys
        .iter()
        .filter(|key| !root.keys.contains(&key.id()))
        .collect();
    if new.is_empty() {
        let value = json!({ "version": 1, "outcome": "pinned-already", "root": root.id });
        output.value(&value, |_| {
            format!("every key that was found is pinned for {} already", root.id)
        });
        return Ok(0);
    }
    not_revoked(policy, &new)?;
    teller.confirm_keys(&new)?;
    let pinned = key_files(&root.id, &new)?;
    let entries: Vec<String> = pinned.keys().cloned().collect();
    let after = pins::add_keys(&before, &root.id, &entries)?;
    let mut edit = edit_of_keys(&root.id, &new, file, Some(before), after, pinned);
    // A root's keys are good for all of its repositories, whichever of them showed this one.
    let rules = policy
        .into_iter()
        .flat_map(|policy| &policy.rules)
        .filter(|rule| rule.roots.iter().any(|one| one.id == root.id));
    let rules: Vec<&str> = rules.map(|rule| rule.pattern.as_str()).collect();
    edit.words = format!(
        "{}\nit may sign now for every repository of: {}",
        edit.words,
        rules.join(", ")
    );
    edit.members = shown::with(edit.members, json!({ "rules": rules }));
    finish_keys(change, edit, &root.id, &new, output)
}

/// Another root file for a root of TUF.
fn replace_root_file(
    change: PolicyChange,
    file: String,
    policy: Option<&Policy>,
    root: &Root,
    files: &[(RootFile, Vec<u8>)],
    teller: &FingerprintSource,
    output: Output,
) -> Result<u8, Failure> {
    let before = change.text(&file)?.unwrap_or_default();
    let (chosen, bytes) = teller.confirm_root(files)?;
    not_revoked(policy, &chosen.keys.iter().collect::<Vec<_>>())?;
    let pinned = root_file(&root.id, chosen, bytes);
    let name = pinned.keys().next().cloned().unwrap_or_default();
    let values = [("file", name), ("sha256", chosen.sha256.hex())];
    let after = pins::replace(&before, &root.id, &values)?;
    finish_root(
        change,
        &root.id,
        chosen,
        Some(before),
        after,
        file,
        pinned,
        &[],
        output,
    )
}

/// Why this material can't be added to a root of that type.
fn mismatch(id: &str, kind: &RootKind, material: &Material) -> Failure {
    let (found, hint) = match (kind, material) {
        (RootKind::Notation(_), _) => (
            "pins certificates",
            "put another PEM file into roots/ and name it in its certificates",
        ),
        (RootKind::Tuf(_), _) => (
            "is of TUF: its pin is a root file, not a key",
            "name its root.json by --from",
        ),
        (RootKind::Notary(_), _) => (
            "is of Notary, and this is a root file of TUF",
            "pin it under another ID, or name a key by --from",
        ),
        (RootKind::Cosign(_), _) => (
            "pins keys of cosign, and this is a root file of TUF",
            "pin it under another ID, or name a key by --from",
        ),
    };
    Failure::Usage(Problem::hinted(format!("the root {id} {found}"), hint))
}

fn not_revoked(policy: Option<&Policy>, keys: &[&PublicKey]) -> Result<(), Failure> {
    let why = keys.iter().find_map(|key| {
        let names = key.names();
        let reason = names.iter().find_map(|name| policy?.revoked_key(name));
        Some((key.id(), reason?))
    });
    match why {
        Some((key, reason)) => Err(Failure::Refused(Problem::hinted(
            format!("the policy revokes the key {key}: {reason}; nothing is pinned"),
            "ask the publisher which key signs now; if the revocation was a mistake, take its [[revoked]] out of the policy",
        ))),
        None => Ok(()),
    }
}

fn edit_of_keys(
    id: &str,
    keys: &[&PublicKey],
    file: String,
    before: Option<String>,
    after: String,
    pinned: Pinned,
) -> PolicyEdit {
    let words = keys
        .iter()
        .map(|key| format!("pinned for {id}: {} key {}", key.kind(), key.id()))
        .collect::<Vec<_>>()
        .join("\n");
    let members = json!({ "root": id, "keys": keys.iter().map(|key| shown::key_json(key)).collect::<Vec<_>>() });
    PolicyEdit {
        file,
        before,
        after,
        pinned,
        words,
        members,
    }
}

fn finish_keys(
    change: PolicyChange,
    edit: PolicyEdit,
    id: &str,
    keys: &[&PublicKey],
    output: Output,
) -> Result<u8, Failure> {
    let pinned = |policy: &Policy| {
        policy
            .roots
            .get(id)
            .is_some_and(|root| keys.iter().all(|key| root.keys.contains(&key.id())))
    };
    change.finish(edit, pinned, output)
}

#[allow(
    clippy::too_many_arguments,
    reason = "each is one part of what is written or said"
)]
fn finish_root(
    change: PolicyChange,
    id: &str,
    root: &RootFile,
    before: Option<String>,
    after: String,
    file: String,
    pinned: Pinned,
    more: &[String],
    output: Output,
) -> Result<u8, Failure> {
    let words = format!(
        "pinned for {id}: root file version {}, sha256 {}",
        root.version,
        root.sha256.hex()
    );
    let words = [&[words], more].concat().join("\n");
    let members = json!({ "root": id, "root_file": shown::root_json(root) });
    let is_root = |policy: &Policy| match policy.roots.get(id).map(|root| &root.kind) {
        Some(RootKind::Tuf(tuf)) => tuf.sha256 == root.sha256,
        _ => false,
    };
    change.finish(
        PolicyEdit {
            file,
            before,
            after,
            pinned,
            words,
            members,
        },
        is_root,
        output,
    )
}

/// As the policy wants an id; checked here too because files are named by it.
fn check_id(id: &str) -> Result<(), Failure> {
    if !id.is_empty()
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Ok(());
    }
    Err(Failure::Usage(Problem::hinted(
        format!("{id:?} can't be a root's id"),
        "use letters, digits, . _ and -",
    )))
}

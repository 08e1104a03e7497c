//! `rootpin repo rotate`: other keys for a role, by a new root that travels between its holders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Here;
use super::init;
use super::proposal::{hand_on, named};
use super::report::of_others;
use super::signing::{SigningOptions, ask, carry_out, open_keys, read_draft};
use crate::cli::output::{Output, list, table};
use crate::publish::key::{KeyKind, Signer};
use crate::publish::key_file::PrivateKey;
use crate::publish::keyring::generate;
use crate::publish::root::{RoleKeys, as_listed, newest, set_role, with_root};
use crate::publish::{
    Activity, Document, Draft, Metadata, OpenKeys, PublishError, RepositoryChange, RoleKey,
    RootProposal, Working,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// root, targets, snapshot, timestamp, or online for the last two
    #[arg(value_enum, hide_possible_values = true)]
    role: Role,
    /// New public keys (PEM); else a new key is made here
    #[arg(long, num_args = 1.., value_name = "FILE.pub")]
    key: Vec<PathBuf>,
    /// The holders of the new keys, in their order; else the files' names
    #[arg(long, num_args = 1.., value_name = "NAME")]
    holder: Vec<String>,
    /// Present keys that leave, by holder or ID; else all of them leave
    #[arg(long, num_args = 1.., value_name = "KEY")]
    remove: Vec<String>,
    /// Keep all present keys
    #[arg(long, conflicts_with = "remove")]
    keep: bool,
    /// The same keys: only a new term, or another threshold
    #[arg(long, conflicts_with_all = ["key", "remove"])]
    renew: bool,
    /// How many of the role's keys must sign; else as many as before
    #[arg(long, value_name = "M")]
    threshold: Option<u64>,
    /// Write the new root to a file, for its holders to sign
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sign", "finish"])]
    propose: Option<PathBuf>,
    /// Add your signature to a proposed root
    #[arg(long, value_name = "FILE", conflicts_with_all = ["finish", "key", "remove", "keep", "renew", "threshold"])]
    sign: Option<PathBuf>,
    /// The key to sign it with; no working folder is wanted then
    #[arg(long, value_name = "KEY.pem", requires = "sign")]
    key_file: Option<PathBuf>,
    /// Publish a proposed root that enough keys have signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "remove", "keep", "renew", "threshold"])]
    finish: Option<PathBuf>,
    #[command(flatten)]
    options: SigningOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Root,
    Targets,
    Snapshot,
    Timestamp,
    Online,
}

impl Role {
    fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Root => &["root"],
            Self::Targets => &["targets"],
            Self::Snapshot => &["snapshot"],
            Self::Timestamp => &["timestamp"],
            Self::Online => &["snapshot", "timestamp"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            other => other.roles().first().copied().unwrap_or_default(),
        }
    }
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    if let Some(file) = &verb.sign {
        return sign(here, file, &verb, output);
    }
    if let Some(file) = &verb.finish {
        let proposal = RootProposal::read(&file.display().to_string(), &Working::read_file(file)?)?;
        let mut working = here.open()?;
        if let Some(missing) = proposal.missing().first() {
            let holders: Vec<_> = missing
                .keys
                .iter()
                .map(|keyid| named(&proposal, keyid))
                .collect();
            return Err(PublishError::wrong(
                format!("{} has {} signatures too few", missing.role, missing.count),
                format!(
                    "it can be signed by {}: rootpin repo rotate root --sign {}",
                    holders.join(", "),
                    file.display()
                ),
            ));
        }
        if working.pinned.is_none() {
            return init::begin(here, &mut working, proposal.new, &verb.options, output).await;
        }
        return finish(here, &working, proposal, &verb.options, output).await;
    }
    if let Some(file) = verb.propose.as_deref().filter(|file| file.exists()) {
        return Err(PublishError::wrong(
            format!(
                "{} is there already, and may have been signed",
                file.display()
            ),
            "give another name, or remove it",
        ));
    }
    let mut working = here.open()?;
    let metadata = read_draft(&mut here.transaction(&working, verb.options.local)?, output)
        .await?
        .next;
    let document = changed_root(&mut working, &metadata, &verb)?;
    let mut proposal = RootProposal::new(
        newest(&metadata),
        document,
        Timestamp::now(),
        working.settings.term("root"),
    )?;
    if let Some(file) = &verb.propose {
        if verb.options.dry_run {
            show(&proposal, output);
            return Ok(only_shown(output));
        }
        return hand_on(&proposal, file, &here.repo, output);
    }
    let open = proposal.open_keys(&working.keyring);
    if let Some(missing) = proposal.missing_after(&open).first() {
        let holders: Vec<_> = missing
            .keys
            .iter()
            .map(|keyid| named(&proposal, keyid))
            .collect();
        return Err(PublishError::wrong(
            format!(
                "{} of the keys of {} are missing here: {}",
                missing.count,
                missing.role,
                holders.join(", ")
            ),
            "let their holders sign, which begins with --propose FILE",
        ));
    }
    show(&proposal, output);
    let mut options = verb.options.clone();
    if !options.dry_run {
        ask(&options)?;
        proposal.sign(
            &open,
            &mut open_keys(&working, &options, &Activity::default()),
        )?;
        // What follows from the root that somebody just agreed to is not asked about once more.
        options.yes = true;
    }
    finish(here, &working, proposal, &options, output).await
}

/// The newest root with what is to be changed in it.
fn changed_root(
    working: &mut Working,
    metadata: &Metadata,
    verb: &Arguments,
) -> Result<Document, PublishError> {
    let mut document = metadata.root()?.clone();
    if verb.renew && verb.threshold.is_none() {
        return Ok(document);
    }
    let mut new = Vec::new();
    for (index, file) in verb.key.iter().enumerate() {
        let (keyid, key, name) = super::delegate::read_key(file)?;
        let (keyid, key) = as_listed(document.members("keys"), keyid, key);
        new.push((keyid, key, verb.holder.get(index).cloned().unwrap_or(name)));
    }
    if new.is_empty() && !verb.renew && verb.remove.is_empty() && !verb.keep {
        new.push(made(working, verb)?);
    }
    let mut unmatched: BTreeSet<&String> = verb.remove.iter().collect();
    for role in verb.role.roles() {
        let authority = metadata
            .authority(role)
            .ok_or_else(|| PublishError::Wrong(format!("the root has no role {role}").into()))?;
        let mut keys = Vec::new();
        for RoleKey { keyid, key, .. } in authority.keys {
            let holder = metadata.holder(&keyid).unwrap_or_default();
            let leaves = |word: &&String| {
                **word == holder || word.len() >= 4 && keyid.starts_with(word.as_str())
            };
            let named: Vec<_> = verb.remove.iter().filter(leaves).collect();
            unmatched.retain(|word| !named.contains(word));
            let stays = if verb.remove.is_empty() {
                verb.keep || verb.renew
            } else {
                named.is_empty()
            };
            if stays && !key.is_null() {
                keys.push((keyid, key, holder));
            }
        }
        keys.extend(
            new.iter()
                .filter(|(keyid, ..)| !keys.iter().any(|(known, ..)| known == keyid))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let before = u64::try_from(authority.threshold).unwrap_or(1);
        set_role(
            &mut document,
            role,
            &RoleKeys {
                keys,
                threshold: verb.threshold.unwrap_or(before),
            },
        )?;
    }
    match unmatched.first() {
        Some(word) => Err(PublishError::wrong(
            format!("{} has no key {word}", verb.role.name()),
            "rootpin repo status shows them",
        )),
        None => Ok(document),
    }
}

/// A new key of this machine.
fn made(working: &mut Working, verb: &Arguments) -> Result<(String, Value, String), PublishError> {
    if verb.options.dry_run {
        return Err(PublishError::wrong(
            "a dry run makes no key",
            "make one with rootpin repo key generate, and give it with --key",
        ));
    }
    let taken = |name: &String| {
        working
            .keyring
            .keys()
            .iter()
            .any(|entry| entry.name == *name)
    };
    let name = (2..=u16::MAX)
        .map(|number| format!("{}-{number}", verb.role.name()))
        .find(|name| !taken(name))
        .unwrap_or_default();
    let passphrase = verb.options.passphrases.of_new(&name)?;
    generate(&working.keys_folder(), &name, KeyKind::Ed25519, &passphrase)?;
    working.reread_keys()?;
    let (keyid, key, _) =
        super::delegate::read_key(&working.keys_folder().join(format!("{name}.pub")))?;
    Ok((keyid, key, name))
}

/// Publishes a root that is signed.
async fn finish(
    here: &Here,
    working: &Working,
    proposal: RootProposal,
    options: &SigningOptions,
    output: Output,
) -> Result<u8, PublishError> {
    let about = [format!("publish root {}", proposal.new.version())];
    let change = RepositoryChange::new(|draft: &mut Draft| with_root(draft, &proposal));
    carry_out(here, working, change, &about, options, output).await
}

/// Adds a signature to a proposal.
fn sign(here: &Here, file: &Path, verb: &Arguments, output: Output) -> Result<u8, PublishError> {
    let mut proposal = RootProposal::read(&file.display().to_string(), &Working::read_file(file)?)?;
    show(&proposal, output);
    if verb.options.dry_run {
        return Ok(only_shown(output));
    }
    if let Some(path) = &verb.key_file {
        ask(&verb.options)?;
        let name = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let passphrase = verb.options.passphrases.of(&name)?;
        let key = PrivateKey::load(path, &passphrase)?;
        let listings = proposal.listings(key.public().id());
        if listings.is_empty() {
            return Err(PublishError::Wrong(
                format!(
                    "{} is no key of the old root or the new one",
                    path.display()
                )
                .into(),
            ));
        }
        proposal.sign(&listings, &mut OpenKeys::only(key))?;
    } else {
        let working = here.open()?;
        check_old(&proposal, file, &working)?;
        let open = proposal.open_keys(&working.keyring);
        if open.is_empty() {
            return Err(PublishError::wrong(
                "no key here signs it, or all have",
                "give another key with --key-file KEY.pem",
            ));
        }
        ask(&verb.options)?;
        proposal.sign(
            &open,
            &mut open_keys(&working, &verb.options, &Activity::default()),
        )?;
    }
    hand_on(&proposal, file, &here.repo, output)
}

/// Refuses what does not follow the root that is known here.
fn check_old(proposal: &RootProposal, file: &Path, working: &Working) -> Result<(), PublishError> {
    let ours = if working.pinned.is_some() {
        working.ours(None)?
    } else {
        None
    };
    let known = proposal
        .old
        .as_ref()
        .zip(ours.as_ref())
        .and_then(|(old, ours)| Some((old, ours.roots.get(&old.version())?)));
    match known {
        Some((old, here)) if here.document.signed != old.signed => Err(PublishError::wrong(
            format!(
                "{} follows another root {} than the one here",
                file.display(),
                old.version()
            ),
            "it was changed on its way, or is another repository's",
        )),
        _ => Ok(()),
    }
}

fn only_shown(output: Output) -> u8 {
    let report = json!({ "version": 1, "outcome": "shown" });
    output.value(&report, |_| "nothing was signed (dry run)".to_owned());
    0
}

/// Says how a proposed root differs from the one before, and all that it says: the one before may
/// be what somebody wrote into the file.
fn show(proposal: &RootProposal, output: Output) {
    if output.json {
        return;
    }
    let expires = proposal
        .new
        .expires()
        .map(|expires| expires.to_string())
        .unwrap_or_default();
    let mut lines = vec![format!("root {} until {expires}", proposal.new.version())];
    lines.extend(proposal.differences());
    let report = json!({ "lines": lines, "roles": proposal.roles() });
    output.value(&report, |report| {
        let report = of_others(report);
        let words = |of: &[Value]| {
            of.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let rows: Vec<_> = list(&report, "roles")
            .iter()
            .map(|row| words(row.as_array().map_or(&[], Vec::as_slice)))
            .collect();
        format!(
            "{}\n{}",
            words(list(&report, "lines")).join("\n"),
            table(&rows)
        )
    });
}

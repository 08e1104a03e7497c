//! `rootpin repo init`: a new repository.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Here;
use super::proposal;
use super::signing::{SigningOptions, open_keys};
use crate::cli::output::{Output, shell_word, text};
use crate::problem::Problem;
use crate::publish::key::KeyKind;
use crate::publish::keyring::{complete, generate};
use crate::publish::root::{RoleKeys, founded, root_document};
use crate::publish::{
    Activity, Document, Metadata, PublishError, ROLES, RootProposal, Settings, SigningPlan, Working,
};
use rootpin_trust::image::Digest;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The working folder to make; keys that lie in its keys/ already are taken
    pub(super) dir: Option<PathBuf>,
    /// The names that it signs, as registry.example/team/**
    #[arg(long, required = true, num_args = 1.., value_name = "PATTERN")]
    names: Vec<String>,
    /// Where it is published: `oci://REGISTRY/REPOSITORY[:TAG]` or `file:///FOLDER`
    #[arg(long, num_args = 1.., value_name = "PLACE")]
    publish: Vec<String>,
    /// The kind of the keys that are made
    #[arg(long, value_enum, default_value = "ed25519")]
    key_type: KeyType,
    /// How many root keys to make
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_keys: u8,
    /// How many of them must sign a new root
    #[arg(long, value_name = "M", default_value_t = 1)]
    root_threshold: u8,
    /// How long a role's file holds: timestamp=3d
    #[arg(long, num_args = 1.., value_name = "ROLE=DURATION", value_parser = term)]
    expires: Vec<(String, String)>,
    /// The holder of a key; else the key's name
    #[arg(long, num_args = 1.., value_name = "KEY=NAME", value_parser = term)]
    holder: Vec<(String, String)>,
    #[command(flatten)]
    options: SigningOptions,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyType {
    Ed25519,
    Ecdsa,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let folder = verb.dir.clone().unwrap_or_else(|| here.repo.clone());
    let settings = Settings::text(&verb.names, &verb.publish, &verb.expires);
    check(here, &verb, &Settings::parse(&settings)?)?;
    if verb.options.dry_run {
        let about = json!({ "version": 1, "outcome": "shown", "dir": folder.display().to_string(), "keys": names(&verb), "settings": settings });
        output.value(&about, |about| {
            let keys = crate::cli::output::list(about, "keys")
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            format!(
                "{} would be made, with the keys {keys} and this repository.toml:\n\n{}",
                text(about, "dir"),
                text(about, "settings")
            )
        });
        return Ok(0);
    }
    let mut working = Working::begin(&folder, &settings, None)?;
    for (url, place) in here.transaction(&working, verb.options.local)?.places {
        let there = place.read(&BTreeMap::new()).await.map_err(super::unread)?;
        if !there.files.is_empty() {
            return Err(PublishError::State(Problem::hinted(
                format!("{url} has a repository already"),
                format!("work with it by: rootpin repo clone {url} DIR"),
            )));
        }
    }
    make_keys(&mut working, &verb)?;
    let root = first_root(&working, &verb)?;
    let mut proposal = RootProposal::new(
        None,
        root,
        jiff::Timestamp::now(),
        working.settings.term("root"),
    )?;
    let open = proposal.open_keys(&working.keyring);
    proposal.sign(
        &open,
        &mut open_keys(&working, &verb.options, &Activity::default()),
    )?;
    if !proposal.missing().is_empty() {
        working.settle(&settings)?;
        let file = folder.join("root-proposal.json");
        return proposal::hand_on(&proposal, &file, &folder, output);
    }
    let code = begin_in(
        here,
        &mut working,
        proposal.new,
        &verb.options,
        Some(&settings),
        output,
    )
    .await?;
    Ok(code)
}

/// Begins a repository in a working folder whose first root was signed by its holders.
pub(super) async fn begin(
    here: &Here,
    working: &mut Working,
    root: Document,
    options: &SigningOptions,
    output: Output,
) -> Result<u8, PublishError> {
    begin_in(here, working, root, options, None, output).await
}

/// The same; `settings`: those with which the folder is settled.
async fn begin_in(
    here: &Here,
    working: &mut Working,
    root: Document,
    options: &SigningOptions,
    settings: Option<&str>,
    output: Output,
) -> Result<u8, PublishError> {
    let mut keys = open_keys(working, options, &Activity::default());
    let plan = SigningPlan::of(
        founded(root),
        &working.keyring,
        &working.settings,
        jiff::Timestamp::now(),
    )?;
    if let Some(missing) = plan
        .steps()
        .find_map(|step| step.missing.as_ref())
        .or(plan.offline.as_ref())
    {
        let wanted = "the private key must be in keys/, or in a token that keys/ names";
        return Err(PublishError::wrong(
            format!("no key here signs {}", missing.role),
            wanted.to_string(),
        ));
    }
    let sealed = plan.sign(&mut keys)?;
    drop(keys);
    working.pin(
        sealed
            .roots
            .values()
            .next()
            .map(|file| file.bytes.clone())
            .unwrap_or_default(),
    )?;
    let sealed = Metadata::read(&sealed.files(), working.root()?, &[], None)?;
    working.keep(&sealed)?;
    if let Some(settings) = settings {
        working.settle(settings)?;
    }
    let mut report = report(working)?;
    let published = super::publish_all(here, working, options.local, output).await;
    if let Some(object) = report.as_object_mut() {
        object.insert("published".to_owned(), json!(published.as_ref().ok()));
        object.insert(
            "error".to_owned(),
            json!(published.as_ref().err().map(ToString::to_string)),
        );
    }
    output.value(&report, report_text);
    match published {
        // One object, with the error in it.
        Err(error) if output.json => {
            Output::loudly(&super::advised(&error).to_string());
            Ok(2)
        }
        published => published.map(|_| 0),
    }
}

fn term(text: &str) -> Result<(String, String), String> {
    let (role, term) = text
        .split_once('=')
        .ok_or("wanted two words and = between them")?;
    Ok((role.to_owned(), term.to_owned()))
}

/// The keys of a new repository by their names.
fn names(verb: &Arguments) -> Vec<String> {
    let roots = (1..=verb.root_keys).map(|number| format!("root-{number}"));
    roots
        .chain(["targets".to_owned(), "online".to_owned()])
        .collect()
}

/// Mistakes that would otherwise show only after keys were made and passphrases given.
fn check(here: &Here, verb: &Arguments, settings: &Settings) -> Result<(), PublishError> {
    let (keys, threshold) = (verb.root_keys, verb.root_threshold);
    if threshold < 1 || keys < threshold {
        return Err(PublishError::wrong(
            format!("{threshold} of {keys} root keys would have to sign"),
            "--root-keys N, and --root-threshold from 1 to N",
        ));
    }
    let names = names(verb);
    if let Some((key, _)) = verb.holder.iter().find(|(key, _)| !names.contains(key)) {
        return Err(PublishError::wrong(
            format!("--holder {key}=…: there is no such key"),
            format!("the keys are {}", names.join(", ")),
        ));
    }
    settings
        .publish
        .iter()
        .try_for_each(|url| here.place(url).map(drop))
}

fn make_keys(working: &mut Working, verb: &Arguments) -> Result<(), PublishError> {
    let kind = match verb.key_type {
        KeyType::Ed25519 => KeyKind::Ed25519,
        KeyType::Ecdsa => KeyKind::P256,
    };
    for name in names(verb) {
        if working
            .keyring
            .keys()
            .iter()
            .any(|entry| entry.name == name)
        {
            continue;
        }
        if working.keys_folder().join(format!("{name}.pem")).exists() {
            complete(
                &working.keys_folder(),
                &name,
                &Zeroizing::new(verb.options.passphrases.of(&name)?),
            )?;
        } else {
            let passphrase = Zeroizing::new(verb.options.passphrases.of_new(&name)?);
            generate(&working.keys_folder(), &name, kind, &passphrase)?;
        }
    }
    working.reread_keys()
}

/// The first root, unsigned.
fn first_root(working: &Working, verb: &Arguments) -> Result<Document, PublishError> {
    let entry = |name: &str| {
        let holder = verb
            .holder
            .iter()
            .find(|(key, _)| key == name)
            .map_or(name, |(_, holder)| holder.as_str());
        proposal::entry(&working.keyring, name, holder.to_owned())
    };
    let roots = (1..=verb.root_keys)
        .map(|number| entry(&format!("root-{number}")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut roles = BTreeMap::new();
    for role in ROLES {
        let keys = match role {
            "root" => RoleKeys {
                keys: roots.clone(),
                threshold: verb.root_threshold.into(),
            },
            "targets" => RoleKeys {
                keys: vec![entry("targets")?],
                threshold: 1,
            },
            _ => RoleKeys {
                keys: vec![entry("online")?],
                threshold: 1,
            },
        };
        roles.insert(role.to_owned(), keys);
    }
    root_document(&roles)
}

/// The lines for hosts.
fn report(working: &Working) -> Result<Value, PublishError> {
    let root = working.root()?;
    let sha256 = Digest::of(root.bytes()).hex();
    let folder = working.keys_folder();
    let folder = folder.parent().unwrap_or(&folder);
    let id = folder
        .canonicalize()
        .ok()
        .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let id = if id.is_empty() || !id.chars().all(plain) {
        "images".to_owned()
    } else {
        id
    };
    let metadata: Vec<String> = working
        .settings
        .read_from()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut policy = format!(
        "[[root]]\nid       = \"{id}\"\ntype     = \"tuf\"\nfile     = \"roots/{id}.root.json\"\nsha256   = \"{sha256}\"\n"
    );
    if !metadata.is_empty() {
        let places: Vec<_> = metadata.iter().map(|place| format!("{place:?}")).collect();
        policy.extend(["metadata = [", &places.join(", "), "]\n"]);
    }
    policy.extend(
        working
            .settings
            .names
            .iter()
            .map(|pattern| format!("\n[[rule]]\nmatch = \"{pattern}\"\nroots = [\"{id}\"]\n")),
    );
    let quoted =
        |word: &dyn std::fmt::Display| format!("'{}'", word.to_string().replace('\'', "'\\''"));
    let root_file = working.pinned_file();
    let mut pin_add = format!(
        "rootpin pin add {id} --type tuf --from {}",
        shell_word(&root_file.to_string_lossy())
    );
    for place in &metadata {
        pin_add.extend([" --metadata ", &quoted(place)]);
    }
    for pattern in &working.settings.names {
        pin_add.extend([" --match ", &quoted(pattern)]);
    }
    pin_add.extend([" --fingerprint ", &sha256]);
    let keys: Vec<_> = working
        .keyring
        .keys()
        .iter()
        .map(|entry| json!({ "name": entry.name, "keyid": entry.keyid }))
        .collect();
    Ok(
        json!({ "version": 1, "outcome": "made", "root": working.pinned_file().display().to_string(), "id": id, "sha256": sha256,
        "keys": keys, "policy": policy, "pin_add": pin_add }),
    )
}

fn report_text(report: &Value) -> String {
    let keys = crate::cli::output::list(report, "keys")
        .iter()
        .map(|key| text(key, "name"))
        .collect::<Vec<_>>()
        .join(", ");
    let places: Vec<_> = crate::cli::output::list(report, "published")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let published = if places.is_empty() {
        "not published yet".to_owned()
    } else {
        format!("published at {}", places.join(", "))
    };
    format!(
        "keys     {keys}\nroot     {}\nsha256   {}\n{published}\n\nfor each host: copy the root file to /etc/rootpin/roots/{}.root.json, and into policy.toml:\n\n{}\n\
         or, on a host that has the root file and was told the sha256 by another way:\n\n{}",
        text(report, "root"),
        text(report, "sha256"),
        text(report, "id"),
        text(report, "policy"),
        text(report, "pin_add")
    )
}

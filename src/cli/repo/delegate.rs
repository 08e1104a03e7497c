//! `rootpin repo delegate`: other signers for some of the names.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Here;
use super::report::{key_name, of_others};
use super::signing::{SigningOptions, carry_out, read_draft};
use super::term::RootTerm;
use crate::cli::output::{Output, counted, list, table, text};
use crate::publish::changes::{Edits, EntryEdit, RoleEntry, present};
use crate::publish::key::SigningError;
use crate::publish::keyring::read_public_key;
use crate::publish::root::as_listed;
use crate::publish::taken_out;
use crate::publish::{
    Draft, Metadata, PublishError, RepositoryChange, Working, delegated_paths, key_object,
};
use rootpin_policy::MetadataUrl;
use rootpin_trust::image::Tag;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Let other keys sign for some of the names; of a role that is there already, these take the
    /// place of its keys
    #[command(
        after_help = "example: rootpin repo delegate add team-a --key alice.pub --holder alice \\\n    \
            --paths 'registry.example/team-a/**'"
    )]
    Add(AddDelegation),
    /// Take it back: from then on nothing that the role has signed counts
    #[command(after_help = "example: rootpin repo delegate remove team-a")]
    Remove(RemoveDelegation),
    /// Show who may sign what
    #[command(after_help = "example: rootpin repo delegate list")]
    List(List),
}

#[derive(Debug, clap::Args)]
pub(super) struct AddDelegation {
    /// The role's name
    role: String,
    /// The signers' public keys (PEM), as `key generate` writes them
    #[arg(long, required = true, num_args = 1.., value_name = "FILE.pub")]
    key: Vec<PathBuf>,
    /// The holders of the keys, in their order; else the files' names
    #[arg(long, num_args = 1.., value_name = "NAME")]
    holder: Vec<String>,
    /// The names, as a policy writes them
    #[arg(long, required = true, num_args = 1.., value_name = "PATTERN")]
    paths: Vec<String>,
    /// How many of the keys must sign
    #[arg(long, value_name = "M", default_value_t = 1)]
    threshold: u32,
    /// Ask later delegations as well for what this role doesn't list
    #[arg(long)]
    not_terminating: bool,
    /// The role that delegates
    #[arg(long, value_name = "ROLE", default_value = "targets")]
    by: String,
    #[command(flatten)]
    options: SigningOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct RemoveDelegation {
    /// The role's name
    role: String,
    #[command(flatten)]
    options: SigningOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Read the working folder, not the place
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(here: &Here, verb: Verb, output: Output) -> Result<u8, PublishError> {
    match verb {
        Verb::Add(verb) => add(here, verb, output).await,
        Verb::Remove(verb) => remove(here, verb, output).await,
        Verb::List(verb) => list_all(here, &verb, output).await,
    }
}

async fn add(here: &Here, verb: AddDelegation, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    check_name(&verb.role, &working)?;
    let paths = delegated_paths(&verb.paths, &working.settings)?;
    if !verb.holder.is_empty() && verb.holder.len() != verb.key.len() {
        return Err(PublishError::wrong(
            format!("{} keys and {} holders", verb.key.len(), verb.holder.len()),
            "one --holder for each --key",
        ));
    }
    let keys = verb
        .key
        .iter()
        .map(|file| read_key(file))
        .collect::<Result<Vec<_>, _>>()?;
    let draft = read_draft(&mut here.transaction(&working, verb.options.local)?, output).await?;
    let known = draft
        .document(&verb.by)
        .and_then(|document| document.members("delegations")?.get("keys")?.as_object());
    let as_known = |(keyid, key, name)| {
        let (keyid, key) = as_listed(known, keyid, key);
        (keyid, key, name)
    };
    let keys: Vec<(String, Value, String)> = keys.into_iter().map(as_known).collect();
    let mut ids: Vec<&str> = keys.iter().map(|(keyid, ..)| keyid.as_str()).collect();
    let listed = json!({
        "name": verb.role, "keyids": ids, "threshold": verb.threshold, "paths": paths, "terminating": !verb.not_terminating,
    });
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < keys.len()
        || ids.len() < usize::try_from(verb.threshold).unwrap_or(usize::MAX)
        || verb.threshold == 0
    {
        return Err(PublishError::wrong(
            format!(
                "{} different keys, of which {} must sign",
                ids.len(),
                verb.threshold
            ),
            "give as many keys as must sign, each once",
        ));
    }
    let objects: Map<String, Value> = keys
        .iter()
        .map(|(keyid, key, _)| (keyid.clone(), key.clone()))
        .collect();
    let mut wanted = vec![(
        RoleEntry::Delegation(verb.role.clone()),
        Some(json!({ "role": listed, "keys": objects })),
    )];
    for (index, (keyid, _, name)) in keys.iter().enumerate() {
        let holder = verb.holder.get(index).unwrap_or(name);
        wanted.push((RoleEntry::Holder(keyid.clone()), Some(json!(holder))));
    }
    let mut about = vec![format!(
        "delegate {} to {}",
        verb.paths.join(" "),
        verb.role
    )];
    let before = draft
        .next
        .roles
        .get(&verb.role)
        .filter(|_| draft.next.authority(&verb.role).is_none());
    if let Some(names) = before
        .and_then(|file| file.document.members("targets"))
        .filter(|names| !names.is_empty())
    {
        about.push(format!(
            "  it was delegated to before: what these keys signed then counts again, {}",
            counted(names.len(), "name")
        ));
    }
    let delegation = RoleEntry::Delegation(verb.role);
    let change = setting(&verb.by, &delegation, &wanted, &working);
    carry_out(here, &working, change, &about, &verb.options, output).await
}

async fn remove(here: &Here, verb: RemoveDelegation, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let draft = read_draft(&mut here.transaction(&working, verb.options.local)?, output).await?;
    let of_role = |listed: &Value| text(listed, "name") == verb.role;
    let by = draft
        .next
        .delegations()
        .find(|(_, listed)| of_role(listed))
        .map(|(by, _)| by.to_owned());
    let by = by.ok_or_else(|| {
        PublishError::wrong(
            format!("nothing is delegated to {}", verb.role),
            "rootpin repo delegate list",
        )
    })?;
    let about = vec![format!("take back what is delegated to {}", verb.role)];
    let delegation = RoleEntry::Delegation(verb.role);
    let mut wanted = vec![(delegation.clone(), None)];
    let record = taken_out::record(&delegation, None, || false);
    wanted.extend(record.map(|(record, by)| (record, Some(by))));
    let change = setting(&by, &delegation, &wanted, &working);
    carry_out(here, &working, change, &about, &verb.options, output).await
}

/// Sets entries of the role that delegates.
fn setting<'a>(
    by: &'a str,
    delegation: &'a RoleEntry,
    wanted: &'a [(RoleEntry, Option<Value>)],
    working: &'a Working,
) -> RepositoryChange<'a> {
    let mut edits: Option<Edits> = None;
    let change = RepositoryChange::new(move |draft: &mut Draft| {
        let document = draft.document(by).ok_or_else(|| {
            PublishError::wrong(
                format!("there is no role {by}"),
                "rootpin repo delegate list",
            )
        })?;
        if document
            .members("delegations")
            .is_some_and(|delegations| delegations.contains_key("succinct_roles"))
        {
            return Err(PublishError::wrong(
                format!("{by} delegates to hash bins, which another tool keeps"),
                "change it with that tool",
            ));
        }
        let edit = |(entry, after): &(RoleEntry, Option<Value>)| {
            let before = present(document, entry);
            let after = after.clone();
            (entry.clone(), EntryEdit { before, after })
        };
        let made = edits
            .get_or_insert_with(|| wanted.iter().map(edit).collect())
            .clone();
        super::images::check_waiting(draft, &working.keyring, by)?;
        if wanted
            .iter()
            .any(|(of, after)| of == delegation && after.is_some())
        {
            check_delegator(&draft.next, delegation, by)?;
        }
        draft.edit(by, &made, |_| false)
    });
    change.deciding([delegation.clone()])
}

/// One role is delegated to by one other: its one file can't be signed by the keys that two say.
fn check_delegator(metadata: &Metadata, entry: &RoleEntry, by: &str) -> Result<(), PublishError> {
    let RoleEntry::Delegation(role) = entry else {
        return Ok(());
    };
    match metadata
        .delegations()
        .find(|(other, listed)| *other != by && text(listed, "name") == role)
    {
        Some((other, _)) => Err(PublishError::wrong(
            format!("{other} delegates to {role} already"),
            "give the new role another name",
        )),
        None => Ok(()),
    }
}

/// The name is that of a file, and in a registry that of a tag.
fn check_name(role: &str, working: &Working) -> Result<(), PublishError> {
    let wrong = |why: &str| {
        Err(PublishError::wrong(
            format!("{role:?} {why}"),
            "a role's name is letters, digits, . _ and -, as team-a",
        ))
    };
    if role.parse::<Tag>().is_err() {
        return wrong("can't be a role");
    }
    // A cache keeps it as 2.root.json, and that is the root's second version.
    if role
        .split_once('.')
        .is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return wrong("reads as the version of another role's file");
    }
    let taken =
        |url: &MetadataUrl| matches!(url, MetadataUrl::Oci { tag, .. } if tag.as_str() == role);
    if matches!(
        role,
        "root" | "targets" | "snapshot" | "timestamp" | "latest"
    ) || role.starts_with("rootpin-")
    {
        return wrong("has another meaning");
    }
    if working.settings.publish.iter().any(taken) {
        return wrong("is the tag of a place");
    }
    Ok(())
}

/// A public key's file: its ID, the key, and the file's name.
pub(super) fn read_key(file: &Path) -> Result<(String, Value, String), PublishError> {
    let public = read_public_key(file).map_err(|error| match error {
        SigningError::File(file, error) => PublishError::wrong(
            format!("{file}: {error}"),
            "wanted a public key's file: keys/NAME.pub, as its holder has it",
        ),
        error => error.into(),
    })?;
    let (keyid, key) = key_object(&public);
    let name = file
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok((keyid, key, name))
}

async fn list_all(here: &Here, verb: &List, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let mut transaction = here.transaction(&working, verb.local)?;
    let metadata = read_draft(&mut transaction, output).await?.next;
    let term = RootTerm::of(&metadata, transaction.now);
    let delegation = |(by, listed): (&str, &Value)| {
        let keyids = list(listed, "keyids").iter().filter_map(Value::as_str);
        let keys: Vec<_> = keyids
            .map(|keyid| key_name(keyid, &metadata, &working.keyring))
            .collect();
        let role = text(listed, "name");
        json!({
            "role": role, "by": by, "keys": keys, "threshold": listed.get("threshold"), "paths": listed.get("paths"),
            "terminating": listed.get("terminating"), "published": metadata.roles.contains_key(role), "broken": metadata.broken.get(role),
        })
    };
    let delegations: Vec<_> = metadata.delegations().map(delegation).collect();
    here.say(
        output,
        &json!({ "version": 1, "delegations": delegations, "root": term.json() }),
        list_text,
    );
    Ok(term.said(0, &here.repo))
}

fn list_text(report: &Value) -> String {
    let report = &of_others(report);
    let row = |one: &Value| {
        let words = |name: &str| {
            list(one, name)
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let threshold = one
            .get("threshold")
            .map(ToString::to_string)
            .unwrap_or_default();
        let published = one.get("published").and_then(Value::as_bool) == Some(true);
        let note = match (published, one.get("broken").and_then(Value::as_str)) {
            (_, Some(_)) => "does not hold: its keys changed, and it waits for the new ones",
            (false, None) => "has signed nothing yet",
            (true, None) => "",
        };
        vec![
            text(one, "role").to_owned(),
            format!("{threshold} of {}", words("keys").join(", ")),
            words("paths").join(" "),
            note.to_owned(),
        ]
    };
    let rows: Vec<_> = list(report, "delegations").iter().map(row).collect();
    if rows.is_empty() {
        "nothing is delegated".to_owned()
    } else {
        table(&rows)
    }
}

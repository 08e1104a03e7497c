//! `rootpin repo sign`, `endorse` and `revoke`: what names of images stand for.

mod description;
mod endorse_list;
mod signer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use description::{describe, describing, target};
use serde_json::{Value, json};
use signer::{check_delegation, check_key, role_for};
pub(super) use signer::{check_waiting, may_sign};

use super::Here;
use super::signing::{SigningOptions, carry_out};
use crate::cli::output::Output;
use crate::cli::verify_file::file_digest;
use crate::publish::changes::{Edits, EntryEdit, RoleEntry, present};
use crate::publish::{
    Draft, Metadata, PublishError, RepositoryChange, Working, delegation_path, taken_out,
};
use crate::sources::Description;
use rootpin_trust::image::{Digest, ImageRef, Repository, Tag};

/// For what a registry is asked.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Sign {
    /// Signed together, in one change
    #[arg(required = true, value_name = "NAME:TAG")]
    names: Vec<String>,
    /// The manifest's or index's digest, of all of them; else the registry says what each tag is
    /// now, and that is shown
    #[arg(long, value_name = "sha256:…")]
    digest: Option<Digest>,
    /// Its length in bytes, where no registry is to be asked
    #[arg(long, value_name = "BYTES", requires = "digest", value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    length: Option<u64>,
    /// Sign this file of this machine under the name, instead of an image: `rootpin verify-file`
    /// checks it
    #[arg(long, value_name = "FILE", conflicts_with = "digest")]
    file: Option<PathBuf>,
    /// The role that signs; else the most specific one that a key here may sign for
    #[arg(long)]
    role: Option<String>,
    #[command(flatten)]
    options: SigningOptions,
}

#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, args = ["name", "list"])]
pub(super) struct Endorse {
    /// NAME:TAG, as it is to be pulled
    name: Option<String>,
    /// Endorse what this file lists, as one change: NAME:TAG a line, `*` for parts of both, and
    /// `as NAME` where hosts pull it from elsewhere
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "from", "digest"])]
    list: Option<PathBuf>,
    /// Take tags that were moved since they were endorsed, too
    #[arg(long, requires = "list")]
    update: bool,
    /// The name under which others publish it, if it is another
    #[arg(long, value_name = "NAME:TAG")]
    from: Option<String>,
    /// The manifest's or index's digest there; else the registry says what the tag is now, and that
    /// is shown
    #[arg(long, value_name = "sha256:…")]
    digest: Option<Digest>,
    /// The role that signs; else the most specific one that a key here may sign for
    #[arg(long)]
    role: Option<String>,
    #[command(flatten)]
    options: SigningOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// Taken back together, in one change
    #[arg(required = true, value_name = "NAME:TAG")]
    names: Vec<String>,
    /// The role that takes them back; else every one that lists one of them
    #[arg(long)]
    role: Option<String>,
    #[command(flatten)]
    options: SigningOptions,
}

pub(super) async fn sign(here: &Here, verb: Sign, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let images = verb
        .names
        .iter()
        .map(|name| tagged(name))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some((repository, _)) = images
        .iter()
        .find(|(repository, _)| !working.settings.owns(repository))
    {
        return Err(PublishError::wrong(
            format!(
                "{repository} is none of this repository's names: {}",
                working
                    .settings
                    .names
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            "add it to names in repository.toml, or endorse what others build",
        ));
    }
    let (mut targets, mut about) = (BTreeMap::new(), Vec::new());
    for (repository, tag) in images {
        let path = format!("{repository}:{tag}");
        let image = ImageRef {
            repository,
            tag: Some(tag),
            digest: verb.digest,
        };
        let known = match &verb.file {
            Some(file) => Some(measured(file)?),
            None => verb.digest.zip(verb.length),
        };
        let described = match known {
            Some((digest, length)) => Description {
                digest,
                length,
                media_type: String::new(),
                manifests: Vec::new(),
                bytes: Vec::new(),
            },
            None => describe(here, &image, output).await?,
        };
        about.extend(describing(&format!("sign {path}"), &described));
        targets.insert(path, target(&described, None));
    }
    let change = setting(&targets, verb.role.as_deref(), &working);
    carry_out(here, &working, change, &about, &verb.options, output).await
}

/// A file's digest and length.
fn measured(file: &Path) -> Result<(Digest, u64), PublishError> {
    file_digest(file).map_err(|error| PublishError::File(file.display().to_string(), error))
}

pub(super) async fn endorse(
    here: &Here,
    verb: Endorse,
    output: Output,
) -> Result<u8, PublishError> {
    let working = here.open()?;
    let name = match (&verb.list, &verb.name) {
        (Some(list), _) => return endorse_list::run(here, &working, list, &verb, output).await,
        (None, name) => name.as_deref().unwrap_or_default(),
    };
    let (repository, tag) = tagged(name)?;
    if !working.settings.may_endorse(&repository) {
        return Err(PublishError::wrong(
            format!("{repository} is nothing that this repository endorses"),
            format!("add it to endorses in repository.toml, as endorses = [\"{repository}\"]"),
        ));
    }
    let path = format!("{repository}:{tag}");
    let from = verb.from.as_deref().unwrap_or(name);
    let (source, source_tag) = tagged(from)?;
    let image = ImageRef {
        repository: source,
        tag: Some(source_tag),
        digest: verb.digest,
    };
    let described = describe(here, &image, output).await?;
    let name = ImageRef {
        digest: None,
        ..image
    }
    .to_string();
    let about = describing(&format!("endorse {path} as {name}"), &described);
    let source = source_of(&name, described.digest);
    let targets = [(path, target(&described, Some(source)))].into();
    let change = setting(&targets, verb.role.as_deref(), &working);
    carry_out(here, &working, change, &about, &verb.options, output).await
}

/// Where an endorsed image is from, and since when.
fn source_of(name: &str, digest: Digest) -> Value {
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    json!({ "name": name, "digest": digest.to_string(), "at": at.to_string() })
}

/// Sets what paths stand for, each in the role that signs it.
fn setting<'a>(
    targets: &'a BTreeMap<String, Value>,
    role: Option<&'a str>,
    working: &'a Working,
) -> RepositoryChange<'a> {
    let mut edits: Option<EditsByRole> = None;
    let change = RepositoryChange::new(move |draft: &mut Draft| {
        if edits.is_none() {
            let mut all = EditsByRole::new();
            for (path, value) in targets {
                let role = match role {
                    Some(role) => role.to_owned(),
                    None => role_for(&draft.next, &working.keyring, path)?,
                };
                add_edit(&mut all, draft, role, path, Some(value));
            }
            edits = Some(all);
        }
        for (role, edits) in edits.iter().flatten() {
            for path in targets
                .keys()
                .filter(|path| edits.contains_key(&RoleEntry::Target((*path).clone())))
            {
                check_delegation(&draft.next, role, path)?;
            }
            check_waiting(draft, &working.keyring, role)?;
            draft.edit(role, edits, |_| false)?;
        }
        Ok(())
    });
    change.deciding(targets.keys().cloned().map(RoleEntry::Target))
}

pub(super) async fn revoke(here: &Here, verb: Revoke, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let path = |name: &String| tagged(name).map(|(repository, tag)| format!("{repository}:{tag}"));
    let paths = verb
        .names
        .iter()
        .map(path)
        .collect::<Result<BTreeSet<_>, _>>()?;
    let change = removing(&paths, verb.role.as_deref(), &working);
    let about: Vec<_> = paths.iter().map(|path| format!("revoke {path}")).collect();
    carry_out(here, &working, change, &about, &verb.options, output).await
}

/// Takes paths out of one role, or of every role that lists them.
fn removing<'a>(
    paths: &'a BTreeSet<String>,
    only: Option<&'a str>,
    working: &'a Working,
) -> RepositoryChange<'a> {
    let mut edits: Option<EditsByRole> = None;
    let change = RepositoryChange::new(move |draft: &mut Draft| {
        if edits.is_none() {
            let mut all = EditsByRole::new();
            for path in paths {
                for role in roles_that_list(&draft.next, path, only)? {
                    add_edit(&mut all, draft, role.clone(), path, None);
                    let edits = all.entry(role.clone()).or_default();
                    record_taken_out(edits, draft, &role, path, working);
                }
            }
            edits = Some(all);
        }
        for (role, edits) in edits.iter().flatten() {
            check_waiting(draft, &working.keyring, role)?;
            if let Some(path) = paths
                .iter()
                .find(|path| edits.contains_key(&RoleEntry::Target((*path).clone())))
            {
                check_key(&draft.next, &working.keyring, role, path)?;
            }
            draft.edit(role, edits, |_| false)?;
        }
        Ok(())
    });
    change.deciding(paths.iter().cloned().map(RoleEntry::Target))
}

fn roles_that_list(
    metadata: &Metadata,
    path: &str,
    only: Option<&str>,
) -> Result<BTreeSet<String>, PublishError> {
    let listing = metadata
        .roles
        .keys()
        .chain(metadata.waiting.keys())
        .filter(|role| delegation_path::lists(metadata, role, path))
        .filter(|role| only.is_none_or(|only| only == *role));
    let roles: BTreeSet<_> = listing.cloned().collect();
    if roles.is_empty() {
        return Err(PublishError::wrong(
            format!("{path} is not signed"),
            "rootpin repo list shows what is",
        ));
    }
    Ok(roles)
}

/// Edits by role.
type EditsByRole = BTreeMap<String, Edits>;

/// Adds the edit of one path in a role.
fn add_edit(all: &mut EditsByRole, draft: &Draft, role: String, path: &str, after: Option<&Value>) {
    let entry = RoleEntry::Target(path.to_owned());
    let before = draft
        .document(&role)
        .and_then(|document| present(document, &entry));
    all.entry(role).or_default().insert(
        entry,
        EntryEdit {
            before,
            after: after.cloned(),
        },
    );
}

/// Whether a list of endorsements or a take-over may bring a name, whoever signed it.
fn may_come_again(metadata: &Metadata, working: &Working, path: &str) -> bool {
    let repository = path
        .rsplit_once(':')
        .map_or(path, |(repository, _)| repository);
    let mut endorses = working.settings.endorses.iter();
    let parsed = Repository::from_full(repository);
    parsed.is_ok_and(|repository| endorses.any(|pattern| pattern.matches(&repository)))
        || taken_out::comes_in_bulk(metadata, repository)
}

/// Records that a path is taken out, so that no list and no take-over brings it again.
fn record_taken_out(edits: &mut Edits, draft: &Draft, role: &str, path: &str, working: &Working) {
    let entry = RoleEntry::Target(path.to_owned());
    let taken = edits.get(&entry).and_then(|edit| edit.before.as_ref());
    let comes_again = || may_come_again(&draft.next, working, path);
    if let Some((record, by)) = taken_out::record(&entry, taken, comes_again) {
        let document = draft.document(role);
        let before = document.and_then(|document| present(document, &record));
        let after = Some(by);
        edits.insert(record, EntryEdit { before, after });
    }
}

/// A name with a tag, and nothing else.
pub(super) fn tagged(name: &str) -> Result<(Repository, Tag), PublishError> {
    let image: ImageRef = name
        .parse()
        .map_err(|error: rootpin_trust::image::ReferenceError| {
            PublishError::wrong(error.to_string(), "wanted NAME:TAG")
        })?;
    match image {
        ImageRef {
            repository,
            tag: Some(tag),
            digest: None,
        } if name.ends_with(&format!(":{tag}")) => Ok((repository, tag)),
        _ => Err(PublishError::wrong(
            format!("{name:?} has no tag, or a digest"),
            "wanted NAME:TAG, and --digest sha256:…",
        )),
    }
}

//! `rootpin repo sign`, `endorse` and `revoke`: what names of images stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Here;
use super::act::{self, Act, Options};
use super::report::key_name;
use crate::cli::output::Output;
use crate::cli::verify_file::file_digest;
use crate::publish::changes::{Edit, Edits, Entry, present};
use crate::publish::keyring::Keyring;
use crate::publish::{Doing, Draft, Metadata, PublishError, Working, way};
use crate::sources::{Description, Sources};
use rootpin_trust::Code;
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
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(super) struct Endorse {
    /// NAME:TAG, as it is to be pulled
    name: String,
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
    options: Options,
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
    options: Options,
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
        return Err(PublishError::Wrong(format!(
            "{repository} is none of this repository's names: {}; hint: add it to names in repository.toml, or endorse what others build",
            working
                .settings
                .names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        )));
    }
    let mut put = Put {
        role: verb.role,
        ..Put::default()
    };
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
        put.about.extend(about(&format!("sign {path}"), &described));
        put.targets.insert(path, target(&described, None));
    }
    self::put(here, &working, put, &verb.options, output).await
}

pub(super) async fn endorse(
    here: &Here,
    verb: Endorse,
    output: Output,
) -> Result<u8, PublishError> {
    let working = here.open()?;
    let (repository, tag) = tagged(&verb.name)?;
    if !working.settings.may_endorse(&repository) {
        return Err(PublishError::Wrong(format!(
            "{repository} is nothing that this repository endorses; hint: add it to endorses in repository.toml, as endorses = [\"{repository}\"]"
        )));
    }
    let path = format!("{repository}:{tag}");
    let from = verb.from.as_deref().unwrap_or(&verb.name);
    let (source, source_tag) = tagged(from)?;
    let image = ImageRef {
        repository: source,
        tag: Some(source_tag),
        digest: verb.digest,
    };
    let described = describe(here, &image, output).await?;
    let at = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let name = ImageRef {
        digest: None,
        ..image
    }
    .to_string();
    let about = about(&format!("endorse {path} as {name}"), &described);
    let source = json!({ "name": name, "digest": described.digest.to_string(), "at": at });
    let targets = [(path, target(&described, Some(source)))].into();
    put(
        here,
        &working,
        Put {
            targets,
            about,
            role: verb.role,
        },
        &verb.options,
        output,
    )
    .await
}

/// A file's digest and length.
fn measured(file: &Path) -> Result<(Digest, u64), PublishError> {
    file_digest(file).map_err(|error| PublishError::Wrong(format!("{}: {error}", file.display())))
}

/// What the registry has under that name now.
async fn describe(
    here: &Here,
    image: &ImageRef,
    output: Output,
) -> Result<Description, PublishError> {
    let sources = Sources::new(Arc::clone(&here.credentials));
    let doing = Doing::default();
    doing.set(format!("asking the registry for {image}"));
    let described = act::telling(
        output,
        &doing,
        sources.describe(image, Instant::now() + DEADLINE),
    )
    .await;
    described.map_err(|refusal| {
        // The hint of a refusal is for hosts; here no name is taken with a digest in it.
        let hint = match refusal.code {
            Code::NoStatement => {
                "push the image first, or check the name; what is not there yet is signed by --digest sha256:… --length BYTES"
            }
            Code::SourceDenied => "log in as somebody who may pull there (docker login REGISTRY), or give --docker-config DIR",
            _ => &refusal.hint,
        };
        PublishError::Wrong(format!("{}; hint: {hint}", refusal.found))
    })
}

fn about(what: &str, described: &Description) -> Vec<String> {
    let Description {
        digest,
        length,
        media_type,
        manifests,
        ..
    } = described;
    let kind = if media_type.is_empty() {
        String::new()
    } else {
        format!(", {media_type}")
    };
    let platforms = if manifests.is_empty() {
        String::new()
    } else {
        format!(", {} manifests", manifests.len())
    };
    vec![
        what.to_owned(),
        format!("  {digest}, {length} bytes{kind}{platforms}"),
    ]
}

/// An image as a target.
fn target(described: &Description, source: Option<Value>) -> Value {
    let mut about = Map::new();
    if !described.media_type.is_empty() {
        about.insert("mediaType".to_owned(), json!(described.media_type));
    }
    if !described.manifests.is_empty() {
        let manifests: Vec<_> = described
            .manifests
            .iter()
            .map(ToString::to_string)
            .collect();
        about.insert("manifests".to_owned(), json!(manifests));
    }
    about.extend(source.map(|source| ("source".to_owned(), source)));
    let mut target =
        json!({ "length": described.length, "hashes": { "sha256": described.digest.hex() } });
    if let Some(target) = target.as_object_mut().filter(|_| !about.is_empty()) {
        target.insert("custom".to_owned(), json!({ "rootpin": about }));
    }
    target
}

/// What paths are to stand for.
#[derive(Default)]
struct Put {
    targets: BTreeMap<String, Value>,
    about: Vec<String>,
    role: Option<String>,
}

/// Edits by role.
type OfRoles = BTreeMap<String, Edits>;

async fn put(
    here: &Here,
    working: &Working,
    put: Put,
    options: &Options,
    output: Output,
) -> Result<u8, PublishError> {
    let Put {
        targets,
        about,
        role,
    } = put;
    let mut edits: Option<OfRoles> = None;
    let mut make = |draft: &mut Draft| {
        if edits.is_none() {
            let mut all = OfRoles::new();
            for (path, value) in &targets {
                let role = match &role {
                    Some(role) => role.clone(),
                    None => role_for(&draft.next, &working.keyring, path)?,
                };
                change(&mut all, draft, role, path, Some(value));
            }
            edits = Some(all);
        }
        for (role, edits) in edits.iter().flatten() {
            for path in targets
                .keys()
                .filter(|path| edits.contains_key(&Entry::Target((*path).clone())))
            {
                check_way(&draft.next, role, path)?;
            }
            check_waiting(draft, &working.keyring, role)?;
            draft.edit(role, edits, |_| false)?;
        }
        Ok(())
    };
    let act = Act {
        make: &mut make,
        decides: targets.keys().cloned().map(Entry::Target).collect(),
        restores: false,
        about,
    };
    act::run(here, working, act, options, output).await
}

pub(super) async fn revoke(here: &Here, verb: Revoke, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let path = |name: &String| tagged(name).map(|(repository, tag)| format!("{repository}:{tag}"));
    let paths = verb
        .names
        .iter()
        .map(path)
        .collect::<Result<BTreeSet<_>, _>>()?;
    let mut edits: Option<OfRoles> = None;
    let mut make = |draft: &mut Draft| {
        if edits.is_none() {
            let mut all = OfRoles::new();
            for path in &paths {
                let listing = draft
                    .next
                    .roles
                    .keys()
                    .chain(draft.next.waiting.keys())
                    .filter(|role| way::lists(&draft.next, role, path));
                let roles = listing
                    .filter(|role| verb.role.as_ref().is_none_or(|only| only == *role))
                    .cloned()
                    .collect::<BTreeSet<_>>();
                if roles.is_empty() {
                    return Err(PublishError::Wrong(format!(
                        "{path} is not signed; hint: rootpin repo list shows what is"
                    )));
                }
                for role in roles {
                    change(&mut all, draft, role, path, None);
                }
            }
            edits = Some(all);
        }
        for (role, edits) in edits.iter().flatten() {
            check_waiting(draft, &working.keyring, role)?;
            if let Some(path) = paths
                .iter()
                .find(|path| edits.contains_key(&Entry::Target((*path).clone())))
            {
                check_key(&draft.next, &working.keyring, role, path)?;
            }
            draft.edit(role, edits, |_| false)?;
        }
        Ok(())
    };
    let about = paths.iter().map(|path| format!("revoke {path}")).collect();
    let act = Act {
        make: &mut make,
        decides: paths.iter().cloned().map(Entry::Target).collect(),
        restores: false,
        about,
    };
    act::run(here, &working, act, &verb.options, output).await
}

/// Adds what a path is to be in a role.
fn change(all: &mut OfRoles, draft: &Draft, role: String, path: &str, after: Option<&Value>) {
    let entry = Entry::Target(path.to_owned());
    let before = draft
        .document(&role)
        .and_then(|document| present(document, &entry));
    all.entry(role).or_default().insert(
        entry,
        Edit {
            before,
            after: after.cloned(),
        },
    );
}

/// A name with a tag, and nothing else.
pub(super) fn tagged(name: &str) -> Result<(Repository, Tag), PublishError> {
    let image: ImageRef = name
        .parse()
        .map_err(|error| PublishError::Wrong(format!("{error}; hint: wanted NAME:TAG")))?;
    match image {
        ImageRef {
            repository,
            tag: Some(tag),
            digest: None,
        } if name.ends_with(&format!(":{tag}")) => Ok((repository, tag)),
        _ => Err(PublishError::Wrong(format!(
            "{name:?} has no tag, or a digest; hint: wanted NAME:TAG, and --digest sha256:…"
        ))),
    }
}

pub(super) fn may_sign(metadata: &Metadata, keyring: &Keyring, role: &str) -> bool {
    let authority = metadata.authority(role);
    authority.is_some_and(|authority| {
        authority
            .keys
            .iter()
            .any(|key| key.id.is_some_and(|id| keyring.signs_with(id)))
    })
}

/// The role to sign a path in: the one that decides it already, or else the most specific one, if a
/// key here may sign for it.
fn role_for(metadata: &Metadata, keyring: &Keyring, path: &str) -> Result<String, PublishError> {
    let way = way::way(metadata, path);
    let may = |role: &&String| may_sign(metadata, keyring, role);
    let decided = way::decided_by(metadata, path);
    // Pre-order, the most specific delegation first: after `targets`, which covers everything.
    let first = || {
        way.iter()
            .skip(1)
            .find(may)
            .or_else(|| way.first().filter(may))
            .cloned()
    };
    decided
        .filter(|role| may_sign(metadata, keyring, role))
        .or_else(first)
        .ok_or_else(|| {
            let signers: Vec<_> = way
                .iter()
                .map(|role| format!("{role}: {}", signers(metadata, keyring, role)))
                .collect();
            PublishError::Wrong(format!(
                "no key here may sign {path}; hint: have it signed by one of those who may: {}",
                signers.join("; ")
            ))
        })
}

fn signers(metadata: &Metadata, keyring: &Keyring, role: &str) -> String {
    let keyids = metadata
        .authority(role)
        .map(|authority| authority.keyids())
        .unwrap_or_default();
    keyids
        .iter()
        .map(|keyid| key_name(keyid, metadata, keyring))
        .collect::<Vec<_>>()
        .join(", ")
}

fn check_key(
    metadata: &Metadata,
    keyring: &Keyring,
    role: &str,
    path: &str,
) -> Result<(), PublishError> {
    if may_sign(metadata, keyring, role) {
        return Ok(());
    }
    let signers = signers(metadata, keyring, role);
    Err(PublishError::Wrong(format!(
        "{role} lists {path}, and no key of it is here; hint: its keys are held by {signers}"
    )))
}

/// Refuses what no host would see: a role that is not asked for the path, or after another one that
/// lists it.
fn check_way(metadata: &Metadata, role: &str, path: &str) -> Result<(), PublishError> {
    let way = way::way(metadata, path);
    let Some(at) = way.iter().position(|known| known == role) else {
        return Err(PublishError::Wrong(format!(
            "hosts don't ask {role} for {path}; hint: they ask {}; rootpin repo delegate list shows who signs what",
            way.join(", ")
        )));
    };
    match way
        .iter()
        .take(at)
        .find(|earlier| way::lists(metadata, earlier, path))
    {
        Some(earlier) => Err(PublishError::Wrong(format!(
            "{earlier} lists {path} already, and is asked before {role}; hint: sign it there (--role {earlier}), or revoke it there first"
        ))),
        None => Ok(()),
    }
}

/// Refuses to sign along with one's own change what others have put to be signed and nobody here
/// has looked at.
pub(super) fn check_waiting(
    draft: &Draft,
    keyring: &Keyring,
    role: &str,
) -> Result<(), PublishError> {
    let Some(file) = draft.next.waiting.get(role) else {
        return Ok(());
    };
    let Some(authority) = draft.next.authority(role) else {
        return Ok(());
    };
    let signed = Metadata::signers(&authority, &file.document);
    let here = signed
        .iter()
        .any(|key| key.id.is_some_and(|id| keyring.signs_with(id)));
    if here || signed.len() >= authority.threshold {
        return Ok(());
    }
    let signed: Vec<_> = signed
        .iter()
        .map(|key| key_name(&key.keyid, &draft.next, keyring))
        .collect();
    Err(PublishError::Wrong(format!(
        "{role} waits with changes by {}; hint: look at them with rootpin repo approve {role} --dry-run, and approve or drop them first",
        signed.join(", ")
    )))
}

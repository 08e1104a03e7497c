//! Reads the keys and root files that a person pins, from a file, a root file, or a trust directory of Docker or Notary.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Failure, unknown};
use crate::problem::Problem;
use rootpin_trust::{Format, PublicKey, RootFile, key_file};

/// Keys or root files to pin.
#[derive(Debug)]
pub(super) enum Material {
    /// Keys that may stand in Notary's root roles.
    Keys(Vec<PublicKey>),
    /// Root files of TUF with their bytes, of which the last is the newest.
    Roots(Vec<(RootFile, Vec<u8>)>),
}

/// A trust directory is not deeper, nor has it more repositories.
const MOST_DEPTH: usize = 32;
const MOST_REPOSITORIES: usize = 10_000;

/// Reads that path. `gun` picks one repository of a trust directory.
pub(super) fn at(path: &Path, gun: Option<&str>) -> Result<Material, Failure> {
    if path.is_dir() {
        return trust_directory(path, gun);
    }
    if gun.is_some() {
        return Err(Failure::Usage(
            format!(
                "--gun picks a repository of a trust directory, and {} is none",
                path.display()
            )
            .into(),
        ));
    }
    let bytes = file(path)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        let root = RootFile::read(&bytes).map_err(|refusal| unknown(&refusal))?;
        return Ok(of_root_file(root, bytes));
    }
    let keys = key_file::signature_keys(&bytes).map_err(|error| {
        let hint = "wanted a PEM public key or certificate, a root.json, or a trust directory; of a private key in Docker's or Notary's \
            `private` folder the file name is the canonical ID";
        Failure::Unknown(Problem::hinted(format!("{}: {error}", path.display()), hint.to_string()))
    })?;
    Ok(Material::Keys(keys))
}

/// Of a root file in Notary's format the keys; one of TUF as it is.
pub(super) fn of_root_file(root: RootFile, bytes: Vec<u8>) -> Material {
    match root.format {
        Format::Notary => Material::Keys(root.keys),
        Format::Tuf => Material::Roots(vec![(root, bytes)]),
    }
}

/// The root keys of its repositories, each key once. Its private keys are encrypted and tell
/// nothing.
fn trust_directory(dir: &Path, gun: Option<&str>) -> Result<Material, Failure> {
    let tuf = dir.join("tuf");
    let mut found = Vec::new();
    find(&tuf, 0, &mut found)?;
    found.sort();
    let name = |metadata: &Path| {
        metadata
            .strip_prefix(&tuf)
            .map(|name| name.display().to_string())
            .unwrap_or_default()
    };
    if let Some(gun) = gun {
        found.retain(|repository| name(repository) == gun);
    }
    if found.is_empty() {
        let what = gun.map_or("repository".to_owned(), |gun| format!("repository {gun}"));
        return Err(Failure::Unknown(Problem::hinted(
            format!("no {what} in {}", dir.display()),
            "wanted a folder such as ~/.docker/trust, with tuf/NAME/metadata/root.json in it",
        )));
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for repository in &found {
        let path = repository.join("metadata/root.json");
        let root = RootFile::read(&file(&path)?).map_err(|refusal| {
            Failure::Unknown(format!("{}: {}", path.display(), refusal.found).into())
        })?;
        for key in root.keys {
            if keys.iter().all(|known| known.id() != key.id()) {
                keys.push(key);
            }
        }
    }
    Ok(Material::Keys(keys))
}

/// Every folder below that has a metadata/root.json. Links are not followed: a trust directory has
/// none.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Unknown(format!("{}: {error}", folder.display()).into());
    if depth > MOST_DEPTH || found.len() > MOST_REPOSITORIES {
        return Err(Failure::Unknown(
            format!(
                "{} is no trust directory: too deep, or too much in it",
                folder.display()
            )
            .into(),
        ));
    }
    if !folder.is_dir() {
        return Ok(());
    }
    if folder.join("metadata/root.json").is_file() {
        found.push(folder.to_owned());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            find(&entry.path(), depth + 1, found)?;
        }
    }
    Ok(())
}

/// The bytes of a plain file.
pub(in crate::cli) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Unknown(Problem::hinted(
            format!("{}: {error}", path.display()),
            "name a file that can be read",
        ))
    };
    // Before it is opened: a pipe would hold its reader.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Failure::Unknown(Problem::hinted(
            format!("{} is not a plain file", path.display()),
            "name a plain file",
        )));
    }
    let most = u64::try_from(RootFile::MAX_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > RootFile::MAX_BYTES {
        return Err(Failure::Unknown(
            format!("{} is larger than {most} bytes", path.display()).into(),
        ));
    }
    Ok(bytes)
}

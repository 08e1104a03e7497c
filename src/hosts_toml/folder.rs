//! Finds the folder of a registry below an engine's folder of `hosts.toml` files (containerd,
//! `HostDirFromRoot`).

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::DEFAULT;
use super::document::MAX_BYTES;
use crate::trusted_path::{Owner, Untrusted, check_way};

/// The folder of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryFolder {
    folder: PathBuf,
    /// Whether this is `_default` because the registry has no folder of its own.
    pub(crate) is_default: bool,
}

impl RegistryFolder {
    /// The folder that an engine reads for a registry: the first of three that exists, if any.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(crate) fn of(root: &Path, registry: &str) -> io::Result<Option<Self>> {
        for name in [with_port(registry).as_str(), registry, DEFAULT] {
            let folder = root.join(name);
            if folder.try_exists()? {
                return Ok(Some(Self {
                    folder,
                    is_default: name == DEFAULT && registry != DEFAULT,
                }));
            }
        }
        Ok(None)
    }

    /// The registry's own folder, which may not exist yet.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(crate) fn own(root: &Path, registry: &str) -> io::Result<Self> {
        let found = Self::of(root, registry)?.filter(|place| !place.is_default);
        Ok(found.unwrap_or_else(|| Self {
            folder: root.join(registry),
            is_default: false,
        }))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its `hosts.toml`, which may not exist.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("hosts.toml")
    }

    /// The file's text, or `None` without a file. A text over `MAX_BYTES` is cut one byte after it.
    ///
    /// # Errors
    /// The file can't be read, or is not a plain file.
    pub(crate) fn text(&self) -> io::Result<Option<String>> {
        let file = match fs::File::open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a plain file"));
        }
        let (mut text, most) = (String::new(), u64::try_from(MAX_BYTES).unwrap_or(u64::MAX));
        file.take(most.saturating_add(1))
            .read_to_string(&mut text)?;
        Ok(Some(text))
    }

    /// The fault by which others than root can change who resolves tags: in the file, a folder on
    /// the way to it, or the target of a link on the way.
    pub(crate) fn untrusted(&self) -> Option<Untrusted> {
        let file = std::path::absolute(self.file()).ok()?;
        check_way(&file, Owner::RootOrCaller).err()
    }
}

/// The registries that have a folder. A folder that no engine looks for, as `_backup`, is left out.
///
/// # Errors
/// The folder can't be listed.
pub(crate) fn registries(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if fs::metadata(entry.path()).is_ok_and(|about| about.is_dir()) {
            let name = entry
                .file_name()
                .into_string()
                .ok()
                .map(|name| without_port(&name));
            names.extend(name.filter(|name| is_looked_for(name)));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether engines look for a folder of that name: a registry's, or `_default`.
fn is_looked_for(name: &str) -> bool {
    let of_a_host = |sign: char| sign.is_ascii_alphanumeric() || ".-:[]".contains(sign);
    name == DEFAULT
        || name.starts_with(|sign: char| sign.is_ascii_alphanumeric() || sign == '[')
            && name.chars().all(of_a_host)
}

/// `host_5000_`, which engines look for before `host:5000`.
fn with_port(registry: &str) -> String {
    registry.rsplit_once(':').map_or_else(
        || registry.to_owned(),
        |(host, port)| format!("{host}_{port}_"),
    )
}

fn without_port(folder: &str) -> String {
    let parts = folder
        .strip_suffix('_')
        .and_then(|rest| rest.rsplit_once('_'));
    let port = parts
        .filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or_else(
        || folder.to_owned(),
        |(host, port)| format!("{host}:{port}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_three_folders_is_looked_into() {
        let root = tempfile::tempdir().unwrap();
        let found = || {
            RegistryFolder::of(root.path(), "r.example:5000")
                .unwrap()
                .map(|place| place.folder.file_name().unwrap().to_owned())
        };
        assert_eq!(found(), None);
        for name in ["_default", "r.example:5000", "r.example_5000_"] {
            fs::create_dir(root.path().join(name)).unwrap();
            assert_eq!(found().unwrap(), name);
        }
        assert!(
            RegistryFolder::of(root.path(), "other.example")
                .unwrap()
                .unwrap()
                .is_default
        );
        assert_eq!(
            RegistryFolder::own(root.path(), "other.example")
                .unwrap()
                .file(),
            root.path().join("other.example/hosts.toml")
        );
        assert_eq!(
            registries(root.path()).unwrap(),
            ["_default", "r.example:5000"]
        );
    }

    #[test]
    fn a_folder_that_no_engine_looks_for_is_no_registry() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "_backup",
            "localhost__32000",
            "docker.io.bak_2024",
            "old registry",
            ".git",
            "[::1]_5000_",
            "localhost_32000_",
            "r.example",
        ] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("notes.example"), "no folder").unwrap();
        assert_eq!(
            registries(root.path()).unwrap(),
            ["[::1]:5000", "localhost:32000", "r.example"]
        );
    }

    #[test]
    fn who_can_write_to_a_folder_on_the_way_can_change_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let certs = root.path().join("certs.d");
        fs::create_dir_all(certs.join("r.example")).unwrap();
        let place = RegistryFolder::own(&certs, "r.example").unwrap();
        fs::write(place.file(), "").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&place.file(), 0o644);
        assert_eq!(place.untrusted(), None);
        for open in [place.file(), place.folder().to_owned(), certs.clone()] {
            let mode = fs::metadata(&open).unwrap().permissions().mode() & 0o777;
            set(&open, mode | 0o020);
            let fault = place.untrusted().unwrap();
            let named = open.display().to_string();
            assert!(fault.message.contains(&named), "{fault:?}");
            set(&open, mode);
        }
        assert_eq!(place.untrusted(), None);
    }
}

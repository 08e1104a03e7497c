//! Where an engine finds the file of a registry, below the folder that it was told (containerd,
//! `HostDirFromRoot`).

use std::fs;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::document::MAX_BYTES;
use super::{Certificates, DEFAULT, Hole, WRITABLE, hole};
use crate::trusted_path::{Owner, check_way};

/// The folder of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
    /// Whether it is that of `_default`, which stands for the registry.
    pub is_default: bool,
}

impl Place {
    /// The folder that an engine looks into for a registry: the first of three that is there.
    /// `None`: none of them is.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn of(root: &Path, registry: &str) -> io::Result<Option<Self>> {
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

    /// The folder of the registry's own, there or to be made.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn own(root: &Path, registry: &str) -> io::Result<Self> {
        let found = Self::of(root, registry)?.filter(|place| !place.is_default);
        Ok(found.unwrap_or_else(|| Self {
            folder: root.join(registry),
            is_default: false,
        }))
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file itself.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("hosts.toml")
    }

    /// Its text, if there is such a file.
    ///
    /// # Errors
    /// It can't be read, or is no text of a size that such a file has.
    pub fn text(&self) -> io::Result<Option<String>> {
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

    /// That others than root may change who says what a tag is: the file, a folder on the way to
    /// it, or what a link on the way leads to.
    #[must_use]
    pub fn writable(&self) -> Option<Hole> {
        let file = std::path::absolute(self.file()).ok()?;
        let fault = check_way(&file, Owner::RootOrCaller).err()?;
        let found = format!(
            "others than root can change {}: {}",
            file.display(),
            fault.message
        );
        Some(Hole::new(WRITABLE, found, fault.hint))
    }

    /// The certificates beside it.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub fn certificates(&self) -> io::Result<Certificates> {
        let mut names = Vec::new();
        match fs::read_dir(&self.folder) {
            Ok(entries) => {
                for entry in entries {
                    names.extend(entry?.file_name().into_string());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        names.sort();
        let kind = |name: &String| {
            Path::new(name)
                .extension()
                .and_then(|kind| kind.to_str().map(str::to_owned))
        };
        let key = |certificate: &str| format!("{}.key", certificate.trim_end_matches(".cert"));
        let pair = |name: &String| {
            (
                name.clone(),
                Some(key(name)).filter(|key| names.contains(key)),
            )
        };
        Ok(Certificates {
            ca: names
                .iter()
                .filter(|name| kind(name).as_deref() == Some("crt"))
                .cloned()
                .collect(),
            client: names
                .iter()
                .filter(|name| kind(name).as_deref() == Some("cert"))
                .map(pair)
                .collect(),
        })
    }
}

/// Whether an administrator has the engines that read this folder fetch a registry's bytes from the
/// resolver: by the registry's own file, or by that of `_default` where it has none.
///
/// # Errors
/// It can't be looked at, is not understood, or may be anybody's.
pub fn fetches_at(root: &Path, registry: &str, resolver: SocketAddr) -> io::Result<bool> {
    let Some(place) = Place::of(root, registry)? else {
        return Ok(false);
    };
    let Some(text) = place.text()? else {
        return Ok(false);
    };
    if let Some(hole) = place.writable() {
        return Err(io::Error::other(hole.found));
    }
    Ok(hole::fetches(
        &text.parse().map_err(io::Error::other::<String>)?,
        resolver,
    ))
}

/// The registries that have a folder. One whose name no engine looks for, as `_backup`, is none.
///
/// # Errors
/// The folder can't be listed.
pub fn registries(root: &Path) -> io::Result<Vec<String>> {
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

/// Whether the name can be that of a registry in an image's name, or stands for those without a
/// folder of their own.
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
            Place::of(root.path(), "r.example:5000")
                .unwrap()
                .map(|place| place.folder.file_name().unwrap().to_owned())
        };
        assert_eq!(found(), None);
        for name in ["_default", "r.example:5000", "r.example_5000_"] {
            fs::create_dir(root.path().join(name)).unwrap();
            assert_eq!(found().unwrap(), name);
        }
        assert!(
            Place::of(root.path(), "other.example")
                .unwrap()
                .unwrap()
                .is_default
        );
        assert_eq!(
            Place::own(root.path(), "other.example").unwrap().file(),
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
    fn a_client_certificate_goes_with_its_key() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::own(root.path(), "r.example").unwrap();
        assert_eq!(place.certificates().unwrap(), Certificates::default());
        fs::create_dir(root.path().join("r.example")).unwrap();
        for name in ["ca.crt", "a.cert", "a.key", "b.cert", "notes"] {
            fs::write(root.path().join("r.example").join(name), "x").unwrap();
        }
        let found = place.certificates().unwrap();
        assert_eq!(found.ca, ["ca.crt"]);
        assert_eq!(
            found.client,
            [
                ("a.cert".to_owned(), Some("a.key".to_owned())),
                ("b.cert".to_owned(), None)
            ]
        );
    }
    #[test]
    fn who_can_write_to_a_folder_on_the_way_can_change_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let certs = root.path().join("certs.d");
        fs::create_dir_all(certs.join("r.example")).unwrap();
        let place = Place::own(&certs, "r.example").unwrap();
        fs::write(place.file(), "").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&place.file(), 0o644);
        assert_eq!(place.writable(), None);
        for open in [place.file(), place.folder().to_owned(), certs.clone()] {
            let mode = fs::metadata(&open).unwrap().permissions().mode() & 0o777;
            set(&open, mode | 0o020);
            let hole = place.writable().unwrap();
            assert!(hole.found.contains(&open.display().to_string()), "{hole:?}");
            set(&open, mode);
        }
        assert_eq!(place.writable(), None);
    }
}

//! Finds the registries whose bytes an administrator has the engines fetch from the resolver.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::hosts_toml::fetches_bytes;

/// Where containerd's and Docker's files are unless rootpin.toml's `hosts-dir` says otherwise.
const FOLDERS: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

/// The folders of `hosts.toml` files, and whose resolver they should name.
#[derive(Debug)]
pub(super) struct Forms {
    at: SocketAddr,
    folders: Vec<PathBuf>,
}

impl Forms {
    pub(super) fn new(at: SocketAddr, hosts_dir: Option<&Path>) -> Self {
        let mut folders: Vec<PathBuf> = hosts_dir.map(Path::to_owned).into_iter().collect();
        folders.extend(
            FOLDERS
                .iter()
                .map(PathBuf::from)
                .filter(|folder| Some(folder.as_path()) != hosts_dir),
        );
        Self { at, folders }
    }

    /// Whether one of the files leads here for a registry's bytes. They are read each time: they
    /// change while rootpind runs.
    pub(super) fn pass(&self, registry: &str) -> bool {
        self.folders.iter().any(|folder| {
            fetches_bytes(folder, registry, self.at).unwrap_or_else(|error| {
                log::warn!(
                    "the hosts.toml of {registry} in {} is not looked at: {error}",
                    folder.display()
                );
                false
            })
        })
    }
}

impl Display for Forms {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self
            .folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        f.write_str(&shown.join(" or "))
    }
}

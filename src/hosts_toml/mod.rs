//! Reads the `hosts.toml` files by which engines find registries, as every engine reads them, and
//! dockerd's daemon.json beside their folder. `operate::hosts` checks and closes such files.

mod certificates;
mod daemon_json;
mod dialect;
mod document;
mod folder;
#[cfg(test)]
mod fuzz;
mod resolver;

pub(crate) use certificates::Certificates;
pub(crate) use daemon_json::DaemonJson;
pub(crate) use document::{Capabilities, HostsFile, capabilities};
pub(crate) use folder::{RegistryFolder, registries};
pub(crate) use resolver::{fetches_bytes, is_resolver, resolver_url};

/// The folder's name for every registry without a folder of its own.
pub(crate) const DEFAULT: &str = "_default";

/// Docker Hub: dockerd's own `registry-mirrors` apply to it and to no other registry.
pub(crate) const DOCKER_HUB: &str = "docker.io";

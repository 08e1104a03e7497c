//! The form in which a `hosts.toml` names rootpin's resolver.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::{DEFAULT, HostsFile, RegistryFolder, capabilities};

/// Below it the resolver answers tags only, so that the engine asks the registry itself for bytes,
/// with its own credentials.
const RESOLVE_ONLY: &str = "/resolve";

/// The URL of the resolver in a registry's file. `_default` has no other way to the registries, so
/// its URL gives the bytes too.
pub(crate) fn resolver_url(resolver: SocketAddr, registry: &str) -> String {
    let path = if registry == DEFAULT {
        ""
    } else {
        RESOLVE_ONLY
    };
    format!("http://{resolver}{path}")
}

/// Whether a host of the file is the resolver: its address, and no path but its own.
pub(crate) fn is_resolver(host: &str, resolver: SocketAddr) -> bool {
    [resolver_url(resolver, ""), resolver_url(resolver, DEFAULT)]
        .iter()
        .any(|url| url == without_api_path(host))
}

/// Whether an administrator has the engines that read this folder fetch a registry's bytes from the
/// resolver: by the registry's own file, or by that of `_default` where it has none.
///
/// # Errors
/// The file can't be read, is not understood, or others than root can change it.
pub(crate) fn fetches_bytes(root: &Path, registry: &str, resolver: SocketAddr) -> io::Result<bool> {
    let Some(folder) = RegistryFolder::of(root, registry)? else {
        return Ok(false);
    };
    let Some(text) = folder.text()? else {
        return Ok(false);
    };
    if let Some(fault) = folder.untrusted() {
        return Err(io::Error::other(fault.message));
    }
    let file = text.parse().map_err(io::Error::other::<String>)?;
    Ok(has_bytes_host(&file, resolver))
}

/// Whether the file has an engine fetch bytes from the resolver, and not only resolve tags there.
fn has_bytes_host(file: &HostsFile, resolver: SocketAddr) -> bool {
    let whole = resolver_url(resolver, DEFAULT);
    let server = file.server().map(|server| (server, file.root()));
    let mut hosts = server.into_iter().chain(file.hosts().unwrap_or_default());
    hosts.any(|(host, table)| {
        without_api_path(host) == whole && capabilities(table).is_ok_and(|may| may.pull)
    })
}

fn without_api_path(host: &str) -> &str {
    let host = host.strip_suffix('/').unwrap_or(host);
    host.strip_suffix("/v2").unwrap_or(host)
}

//! Finds each fault by which another host than the resolver can say what a tag is.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use toml_edit::Table;

use crate::hosts_toml::{
    Capabilities, DEFAULT, HostsFile, RegistryFolder, capabilities, is_resolver, resolver_url,
};
use crate::trusted_path::Untrusted;

rootpin_trust::codes! {
    /// Each fault of a registry's `hosts.toml`; docs/resolver.md and `rootpin hosts check --help` list
    /// them.
    pub(crate) enum HostsCode;
    NoFile = "no-file", "the registry has no hosts.toml, so it says itself";
    Malformed = "malformed", "engines pass over a file that they don't understand";
    NoServer = "no-server", "no server is named, and then the registry may resolve";
    ServerResolves = "server-resolves", "the server may resolve";
    HostResolves = "host-resolves", "another host may resolve";
    NoResolver = "no-resolver", "the resolver is not asked";
    NoHostTable = "no-host-table", "containerd 1.7 passes over a file without a `[host]` table";
    Mirrors = "mirrors", "dockerd's registry-mirrors say what Docker Hub's tags are";
    Writable = "writable", "others than root can change it";
    Generated = "generated", "another program writes the file anew, so `rootpin hosts write` leaves it";
    PortTaken = "port-taken", "somebody else than rootpind listens where the resolver should";
    DirList = "dir-list", "a folder is a list with colons, of which CRI of containerd 2.1 and later takes none";
}

/// One fault of a `hosts.toml`: another host than the resolver resolves tags, or none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostsFinding {
    /// Its stable code.
    pub(crate) code: HostsCode,
    /// What was found.
    pub(crate) found: String,
    /// What to change.
    pub(crate) hint: String,
}

impl HostsFinding {
    pub(super) fn new(code: HostsCode, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            found: found.into(),
            hint: hint.into(),
        }
    }

    /// Engines pass over a file that they don't understand.
    pub(crate) fn malformed(why: &str) -> Self {
        let found = format!(
            "the file is not understood, and then engines pass over it and ask the registry: {}",
            why.trim()
        );
        Self::new(
            HostsCode::Malformed,
            found,
            "mend it by hand; `rootpin hosts write` then closes it",
        )
    }

    /// Others than root can change the file.
    fn writable(file: &Path, fault: Untrusted) -> Self {
        let found = format!(
            "others than root can change {}: {}",
            file.display(),
            fault.message
        );
        Self::new(HostsCode::Writable, found, fault.hint)
    }

    /// Another program writes the file anew when it starts, so an edit would be lost.
    pub(super) fn generated(line: &str) -> Self {
        let found = format!(
            "another program writes the file anew, as it says: {}",
            line.trim_start_matches('#').trim()
        );
        let hint = "write the registry's file into a folder of your own, by --dir, and have CRI's config_path name that folder";
        Self::new(HostsCode::Generated, found, hint)
    }
}

/// The faults of the folder that an engine reads for a registry; `place` is `None` without one.
/// Hints carry `options`, those of `rootpin hosts write`, as ` --dir /etc/docker/certs.d`.
///
/// # Errors
/// The file can't be read.
pub(crate) fn check_folder(
    place: Option<&RegistryFolder>,
    registry: &str,
    resolver: SocketAddr,
    options: &str,
) -> io::Result<Vec<HostsFinding>> {
    let hint = format!("rootpin hosts write{options} {registry}");
    let none = |found| Ok(vec![HostsFinding::new(HostsCode::NoFile, found, &hint)]);
    let Some(place) = place else {
        return none("no hosts.toml, so the registry says itself what its tags are");
    };
    let Some(text) = place.text()? else {
        return none("a folder without hosts.toml, so the registry says itself what its tags are");
    };
    let name = if place.is_default { DEFAULT } else { registry };
    let mut found = match text.parse::<HostsFile>() {
        Ok(file) => check_file(&file, name, resolver),
        Err(error) => vec![HostsFinding::malformed(&error)],
    };
    found.extend(
        place
            .untrusted()
            .map(|fault| HostsFinding::writable(&place.file(), fault)),
    );
    Ok(found)
}

/// The fault of a file without a `[host]` table: containerd 1.7 passes over it and asks the registry
/// (`getSortedHosts` in its remotes/docker/config/hosts.go).
///
/// # Errors
/// The file can't be read.
pub(crate) fn without_host_table(
    place: &RegistryFolder,
    registry: &str,
    options: &str,
) -> io::Result<Option<HostsFinding>> {
    let Some(Ok(file)) = place.text()?.map(|text| text.parse::<HostsFile>()) else {
        return Ok(None);
    };
    let name = if place.is_default { DEFAULT } else { registry };
    let hole = HostsFinding::new(
        HostsCode::NoHostTable,
        "containerd 1.7 passes over a file without a [host] table, and asks the registry",
        format!("rootpin hosts write{options} {name}"),
    );
    Ok((!file.has_host_table()).then_some(hole))
}

/// The fault of a file for Docker Hub that names fewer than two hosts: dockerd puts its
/// `registry-mirrors` before them (moby, daemon/hosts.go, `mergeLegacyConfig`). `place` is the
/// folder that dockerd reads for docker.io.
///
/// # Errors
/// The file can't be read.
pub(crate) fn mirrored(
    place: &RegistryFolder,
    mirrors: &[String],
    options: &str,
) -> io::Result<Option<HostsFinding>> {
    let Some(Ok(file)) = place.text()?.map(|text| text.parse::<HostsFile>()) else {
        return Ok(None);
    };
    if mirrors.is_empty() || !file.hosts().unwrap_or_default().is_empty() {
        return Ok(None);
    }
    let found = format!(
        "dockerd puts its registry-mirrors, {}, before the one host that is named here for docker.io",
        mirrors.join(", ")
    );
    let hint = format!(
        "rootpin hosts write{options} docker.io   # which names two and so ends registry-mirrors; a mirror of bytes is then a [host.\"URL\"] with capabilities = [\"pull\"] in that file"
    );
    Ok(Some(HostsFinding::new(HostsCode::Mirrors, found, hint)))
}

/// The faults in the file of a registry, or of `_default`; none if only the resolver resolves tags.
pub(crate) fn check_file(
    file: &HostsFile,
    registry: &str,
    resolver: SocketAddr,
) -> Vec<HostsFinding> {
    let mut holes = Vec::new();
    let server = file.server().filter(|server| !server.is_empty());
    let server_is_ours = server.is_some_and(|server| is_resolver(server, resolver));
    let by_server = resolves(file.root());
    match server {
        None => holes.push(HostsFinding::new(
            HostsCode::NoServer,
            "no server is named, so the registry itself is the last host, and may resolve",
            format!(
                "name it at the top of the file, as server = \"{}\"",
                default_server(registry, resolver)
            ),
        )),
        Some(server) if by_server && !server_is_ours => holes.push(HostsFinding::new(
            HostsCode::ServerResolves,
            format!("the server, {server}, may say what a tag is"),
            "write capabilities = [\"pull\", \"push\"] below the server, before any [host.…]",
        )),
        Some(_) => {}
    }
    let mut asked = server_is_ours && by_server;
    for (host, table) in file.hosts().unwrap_or_default() {
        if is_resolver(host, resolver) {
            asked |= resolves(table);
        } else if resolves(table) {
            let hint = format!("write capabilities = [\"pull\"] below [host.\"{host}\"]");
            holes.push(HostsFinding::new(
                HostsCode::HostResolves,
                format!("the host {host} may say what a tag is"),
                hint,
            ));
        }
    }
    if !asked {
        let hint = format!(
            "add [host.\"{}\"] with capabilities = [\"pull\", \"resolve\"]",
            resolver_url(resolver, registry)
        );
        holes.push(HostsFinding::new(
            HostsCode::NoResolver,
            format!("the resolver at {resolver} is not asked what a tag is"),
            hint,
        ));
    }
    holes
}

fn resolves(table: &Table) -> bool {
    // What is not understood is told as such, and was understood here.
    capabilities(table).is_ok_and(Capabilities::resolves)
}

/// The registry's own URL. Engines speak plain http to a registry of this machine, except on port
/// 443.
pub(super) fn default_server(registry: &str, resolver: SocketAddr) -> String {
    if registry == DEFAULT {
        return resolver_url(resolver, DEFAULT);
    }
    let (name, port) = registry.rsplit_once(':').unwrap_or((registry, ""));
    let local = name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        _ if local && !["", "443"].contains(&port) => format!("http://{registry}"),
        _ => format!("https://{registry}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_and_the_help_list_every_code_and_no_other() {
        let documented = include_str!("../../../docs/resolver.md");
        let (_, table) = documented
            .split_once("| code | hole |\n|---|---|\n")
            .unwrap();
        let rows = table.lines().take_while(|line| line.starts_with("| `"));
        let listed: Vec<_> = rows
            .filter_map(|row| row.split(" | ").next())
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let names: Vec<_> = HostsCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(listed, names);

        // Only `rootpin hosts write` meets a generated file.
        let checked = names.iter().filter(|name| **name != "generated");
        let help = include_str!("../../cli/hosts/mod.rs");
        for name in checked {
            assert!(help.contains(&format!("            {name} ")), "{name}");
        }
    }
}

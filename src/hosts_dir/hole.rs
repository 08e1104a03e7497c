//! What leaves a `hosts.toml` open.

use std::io;
use std::net::SocketAddr;

use toml_edit::Table;

use super::document::{HostsFile, capabilities};
use super::{DEFAULT, Place, url};

/// The code of a registry that has no file.
pub const NO_FILE: &str = "no-file";

/// The code of a file that others than root can change.
pub const WRITABLE: &str = "writable";

/// One way by which somebody else than the resolver says what a tag is, or by which nobody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Its stable name.
    pub code: &'static str,
    /// What was found.
    pub found: String,
    /// What to change.
    pub hint: String,
}

impl Hole {
    pub(super) fn new(
        code: &'static str,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            found: found.into(),
            hint: hint.into(),
        }
    }

    /// Engines pass over a file that they don't understand.
    #[must_use]
    pub fn malformed(why: &str) -> Self {
        let found = format!(
            "the file is not understood, and then engines pass over it and ask the registry: {}",
            why.trim()
        );
        Self::new(
            "malformed",
            found,
            "mend it by hand; `rootpin hosts write` then closes it",
        )
    }
}

impl Hole {
    /// What is written into it is lost when that program starts.
    pub(super) fn generated(line: &str) -> Self {
        let found = format!(
            "another program writes the file anew, as it says: {}",
            line.trim_start_matches('#').trim()
        );
        let hint = "write the registry's file into a folder of your own, by --dir, and have CRI's config_path name that folder";
        Self::new("generated", found, hint)
    }
}

/// What is open where an engine looks for a registry's file; `None`: it finds nothing. `options` are
/// those of `rootpin hosts write`, as ` --dir /etc/docker/certs.d`.
///
/// # Errors
/// The file can't be read.
pub fn holes_at(
    place: Option<&Place>,
    registry: &str,
    resolver: SocketAddr,
    options: &str,
) -> io::Result<Vec<Hole>> {
    let hint = format!("rootpin hosts write{options} {registry}");
    let none = |found| Ok(vec![Hole::new(NO_FILE, found, &hint)]);
    let Some(place) = place else {
        return none("no hosts.toml, so the registry says itself what its tags are");
    };
    let Some(text) = place.text()? else {
        return none("a folder without hosts.toml, so the registry says itself what its tags are");
    };
    let name = if place.is_default { DEFAULT } else { registry };
    let mut found = match text.parse::<HostsFile>() {
        Ok(file) => holes(&file, name, resolver),
        Err(error) => vec![Hole::malformed(&error)],
    };
    found.extend(place.writable());
    Ok(found)
}

/// That containerd 1.7 passes over a file without a `[host]` table, and asks the registry
/// (`getSortedHosts` in its remotes/docker/config/hosts.go).
///
/// # Errors
/// The file can't be read.
pub fn passed_over(place: &Place, registry: &str, options: &str) -> io::Result<Option<Hole>> {
    let Some(Ok(file)) = place.text()?.map(|text| text.parse::<HostsFile>()) else {
        return Ok(None);
    };
    let name = if place.is_default { DEFAULT } else { registry };
    let hole = Hole::new(
        "no-host-table",
        "containerd 1.7 passes over a file without a [host] table, and asks the registry",
        format!("rootpin hosts write{options} {name}"),
    );
    Ok((!file.has_host_table()).then_some(hole))
}

/// That dockerd's `registry-mirrors` stand before the only host that a file names for Docker Hub;
/// two hosts end them (moby, daemon/hosts.go, `mergeLegacyConfig`). `place` is where dockerd looks
/// for docker.io's.
///
/// # Errors
/// The file can't be read.
pub fn mirrored(place: &Place, mirrors: &[String], options: &str) -> io::Result<Option<Hole>> {
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
    Ok(Some(Hole::new("mirrors", found, hint)))
}

/// What is open in the file of a registry, or in that of `_default`; nothing, if the resolver alone
/// says what a tag is.
#[must_use]
pub fn holes(file: &HostsFile, registry: &str, resolver: SocketAddr) -> Vec<Hole> {
    let mut holes = Vec::new();
    let server = file.server().filter(|server| !server.is_empty());
    let server_is_ours = server.is_some_and(|server| is_resolver(server, resolver));
    let by_server = resolves(file.root());
    match server {
        None => holes.push(Hole::new(
            "no-server",
            "no server is named, so the registry itself is the last host, and may resolve",
            format!(
                "name it at the top of the file, as server = \"{}\"",
                default_server(registry, resolver)
            ),
        )),
        Some(server) if by_server && !server_is_ours => holes.push(Hole::new(
            "server-resolves",
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
            holes.push(Hole::new(
                "host-resolves",
                format!("the host {host} may say what a tag is"),
                hint,
            ));
        }
    }
    if !asked {
        let hint = format!(
            "add [host.\"{}\"] with capabilities = [\"pull\", \"resolve\"]",
            url(resolver, registry)
        );
        holes.push(Hole::new(
            "no-resolver",
            format!("the resolver at {resolver} is not asked what a tag is"),
            hint,
        ));
    }
    holes
}

fn resolves(table: &Table) -> bool {
    // What is not understood is told as such, and was understood here.
    capabilities(table).is_ok_and(super::document::Capabilities::resolves)
}

/// Whether a host of the file is the resolver: its address, and no path but its own.
pub(super) fn is_resolver(host: &str, resolver: SocketAddr) -> bool {
    [url(resolver, ""), url(resolver, DEFAULT)]
        .iter()
        .any(|url| url == plain(host))
}

/// Whether the file has an engine fetch bytes from the resolver, and not only ask it what a tag is.
pub(super) fn fetches(file: &HostsFile, resolver: SocketAddr) -> bool {
    let whole = url(resolver, DEFAULT);
    let server = file.server().map(|server| (server, file.root()));
    let mut hosts = server.into_iter().chain(file.hosts().unwrap_or_default());
    hosts.any(|(host, table)| plain(host) == whole && capabilities(table).is_ok_and(|may| may.pull))
}

fn plain(host: &str) -> &str {
    let host = host.strip_suffix('/').unwrap_or(host);
    host.strip_suffix("/v2").unwrap_or(host)
}

/// The registry itself. Engines speak plain http to one of this machine, unless it is on the port
/// of https.
pub(super) fn default_server(registry: &str, resolver: SocketAddr) -> String {
    if registry == DEFAULT {
        return url(resolver, DEFAULT);
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

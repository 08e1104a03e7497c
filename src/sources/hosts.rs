//! containerd's `hosts.toml`: by which mirrors a registry is reached, which CA each of them has,
//! and which certificate it wants to see.
//!
//! Read from the folder that the host's owner names (`hosts-dir`), laid out as containerd's
//! `config_path`: the first of `HOST_PORT_`, `HOST[:PORT]` and `_default` that is there, with a
//! `hosts.toml`, or else with Docker's `*.crt`, `*.cert` and `*.key`. Where dockerd's daemon.json
//! lies beside the folder, its `registry-mirrors` and `insecure-registries` count as they do for
//! dockerd: where no `hosts.toml` names a `[host]`. A mirror may be stale or
//! hostile: what it says is verified like everything else. So plain http to another machine is
//! asked where the file says so, and is sent no credentials. TLS that is not verified
//! (`skip_verify`) is an error and not a setting: it would look like what it is not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::{SourceError, escaped};
use crate::hosts_toml::{Certificates, DOCKER_HUB, DaemonJson, RegistryFolder};
use crate::trusted_path::{Owner, check_way};
use rootpin_trust::image::Digest;

/// No such file is larger: all CAs of a system are a quarter of it.
const MAX_BYTES: u64 = 1 << 20;
/// No registry has more mirrors.
const MOST: usize = 16;

/// What is wanted of a registry, as `capabilities` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    /// Which digest a tag is.
    Resolve,
    /// Bytes.
    Pull,
    /// To take bytes.
    Push,
}

/// One way to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegistryRoute {
    /// Where its API begins: `https://mirror.example/v2`.
    pub(super) api: String,
    /// PEM of the CAs to trust beside the system's.
    pub(super) ca: Option<Vec<u8>>,
    /// PEM of the certificate to show, and of its key.
    pub(super) identity: Option<Vec<u8>>,
    /// Whether another is to be tried where this one has no answer or not what is wanted.
    pub(super) mirror: bool,
    /// Whether plain http is only tried: dockerd's `insecure-registries` may speak TLS as well.
    pub(super) guessed: bool,
}

impl RegistryRoute {
    /// One for each pair of CAs and certificate; none, where there is neither.
    pub(super) fn tls(&self) -> Option<Digest> {
        let parts = [&self.ca, &self.identity];
        let all: Vec<u8> = parts
            .into_iter()
            .flat_map(|part| part.iter().flatten().chain(b"\0"))
            .copied()
            .collect();
        parts
            .iter()
            .any(|part| part.is_some())
            .then(|| Digest::of(&all))
    }
}

/// The file, as far as it matters here. Other keys of containerd's are passed over.
#[derive(Deserialize)]
struct HostsToml {
    server: Option<String>,
    ca: Option<OneOrMore>,
    client: Option<Clients>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, HostTable>,
}

#[derive(Default, Deserialize)]
struct HostTable {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<Clients>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

/// A file with certificate and key, or several, or pairs of files (containerd, docs/hosts.md,
/// "client field").
#[derive(Deserialize)]
#[serde(untagged)]
enum Clients {
    One(PathBuf),
    Files(Vec<PathBuf>),
    Pairs(Vec<Vec<PathBuf>>),
}

impl Clients {
    /// The first one, of whose files the second may be missing or empty. Which of several a server
    /// would want nobody knows.
    fn first(&self) -> Vec<&Path> {
        let files: Vec<&Path> = match self {
            Self::One(file) => vec![file],
            Self::Files(files) => files
                .first()
                .map(|file| vec![file.as_path()])
                .unwrap_or_default(),
            Self::Pairs(pairs) => pairs
                .first()
                .map(|pair| pair.iter().map(PathBuf::as_path).collect())
                .unwrap_or_default(),
        };
        files
            .into_iter()
            .filter(|file| !file.as_os_str().is_empty())
            .collect()
    }
}

/// The ways to a registry, in their order; the last is the registry itself. `None`: nothing is said
/// of it. The resolver of this host is no way to anywhere: it would ask here again.
pub(super) fn ways(
    folder: &Path,
    host: &str,
    wanted: Capability,
    resolver: Option<SocketAddr>,
) -> Result<Option<Vec<RegistryRoute>>, SourceError> {
    // A registry's name has no slash and is not `..`: it was read as one.
    let wrong = |path: &Path, cause: String| SourceError::Other {
        url: path.display().to_string(),
        cause,
    };
    let place =
        RegistryFolder::of(folder, host).map_err(|error| wrong(folder, error.to_string()))?;
    let Some(place) = place else {
        return by_dockerd(None, folder, host, wanted, resolver);
    };
    let path = place.file();
    let said = match read(&path) {
        Ok(text) => {
            let (said, alone) = parse(&text, place.folder(), host, wanted, resolver)
                .map_err(|cause| wrong(&path, cause))?;
            if !alone {
                return Ok(said);
            }
            said
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let url = format!("https://{}", own_name(host));
            Some(vec![by_certificates(&place, &url, false)?])
        }
        Err(error) => return Err(wrong(&path, error.to_string())),
    };
    by_dockerd(said, folder, host, wanted, resolver)
}

/// What dockerd adds where one host at most is named for a registry (moby, daemon/hosts.go,
/// `mergeLegacyConfig`): mirrors of Docker Hub, and plain http for what it calls insecure. Its
/// unverified TLS has no place here.
fn by_dockerd(
    said: Option<Vec<RegistryRoute>>,
    folder: &Path,
    host: &str,
    wanted: Capability,
    resolver: Option<SocketAddr>,
) -> Result<Option<Vec<RegistryRoute>>, SourceError> {
    let dockerd = DaemonJson::beside(folder);
    let own = format!("https://{}", own_name(host));
    let mut ways = Vec::new();
    if host == DOCKER_HUB && wanted != Capability::Push {
        for mirror in &dockerd.mirrors {
            if resolver.is_none_or(|resolver| !leads_to(mirror, resolver)) {
                ways.push(mirror_of_dockerd(folder, mirror)?);
            }
        }
    }
    if dockerd.is_insecure(host) {
        ways.push(RegistryRoute {
            api: format!("http://{host}/v2"),
            ca: None,
            identity: None,
            mirror: false,
            guessed: true,
        });
    }
    if ways.is_empty() {
        return Ok(said);
    }
    let itself = || {
        let api = format!("{own}/v2");
        let (ca, identity, mirror, guessed) = (None, None, false, false);
        vec![RegistryRoute {
            api,
            ca,
            identity,
            mirror,
            guessed,
        }]
    };
    ways.extend(said.unwrap_or_else(itself));
    Ok(Some(ways))
}

/// One of `registry-mirrors`, with the certificates that the folder has for it.
fn mirror_of_dockerd(folder: &Path, url: &str) -> Result<RegistryRoute, SourceError> {
    let wrong = |cause: String| SourceError::Other {
        url: format!("registry-mirrors of {}", escaped(url)),
        cause,
    };
    let authority = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next())
        .filter(|authority| !["", ".", ".."].contains(authority));
    let place = authority
        .map(|authority| RegistryFolder::of(folder, authority))
        .transpose()
        .map_err(|error| wrong(error.to_string()))?
        .flatten()
        .filter(|place| !place.is_default);
    match place {
        Some(place) => by_certificates(&place, url, true),
        None => HostTable::default().way(url, folder, true).map_err(wrong),
    }
}

/// A way whose folder has Docker's files only.
fn by_certificates(
    place: &RegistryFolder,
    url: &str,
    mirror: bool,
) -> Result<RegistryRoute, SourceError> {
    let folder = place.folder();
    let wrong = |cause: String| SourceError::Other {
        url: folder.display().to_string(),
        cause,
    };
    let beside = Certificates::beside(place.folder()).map_err(|error| wrong(error.to_string()))?;
    let ca = (!beside.ca.is_empty())
        .then(|| OneOrMore::More(beside.ca.iter().map(PathBuf::from).collect()));
    let pair = |(certificate, key): &(String, Option<String>)| {
        let files = [Some(certificate.as_str()), key.as_deref()];
        Clients::Pairs(vec![
            files.into_iter().flatten().map(PathBuf::from).collect(),
        ])
    };
    let host = HostTable {
        ca,
        client: beside.client.first().map(pair),
        ..HostTable::default()
    };
    host.way(url, folder, mirror).map_err(wrong)
}

/// The host that is asked where nothing else is said.
pub(super) fn own_name(host: &str) -> &str {
    if host == DOCKER_HUB {
        "registry-1.docker.io"
    } else {
        host
    }
}

/// The ways that a file names, and whether it names no `[host]`.
pub(super) fn parse(
    text: &str,
    folder: &Path,
    host: &str,
    wanted: Capability,
    resolver: Option<SocketAddr>,
) -> Result<(Option<Vec<RegistryRoute>>, bool), String> {
    let file: HostsToml =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if file.host.len() > MOST {
        return Err(format!("more than {MOST} hosts"));
    }
    let mut mirrors: Vec<_> = file.host.iter().collect();
    // In the order in which they are written.
    mirrors.sort_by_key(|(name, _)| name.span().start);
    let own = own_name(host);
    let ours = |url: &str| resolver.is_some_and(|resolver| leads_to(url, resolver));
    let server = file.server.unwrap_or_else(|| format!("https://{own}"));
    let mut ways = Vec::new();
    for (name, mirror) in mirrors {
        if mirror.can(wanted) && !ours(name.get_ref()) {
            ways.push(mirror.way(name.get_ref(), folder, true)?);
        }
    }
    let alone = file.host.is_empty();
    if ours(&server) && ways.is_empty() {
        return Ok((None, alone));
    }
    let server = if ours(&server) {
        format!("https://{own}")
    } else {
        server
    };
    let of_server = HostTable {
        capabilities: None,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        override_path: file.override_path,
    };
    ways.push(of_server.way(&server, folder, false)?);
    Ok((Some(ways), alone))
}

/// Whether a URL is that of a loopback address, by any of its names.
fn leads_to(url: &str, address: SocketAddr) -> bool {
    let Ok(url) = url.parse::<Url>() else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let bare: Option<IpAddr> = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok();
    let here =
        host.eq_ignore_ascii_case("localhost") || bare.is_some_and(|bare| bare == address.ip());
    here && url.port_or_known_default() == Some(address.port())
}

impl HostTable {
    /// All that containerd lets a host do where nothing is said.
    fn can(&self, wanted: Capability) -> bool {
        let name = match wanted {
            Capability::Resolve => "resolve",
            Capability::Pull => "pull",
            Capability::Push => "push",
        };
        self.capabilities
            .as_ref()
            .is_none_or(|all| all.iter().any(|one| one == name))
    }

    fn way(&self, url: &str, folder: &Path, mirror: bool) -> Result<RegistryRoute, String> {
        let shown = escaped(url);
        if self.skip_verify {
            return Err(format!(
                "skip_verify for {shown}: rootpin verifies every server; name its CA as ca = \"FILE\""
            ));
        }
        let with_scheme = if url.contains("://") {
            url.to_owned()
        } else {
            format!("https://{url}")
        };
        let parsed: Url = with_scheme
            .parse()
            .map_err(|_| format!("{shown} is no URL"))?;
        let bare = parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.query().is_none()
            && parsed.fragment().is_none();
        if !bare || parsed.host_str().is_none() {
            return Err(format!("{shown} is not scheme, host and path alone"));
        }
        if !matches!(parsed.scheme(), "https" | "http") {
            return Err(format!("{shown} is neither https nor http"));
        }
        let trimmed = parsed.as_str().trim_end_matches('/');
        let api = if self.override_path || trimmed.ends_with("/v2") {
            trimmed.to_owned()
        } else {
            format!("{trimmed}/v2")
        };
        let listed = match &self.ca {
            None => &[],
            Some(OneOrMore::One(path)) => std::slice::from_ref(path),
            Some(OneOrMore::More(paths)) => paths.as_slice(),
        };
        let read_all = |what: &str, paths: &[&Path]| {
            let mut all = Vec::new();
            for path in paths {
                let text = read(&folder.join(path))
                    .map_err(|error| format!("{what} {}: {error}", path.display()))?;
                all.extend_from_slice(text.as_bytes());
                all.push(b'\n');
            }
            Ok::<_, String>((!all.is_empty()).then_some(all))
        };
        let ca = read_all(
            "ca",
            &listed.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        )?;
        let identity = read_all(
            "client",
            &self.client.as_ref().map(Clients::first).unwrap_or_default(),
        )?;
        Ok(RegistryRoute {
            api,
            ca,
            identity,
            mirror,
            guessed: false,
        })
    }
}

/// A file that nobody but root and the caller can change, nor put another in its place: it says
/// whom to trust.
fn read(path: &Path) -> io::Result<String> {
    let whole = std::path::absolute(path)?;
    if fs::symlink_metadata(&whole).is_ok() {
        check_way(&whole, Owner::RootOrCaller).map_err(|fault| {
            io::Error::other(format!("others than root can change it: {fault}"))
        })?;
    }
    crate::plain_file::read_text(path, MAX_BYTES)
}

#[cfg(test)]
mod tests;

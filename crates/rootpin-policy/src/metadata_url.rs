//! Addresses of trust servers, and of the places of TUF metadata.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rootpin_trust::image::{ImageRef, Repository, Tag};

use super::finding::Fault;
use super::finding::FindingCode::{BadUrl, PlainHttp};

/// A place that metadata can be read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataUrl {
    /// Files below `https://host[:port][/path]`, without a slash at the end; http only for a
    /// loopback address.
    Http(String),
    /// Layers of a manifest in a registry.
    Oci {
        /// The repository, in full form.
        repository: Repository,
        /// The tag of the top-level roles.
        tag: Tag,
    },
    /// Files in this folder of the host.
    File(PathBuf),
}

const FORMS: &str =
    "write https://HOST[:PORT][/PATH], oci://REGISTRY/REPOSITORY[:TAG] or file:///PATH";

impl FromStr for MetadataUrl {
    type Err = Fault;

    /// Reads `https://HOST[:PORT][/PATH]` (http for a loopback address),
    /// `oci://REGISTRY/REPOSITORY[:TAG]` or `file:///PATH`.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let escaped = text.escape_debug();
        let bad = |why: &str| Fault::new(BadUrl, format!("\"{escaped}\": {why}"), FORMS);
        match text.split_once("://") {
            Some(("oci", name)) => oci(name).map_err(bad),
            Some(("file", path)) => {
                file(path).ok_or_else(|| bad("not an absolute path of plain characters"))
            }
            _ => http(text, FORMS).map(Self::Http),
        }
    }
}

impl fmt::Display for MetadataUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => formatter.write_str(url),
            Self::Oci { repository, tag } => write!(formatter, "oci://{repository}:{tag}"),
            Self::File(path) => write!(formatter, "file://{}", path.display()),
        }
    }
}

/// A registry must be named as itself: Docker's short names are one reader's habit.
fn oci(name: &str) -> Result<MetadataUrl, &'static str> {
    let image = name.parse::<ImageRef>();
    let image = image.map_err(|_| "no repository that is understood")?;
    let repository = image.repository;
    let (Some(tag), None) = (image.tag, image.digest) else {
        return Err("a digest: metadata moves");
    };
    let rest = name.strip_prefix(repository.as_str());
    let is_tag = |rest: &str| rest.is_empty() || rest.strip_prefix(':') == Some(tag.as_str());
    if !rest.is_some_and(is_tag) {
        return Err("not in full form");
    }
    Ok(MetadataUrl::Oci { repository, tag })
}

/// An absolute path, of characters that every reader of addresses takes as they are.
fn file(path: &str) -> Option<MetadataUrl> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let is_plain = |part: &str| !part.is_empty() && is_plain_path(part);
    let mut parts = trimmed.strip_prefix('/')?.split('/');
    parts
        .all(is_plain)
        .then(|| MetadataUrl::File(trimmed.into()))
}

fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let dots = path.split('/').any(|part| matches!(part, "." | ".."));
    path.bytes().all(is_plain) && !dots && !path.starts_with('/') && !path.contains("//")
}

/// Reads `https://HOST[:PORT][/PATH]`, or the same with http for a loopback address.
pub(super) fn server(text: &str) -> Result<String, Fault> {
    http(text, "write https://HOST[:PORT][/PATH]")
}

/// Drops a slash at the end, so that one server has one spelling. Accepts only characters that every
/// reader of addresses understands in the same way.
fn http(text: &str, forms: &str) -> Result<String, Fault> {
    let bad = |why: &str| Fault::new(BadUrl, format!("{text:?}: {why}"), forms);
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        let message = "the address holds a user name or password";
        let hint = "credentials come from the docker config, never from the policy";
        return Err(Fault::new(BadUrl, message, hint));
    }
    if rest.contains(['?', '#']) {
        return Err(bad("a query or a fragment"));
    }
    if !is_plain_path(path) {
        return Err(bad("a path that is not plain"));
    }
    let host = host(authority).ok_or_else(|| bad("no host, or one that is not understood"))?;
    match scheme {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => {
            let only = "http is for loopback addresses (127.0.0.0/8, [::1]) only";
            let hint = "write https; a private CA goes into tls-ca";
            return Err(Fault::new(PlainHttp, format!("{text:?}: {only}"), hint));
        }
        _ => return Err(bad("the scheme is not https")),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The host of `HOST[:PORT]`, where both are well formed.
fn host(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')?.checked_add(1)?
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at_checked(end)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        let has_ends = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        has_ends && label.bytes().all(is_plain)
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None if looks_numeric(host) => host.parse::<Ipv4Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    let is_port = |port: &str| !port.starts_with(['+', '0']) && port.parse::<u16>().is_ok();
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (is_host && port_fits).then_some(host)
}

/// URL readers take a host whose last part is a number for an address in shorthand (`127.1`,
/// `0x7f.1`).
fn looks_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or("");
    last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_loopback(host: &str) -> bool {
    host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FindingCode;

    fn code(text: &str) -> FindingCode {
        text.parse::<MetadataUrl>().unwrap_err().code
    }

    #[test]
    fn a_place_is_written_as_it_was_read() {
        for (text, written) in [
            (
                "https://tuf.example/metadata/",
                "https://tuf.example/metadata",
            ),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            (
                "oci://r.example/tuf/metadata",
                "oci://r.example/tuf/metadata:latest",
            ),
            (
                "oci://127.0.0.1:5000/metadata:v1",
                "oci://127.0.0.1:5000/metadata:v1",
            ),
            (
                "oci://docker.io/docker/tuf-metadata:latest",
                "oci://docker.io/docker/tuf-metadata:latest",
            ),
            ("file:///srv/tuf/metadata/", "file:///srv/tuf/metadata"),
        ] {
            let url: MetadataUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), written);
            assert_eq!(written.parse(), Ok(url));
        }
    }

    #[test]
    fn what_readers_could_understand_differently_is_refused() {
        for bad in [
            "",
            "tuf",
            "tuf.example/metadata",
            "ftp://t.example",
            "https://u:p@t.example",
            "https://t.example/?x",
            "https://t.example/%2e%2e",
            "oci://",
            "oci://r.example",
            "oci://metadata",
            "oci://docker.io/metadata",
            "oci://index.docker.io/library/metadata",
            "oci://R.example/metadata",
            "oci://u@r.example/metadata",
            "oci://r.example/metadata:",
            "oci://r.example/metadata?x",
            "oci://r.example/a/../b",
            "oci://r.example/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "file://",
            "file:///",
            "file://host/path",
            "file:///a/../b",
            "file:///a//b",
            "file:///a%20b",
            "file:///a b",
            "file:///a?b",
            "FILE:///a",
        ] {
            assert_eq!(code(bad), BadUrl, "{bad}");
        }
        assert_eq!(code("http://t.example"), PlainHttp);
    }

    #[test]
    fn https_anywhere_and_http_on_loopback_are_taken() {
        for good in [
            "https://notary.acme.example",
            "https://n:4443",
            "https://10.0.0.1:443/a/b",
            "http://127.0.0.1:4443",
            "http://127.9.9.9",
            "http://[::1]:80",
        ] {
            assert_eq!(server(good).unwrap(), good);
        }
        assert_eq!(server("https://n.example/").unwrap(), "https://n.example");
    }

    #[test]
    fn http_to_anything_that_only_resembles_loopback_is_refused() {
        for bad in [
            "http://localhost",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "http://[::2]",
            "http://0.0.0.0",
            "http://notary",
        ] {
            assert_eq!(server(bad).unwrap_err().code, PlainHttp, "{bad}");
        }
    }

    #[test]
    fn a_server_that_readers_could_understand_differently_is_refused() {
        for bad in [
            "",
            "notary",
            "https://",
            "https:///x",
            "ftp://n",
            "HTTPS://n",
            "https://u@n",
            "https://u:p@n",
            "https://n?x",
            "https://n#x",
            "https://n/..",
            "https://n/a/../b",
            "https://n\\@m",
            "https://n:",
            "https://n:0",
            "https://n:+1",
            "https://n:65536",
            "https://n/a b",
            "https://n//a",
            "https://127.1",
            "https://0x7f.1",
            "http://127.0.0.1:80@evil",
            "https://[::1",
            "https://[x]",
            "https://é",
            "https://N.example",
            "https://n/%2e%2e",
            "https://-a",
            "https://a..b",
            "https://n.",
        ] {
            assert_eq!(server(bad).unwrap_err().code, BadUrl, "{bad}");
        }
    }
}

//! Where the metadata of a root of type "tuf" lies.

use std::fmt;
use std::path::PathBuf;

use super::diagnostic::Fault;
use super::server_url;
use rootpin_trust::image::{ImageRef, Repository, Tag};

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

/// Reads `https://HOST[:PORT][/PATH]` (http for a loopback address),
/// `oci://REGISTRY/REPOSITORY[:TAG]` or `file:///PATH`.
pub(super) fn parse(text: &str) -> Result<MetadataUrl, Fault> {
    match text.split_once("://") {
        Some(("oci", name)) => oci(name),
        Some(("file", path)) => file(path),
        _ => server_url::parse(text)
            .map(MetadataUrl::Http)
            .map_err(|fault| Fault {
                hint: hint(fault.code, fault.hint),
                ..fault
            }),
    }
}

/// A registry must be named as itself: Docker's short names are one reader's habit.
fn oci(name: &str) -> Result<MetadataUrl, Fault> {
    let bad = |why: &str| {
        Fault::new(
            "bad-url",
            format!("\"oci://{}\": {why}", name.escape_debug()),
            FORMS,
        )
    };
    let image: ImageRef = name
        .parse()
        .map_err(|_| bad("no repository that is understood"))?;
    let ImageRef {
        repository,
        tag: Some(tag),
        digest: None,
    } = image
    else {
        return Err(bad("a digest: metadata moves"));
    };
    let written = name
        .strip_prefix(repository.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':') == Some(tag.as_str()));
    if !written
        || repository
            .as_str()
            .bytes()
            .any(|byte| byte.is_ascii_uppercase())
    {
        return Err(bad("not in full form"));
    }
    Ok(MetadataUrl::Oci { repository, tag })
}

/// An absolute path, of characters that stand for themselves in a URL.
fn file(path: &str) -> Result<MetadataUrl, Fault> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let plain = |part: &str| {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !matches!(part, "" | "." | "..") && part.bytes().all(character)
    };
    if trimmed
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(plain))
    {
        return Ok(MetadataUrl::File(trimmed.into()));
    }
    Err(Fault::new(
        "bad-url",
        format!(
            "\"file://{}\": not an absolute path of plain characters",
            path.escape_debug()
        ),
        FORMS,
    ))
}

/// What an address of a server may be is less than what this may be.
fn hint(code: &str, of_server: String) -> String {
    if code == "bad-url" && !of_server.starts_with("credentials") {
        FORMS.to_owned()
    } else {
        of_server
    }
}

const FORMS: &str =
    "write https://HOST[:PORT][/PATH], oci://REGISTRY/REPOSITORY[:TAG] or file:///PATH";

impl std::str::FromStr for MetadataUrl {
    type Err = Fault;

    /// As a policy writes one.
    fn from_str(text: &str) -> Result<Self, Fault> {
        parse(text)
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let url = parse(text).unwrap();
            assert_eq!(url.to_string(), written);
            assert_eq!(parse(written).unwrap(), url);
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
            assert_eq!(parse(bad).unwrap_err().code, "bad-url", "{bad}");
        }
        assert_eq!(parse("http://t.example").unwrap_err().code, "plain-http");
    }
}

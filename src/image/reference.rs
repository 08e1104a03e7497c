//! Image names, always in full form: registry host, path, and a tag, a digest or both.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;

use super::Digest;

/// The name of a repository in full form, `host[:port]/path`, as Notary's GUN spells it: `docker.io/library/alpine`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

/// A tag: 1 to 128 of `[A-Za-z0-9_.-]`, not led by `.` or `-` (OCI distribution-spec, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// An image's name: a repository with a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// The repository.
    pub repository: Repository,
    /// The tag; `latest` where a name has neither tag nor digest.
    pub tag: Option<Tag>,
    /// The digest, where the name is bound to one.
    pub digest: Option<Digest>,
}

/// Text that is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image name: {why}")]
pub struct ReferenceError {
    text: String,
    why: String,
}

/// No engine passes a longer name: 255 for the repository (OCI distribution-spec), 128 for the tag, 71 for the digest.
const MAX_LENGTH: usize = 512;

impl Repository {
    /// The registry's host with its port, if it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.split_once('/').map_or("", |(host, _)| host)
    }

    /// The path at the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, path)| path)
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A repository from a name that is in full form already, without tag or digest.
    ///
    /// # Errors
    /// The text is no repository, or not in full form (nothing is normalised here).
    pub fn from_full(text: &str) -> Result<Self, ReferenceError> {
        let image: ImageRef = text.parse()?;
        let bare = image.digest.is_none() && image.repository.0 == text;
        if bare { Ok(image.repository) } else { Err(ReferenceError::new(text, "not a repository in full form")) }
    }
}

impl Tag {
    /// The text of the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ImageRef {
    /// The same name bound to a digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    /// Reads a name as Docker does: a short name is of `docker.io`, one without a path of `docker.io/library`.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_LENGTH {
            return Err(ReferenceError::new(text, "too long"));
        }
        let parsed: Reference = text.parse().map_err(|error| ReferenceError::new(text, &format!("{error}")))?;
        let digest = match parsed.digest() {
            Some(digest) => Some(digest.parse().map_err(|error| ReferenceError::new(text, &format!("{error}")))?),
            None => None,
        };
        // The parser gives "latest" to a name that has neither, and to none that has a digest.
        // Its pattern takes the letters of all scripts for a tag, which no registry does.
        let tag = parsed.tag().map(str::parse).transpose()?;
        let host = if parsed.registry() == "index.docker.io" { "docker.io" } else { parsed.registry() };
        if !parsed.repository().split('/').all(is_component) {
            return Err(ReferenceError::new(text, "a part of the path is not lower-case letters and digits, joined by . _ __ or -"));
        }
        let repository = Repository(format!("{host}/{}", parsed.repository()));
        Ok(Self { repository, tag, digest })
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution-spec, "Pulling manifests"), which the parser does not hold to.
fn is_component(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain);
    let joined = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    ends && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(joined)
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
            && text.bytes().next().is_some_and(word);
        if fits { Ok(Self(text.to_owned())) } else { Err(ReferenceError::new(text, "not a tag")) }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{}", tag.0)?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ReferenceError {
    fn new(text: &str, why: &str) -> Self {
        Self { text: text.chars().take(200).collect(), why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<ImageRef>().map_or_else(|error| format!("error: {error}"), |name| name.to_string())
    }

    #[test]
    fn a_name_is_always_kept_in_full_form() {
        assert_eq!(full("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("acme/app:1.2"), "docker.io/acme/app:1.2");
        assert_eq!(full("index.docker.io/library/alpine:3"), "docker.io/library/alpine:3");
        assert_eq!(full("127.0.0.1:5000/demo/busy:v1"), "127.0.0.1:5000/demo/busy:v1");
        assert_eq!(full("localhost/x"), "localhost/x:latest");
    }

    #[test]
    fn tag_and_digest_are_both_kept_and_a_digest_alone_gets_no_tag() {
        let digest = Digest::of(b"x");
        assert_eq!(full(&format!("h.example/a@{digest}")), format!("h.example/a@{digest}"));
        assert_eq!(full(&format!("h.example/a:t@{digest}")), format!("h.example/a:t@{digest}"));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for bad in [
            "",
            "UPPER/case",
            "a b",
            "h.example/a@sha512:00",
            "h.example/a:",
            "a//b",
            "h.example/../x",
            "-a",
            "h.example/a:b:c",
            "h.example/a:é",
            "h.example/a:b?c",
            "h.éxample/a",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad} gave {}", full(bad));
        }
        assert!("a".repeat(600).parse::<ImageRef>().is_err());
    }

    #[test]
    fn a_repository_in_full_form_is_not_normalised() {
        assert!(Repository::from_full("docker.io/library/alpine").is_ok());
        for bad in ["alpine", "docker.io/alpine", "h.example/a:1", "index.docker.io/library/a"] {
            assert!(Repository::from_full(bad).is_err(), "{bad}");
        }
    }
}

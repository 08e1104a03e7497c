//! Image names, always in full form: registry host, path, and a tag, a digest or both.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// The name of a repository in full form, `host[:port]/path`, as Notary's GUN spells it:
/// `docker.io/library/alpine`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

/// A tag: 1 to 128 of `[A-Za-z0-9_.-]`, not led by `.` or `-` (OCI distribution-spec, "Pulling
/// manifests").
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

/// A name of 253 letters (RFC 1035), and a port.
const MAX_HOST: usize = 259;
/// Docker's limit on the repository without its host.
const MAX_PATH: usize = 255;
/// The longest name in full form: with a tag of 128 letters and a digest of 71. What is taken in a
/// shorter form must be read again in that one.
const MAX_LENGTH: usize = MAX_HOST + 1 + MAX_PATH + 1 + 128 + 1 + 71;

const DOCKER_HUB: &str = "docker.io";
const LATEST: &str = "latest";

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
    /// The text is no repository, or not in full form (nothing but a host's case is normalised
    /// here).
    pub fn from_full(text: &str) -> Result<Self, ReferenceError> {
        let image: ImageRef = text.parse()?;
        // Of a host case says nothing; a path has no upper case.
        let bare = image.digest.is_none() && image.repository.0.eq_ignore_ascii_case(text);
        if bare {
            Ok(image.repository)
        } else {
            Err(ReferenceError::new(text, "not a repository in full form"))
        }
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
    /// Reads a name that is in full form already, as engines write it on what they have: only its
    /// host's case is normalised.
    ///
    /// # Errors
    /// The text is no name, or a short one.
    pub fn from_full(text: &str) -> Result<Self, ReferenceError> {
        let image: Self = text.parse()?;
        let own = text.get(..image.repository.0.len());
        if own.is_some_and(|own| own.eq_ignore_ascii_case(&image.repository.0)) {
            Ok(image)
        } else {
            Err(ReferenceError::new(text, "not a name in full form"))
        }
    }

    /// The same name bound to a digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    /// Reads a name as Docker does: a short name is of `docker.io`, one without a path of
    /// `docker.io/library`; one with neither tag nor digest is of the tag `latest`. By hand,
    /// because compiling the usual regular expression takes longer than the rest of a question.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_LENGTH {
            return Err(ReferenceError::new(text, "too long"));
        }
        let refused = |why: &str| ReferenceError::new(text, why);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest: Result<Digest, _> = digest.parse();
                let digest = digest.map_err(|error| refused(&error.to_string()))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before a slash leads to a port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse::<Tag>()?)),
            _ => (rest, None),
        };
        let latest = || digest.is_none().then(|| Tag(LATEST.to_owned()));
        let tag = tag.or_else(latest);
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DOCKER_HUB, name),
        };
        let mut hubs = ["index.docker.io", DOCKER_HUB].into_iter();
        let is_hub = hubs.any(|hub| host.eq_ignore_ascii_case(hub));
        let host = if is_hub { DOCKER_HUB } else { host };
        let is_library = is_hub && !path.contains('/');
        let library = if is_library { "library/" } else { "" };
        let path = format!("{library}{path}");
        if host.len() > MAX_HOST {
            return Err(refused("the host is too long"));
        }
        if !is_host(host) {
            return Err(refused(
                "the host is not letters, digits, - and dots, with a port",
            ));
        }
        if path.len() > MAX_PATH {
            return Err(refused("the path is too long"));
        }
        if !path.split('/').all(is_component) {
            return Err(refused(
                "a part of the path is not lower-case letters and digits, joined by . _ __ or -",
            ));
        }
        // Names of hosts are the same in either case (RFC 4343), to registries as to DNS.
        let repository = Repository(format!("{}/{path}", host.to_ascii_lowercase()));
        Ok(Self {
            repository,
            tag,
            digest,
        })
    }
}

/// Labels of letters, digits and inner hyphens, joined by dots, or an address of IPv6 in brackets;
/// and a port.
fn is_host(host: &str) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<core::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let label = |label: &str| {
        let ends =
            label.bytes().next().is_some_and(plain) && label.bytes().last().is_some_and(plain);
        ends && label.bytes().all(|byte| plain(byte) || byte == b'-')
    };
    name.split('.').all(label) && is_port(port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution-spec, "Pulling manifests").
fn is_component(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain);
    let joined =
        |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    ends && part
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(joined)
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|byte| word(byte) || byte == b'.' || byte == b'-')
            && text.bytes().next().is_some_and(word);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::new(text, "not a tag"))
        }
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
        Self {
            text: text.chars().take(200).collect(),
            why: why.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<ImageRef>()
            .map_or_else(|error| format!("error: {error}"), |name| name.to_string())
    }

    #[test]
    fn a_name_is_always_kept_in_full_form() {
        assert_eq!(full("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("acme/app:1.2"), "docker.io/acme/app:1.2");
        assert_eq!(
            full("index.docker.io/library/alpine:3"),
            "docker.io/library/alpine:3"
        );
        assert_eq!(
            full("127.0.0.1:5000/demo/busy:v1"),
            "127.0.0.1:5000/demo/busy:v1"
        );
        assert_eq!(full("localhost/x"), "localhost/x:latest");
        assert_eq!(full("[::1]:5000/demo/busy:v1"), "[::1]:5000/demo/busy:v1");
        assert_eq!(full("[2001:db8::7]/demo"), "[2001:db8::7]/demo:latest");
    }

    #[test]
    fn a_host_is_the_same_in_either_case_and_a_tag_is_not() {
        assert_eq!(
            full("Registry.Example:5000/team/app:V1"),
            "registry.example:5000/team/app:V1"
        );
        assert_eq!(full("Docker.IO/alpine"), "docker.io/library/alpine:latest");
        assert_eq!(
            Repository::from_full("REGISTRY.example/team/app")
                .unwrap()
                .as_str(),
            "registry.example/team/app"
        );
        assert!(Repository::from_full("registry.example/Team/app").is_err());
    }

    #[test]
    fn tag_and_digest_are_both_kept_and_a_digest_alone_gets_no_tag() {
        let digest = Digest::of(b"x");
        assert_eq!(
            full(&format!("h.example/a@{digest}")),
            format!("h.example/a@{digest}")
        );
        assert_eq!(
            full(&format!("h.example/a:t@{digest}")),
            format!("h.example/a:t@{digest}")
        );
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
            "[::1/a",
            "[::1]5000/a",
            "[::1]:/a",
            "[::g]/a",
            "[127.0.0.1]/a",
            "::1/a",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad} gave {}", full(bad));
        }
        assert!("a".repeat(600).parse::<ImageRef>().is_err());
    }

    #[test]
    fn a_name_of_any_length_that_is_taken_is_read_again_with_its_tag_and_with_a_digest() {
        let digest = Digest::of(b"x");
        let taken = |host: usize, path: usize, tag: usize| {
            let tag = format!(":{}", "t".repeat(tag));
            let tag = if tag.len() > 1 { &*tag } else { "" };
            let text = format!("{}.b:5000/{}{tag}", "h".repeat(host - 7), "p".repeat(path));
            let Ok(name) = text.parse::<ImageRef>() else {
                return false;
            };
            for full in [name.clone(), name.with_digest(digest)] {
                assert_eq!(full.to_string().parse::<ImageRef>(), Ok(full));
            }
            true
        };
        for path in [1, 200, 254, 255] {
            for tag in [0, 1, 127, 128] {
                assert!(taken(8, path, tag) && taken(258, path, tag) && taken(259, path, tag));
                assert!(!taken(260, path, tag) && !taken(259, path + 256, tag));
            }
        }
        assert!(!taken(8, 255, 129));
    }

    proptest::proptest! {
        /// Other tools' parser is an oracle for every name that is taken; of what it takes, more is
        /// refused.
        #[test]
        fn a_name_that_is_taken_is_read_as_by_the_oci_crate(
            text in "([a-zA-Z0-9.:_-]{0,8}/)?([a-z0-9._/-]{1,8})(:[A-Za-z0-9._:-]{0,4})?(@sha256:[0-9a-f]{63,64})?"
        ) {
            use oci_spec::distribution::Reference;
            match (text.parse::<ImageRef>(), text.parse::<Reference>()) {
                (Ok(ours), Ok(theirs)) => {
                    proptest::prop_assert_eq!(ours.repository.host(), theirs.registry().to_ascii_lowercase());
                    // Another spelling of the hub is the hub here, which has a library.
                    let hub = ours.repository.host() == DOCKER_HUB && theirs.registry() != DOCKER_HUB;
                    let path = if hub { ours.repository.path().trim_start_matches("library/") } else { ours.repository.path() };
                    proptest::prop_assert_eq!(path, theirs.repository());
                    proptest::prop_assert_eq!(ours.tag.as_ref().map(Tag::as_str), theirs.tag());
                    proptest::prop_assert_eq!(ours.digest.map(|digest| digest.to_string()), theirs.digest().map(str::to_owned));
                }
                (Ok(ours), Err(error)) => proptest::prop_assert!(false, "{} taken, but: {}", ours, error),
                (Err(error), Ok(theirs)) => {
                    let odd_host = !is_host(theirs.registry()) && theirs.registry() != "index.docker.io";
                    let odd_path = !theirs.repository().split('/').all(is_component);
                    proptest::prop_assert!(odd_host || odd_path, "refused: {}", error);
                }
                (Err(_), Err(_)) => {}
            }
        }
    }

    #[test]
    fn a_repository_in_full_form_is_not_normalised() {
        assert!(Repository::from_full("docker.io/library/alpine").is_ok());
        for bad in [
            "alpine",
            "docker.io/alpine",
            "h.example/a:1",
            "index.docker.io/library/a",
        ] {
            assert!(Repository::from_full(bad).is_err(), "{bad}");
        }
    }
}

//! Hints for a registry that refuses the published files.

use crate::sources::SourceError;

const IMMUTABLE: &str = "the tags of metadata must be writable again: except this repository, or its tags latest (or the one in the address) and rootpin-*, \
     from the registry's rule that tags are immutable, then rootpin repo publish; or publish to another place, by publish in repository.toml";
const QUOTA: &str = "the quota of the registry for this is full: raise it, or delete images there that nobody needs, then rootpin repo publish";
const LOGIN: &str =
    "log in as somebody who may write there (docker login REGISTRY), or give --docker-config DIR";
const UNKNOWN: &str = "create the repository at the registry first, which this one does not do by itself, then rootpin repo publish";
const READ_ONLY: &str = "this registry takes no writes now (a mirror, or maintenance): give the address of the one that does, or wait, then rootpin repo publish";
const TYPES: &str = "this registry takes images only, and no manifests of other media types: publish to another one, or to a folder that a web server serves";
const TOO_LARGE: &str = "something before the registry limits the size of an upload (in nginx: client_max_body_size): raise that, then rootpin repo publish";
const LATER: &str =
    "the registry fails at the moment or is asked too often: rootpin repo publish, later";
const UNTRUSTED: &str = "put its CA, or its own certificate if that is self-signed, into DIR/HOST:PORT/ca.crt, then rootpin repo --hosts-dir DIR publish; \
     or put it into the system's store, then the same without --hosts-dir";
const AWAY: &str = "does the registry run, and is its address right? then rootpin repo publish";

/// The hint for a registry's error, where one is known.
pub(super) fn of(error: &SourceError) -> Option<&'static str> {
    let says = |said: &crate::sources::ServerWords, words: &[&str]| {
        let text = said.text.to_ascii_lowercase();
        words.iter().any(|word| text.contains(word))
    };
    match error {
        SourceError::Untrusted { .. } => Some(UNTRUSTED),
        SourceError::Unreachable { .. } | SourceError::Silent { .. } => Some(AWAY),
        SourceError::Denied { said, .. } if says(said, &["quota", "storage", "limit"]) => {
            Some(QUOTA)
        }
        SourceError::Denied { said, .. } if says(said, &["immutable"]) => Some(IMMUTABLE),
        SourceError::Denied { .. } => Some(LOGIN),
        SourceError::Answered { .. } if error.is_silent() => Some(LATER),
        SourceError::Answered { status, said, .. } => match (status, said.code.as_str()) {
            (409 | 412, _) | (_, "TAG_INVALID" | "PRECONDITION") => Some(IMMUTABLE),
            _ if says(said, &["immutable", "overwrit"]) => Some(IMMUTABLE),
            (_, "NAME_UNKNOWN") | (404, _) => Some(UNKNOWN),
            (413 | 507, _) if says(said, &["quota", "storage"]) => Some(QUOTA),
            (413, _) => Some(TOO_LARGE),
            (415, _) | (_, "MANIFEST_INVALID") => Some(TYPES),
            (405, _) | (_, "UNSUPPORTED") => Some(READ_ONLY),
            _ => None,
        },
        SourceError::TooLarge { .. }
        | SourceError::Unreadable { .. }
        | SourceError::Other { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_trusted_is_not_said_to_be_away() {
        let (url, cause) = ("https://r.example/v2/".to_owned(), String::new());
        let untrusted = SourceError::Untrusted {
            url: url.clone(),
            cause: cause.clone(),
        };
        let hint = of(&untrusted).unwrap();
        assert!(hint.contains("DIR/HOST:PORT/ca.crt") && hint.contains("--hosts-dir DIR"));
        assert!(hint.contains("the system's store"), "{hint}");
        assert_eq!(of(&SourceError::Unreachable { url, cause }), Some(AWAY));
    }
}

//! Where evidence comes from: trust servers, registries, and what they want as credentials.
//!
//! Input and output only; nothing is judged here. What a source sends is opaque bytes, capped while they stream in, and what it
//! fails to send is told apart only as far as policy.md rule 8 needs: no answer, credentials wanted, too much, or another answer.

mod artifacts;
mod auth;
pub mod backoff;
mod bundle;
mod challenge;
mod clients;
mod credential_program;
pub mod credentials;
mod hosts;
pub mod http;
mod notary_server;
mod passage;
pub mod registry;
mod silence;
mod tuf;

pub use artifacts::Artifacts;
pub use bundle::{Bundle, MAX_BUNDLE, write_bundle};
pub use clients::Sources;
pub use credentials::Credentials;
pub use http::{Client, ClientError};
pub use notary_server::NotaryServer;
pub use passage::{Broken, Flow, Passage, Wanted};
pub use registry::Description;
pub use tuf::{TufLocation, TufReader};

use crate::trust::{Code, Refusal};

/// Why a source gave nothing. URLs are without credentials and query; a peer's text is escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No answer: connect, DNS, TLS or time-out failure, a connection that broke off, 5xx, 429; of a folder, that it or its disk is away.
    #[error("{url}: {cause}")]
    Silent {
        /// What was asked for.
        url: String,
        /// The deepest cause that is known.
        cause: String,
    },
    /// 401 or 403, after what credentials there are were tried.
    #[error("{url}: answered {status} ({tried})")]
    Denied {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// With which credentials, or why without.
        tried: String,
    },
    /// More bytes than were allowed.
    #[error("{url}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The cap.
        limit: usize,
    },
    /// A file of this host that rootpin may not read.
    #[error("{url}: {cause}")]
    Unreadable {
        /// The file.
        url: String,
        /// Why.
        cause: String,
    },
    /// Any other answer: a redirect, an unexpected status, something that is not understood.
    #[error("{url}: {cause}")]
    Other {
        /// What was asked for.
        url: String,
        /// What the answer was.
        cause: String,
    },
}

impl SourceError {
    /// Whether this counts as no answer, so that cached metadata may serve (policy.md rule 8).
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// The "could not judge" that it means for a question.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Silent { url, cause } if cause.contains("certificate") => Refusal::new(
                Code::SourceUnreachable,
                format!("no trusted connection to {url}: {cause}"),
                "an answer over TLS that verifies",
                "a private CA is named by the root's tls-ca in the policy; else the system's store must know the issuer",
            ),
            Self::Silent { url, cause } if url.starts_with("file:") => Refusal::new(
                Code::SourceUnreachable,
                format!("{url}: {cause}"),
                "a file that can be read",
                "check that the folder is there, and that what it is on is mounted",
            ),
            Self::Silent { url, cause } => Refusal::new(
                Code::SourceUnreachable,
                format!("no answer from {url}: {cause}"),
                "an answer",
                "check that the server runs and that this host reaches it: DNS, route, firewall, HTTPS_PROXY and NO_PROXY",
            ),
            Self::Denied { url, status, tried } => Refusal::new(
                Code::SourceDenied,
                format!("{url} answered {status} ({tried})"),
                "an answer to a reader",
                "give credentials that may pull in the config.json of rootpin.toml's docker-config",
            ),
            Self::TooLarge { url, limit } => Refusal::new(
                Code::OverLimit,
                format!("{url} sent more than {limit} bytes"),
                format!("at most {limit} bytes"),
                "the server sends something else than was published, or not this file",
            ),
            Self::Unreadable { url, cause } => Refusal::new(
                Code::SourceDenied,
                format!("{url}: {cause}"),
                "a file that rootpin may read",
                "rootpind is root without capabilities: let the group root or all read the file (chmod o+r) and enter the folders above it (chmod o+x)",
            ),
            Self::Other { url, cause } if url.starts_with("file:") => Refusal::new(
                Code::Malformed,
                format!("{url}: {cause}"),
                "a plain file",
                "put nothing but the published files into that folder",
            ),
            Self::Other { url, cause } => Refusal::new(
                Code::Malformed,
                format!("{url}: {cause}"),
                "a plain answer, 200 or 404",
                "check that the URL is that of the server itself: redirects are not followed",
            ),
        }
    }
}

/// Makes a peer's text fit for a log line or a terminal: control characters escaped, cut at 300 characters.
fn escaped(text: &str) -> String {
    let safe = |character: char| !character.is_control() && !matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().take(300).map(|c| if safe(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// A URL as it may be shown: without user, password, query and fragment.
fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot hold a user in the first place.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Whether a host, as a URL or an image name spells it, is this machine: `127.0.0.0/8`, `[::1]` or `localhost`.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_maps_to_its_stable_code_and_none_of_them_is_a_judgement() {
        let url = || "https://t.example/".to_owned();
        let cause = || "connection refused".to_owned();
        for (error, code) in [
            (SourceError::Silent { url: url(), cause: cause() }, Code::SourceUnreachable),
            (SourceError::Silent { url: url(), cause: "invalid peer certificate: UnknownIssuer".into() }, Code::SourceUnreachable),
            (SourceError::Denied { url: url(), status: 401, tried: "anonymously".into() }, Code::SourceDenied),
            (SourceError::TooLarge { url: url(), limit: 3 }, Code::OverLimit),
            (SourceError::Other { url: url(), cause: cause() }, Code::Malformed),
        ] {
            let refusal = error.refusal();
            assert_eq!(refusal.code, code);
            assert!(!refusal.code.judged() && !refusal.wanted.is_empty() && !refusal.hint.is_empty());
            assert!(refusal.found.contains("https://t.example/") && error.to_string().contains("https://t.example/"));
        }
    }

    #[test]
    fn a_url_is_shown_without_its_secrets_and_a_peer_s_text_without_control_characters() {
        assert_eq!(shown(&"https://u:p@h.example/x?token=1#f".parse().unwrap()), "https://h.example/x");
        assert_eq!(escaped("a\u{1b}[31m\nb\u{202e}"), "a\\u{1b}[31m\\u{a}b\\u{202e}");
        assert_eq!(escaped(&"x".repeat(999)).len(), 300);
    }

    #[test]
    fn loopback_is_an_address_of_this_machine_and_not_a_name_that_looks_like_one() {
        for host in ["127.0.0.1", "127.9.9.9", "[::1]", "::1", "localhost", "LOCALHOST"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["127.0.0.1.example", "localhost.example", "10.0.0.1", "0.0.0.0", "[::2]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

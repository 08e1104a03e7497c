//! The sources of evidence: trust servers, registries, and the credentials that they want.
//!
//! Input and output only; nothing is judged here. What a source sends is opaque bytes, capped while
//! they stream in, and what it fails to send is told apart only as far as an outage needs:
//! no answer, credentials wanted, too much, or another answer.

mod artifacts;
pub(crate) mod at_once;
mod auth;
pub(crate) mod backoff;
mod blob_stream;
mod bundle;
mod challenge;
mod clients;
mod credential_program;
pub mod credentials;
#[cfg(test)]
mod fuzz;
mod grant;
mod host_name;
mod hosts;
pub mod http;
mod image_signatures;
mod listing;
mod manifest_files;
mod next_page;
mod notary_server;
mod referrer_list;
pub mod registry;
mod replies;
mod search_time;
mod search_turns;
mod server_backoff;
mod server_words;
mod signature_answer;
mod signature_list;
mod signature_manifest;
mod signature_requests;
mod signature_steps;
mod threads;
mod token_service;
mod tuf;
mod without_referrers;

pub(crate) use artifacts::Artifacts;
pub use blob_stream::StreamRequest;
pub(crate) use blob_stream::{BlobStream, Flow};
pub(crate) use bundle::{Bundle, MAX_BUNDLE, SIGNATURES, write_bundle};
pub use clients::Sources;
pub use credentials::Credentials;
pub(crate) use host_name::{host_name, is_of_host};
pub(crate) use http::ClientError;
pub use http::HttpClient;
pub(crate) use manifest_files::files_of;
pub use notary_server::NotaryServer;
pub(crate) use registry::Description;
pub(crate) use replies::RegistryReplies;
pub(crate) use server_words::ServerWords;
pub(crate) use signature_list::{CutLists, ListsRead, SignatureKind};
pub(crate) use threads::use_threads;
pub use tuf::{TufLocation, TufReader};

use std::time::Instant;

use crate::plain_text::plain_start;
use rootpin_trust::{Code, Refusal};

/// Why a source gave nothing. URLs are without credentials and query; a peer's text is escaped and
/// cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Its server showed a certificate that is not trusted.
    #[error("{url}: {cause}")]
    Untrusted {
        /// What was asked for.
        url: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// Its server could not be reached: connect or DNS failure, or any other failure of TLS.
    #[error("{url}: {cause}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The deepest cause that is known.
        cause: String,
    },
    /// No answer from a server that was reached: none in time, or a connection that broke off; of a
    /// folder, that it or its disk is away.
    #[error("{url}: {cause}")]
    Silent {
        /// What was asked for.
        url: String,
        /// The deepest cause that is known.
        cause: String,
    },
    /// A status that is no answer to what was asked: 429 and 5xx, which count as silence, or one
    /// that is not understood.
    #[error("{url}: answered {status}{said}")]
    Answered {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The server's words for it.
        said: ServerWords,
        /// After how many seconds the server wants to be asked again.
        again_in: Option<u64>,
    },
    /// 401 or 403, after what credentials there are were tried.
    #[error("{url}: answered {status} ({tried}){said}")]
    Denied {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// With which credentials, or why without.
        tried: String,
        /// The server's words for it.
        said: ServerWords,
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
    /// Any other answer: a redirect that is not followed, something that is not understood.
    #[error("{url}: {cause}")]
    Other {
        /// What was asked for.
        url: String,
        /// What the answer was.
        cause: String,
    },
}

impl SourceError {
    /// Whether this counts as no answer, so that cached metadata may serve.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match self {
            Self::Untrusted { .. } | Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Answered { status, .. } => matches!(status, 429 | 500..=599),
            _ => false,
        }
    }

    /// The same after plain http was tried, which no server may have spoken, or a mirror: where
    /// neither has an answer, both say why.
    fn after(self, by_http: Option<Self>) -> Self {
        match (self, by_http) {
            (Self::Untrusted { url, cause }, Some(before)) if before.is_of_mirror() => {
                Self::Untrusted {
                    url,
                    cause: format!("{cause}; before that {before}"),
                }
            }
            (Self::Unreachable { url, cause }, Some(before)) => Self::Unreachable {
                url,
                cause: format!("{cause}; before that {before}"),
            },
            (Self::Silent { url, cause }, Some(before)) => Self::Silent {
                url,
                cause: format!("{cause}; before that {before}"),
            },
            (
                Self::Answered {
                    url,
                    status,
                    said,
                    again_in,
                },
                Some(before),
            ) if before.is_of_mirror() => Self::Answered {
                url,
                status,
                said: said.after(&before),
                again_in,
            },
            (
                Self::Denied {
                    url,
                    status,
                    tried,
                    said,
                },
                Some(before),
            ) if before.is_of_mirror() => Self::Denied {
                url,
                status,
                tried,
                said: said.after(&before),
            },
            (error, _) => error,
        }
    }

    /// Whether it is no word of a server that speaks TLS, which was asked over plain http.
    fn is_of_mirror(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status != 400,
            error => !error.is_silent(),
        }
    }

    /// The same of another file of that server, with a word about what is done.
    fn at(self, url: &str, more: &str) -> Self {
        let url = url.to_owned();
        match self {
            Self::Untrusted { cause, .. } => Self::Untrusted {
                url,
                cause: cause + more,
            },
            Self::Unreachable { cause, .. } => Self::Unreachable {
                url,
                cause: cause + more,
            },
            Self::Silent { cause, .. } => Self::Silent {
                url,
                cause: cause + more,
            },
            Self::Answered {
                status,
                mut said,
                again_in,
                ..
            } => {
                said.text = if said.text.is_empty() {
                    more.trim_start().to_owned()
                } else {
                    said.text + more
                };
                Self::Answered {
                    url,
                    status,
                    said,
                    again_in,
                }
            }
            other => other,
        }
    }

    /// The "could not judge" that it means for a question.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Untrusted { url, cause } => Refusal::new(
                Code::SourceUnreachable,
                format!("no trusted connection to {url}: {cause}"),
                "an answer over TLS that verifies",
                "name the CA, or the server's own certificate if it is self-signed: of a registry as DIR/HOST:PORT/ca.crt or, where it has a hosts.toml, by \
                 ca there (that of server stands above the first [host]); of another server by the root's tls-ca in the policy; or in the system's store; DIR is \
                 rootpin.toml's hosts-dir, which pin scan, pin add, repo and verify --policy do not read: they take --hosts-dir DIR",
            ),
            Self::Silent { url, cause } if url.starts_with("file:") => Refusal::new(
                Code::SourceUnreachable,
                format!("{url}: {cause}"),
                "a file that can be read",
                "check that the folder is there, and that what it is on is mounted",
            ),
            Self::Answered {
                url,
                status: 429,
                said,
                ..
            } => Refusal::new(
                Code::SourceUnreachable,
                format!("{url} answered 429{said}"),
                "an answer",
                "the server wants to be asked less often: registries let in more with credentials, which rootpin takes from the config.json of \
                 rootpin.toml's docker-config; what was verified before serves meanwhile",
            ),
            Self::Answered {
                url, status, said, ..
            } if self.is_silent() => Refusal::new(
                Code::SourceUnreachable,
                format!("{url} answered {status}{said}"),
                "an answer",
                "the server fails, or wants to be asked less often: its log says why; what was verified before serves meanwhile",
            ),
            Self::Answered {
                url, status, said, ..
            } => Refusal::new(
                Code::Malformed,
                format!("{url} answered {status}{said}"),
                "an answer that its protocol has: 200, or 404 for what is not there",
                "curl -v URL shows what answers there; check that the address is the server's own, and spelled as the server has it",
            ),
            Self::Unreachable { url, cause } | Self::Silent { url, cause } => Refusal::new(
                Code::SourceUnreachable,
                format!("no answer from {url}: {cause}"),
                "an answer",
                "check that the server runs and that this host reaches it: DNS, route, firewall, HTTPS_PROXY and NO_PROXY",
            ),
            Self::Denied {
                url,
                status,
                tried,
                said,
            } => Refusal::new(
                Code::SourceDenied,
                format!("{url} answered {status} ({tried}){said}"),
                "an answer to a reader",
                "give credentials that may pull in the config.json of rootpin.toml's docker-config, and name a token service on another host there too, \
                 by an empty entry in auths",
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
            // A hosts.toml, or a certificate that it names.
            Self::Other { url, cause } if url.starts_with('/') => Refusal::new(
                Code::Malformed,
                format!("{url}: {cause}"),
                "a file that says how its registry is reached",
                "mend that file, as engines read it too; rootpin looks for it because of hosts-dir in rootpin.toml, or --hosts-dir",
            ),
            Self::Other { url, cause } => Refusal::new(
                Code::Malformed,
                format!("{url}: {cause}"),
                "an answer that its protocol has: 200, or 404 for what is not there",
                "curl -v URL shows what answers there: the server itself, or a proxy or login page in its place",
            ),
        }
    }
}

/// A peer's text for a message.
fn escaped(text: &str) -> String {
    // Behind these words stands what we advise, where one text carries both.
    plain_start(text, 300).replace("; hint:", ", hint:")
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

/// Whether a host, as a URL or an image name spells it, is this machine: `127.0.0.0/8`, `[::1]` or
/// `localhost`.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An equal part of the time that is left, for the first of so many: one that keeps us waiting must
/// not take the others' too.
pub(crate) fn share(now: Instant, deadline: Instant, sharers: usize) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left / u32::try_from(sharers.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_this_host_is_to_be_mended_and_no_server_looked_at() {
        for url in [
            "/etc/docker/certs.d/r.example/hosts.toml",
            "file:///srv/trust",
        ] {
            let cause = "skip_verify for r.example".to_owned();
            let refusal = SourceError::Other {
                url: url.to_owned(),
                cause,
            }
            .refusal();
            assert!(
                !refusal.hint.contains("the URL is that of the server"),
                "{url}"
            );
        }
    }

    #[test]
    fn each_failure_maps_to_its_stable_code_and_none_of_them_is_a_judgement() {
        let url = || "https://t.example/".to_owned();
        let cause = || "connection refused".to_owned();
        for (error, code) in [
            (
                SourceError::Silent {
                    url: url(),
                    cause: cause(),
                },
                Code::SourceUnreachable,
            ),
            (
                SourceError::Answered {
                    url: url(),
                    status: 503,
                    said: ServerWords::default(),
                    again_in: None,
                },
                Code::SourceUnreachable,
            ),
            (
                SourceError::Answered {
                    url: url(),
                    status: 418,
                    said: ServerWords::default(),
                    again_in: None,
                },
                Code::Malformed,
            ),
            (
                SourceError::Untrusted {
                    url: url(),
                    cause: "invalid peer certificate: UnknownIssuer".into(),
                },
                Code::SourceUnreachable,
            ),
            (
                SourceError::Denied {
                    url: url(),
                    status: 401,
                    tried: "anonymously".into(),
                    said: ServerWords::default(),
                },
                Code::SourceDenied,
            ),
            (
                SourceError::TooLarge {
                    url: url(),
                    limit: 3,
                },
                Code::OverLimit,
            ),
            (
                SourceError::Other {
                    url: url(),
                    cause: cause(),
                },
                Code::Malformed,
            ),
        ] {
            let refusal = error.refusal();
            assert_eq!(refusal.code, code);
            assert!(
                !refusal.code.judged() && !refusal.wanted.is_empty() && !refusal.hint.is_empty()
            );
            assert!(
                refusal.found.contains("https://t.example/")
                    && error.to_string().contains("https://t.example/")
            );
        }
    }

    #[test]
    fn a_url_is_shown_without_its_secrets_and_a_peer_s_text_without_control_characters() {
        assert_eq!(
            shown(&"https://u:p@h.example/x?token=1#f".parse().unwrap()),
            "https://h.example/x"
        );
        assert_eq!(
            escaped("a\u{1b}[31m\nb\u{202e}"),
            "a\\u{1b}[31m\\u{a}b\\u{202e}"
        );
        assert_eq!(escaped(&"x".repeat(999)).len(), 300);
    }

    #[test]
    fn loopback_is_an_address_of_this_machine_and_not_a_name_that_looks_like_one() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "::1",
            "localhost",
            "LOCALHOST",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "127.0.0.1.example",
            "localhost.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

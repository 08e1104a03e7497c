//! Why a server gave no answer, in words.

use std::error::Error;
use std::io;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use crate::sources::server_words::ServerWords;
use crate::sources::{SourceError, escaped, shown};

impl SourceError {
    /// What a status means that is no answer to what was asked.
    pub(super) fn of_status(
        url: String,
        status: StatusCode,
        headers: &HeaderMap,
        said: ServerWords,
    ) -> Self {
        let text = |name| {
            headers
                .get(name)
                .map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()))
        };
        match status.as_u16() {
            status @ (401 | 403) => Self::Denied {
                url,
                status,
                tried: "without credentials".to_owned(),
                said,
            },
            status @ 300..=399 => {
                let said = text(LOCATION)
                    .map_or(said, |to| ServerWords::text(&format!("a redirect to {to}")));
                Self::Answered {
                    url,
                    status,
                    said,
                    again_in: None,
                }
            }
            status => {
                let again_in = text(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
                Self::Answered {
                    url,
                    status,
                    said,
                    again_in,
                }
            }
        }
    }
}

pub(super) fn late(url: &Url) -> SourceError {
    SourceError::Silent {
        url: shown(url),
        cause: "no complete answer before the deadline".to_owned(),
    }
}

pub(super) fn failed(url: &Url, error: &reqwest::Error) -> SourceError {
    let (url, cause) = (shown(url), cause(error));
    if error.is_builder() {
        SourceError::Other { url, cause }
    } else if refuses_certificate(error) {
        SourceError::Untrusted { url, cause }
    } else if error.is_connect() {
        SourceError::Unreachable { url, cause }
    } else {
        SourceError::Silent { url, cause }
    }
}

/// Whether the server's certificate is why there is no connection.
fn refuses_certificate(error: &(dyn Error + 'static)) -> bool {
    // The source of an `io::Error` is not what it wraps, but the source of that.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let next = match wrapped {
        Some(wrapped) => {
            let wrapped: &(dyn Error + 'static) = wrapped;
            Some(wrapped)
        }
        None => error.source(),
    };
    matches!(
        error.downcast_ref(),
        Some(rustls::Error::InvalidCertificate(_))
    ) || next.is_some_and(refuses_certificate)
}

/// The deepest cause, which says what happened; the outer ones only say that something did.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = deepest.to_string();
    // The innermost text of a failure to connect in time is bare.
    let text = if error.is_timeout() && error.is_connect() {
        "no connection in time".to_owned()
    } else {
        text
    };
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next();
    // A word in capitals stays so: `SOCKS error`, not `sOCKS error`.
    let name = letters.clone().next().is_some_and(char::is_uppercase);
    let first = first.map(|letter| {
        if name {
            letter
        } else {
            letter.to_ascii_lowercase()
        }
    });
    escaped(&first.into_iter().chain(letters).collect::<String>())
}

//! Answers in the form of OCI's distribution-spec ("Error Codes").

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::problem::Problem;
use crate::sources::{BlobStream, Description, Flow};
use rootpin_trust::image::Digest;

/// Bytes that are here, or that flow through.
pub(super) type RegistryAnswer = Response<Either<Full<Bytes>, Flow>>;

/// A no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct No {
    status: StatusCode,
    /// As distribution-spec names it.
    code: &'static str,
    message: String,
}

impl No {
    pub(super) fn new(status: StatusCode, code: &'static str, problem: impl Into<Problem>) -> Self {
        Self {
            status,
            code,
            message: format!("rootpin: {}", problem.into()),
        }
    }

    /// A judgement, with its own text: no such manifest may be had.
    pub(super) fn refused(reason: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "MANIFEST_UNKNOWN",
            message: reason,
        }
    }

    /// No such bytes.
    pub(super) fn unknown(reason: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "BLOB_UNKNOWN",
            message: reason,
        }
    }

    /// There is no judgement, or no manifest to go with it. Not 503: containerd 2 asks once more
    /// then, and keeps the one who pulls waiting twice as long.
    pub(super) fn unavailable(reason: String) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            code: "UNAVAILABLE",
            message: reason,
        }
    }

    /// The answer to a GET, or to a HEAD.
    ///
    /// A HEAD has no body, and of a 404 engines show nothing but "not found". Of a 403 every
    /// containerd shows the status line, so that is where a refusal is told to whoever pulls by
    /// tag. Both end the resolution: no other host may resolve.
    pub(super) fn answer(self, head: bool) -> RegistryAnswer {
        let refused =
            head && self.status == StatusCode::NOT_FOUND && self.code == "MANIFEST_UNKNOWN";
        let status = if refused {
            StatusCode::FORBIDDEN
        } else {
            self.status
        };
        let body =
            json!({ "errors": [{ "code": self.code, "message": self.message }] }).to_string();
        let line: String = self
            .message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let mut answer = Response::new(Either::Left(Full::from(if head {
            String::new()
        } else {
            body
        })));
        *answer.status_mut() = status;
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(reason) = ReasonPhrase::try_from(line.into_bytes()) {
            answer.extensions_mut().insert(reason);
        }
        answer
    }
}

/// The manifest of a tag.
pub(super) fn manifest(found: &Description, head: bool) -> RegistryAnswer {
    let bytes = if head {
        Vec::new()
    } else {
        found.bytes.clone()
    };
    let mut answer = Response::new(Either::Left(Full::from(bytes)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, found.length.into());
    // Of a media type that is known, and a digest: both are plain ASCII.
    headers.extend(
        HeaderValue::from_str(&found.media_type)
            .ok()
            .map(|value| (CONTENT_TYPE, value)),
    );
    digest(headers, &found.digest);
    answer
}

/// Bytes that flow through, for as long as they keep their place.
pub(super) fn passed(
    passage: BlobStream,
    of: &Digest,
    place: OwnedSemaphorePermit,
) -> RegistryAnswer {
    let mut answer = Response::new(Either::Right(passage.body.keeping(place)));
    *answer.status_mut() = passage.status;
    *answer.headers_mut() = passage.headers;
    digest(answer.headers_mut(), of);
    answer
}

/// That this is a registry.
pub(super) fn version() -> RegistryAnswer {
    let mut answer = Response::new(Either::Left(Full::from("{}")));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    answer
}

fn digest(headers: &mut HeaderMap, digest: &Digest) {
    headers.extend(
        HeaderValue::from_str(&digest.to_string())
            .ok()
            .map(|value| (DIGEST, value)),
    );
}

const DIGEST: http::HeaderName = http::HeaderName::from_static("docker-content-digest");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_404_with_a_body_and_403_with_its_words_in_the_status_line_of_a_head() {
        let no = No::refused("rootpin: refused r.example/a:1:\nno-statement".to_owned());
        assert_eq!(no.clone().answer(false).status(), 404);
        let head = no.answer(true);
        let words = head.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(
            (head.status().as_u16(), words.as_bytes()),
            (403, &b"rootpin: refused r.example/a:1: no-statement"[..])
        );
        assert_eq!(
            No::unavailable("rootpin: x".to_owned())
                .answer(true)
                .status(),
            502
        );
    }
}

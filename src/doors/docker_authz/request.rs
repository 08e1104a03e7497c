//! One call of dockerd's API as its authorization middleware describes it (moby,
//! pkg/authorization/api.go), and how much of the call that description leaves out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::odd;
use rootpin_trust::{Code, Refusal};

/// What dockerd tells of a call. The rest of the message (user, certificates, the answer) decides
/// nothing.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(rename = "RequestMethod")]
    pub(super) method: String,
    #[serde(rename = "RequestUri")]
    pub(super) uri: String,
    #[serde(rename = "RequestBody", default, deserialize_with = "base64")]
    pub(super) body: Vec<u8>,
    /// Of a header that stands twice only the last is told, and the handler goes by the first.
    #[serde(rename = "RequestHeaders", default)]
    headers: Option<BTreeMap<String, String>>,
}

/// Reads a message of dockerd's.
///
/// # Errors
/// It is none.
pub(super) fn read(message: &[u8]) -> Result<Request, Refusal> {
    serde_json::from_slice(message).map_err(|error| {
        Refusal::new(
            Code::Malformed,
            format!("a message on the plugin's socket that is not dockerd's: {error}"),
            "the message of dockerd's authorization middleware",
            "see which process asks there; if it is dockerd, its version is newer than this rootpin",
        )
    })
}

impl Request {
    /// Parameters are read from the query only where no body can have overridden them: a
    /// form-encoded one does (moby, `ParseForm`), and neither it nor, of two `Content-Type`s, the
    /// one that counts is told here. A body that is told was taken for JSON by dockerd too.
    ///
    /// # Errors
    /// There may be a body that dockerd keeps to itself.
    pub(super) fn has_no_hidden_form(&self) -> Result<(), Refusal> {
        let has_no_body = self.header("Content-Length") == Some("0");
        if !self.body.is_empty() || has_no_body || self.header("Content-Type").is_none() {
            return Ok(());
        }
        Err(odd(
            format!("{}, with a body that dockerd does not show", self.shown()),
            "parameters in the query, and a body of JSON or none at all: with Content-Length: 0, or without a Content-Type",
            "dockerd lets parameters in a form's body override those in the query; send the query only",
        ))
    }

    /// # Errors
    /// The body is of a kind from which dockerd reads parameters.
    pub(super) fn is_no_form(&self) -> Result<(), Refusal> {
        let kind = self
            .header("Content-Type")
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if !kind.contains("form") && !kind.starts_with("multipart") {
            return Ok(());
        }
        Err(odd(
            format!("{}, with a body of type {kind:.80?}", self.shown()),
            "parameters in the query, where the plugin sees them",
            "dockerd lets parameters in a form's body override those in the query; send the query only (curl: not -d)",
        ))
    }

    /// The JSON of a call whose parameters stand in it.
    ///
    /// # Errors
    /// dockerd showed none.
    pub(super) fn json(&self) -> Result<&[u8], Refusal> {
        if !self.body.is_empty() {
            return Ok(&self.body);
        }
        Err(odd(
            format!("{}, of whose body dockerd shows nothing", self.shown()),
            "a body of type application/json that is not larger than what dockerd shows to plugins: 1 MiB, or 4 MiB since 29.3.1",
            "send less, as JSON; dockerd before 29.3.1 hides a larger body from plugins and acts on it (CVE-2026-34040)",
        ))
    }

    /// Method and URI, for people.
    pub(super) fn shown(&self) -> String {
        let uri: String = self.uri.chars().take(200).collect();
        format!("{} {}", self.method.escape_debug(), uri.escape_debug())
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().flatten();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

fn base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
pub(super) fn of(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Request {
        method: method.to_owned(),
        uri: uri.to_owned(),
        body: body.as_bytes().to_vec(),
        headers: Some(headers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_dockerd_writes_it() {
        let text = r#"{"RequestMethod":"POST","RequestUri":"/v1.45/containers/create?name=x","RequestBody":"e30=","RequestHeaders":{"Content-Type":"application/json"},"User":"u","UserAuthNMethod":"TLS"}"#;
        let request = read(text.as_bytes()).unwrap();
        assert_eq!(
            (request.method.as_str(), request.body.as_slice()),
            ("POST", b"{}".as_slice())
        );
        let bare =
            read(br#"{"RequestMethod":"GET","RequestUri":"/info","RequestHeaders":null}"#).unwrap();
        assert!(bare.body.is_empty() && bare.header("Content-Type").is_none());
    }

    #[test]
    fn a_message_that_is_cut_or_says_a_thing_twice_is_none() {
        for bad in [
            "",
            "{}",
            r#"{"RequestMethod":"GET","RequestUri":"/info""#,
            r#"{"RequestMethod":"GET","RequestMethod":"POST","RequestUri":"/info"}"#,
            r#"{"RequestMethod":"POST","RequestUri":"/x","RequestBody":"!"}"#,
            r#"{"RequestMethod":1,"RequestUri":"/x"}"#,
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_of_a_form_is_told_by_its_type_however_that_is_written() {
        for kind in [
            "application/x-www-form-urlencoded",
            "APPLICATION/X-WWW-Form-Urlencoded; charset=utf-8",
            " application/x-www-form-urlencoded; bad",
            "multipart/form-data; boundary=x",
            "multipart/mixed",
        ] {
            assert!(
                of("POST", "/x", &[("content-type", kind)], "")
                    .is_no_form()
                    .is_err(),
                "{kind}"
            );
        }
        for kind in ["application/json", "application/x-tar", "text/plain", ""] {
            assert!(
                of("POST", "/x", &[("Content-Type", kind)], "")
                    .is_no_form()
                    .is_ok(),
                "{kind}"
            );
        }
    }

    #[test]
    fn of_two_content_types_dockerd_tells_the_one_that_does_not_count_so_a_hidden_body_is_refused()
    {
        for (headers, fine) in [
            (vec![("Content-Type", "application/json")], false),
            (
                vec![("Content-Type", "text/plain"), ("Content-Length", "44")],
                false,
            ),
            (vec![("Content-Type", "")], false),
            (
                vec![("Content-Type", "text/plain"), ("Content-Length", "0")],
                true,
            ),
            // Sent in chunks, or not at all; without a type nothing is read from it as a form.
            (vec![], true),
            (vec![("Content-Length", "44")], true),
        ] {
            assert_eq!(
                of("POST", "/images/create", &headers, "")
                    .has_no_hidden_form()
                    .is_ok(),
                fine,
                "{headers:?}"
            );
        }
        assert!(
            of(
                "POST",
                "/commit",
                &[("Content-Type", "application/json")],
                "{}"
            )
            .has_no_hidden_form()
            .is_ok()
        );
    }
}

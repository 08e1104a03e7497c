//! Reads a server's own text in place of the bytes that it was asked for: the words of an error, or
//! a page. Pure.

use std::fmt;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::{SourceError, escaped};

/// So much of an error's body is read.
pub(super) const MAX_BODY: usize = 8 << 10;
/// So much of its words is shown.
const MAX_SHOWN: usize = 240;
/// So many errors of one body are shown.
const MAX_ERRORS: usize = 2;

/// A server's own words for why it did not do as asked, escaped and cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerWords {
    /// The registry's code for it (OCI distribution-spec, "Error Codes"), if it gives one.
    pub code: String,
    /// All of it, the code too; empty, where nothing was said that is fit to be shown.
    pub text: String,
}

impl ServerWords {
    /// What an error's body says.
    pub(super) fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        let body = body.trim_start_matches('\u{feff}').trim();
        if let Ok(value) = serde_json::from_str::<Value>(body) {
            return Self::of_json(&value);
        }
        if is_page(headers, body) {
            return Self::text(&page(body));
        }
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        if kind.starts_with("text/plain") {
            Self::text(body.lines().next().unwrap_or_default())
        } else {
            Self::default()
        }
    }

    /// Words of our own in place of a server's.
    pub(super) fn text(text: &str) -> Self {
        Self {
            code: String::new(),
            text: cut(text),
        }
    }

    /// The same, and what another server answered before.
    pub(super) fn after(self, before: &SourceError) -> Self {
        let before = format!("before that {before}");
        let text = if self.text.is_empty() {
            before
        } else {
            format!("{}; {before}", self.text)
        };
        Self { text, ..self }
    }

    fn of_json(value: &Value) -> Self {
        let word = |value: &Value, name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let joined = |parts: &[String]| {
            let mut parts: Vec<_> = parts
                .iter()
                .filter(|part| !part.is_empty())
                .cloned()
                .collect();
            parts.dedup();
            parts.join(": ")
        };
        let Some(errors) = value
            .get("errors")
            .and_then(Value::as_array)
            .filter(|errors| !errors.is_empty())
        else {
            return Self::text(&joined(&[
                word(value, "error"),
                word(value, "message"),
                word(value, "details"),
            ]));
        };
        let one = |error: &Value| {
            let detail = error
                .get("detail")
                .map(|detail| word(detail, "message"))
                .unwrap_or_default();
            joined(&[word(error, "code"), word(error, "message"), detail])
        };
        let text: Vec<_> = errors
            .iter()
            .take(MAX_ERRORS)
            .map(one)
            .filter(|text| !text.is_empty())
            .collect();
        let code = errors
            .first()
            .map(|error| word(error, "code"))
            .unwrap_or_default();
        Self {
            code: cut(&code),
            text: cut(&text.join("; ")),
        }
    }
}

impl fmt::Display for ServerWords {
    /// As it stands behind what happened.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            Ok(())
        } else {
            write!(formatter, ": {}", self.text)
        }
    }
}

/// What was sent in place of metadata, which is JSON; `None`: nothing that is known.
pub(super) fn in_place_of_json(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if body.starts_with(b"\xef\xbb\xbf") {
        return Some("begins with a byte order mark, which no JSON has: it was saved by an editor, not by what signed it".to_owned());
    }
    let magic: [(&[u8], &str); 2] = [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd")];
    if let Some((_, packer)) = magic.iter().find(|(begin, _)| body.starts_with(begin)) {
        return Some(format!(
            "is packed with {packer}: the server must keep and send its files unpacked"
        ));
    }
    let text = String::from_utf8_lossy(body.get(..MAX_BODY).unwrap_or(body));
    is_page(headers, text.trim_start()).then(|| {
        format!(
            "is {}, and no metadata: a login page, a proxy's, or that of another server",
            page(&text)
        )
    })
}

fn is_page(headers: &HeaderMap, body: &str) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let begins = |tag: &str| {
        body.get(..tag.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(tag))
    };
    (kind.starts_with("text/html") && !body.starts_with(['{', '[']))
        || begins("<!doctype html")
        || begins("<html")
}

/// A page by its title.
fn page(body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let begin = lower
        .find("<title")
        .and_then(|at| Some(at + lower.get(at..)?.find('>')? + 1));
    let title = begin
        .and_then(|begin| body.get(begin..)?.split('<').next())
        .unwrap_or_default();
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() {
        "an HTML page".to_owned()
    } else {
        cut(&format!("an HTML page, \"{title}\""))
    }
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(MAX_SHOWN).collect();
    escaped(&if short.len() < text.len() {
        format!("{short}…")
    } else {
        short
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &str, body: &str) -> String {
        ServerWords::of(
            &HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]),
            body.as_bytes(),
        )
        .text
    }

    #[test]
    fn the_words_of_a_registry_s_error_are_its_code_its_message_and_the_detail_s() {
        let body = r#"{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"message":"invalid layer media type"}}]}"#;
        assert_eq!(
            said("application/json", body),
            "MANIFEST_INVALID: manifest invalid: invalid layer media type"
        );
        assert_eq!(
            ServerWords::of(&HeaderMap::new(), body.as_bytes()).code,
            "MANIFEST_INVALID"
        );
        let two =
            r#"{"errors":[{"code":"A"},{"code":"B","message":"b","detail":null},{"code":"C"}]}"#;
        assert_eq!(said("text/plain; charset=utf-8", two), "A; B: b");
        assert_eq!(
            said(
                "application/json",
                r#"{"error":"denied","message":"denied"}"#
            ),
            "denied"
        );
        assert_eq!(said("application/json", r#"{"errors":[]}"#), "");
        assert_eq!(said("application/json", r#"{"errors":[{"code":7}]}"#), "");
    }

    #[test]
    fn a_page_is_its_title_and_plain_text_its_first_line() {
        assert_eq!(
            said(
                "text/html",
                "<html><head><title>413 Request\n Entity</title>"
            ),
            "an HTML page, \"413 Request Entity\""
        );
        assert_eq!(
            said("text/html; charset=utf-8", "<h1>Sign in</h1>"),
            "an HTML page"
        );
        assert_eq!(said("text/plain", "slow down\nplease"), "slow down");
        assert_eq!(said("application/octet-stream", "\u{0}\u{1}"), "");
    }

    #[test]
    fn hostile_words_are_escaped_and_cut() {
        let shown = said(
            "application/json",
            &format!(
                r#"{{"errors":[{{"code":"X","message":"\u001b[31m{}"}}]}}"#,
                "y".repeat(5000)
            ),
        );
        assert!(
            shown.starts_with("X: \\u{1b}[31m")
                && shown.ends_with('…')
                && shown.chars().count() < 300,
            "{shown}"
        );
    }

    #[test]
    fn a_page_or_a_byte_order_mark_is_no_metadata_and_json_is_whatever_its_type() {
        let html = HeaderMap::from_iter([(CONTENT_TYPE, "text/html".parse().unwrap())]);
        assert!(
            in_place_of_json(&html, b"<!DOCTYPE html><title>Sign in</title>")
                .unwrap()
                .contains("\"Sign in\"")
        );
        assert!(
            in_place_of_json(&HeaderMap::new(), b"  <HTML>")
                .unwrap()
                .contains("an HTML page")
        );
        assert!(
            in_place_of_json(&HeaderMap::new(), b"\xef\xbb\xbf{}")
                .unwrap()
                .contains("byte order mark")
        );
        assert!(
            in_place_of_json(&HeaderMap::new(), b"\x1f\x8b\x08")
                .unwrap()
                .contains("gzip")
        );
        assert!(
            in_place_of_json(&HeaderMap::new(), b"\x28\xb5\x2f\xfd\x24")
                .unwrap()
                .contains("zstd")
        );
        assert_eq!(in_place_of_json(&html, b"{\"signed\":{}}"), None);
        assert_eq!(in_place_of_json(&HeaderMap::new(), b""), None);
    }
}

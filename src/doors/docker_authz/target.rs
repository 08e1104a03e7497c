//! The URI of a call, read as dockerd's router reads it, or not at all.
//!
//! dockerd routes by the decoded path (gorilla/mux over Go's net/url): an escaped letter leads to
//! the same handler as the letter. It answers a path with empty segments or dots by a redirect and
//! looks no further. Here all of that is refused: no client needs it to be understood.

use super::odd;
use rootpin_trust::Refusal;

/// Path and query of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallTarget {
    /// The decoded path without the API's version, split at its slashes. None is empty.
    pub(super) segments: Vec<String>,
    /// Decoded names and values in their order.
    pairs: Vec<(String, String)>,
}

/// Reads the URI of a call that changes something.
///
/// # Errors
/// It is written as no client writes it.
pub(super) fn read(uri: &str) -> Result<CallTarget, Refusal> {
    let why = |what: &str| {
        let cut: String = uri.chars().take(200).collect();
        odd(
            format!("the URI {cut:?}: {what}"),
            "a plain path of dockerd's API, as /v1.43/images/create",
            "use a Docker client; no known one sends this",
        )
    };
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let Some(path) = path.strip_prefix('/') else {
        return Err(why("it does not begin with a slash"));
    };
    let path = decoded_path(path).map_err(why)?;
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    if segments.first().is_some_and(|first| is_version(first)) {
        segments.remove(0);
    }
    if segments.is_empty()
        || segments
            .iter()
            .any(|segment| matches!(segment.as_str(), "" | "." | ".."))
    {
        return Err(why("a part of the path is empty or dots"));
    }
    Ok(CallTarget {
        segments,
        pairs: pairs(query).map_err(why)?,
    })
}

/// Clients escape what stands in image names: these three, and nothing else.
fn decoded_path(path: &str) -> Result<String, &'static str> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        decoded.push(match character {
            '%' => match (
                rest.next(),
                rest.next().map(|digit| digit.to_ascii_lowercase()),
            ) {
                (Some('2'), Some('f')) => '/',
                (Some('3'), Some('a')) => ':',
                (Some('4'), Some('0')) => '@',
                _ => return Err("an escape in the path of what needs none"),
            },
            plain if plain.is_ascii_alphanumeric() || "-._~/:@+".contains(plain) => plain,
            _ => return Err("a character in the path that no name has"),
        });
    }
    Ok(decoded)
}

/// `v[0-9.]+` (moby, api/server: `versionMatcher`).
fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v').unwrap_or_default();
    !digits.is_empty()
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// As Go's `url.ParseQuery`, which fails on a semicolon and on a bad escape.
fn pairs(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    if query.contains(';') || query.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("a character in the query that must be escaped");
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| Ok((unescaped(name)?, unescaped(value)?)))
        .collect()
}

fn unescaped(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()]
                    .map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                let [Some(high), Some(low)] = digits else {
                    return Err("a bad escape in the query");
                };
                u8::try_from(high * 16 + low).map_err(|_| "a bad escape in the query")?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).map_err(|_| "text in the query that is not UTF-8")
}

impl CallTarget {
    /// The value of a parameter that may stand once; empty where it doesn't stand, as dockerd takes
    /// it.
    ///
    /// # Errors
    /// It stands twice.
    pub(super) fn one(&self, name: &str) -> Result<&str, Refusal> {
        let mut values = self.all(name);
        let value = values.next().unwrap_or_default();
        if values.next().is_none() {
            return Ok(value);
        }
        Err(odd(
            format!("the parameter {name} twice"),
            "each parameter once",
            "use a Docker client; no known one sends a parameter twice",
        ))
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(uri: &str) -> Result<String, String> {
        read(uri)
            .map(|target| target.segments.join(" "))
            .map_err(|refusal| refusal.found)
    }

    #[test]
    fn a_path_is_the_same_with_and_without_a_version() {
        for uri in [
            "/images/create",
            "/v1.43/images/create",
            "/v1.24/images/create?x=y",
            "/v99/images/create",
            "/v1.43.1/images/create",
        ] {
            assert_eq!(path(uri).unwrap(), "images create", "{uri}");
        }
        assert_eq!(
            path("/v1.43/v1.43/images/create").unwrap(),
            "v1.43 images create"
        );
        assert_eq!(path("/version/x").unwrap(), "version x");
    }

    #[test]
    fn an_escaped_letter_in_the_path_is_refused() {
        for uri in [
            "/v1.43/%69mages/create",
            "/images/creat%65",
            "/%76%31.43/images/create",
            "/images/%2e%2e/create",
            "/images/create%00",
        ] {
            assert!(path(uri).unwrap_err().contains("escape"), "{uri}");
        }
    }

    #[test]
    fn what_clients_escape_in_the_name_of_an_image_is_read_as_dockerd_reads_it() {
        let name = "images r.example:5000 app@sha256:00 tag";
        assert_eq!(
            path("/images/r.example:5000/app@sha256:00/tag").unwrap(),
            name
        );
        assert_eq!(
            path("/images/r.example%3A5000%2fapp%40sha256%3a00/tag").unwrap(),
            name
        );
    }

    #[test]
    fn an_absolute_uri_is_refused() {
        for uri in [
            "http://docker/v1.43/images/create",
            "//docker/images/create",
            "docker:80",
            "*",
            "",
            "images/create",
        ] {
            assert!(path(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn doubled_slashes_dot_segments_and_trailing_slashes_are_refused() {
        for uri in [
            "/images//create",
            "//images/create",
            "/images/./create",
            "/x/../images/create",
            "/images/create/",
            "/v1.43",
            "/v1.43/",
            "/",
            "/images%2f%2fcreate",
            "/images/%2e/create",
        ] {
            assert!(path(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn what_is_not_plain_in_a_path_or_a_query_is_refused() {
        for uri in [
            "/images/cr\u{e9}ate",
            "/images/create#x",
            "/images\\create",
            "/images/create x",
            "/a?b=\u{e9}",
            "/a?b=1;c=2",
            "/a?b=%zz",
            "/a?b=%ff",
            "/a?b=%4",
        ] {
            assert!(path(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_parameter_is_decoded_and_one_that_stands_twice_is_refused() {
        let target = read(
            "/images/create?from%49mage=r.example%2Fapp&tag=a+b&tag=c&empty&&changes=x&changes=y",
        )
        .unwrap();
        assert_eq!(target.one("fromImage").unwrap(), "r.example/app");
        assert!(target.one("tag").is_err());
        assert_eq!(
            (
                target.one("empty").unwrap(),
                target.one("none").unwrap(),
                target.one("fromimage").unwrap()
            ),
            ("", "", "")
        );
        assert_eq!(target.all("changes").collect::<Vec<_>>(), ["x", "y"]);
    }
}

//! Metadata as static files over http.

use reqwest::{Method, Url};
use tokio::time::Instant;

use crate::sources::http::{Ask, HttpClient, may_ask};
use crate::sources::registry::REDIRECTS;
use crate::sources::server_words::in_place_of_json;
use crate::sources::{SourceError, escaped, shown};

/// One file. A redirect to its storage is followed, within the file's cap and without credentials.
pub(super) async fn get(
    client: &HttpClient,
    base: &str,
    name: &str,
    max_bytes: usize,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, SourceError> {
    let ask = Ask {
        method: Method::GET,
        url: file(base, name)?,
        accept: "*/*",
        cap: max_bytes,
        scope: "",
        redirects: REDIRECTS,
        send: None,
    };
    let reply = match client.ask(&ask, deadline).await {
        // An object store that doesn't list says 403 of what isn't there; each update asks for the
        // root after the last one.
        Err(SourceError::Denied { status: 403, .. }) if is_numbered_root(name) => return Ok(None),
        reply => reply?,
    };
    match reply.status.as_u16() {
        200 => match in_place_of_json(&reply.headers, &reply.body) {
            Some(what) => Err(SourceError::Other {
                url: shown(&reply.url),
                cause: what,
            }),
            None => Ok(Some(reply.body)),
        },
        404 | 410 => Ok(None),
        _ => Err(reply.error()),
    }
}

/// The URL of a file; one that would be read as another path is asked of nobody.
pub(super) fn file(base: &str, name: &str) -> Result<Url, SourceError> {
    let wrong = |cause: &str| SourceError::Other {
        url: escaped(base.rsplit('@').next().unwrap_or_default()),
        cause: cause.to_owned(),
    };
    let mut url: Url = base.parse().map_err(|_| wrong("is no URL"))?;
    if !may_ask(&url) {
        return Err(wrong("is neither https nor http to a loopback address"));
    }
    let path = format!("{}/{name}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    if url.path() == path && !name.contains('/') {
        Ok(url)
    } else {
        Err(SourceError::Other {
            url: shown(&url),
            cause: "not a name that a URL can carry".to_owned(),
        })
    }
}

fn is_numbered_root(name: &str) -> bool {
    name.strip_suffix(".root.json").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_below_its_place_and_nowhere_else() {
        for base in ["https://t.example/a", "https://t.example/a/"] {
            assert_eq!(
                file(base, "1.root.json").unwrap().as_str(),
                "https://t.example/a/1.root.json"
            );
            assert_eq!(
                file(base, "1.a%2Fb.json").unwrap().as_str(),
                "https://t.example/a/1.a%2Fb.json"
            );
            for name in ["..", "%2e%2e", "../x", "a/b", "a?b", "a#b", "a b", "a\\b"] {
                assert!(file(base, name).is_err(), "{name}");
            }
        }
        assert!(file("http://t.example", "1.root.json").is_err());
    }

    #[test]
    fn only_a_root_with_a_number_may_be_missing_by_a_403() {
        assert!(is_numbered_root("12.root.json"));
        for name in ["root.json", ".root.json", "a.root.json", "1.timestamp.json"] {
            assert!(!is_numbered_root(name), "{name}");
        }
    }
}

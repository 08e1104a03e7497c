//! A Notary v1 server: which URL a file has, and what its statuses mean.

use std::collections::BTreeSet;

use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;

use rootpin_trust::image::Repository;
use rootpin_trust::{Answer, Request, Want};

use super::http::{Ask, HttpClient, may_ask};
use super::server_backoff::ServerBackoff;
use super::server_words::in_place_of_json;
use super::{SourceError, escaped, shown};

/// A Notary v1 server. While it, or one repository of it, does not answer it is left alone for a
/// while.
#[derive(Debug)]
pub struct NotaryServer {
    url: Url,
    client: HttpClient,
    backoff: ServerBackoff,
}

/// A page has at most 1,000 records, and a record one name and some numbers.
const FEED_BYTES: usize = 1 << 20;

/// What a server's feed of changes names.
#[derive(Debug, Default)]
pub(crate) struct ListedRepositories {
    /// The repositories of images.
    pub(crate) repositories: BTreeSet<Repository>,
    /// Names that no repository of images has.
    pub(crate) no_names: BTreeSet<String>,
}

/// A page of a server's feed of changes.
#[derive(Debug, Deserialize)]
struct ChangesPage {
    records: Option<Vec<ChangeRecord>>,
}

/// One change: a new timestamp of a repository, or the repository's deletion.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeRecord {
    #[serde(rename = "ID")]
    id: serde_json::Value,
    #[serde(rename = "GUN")]
    gun: String,
    category: String,
}

impl ChangeRecord {
    /// A number, which the memory's feed writes as a text.
    fn id(&self) -> Option<String> {
        match &self.id {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl NotaryServer {
    /// The server at that URL, which may have a path in front of `/v2/`.
    ///
    /// # Errors
    /// Neither https nor http to this machine, or more than scheme, host, port and path.
    pub fn new(url: &str, client: HttpClient) -> Result<Self, SourceError> {
        let wrong = |cause: &str| SourceError::Other {
            url: escaped(url.rsplit('@').next().unwrap_or_default()),
            cause: cause.to_owned(),
        };
        let parsed: Url = url.parse().map_err(|_| wrong("is no URL"))?;
        if !may_ask(&parsed) {
            return Err(wrong("is neither https nor http to a loopback address"));
        }
        let secret = !parsed.username().is_empty() || parsed.password().is_some();
        if secret || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong(
                "has a user, query or fragment: credentials belong in docker-config",
            ));
        }
        Ok(Self {
            url: parsed,
            client,
            backoff: ServerBackoff::default(),
        })
    }

    /// The URL, as it may be shown.
    #[must_use]
    pub fn url(&self) -> String {
        shown(&self.url)
    }

    /// Fetches one file of that repository's metadata. Redirects are not followed.
    ///
    /// # Errors
    /// See [`SourceError`]; 404 is no error but [`Answer::Missing`].
    pub async fn get(
        &self,
        gun: &Repository,
        want: &Want,
        deadline: Instant,
    ) -> Result<Answer, SourceError> {
        let url = self.file(gun, &want.request)?;
        let scope = format!("repository:{gun}:pull");
        let repository = gun.to_string();
        if let Some(silence) = self.backoff.of(&repository, &shown(&url)) {
            return Err(silence);
        }
        let ask = Ask {
            method: Method::GET,
            url,
            accept: "*/*",
            cap: want.max_bytes,
            scope: &scope,
            redirects: 0,
            send: None,
        };
        let answer = match self.client.ask(&ask, deadline).await {
            Ok(reply) => match reply.status.as_u16() {
                200 => match in_place_of_json(&reply.headers, &reply.body) {
                    Some(what) => Err(SourceError::Other {
                        url: shown(&reply.url),
                        cause: what,
                    }),
                    None => Ok(Answer::Bytes(reply.body)),
                },
                404 => Ok(Answer::Missing),
                _ => Err(reply.error()),
            },
            Err(error) => Err(error),
        };
        self.backoff.remember(&repository, &answer);
        answer
    }

    /// The repositories that the server's feed of changes names and that were not deleted since, at
    /// most so many. Notary servers show the feed to whoever may list their catalog (notary,
    /// server/server.go, `_trust/changefeed`).
    ///
    /// # Errors
    /// The server has no feed, or shows it to others only.
    pub(crate) async fn repositories(
        &self,
        most: usize,
        deadline: Instant,
    ) -> Result<ListedRepositories, SourceError> {
        let mut found = ListedRepositories::default();
        let mut from = "0".to_owned();
        loop {
            let page = self.changes(&from, deadline).await?;
            let records = page.records.unwrap_or_default();
            let last = records.last().and_then(ChangeRecord::id);
            for record in &records {
                let is_gone = record.category == "deletion";
                match Repository::from_full(&record.gun) {
                    Ok(gun) if is_gone => drop(found.repositories.remove(&gun)),
                    Ok(gun) => drop(found.repositories.insert(gun)),
                    Err(_) if is_gone => drop(found.no_names.remove(&record.gun)),
                    Err(_) => drop(found.no_names.insert(record.gun.clone())),
                }
            }
            if found.repositories.len() + found.no_names.len() > most {
                return Err(self.wrong_feed(&format!("more than {most} repositories")));
            }
            match last {
                Some(last) if last != from => from = last,
                _ => return Ok(found),
            }
        }
    }

    /// One page of the feed, after that change.
    async fn changes(&self, from: &str, deadline: Instant) -> Result<ChangesPage, SourceError> {
        let mut url = self.url.clone();
        url.set_path(&format!(
            "{}/v2/_trust/changefeed",
            self.url.path().trim_end_matches('/')
        ));
        url.query_pairs_mut()
            .append_pair("records", "1000")
            .append_pair("change_id", from);
        let ask = Ask {
            method: Method::GET,
            url,
            accept: "*/*",
            cap: FEED_BYTES,
            scope: "registry:catalog:*",
            redirects: 0,
            send: None,
        };
        let reply = self.client.ask(&ask, deadline).await?;
        if reply.status.as_u16() != 200 {
            return Err(reply.error());
        }
        serde_json::from_slice(&reply.body)
            .map_err(|_| self.wrong_feed("what is no page of a feed of changes"))
    }

    fn wrong_feed(&self, what: &str) -> SourceError {
        SourceError::Other {
            url: format!("{}v2/_trust/changefeed", shown(&self.url)),
            cause: format!("answered with {what}"),
        }
    }

    /// `ROLE.json`, `N.root.json` or `ROLE.SHA256.json` (notary, server/server.go, routes).
    fn file(&self, gun: &Repository, request: &Request) -> Result<Url, SourceError> {
        let name = request.file_name();
        let path = format!(
            "{}/v2/{gun}/_trust/tuf/{name}",
            self.url.path().trim_end_matches('/')
        );
        let mut url = self.url.clone();
        url.set_path(&path);
        // A name that a URL would read in another way (`..`, an escape) is asked of nobody.
        if url.path() == path {
            Ok(url)
        } else {
            Err(SourceError::Other {
                url: shown(&url),
                cause: "not a name that a URL can carry".to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sources::Credentials;
    use rootpin_trust::Edition;
    use rootpin_trust::image::Digest;

    fn server(url: &str) -> Result<NotaryServer, SourceError> {
        NotaryServer::new(
            url,
            HttpClient::new(None, Arc::new(Credentials::none())).unwrap(),
        )
    }

    fn hashed(role: &str, digest: Digest) -> Request {
        Request {
            role: role.to_owned(),
            edition: Edition::Sha256(digest),
        }
    }

    #[test]
    fn each_file_has_the_url_that_notary_gives_it() {
        let gun = Repository::from_full("127.0.0.1:5000/team/app").unwrap();
        let digest = Digest::of(b"");
        let hex = digest.hex();
        for (base, prefix) in [
            ("https://n.example", ""),
            ("https://n.example/", ""),
            ("https://n.example/a/b/", "/a/b"),
        ] {
            let server = server(base).unwrap();
            for (request, file) in [
                (Request::newest("root"), "root.json".to_owned()),
                (Request::root(3), "3.root.json".to_owned()),
                (Request::newest("timestamp"), "timestamp.json".to_owned()),
                (hashed("snapshot", digest), format!("snapshot.{hex}.json")),
                (hashed("targets", digest), format!("targets.{hex}.json")),
                (
                    hashed("targets/releases", digest),
                    format!("targets/releases.{hex}.json"),
                ),
            ] {
                let url = server.file(&gun, &request).unwrap();
                assert_eq!(
                    url.as_str(),
                    format!(
                        "https://n.example{prefix}/v2/127.0.0.1:5000/team/app/_trust/tuf/{file}"
                    )
                );
            }
        }
    }

    #[test]
    fn a_role_name_leads_to_no_other_path() {
        let gun = Repository::from_full("r.example/app").unwrap();
        for role in [
            "../../x",
            "targets/../../../y",
            "targets?x",
            "targets#x",
            "a b",
            "%2e%2e/%2e%2e/x",
            "a\\..\\b",
        ] {
            let request = hashed(role, Digest::of(b""));
            let url = server("https://n.example").unwrap().file(&gun, &request);
            let stays = url.is_err()
                || url.is_ok_and(|url| url.path().starts_with("/v2/r.example/app/_trust/tuf/"));
            assert!(stays, "{role}");
        }
    }

    #[test]
    fn a_server_is_named_by_https_or_loopback_and_without_credentials() {
        for url in [
            "https://n.example:4443",
            "http://127.0.0.1:4443",
            "http://[::1]:1/x",
        ] {
            assert!(server(url).is_ok(), "{url}");
        }
        for url in [
            "http://n.example",
            "n.example",
            "https://u:hunter2@n.example",
            "https://n.example/?a=b",
            "https://n.example/#x",
            "ftp://127.0.0.1",
            "",
        ] {
            let error = server(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

//! What a registry lists: the tags of a repository, and its repositories (OCI distribution-spec,
//! "Listing Tags"; `_catalog` of Docker's registry).

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;

use rootpin_trust::image::Repository;

use super::hosts::Capability;
use super::http::{Ask, HttpClient};
use super::next_page::{NextPage, next_page};
use super::registry::{self, Endpoint, REDIRECTS};
use super::{SourceError, shown};

const PAGE_BYTES: usize = 4 << 20;
const PAGES: usize = 64;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Page {
    pub(super) tags: Option<Vec<String>>,
    repositories: Option<Vec<String>>,
}

/// The tags of a repository; `None`: the registry knows no such one.
///
/// # Errors
/// It does not answer, or lists too many.
pub(super) async fn tags(
    client: &HttpClient,
    repository: &Repository,
    time: Duration,
) -> Result<Option<Vec<String>>, SourceError> {
    let mut by_http = None;
    for endpoint in registry::endpoints(client, repository, Capability::Resolve)? {
        let asked = async {
            let url = endpoint.url(repository, "tags/list?n=1000")?;
            let scope = endpoint.scope(repository);
            let pages = pages(&endpoint, url, &scope, time).await?;
            Ok(pages.map(|pages| {
                pages
                    .into_iter()
                    .flat_map(|page| page.tags.unwrap_or_default())
                    .collect()
            }))
        };
        if let Some(settled) = endpoint.settle(asked.await, &mut by_http) {
            return settled;
        }
    }
    Ok(None)
}

/// The paths of all repositories of a registry, of which `some` is one; `None`: it lists none.
///
/// # Errors
/// As of [`tags`].
pub(super) async fn repositories(
    client: &HttpClient,
    some: &Repository,
    time: Duration,
) -> Result<Option<Vec<String>>, SourceError> {
    let mut by_http = None;
    for endpoint in registry::endpoints(client, some, Capability::Resolve)? {
        let asked = async {
            let url = endpoint.below("_catalog?n=1000")?;
            let pages = pages(&endpoint, url, "registry:catalog:*", time).await?;
            Ok(pages.map(|pages| {
                pages
                    .into_iter()
                    .flat_map(|page| page.repositories.unwrap_or_default())
                    .collect()
            }))
        };
        if let Some(settled) = endpoint.settle(asked.await, &mut by_http) {
            return settled;
        }
    }
    Ok(None)
}

/// All pages of a list; `None`: there is none. `time`: for each page.
pub(super) async fn pages(
    endpoint: &Endpoint,
    mut url: Url,
    scope: &str,
    time: Duration,
) -> Result<Option<Vec<Page>>, SourceError> {
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            accept: "application/json",
            cap: PAGE_BYTES,
            scope,
            redirects: REDIRECTS,
            send: None,
        };
        let reply = endpoint.ask(&ask, Instant::now() + time).await?;
        if registry::missing(&reply)? {
            return Ok(None);
        }
        let page = serde_json::from_slice(&reply.body).map_err(|_| SourceError::Other {
            url: shown(&reply.url),
            cause: "no list".to_owned(),
        })?;
        pages.push(page);
        match next_page(&reply.headers, &reply.url) {
            NextPage::At(next) => url = next,
            NextPage::None => return Ok(Some(pages)),
            NextPage::Elsewhere => {
                return Err(SourceError::Other {
                    url: shown(&reply.url),
                    cause: "a list whose next page is on another server, or named in no known way"
                        .to_owned(),
                });
            }
        }
    }
    Err(SourceError::TooLarge {
        url: shown(&url),
        limit: PAGES * PAGE_BYTES,
    })
}

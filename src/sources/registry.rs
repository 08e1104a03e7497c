//! Asks a registry for the digest of a tag (OCI distribution-spec, "Checking if content exists in
//! the registry"), and for what is under it.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

use rootpin_trust::image::{Digest, Document, ImageRef, Repository};

use super::hosts::{self, Capability, RegistryRoute};
use super::http::{Ask, HttpClient, Reply};
use super::search_time::turn;
use super::server_words::ServerWords;
use super::{SourceError, escaped, host_name, is_loopback, shown};

pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// What OCI and Docker call an index, and what they call a manifest.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
pub(super) const REDIRECTS: u8 = 3;

/// Where a registry is asked: one of the ways to it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    client: HttpClient,
    /// Where its API begins: `https://r.example/v2`.
    api: String,
    /// What is trusted beside the system's store, and shown.
    tls: Option<Digest>,
    /// Whether nobody said that it is there: plain http, tried first at a registry of this machine
    /// or at one that dockerd calls insecure.
    guessed: bool,
    mirror: bool,
    /// The registry that is meant, where another host is asked: it may stand for many.
    namespace: Option<String>,
}

/// The digest that the registry gives for the name's tag now; `None`: it knows no such repository
/// or tag. A name that has a digest is that digest, and nobody is asked. The answer is a claim like
/// any other evidence.
///
/// # Errors
/// No answer, credentials wanted, or an answer that names no sha256 digest.
pub async fn resolve(
    client: &HttpClient,
    image: &ImageRef,
    deadline: Instant,
) -> Result<Option<Digest>, SourceError> {
    if image.digest.is_some() {
        return Ok(image.digest);
    }
    let mut by_http = None;
    for (endpoint, left) in each_way(endpoints(client, &image.repository, Capability::Resolve)?) {
        let result = resolve_at(&endpoint, image, turn_of_way(deadline, left)).await;
        if let Some(settled) = endpoint.settle(result, &mut by_http) {
            return settled;
        }
    }
    Ok(None)
}

/// An image as it is at its registry, for whoever is to sign it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The digest of its manifest or index, computed from the bytes.
    pub digest: Digest,
    /// How many bytes that is.
    pub length: u64,
    /// What it is.
    pub media_type: String,
    /// The digests that an index lists: one for each platform, and attestations beside them.
    pub manifests: Vec<Digest>,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

/// What is under a name now; under a digest, if the name has one. `None`: the registry knows no
/// such thing.
///
/// # Errors
/// No answer, credentials wanted, no manifest and no index, or other bytes than the digest's.
pub async fn describe(
    client: &HttpClient,
    image: &ImageRef,
    deadline: Instant,
) -> Result<Option<Description>, SourceError> {
    let wanted = if image.digest.is_some() {
        Capability::Pull
    } else {
        Capability::Resolve
    };
    let mut by_http = None;
    for (endpoint, left) in each_way(endpoints(client, &image.repository, wanted)?) {
        let result = describe_at(&endpoint, image, turn_of_way(deadline, left)).await;
        if let Some(settled) = endpoint.settle(result, &mut by_http) {
            return settled;
        }
    }
    Ok(None)
}

/// The ways to a repository's registry, in the order in which they are tried: what `hosts.toml`
/// says of it, or the registry itself, which on this machine may speak plain http, as every
/// engine's default has it.
pub(super) fn endpoints(
    client: &HttpClient,
    repository: &Repository,
    wanted: Capability,
) -> Result<Vec<Endpoint>, SourceError> {
    let host = repository.host();
    let said = client
        .credentials
        .hosts()
        .map(|folder| hosts::ways(folder, host, wanted, client.credentials.resolver()))
        .transpose()?
        .flatten();
    if let Some(ways) = said {
        let endpoint = |way: RegistryRoute| {
            let other = |error: super::ClientError| SourceError::Other {
                url: way.api.clone(),
                cause: error.to_string(),
            };
            let client = client.reaching(&way).map_err(other)?;
            Ok(Endpoint {
                client,
                api: way.api.clone(),
                tls: way.tls(),
                guessed: way.guessed,
                mirror: way.mirror,
                namespace: (wanted != Capability::Push && is_elsewhere(&way.api, host))
                    .then(|| host.to_owned()),
            })
        };
        return ways.into_iter().map(endpoint).collect();
    }
    let host = hosts::own_name(host);
    let at = |scheme: &str| Endpoint {
        client: client.clone(),
        api: format!("{scheme}://{host}/v2"),
        tls: None,
        guessed: scheme == "http",
        mirror: false,
        namespace: None,
    };
    let local = is_loopback(host_name(host));
    Ok(local
        .then(|| at("http"))
        .into_iter()
        .chain([at("https")])
        .collect())
}

/// Whether a way leads to another host than the registry's own (containerd,
/// core/remotes/docker/registry.go, `isProxy`).
fn is_elsewhere(api: &str, host: &str) -> bool {
    let Ok(api) = api.parse::<Url>() else {
        return false;
    };
    let is_at = |host: &str| {
        let own: Result<Url, _> = format!("{}://{host}", api.scheme()).parse();
        own.is_ok_and(|own| own.origin() == api.origin())
    };
    !is_at(host) && !is_at(hosts::own_name(host))
}

/// Ways, each with how many come after it.
pub(super) fn each_way(ways: Vec<Endpoint>) -> impl Iterator<Item = (Endpoint, usize)> {
    let count = ways.len();
    ways.into_iter()
        .enumerate()
        .map(move |(at, way)| (way, count - at - 1))
}

/// Until when a way is asked: one that keeps us waiting leaves time for those that come after it.
pub(super) fn turn_of_way(deadline: Instant, left: usize) -> Instant {
    let now = std::time::Instant::now();
    turn(now, deadline.into_std(), left > 0).into()
}

/// Whether a failed attempt over plain http came to a server that speaks it: one that speaks TLS
/// answers nothing, or 400.
fn speaks_plain(error: &SourceError) -> bool {
    match error {
        SourceError::Untrusted { .. }
        | SourceError::Unreachable { .. }
        | SourceError::Silent { .. } => false,
        SourceError::Answered { status, .. } => *status != 400,
        SourceError::Other { .. }
        | SourceError::Denied { .. }
        | SourceError::TooLarge { .. }
        | SourceError::Unreadable { .. } => true,
    }
}

async fn resolve_at(
    endpoint: &Endpoint,
    image: &ImageRef,
    deadline: Instant,
) -> Result<Option<Digest>, SourceError> {
    let (client, tag) = (
        &endpoint.client,
        image.tag.as_ref().map_or("latest", |tag| tag.as_str()),
    );
    let url = endpoint.url(&image.repository, &format!("manifests/{tag}"))?;
    let scope = endpoint.scope(&image.repository);
    let mut ask = Ask {
        method: Method::HEAD,
        url,
        accept: ACCEPT,
        cap: Document::LIMITS.bytes,
        scope: &scope,
        redirects: REDIRECTS,
        send: None,
    };
    match client.ask(&ask, deadline).await {
        Ok(head) if head.status == StatusCode::OK => {
            if let Some(digest) = digest(&head.headers, &head.url)? {
                return Ok(Some(digest));
            }
        }
        Ok(head) if head.status == StatusCode::NOT_FOUND => return Ok(None),
        // Not all registries do HEAD, and those that don't say so in many ways.
        Ok(head)
            if head.status.is_client_error() && head.status != StatusCode::TOO_MANY_REQUESTS => {}
        Ok(head) if head.status == StatusCode::NOT_IMPLEMENTED => {}
        Ok(head) => return Err(head.error()),
        Err(SourceError::Denied { .. }) => {}
        Err(error) => return Err(error),
    }
    ask.method = Method::GET;
    let whole = client.ask(&ask, deadline).await?;
    if missing(&whole)? {
        return Ok(None);
    }
    // A page of a proxy is no image, and its digest no answer. What kind of image it is, is judged
    // with its bytes.
    let members: Result<serde_json::Map<_, _>, _> = serde_json::from_slice(&whole.body);
    if !members.is_ok_and(|members| !members.contains_key("errors")) {
        return Err(SourceError::Other {
            url: shown(&whole.url),
            cause: "no image: no JSON object, or one of errors".to_owned(),
        });
    }
    Ok(Some(Digest::of(&whole.body)))
}

async fn describe_at(
    endpoint: &Endpoint,
    image: &ImageRef,
    deadline: Instant,
) -> Result<Option<Description>, SourceError> {
    let tag = image.tag.as_ref().map_or("latest", |tag| tag.as_str());
    let reference = image
        .digest
        .map_or_else(|| tag.to_owned(), |digest| digest.to_string());
    let url = endpoint.url(&image.repository, &format!("manifests/{reference}"))?;
    let scope = endpoint.scope(&image.repository);
    let cap = Document::LIMITS.bytes;
    let ask = Ask {
        method: Method::GET,
        url,
        accept: ACCEPT,
        cap,
        scope: &scope,
        redirects: REDIRECTS,
        send: None,
    };
    let reply = endpoint.ask(&ask, deadline).await?;
    if missing(&reply)? {
        return Ok(None);
    }
    let other = |cause: String| SourceError::Other {
        url: shown(&reply.url),
        cause,
    };
    let said = digest(&reply.headers, &reply.url)?;
    let kind = reply
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let described = Description::of(&reply.body, kind).map_err(other)?;
    let found = described.digest;
    if let Some(wanted) = image.digest.or(said).filter(|wanted| *wanted != found) {
        return Err(other(format!("sent bytes of {found}, not of {wanted}")));
    }
    Ok(Some(described))
}

impl Description {
    /// What the bytes are that some store holds, which has no media type for them: only Docker's
    /// kinds must say themselves what they are.
    ///
    /// # Errors
    /// They are no manifest and no index.
    pub(crate) fn of_stored(bytes: &[u8]) -> Result<Self, String> {
        Self::of(bytes, Some(INDEXES[0])).or_else(|_| Self::of(bytes, Some(MANIFESTS[0])))
    }

    /// What some bytes are: by their own word, else by the media type that comes with them, if that
    /// is of what they are.
    fn of(bytes: &[u8], kind: Option<&str>) -> Result<Self, String> {
        let document = Document::parse(bytes).map_err(|error| format!("no image: {error}"))?;
        let (known, manifests) = match &document {
            Document::Index { manifests, .. } => (
                INDEXES,
                manifests
                    .iter()
                    .map(|entry| entry.descriptor.digest)
                    .collect(),
            ),
            Document::Manifest { .. } => (MANIFESTS, Vec::new()),
        };
        let kind = kind
            .map(|kind| kind.split(';').next().unwrap_or(kind).trim())
            .filter(|kind| known.contains(kind));
        let media_type = document
            .media_type()
            .or(kind)
            .ok_or("an image of no known media type")?
            .to_owned();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self {
            digest: Digest::of(bytes),
            length,
            media_type,
            manifests,
            bytes: bytes.to_vec(),
        })
    }
}

impl Endpoint {
    /// A manifest or a blob of a repository (OCI distribution-spec, "Endpoints" and "Registry
    /// Proxying").
    pub(super) fn url(&self, repository: &Repository, rest: &str) -> Result<Url, SourceError> {
        self.below(&format!("{}/{rest}", repository.path()))
    }

    /// What is there below its API.
    pub(super) fn below(&self, path: &str) -> Result<Url, SourceError> {
        let text = format!("{}/{path}", self.api);
        let mut url: Url = text.parse().map_err(|_| SourceError::Other {
            url: escaped(&text),
            cause: "is no URL".to_owned(),
        })?;
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// What a reader of a repository asks the token service for: at a mirror for what is below its
    /// path, as Harbor names the cache of another registry.
    pub(super) fn scope(&self, repository: &Repository) -> String {
        let path = repository.path();
        // A host may have any name.
        let api = self.api.split_once("://");
        let api = api.map_or(self.api.as_str(), |(_, api)| api);
        match api.split_once("/v2/") {
            Some((_, before)) => format!("repository:{before}/{path}:pull"),
            None => format!("repository:{path}:pull"),
        }
    }

    /// Asks there.
    pub(super) async fn ask(&self, ask: &Ask<'_>, deadline: Instant) -> Result<Reply, SourceError> {
        self.client.ask(ask, deadline).await
    }

    /// Who asks there.
    pub(super) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// What came of asking there; `None`, where the next way is to be asked: a mirror has no answer
    /// or not what is wanted, or nobody speaks plain http here. `before`: what came of those, which
    /// the last way's failure does not say.
    pub(super) fn settle<T>(
        &self,
        result: Result<Option<T>, SourceError>,
        before: &mut Option<SourceError>,
    ) -> Option<Result<Option<T>, SourceError>> {
        match result {
            Err(error) if self.was_guessed_wrong(&error) => {
                *before = Some(error.after(before.take()));
                None
            }
            Err(error) if self.mirror => {
                log::debug!("passed over a mirror: {error}");
                *before = Some(error.after(before.take()));
                None
            }
            Ok(None) if self.mirror => {
                *before = Some(self.not_there(before.take()));
                None
            }
            result => Some(result.map_err(|error| error.after(before.take()))),
        }
    }

    /// A mirror's 404, which containerd too says before a later host's failure to connect
    /// (core/remotes/docker/resolver.go, `firstErrPriority`); and what came before it.
    fn not_there(&self, before: Option<SourceError>) -> SourceError {
        let said = ServerWords::default();
        SourceError::Answered {
            url: self.api.clone(),
            status: StatusCode::NOT_FOUND.as_u16(),
            said: match before {
                Some(before) => said.after(&before),
                None => said,
            },
            again_in: None,
        }
    }

    /// Whether nobody speaks plain http where that was tried first.
    pub(super) fn was_guessed_wrong(&self, error: &SourceError) -> bool {
        self.guessed && !speaks_plain(error)
    }

    /// Where its API begins.
    pub(super) fn api(&self) -> &str {
        &self.api
    }

    /// Whether it is the same way, with the same certificates.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.api == other.api && self.tls == other.tls
    }

    /// Whether another way is to be tried where it has no answer.
    pub(super) fn is_mirror(&self) -> bool {
        self.mirror
    }
}

pub(super) fn missing(reply: &Reply) -> Result<bool, SourceError> {
    match reply.status.as_u16() {
        200 => Ok(false),
        404 => Ok(true),
        _ => Err(reply.error()),
    }
}

fn digest(headers: &HeaderMap, url: &Url) -> Result<Option<Digest>, SourceError> {
    let value = headers.get("docker-content-digest");
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    let shown_value = || escaped(&String::from_utf8_lossy(value.as_bytes()));
    let other = || SourceError::Other {
        url: shown(url),
        cause: format!("the digest is not sha256: {}", shown_value()),
    };
    digest.map(Some).ok_or_else(other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sources::Credentials;

    fn mirror(api: &str) -> Endpoint {
        Endpoint {
            client: HttpClient::new(None, Arc::new(Credentials::none())).unwrap(),
            api: api.to_owned(),
            tls: None,
            guessed: false,
            mirror: true,
            namespace: Some("r.example".to_owned()),
        }
    }

    #[test]
    fn a_mirror_is_told_whose_repositories_it_is_to_list() {
        let list = mirror("https://m.example/v2").below("_catalog?n=1000");
        let wanted = "https://m.example/v2/_catalog?n=1000&ns=r.example";
        assert_eq!(list.unwrap().as_str(), wanted);
    }

    #[test]
    fn a_token_is_for_what_is_below_the_path_of_an_api_whatever_its_host_is_called() {
        let repository = Repository::from_full("r.example/team/app").unwrap();
        for (api, name) in [
            ("https://m.example/v2", "team/app"),
            ("https://m.example/v2/hub", "hub/team/app"),
            ("https://m.example/api/docker/hub/v2", "team/app"),
            ("https://v2/v2", "team/app"),
            ("https://v2/v2/hub", "hub/team/app"),
        ] {
            let scope = mirror(api).scope(&repository);
            assert_eq!(scope, format!("repository:{name}:pull"), "{api}");
        }
    }

    #[test]
    fn a_way_leads_elsewhere_unless_it_is_the_registry_s_own_host_and_port() {
        for (api, host, elsewhere) in [
            ("https://r.example/v2", "r.example", false),
            ("http://r.example:80/v2", "r.example", false),
            ("https://r.example/v2", "r.example:443", false),
            ("https://r.example:5000/v2", "r.example:5000", false),
            ("https://registry-1.docker.io/v2", "docker.io", false),
            ("https://docker.io/v2", "docker.io", false),
            ("https://r.example:5000/v2", "r.example", true),
            ("https://m.example/v2/hub", "docker.io", true),
            ("http://127.0.0.1:30020/v2", "ghcr.io", true),
        ] {
            assert_eq!(is_elsewhere(api, host), elsewhere, "{api} {host}");
        }
    }
}

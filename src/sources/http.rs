//! One HTTP client for each set of trusted CAs, for the daemon's life: bytes and time are capped,
//! redirects are ours to follow.

mod failure;
mod setup;
mod tls;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    LOCATION, RANGE,
};
use reqwest::{Method, Proxy, RequestBuilder, Response, StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use super::credentials::Credentials;
use super::grant::{Authorization, Grant, Realm};
use super::hosts::RegistryRoute;
use super::server_words::{MAX_BODY, ServerWords};
use super::threads::on_threads;
use super::{SourceError, escaped, is_loopback, shown};
use rootpin_trust::image::Digest;

use failure::{cause, failed, late};
use setup::{builder, proxy};
use tls::TrustedCas;

pub(crate) use setup::ClientError;

/// A refused answer's body is read for the server's words, and so that the connection can serve
/// again.
const DRAIN_BYTES: usize = 16 << 10;
const DRAIN_TIME: Duration = Duration::from_millis(250);
/// Codings that change the bytes. Storages name others, such as aws-chunked, and send the file as
/// it is.
const PACKED: [&str; 6] = ["gzip", "deflate", "br", "zstd", "compress", "lzma"];

/// An HTTP client, with the credentials it may use and the tokens it was granted. Clones share all
/// of it.
#[derive(Clone)]
pub struct HttpClient {
    /// For http, to loopback or where a registry is said to speak nothing else: trusts no CA.
    plain: reqwest::Client,
    /// For https. The system's CAs take longer to read than a question takes, so they are read when
    /// they are first needed.
    secure: Arc<OnceLock<reqwest::Client>>,
    /// For https to registries that have a CA beside the system's or want a certificate, by the
    /// digest of these.
    extended: Arc<Mutex<HashMap<Digest, reqwest::Client>>>,
    /// The PEM of the only CA that counts, where one was given.
    only_ca: Option<Arc<[u8]>>,
    /// The origin that is asked over plain http though it is another machine: the host's owner says
    /// so.
    plain_at: Option<String>,
    proxy: Option<Proxy>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) grants: Arc<Mutex<HashMap<Realm, Grant>>>,
}

/// One question to a server.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'a str,
    /// At most so many bytes of body; none of it is read where that is 0, or where the method is
    /// HEAD.
    pub(super) cap: usize,
    /// `repository:NAME:pull`, for the token service.
    pub(super) scope: &'a str,
    /// How many redirects may be followed.
    pub(super) redirects: u8,
    /// What is sent along: its media type, and the bytes.
    pub(super) send: Option<(&'a str, &'a [u8])>,
}

/// A server's answer: the body only where the status is 200 and a body was asked for.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// With another status: the server's words for it.
    pub(super) said: ServerWords,
}

/// A client for https.
fn secure(
    proxy: Option<&Proxy>,
    trusted: TrustedCas<'_>,
    identity: Option<&[u8]>,
) -> Result<reqwest::Client, ClientError> {
    let builder = builder(proxy).tls_backend_preconfigured(tls::config(trusted, identity)?);
    let built = builder.build();
    built.map_err(|error| ClientError::Tls(cause(&error)))
}

impl HttpClient {
    /// A client that trusts exactly the CAs of that PEM, or the system's where none is given. Reads
    /// the proxy variables.
    ///
    /// # Errors
    /// See `ClientError`.
    pub fn new(tls_ca: Option<&[u8]>, credentials: Arc<Credentials>) -> Result<Self, ClientError> {
        let proxy = proxy(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        let plain = builder(proxy.as_ref()).tls_certs_only(Vec::new()).build();
        let secure = match tls_ca {
            Some(pem) => OnceLock::from(secure(proxy.as_ref(), TrustedCas::Only(pem), None)?),
            None => OnceLock::new(),
        };
        Ok(Self {
            plain: plain.map_err(|error| ClientError::Tls(cause(&error)))?,
            secure: Arc::new(secure),
            extended: Arc::default(),
            only_ca: tls_ca.map(Arc::from),
            plain_at: None,
            proxy,
            credentials,
            grants: Arc::default(),
        })
    }

    /// The same client for a registry that is reached in that way: its CA counts beside the
    /// system's, unless the policy gave the only one.
    pub(super) fn reaching(&self, way: &RegistryRoute) -> Result<Self, ClientError> {
        let url: Option<Url> = way.api.parse().ok();
        let plain_at = url
            .filter(|url| url.scheme() == "http")
            .map(|url| url.origin().ascii_serialization());
        let this = Self {
            plain_at,
            ..self.clone()
        };
        let Some(key) = way
            .tls()
            .filter(|_| self.only_ca.is_none() || way.identity.is_some())
        else {
            return Ok(this);
        };
        let mut known = self.extended.lock().unwrap_or_else(PoisonError::into_inner);
        let secure = match known.entry(key) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let trusted = match (&self.only_ca, &way.ca) {
                    (Some(only), _) => TrustedCas::Only(only),
                    (None, Some(ca)) => TrustedCas::SystemAnd(ca),
                    (None, None) => TrustedCas::System,
                };
                let made = secure(self.proxy.as_ref(), trusted, way.identity.as_deref())?;
                new.insert(made).clone()
            }
        };
        Ok(Self {
            secure: Arc::new(OnceLock::from(secure)),
            ..this
        })
    }

    /// The same client for a server that gets no password and no token of this host's.
    pub(super) fn without_credentials(&self) -> Self {
        Self {
            credentials: Arc::new(Credentials::none()),
            ..self.clone()
        }
    }

    fn http_for(&self, url: &Url) -> &reqwest::Client {
        if url.scheme() == "http" {
            return &self.plain;
        }
        self.secure.get_or_init(|| {
            secure(self.proxy.as_ref(), TrustedCas::System, None).unwrap_or_else(|error| {
                // A host without CA certificates can still serve from loopback sources and private
                // CAs; https fails at the handshake.
                log::warn!("no CA certificates in the system's store ({error}): only a root with tls-ca can be asked over https");
                self.plain.clone()
            })
        })
    }

    /// Asks once, without looking for credentials, and follows the redirects that the question
    /// allows.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&Authorization>,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        let (url, response) = self.begin(ask, authorization, None, deadline).await?;
        // The answer to a HEAD announces the length of the body that a GET would have.
        let cap = if ask.method == Method::HEAD {
            0
        } else {
            ask.cap
        };
        read(response, url, cap, deadline).await
    }

    /// The same, and the body is still to be read: of an answer that is no redirect, or one more
    /// than may be followed.
    pub(super) async fn begin(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&Authorization>,
        range: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<(Url, Response), SourceError> {
        let mut url = ask.url.clone();
        let mut left = ask.redirects;
        loop {
            let mut request = self
                .http_for(&url)
                .request(ask.method.clone(), url.clone())
                .header(ACCEPT, ask.accept);
            if let Some(value) = authorization.filter(|value| value.is_for(&url)) {
                request = request.header(AUTHORIZATION, value.header.clone());
            }
            if let Some(range) = range {
                request = request.header(RANGE, range.clone());
            }
            if let Some((kind, bytes)) = ask.send {
                request = request.header(CONTENT_TYPE, kind).body(bytes.to_vec());
            }
            let response = self.exchange(request, &url, deadline).await?;
            if !response.status().is_redirection() || left == 0 {
                return Ok((url, response));
            }
            left -= 1;
            let reply = read(response, url, 0, deadline).await?;
            url = target(&reply, self.plain_at.as_deref())?;
        }
    }

    /// Sends a form to a token service.
    pub(super) async fn send_form(
        &self,
        url: Url,
        form: &Url,
        cap: usize,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        let body = form.query().unwrap_or_default().to_owned();
        let kind = (CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = self
            .http_for(&url)
            .request(Method::POST, url.clone())
            .header(kind.0, kind.1)
            .body(body);
        let response = self.exchange(request, &url, deadline).await?;
        read(response, url, cap, deadline).await
    }

    /// One request, and the head of its answer.
    async fn exchange(
        &self,
        request: RequestBuilder,
        url: &Url,
        deadline: Instant,
    ) -> Result<Response, SourceError> {
        if !may_ask(url) && !is_at(url, self.plain_at.as_deref()) {
            return Err(SourceError::Other {
                url: shown(url),
                cause: "neither https nor http to a loopback address".to_owned(),
            });
        }
        let sent = on_threads(url, request.header(ACCEPT_ENCODING, "identity").send());
        let other = |cause| SourceError::Other {
            url: shown(url),
            cause,
        };
        match timeout_at(deadline, sent).await {
            Ok(Ok(Some((answer, waiting)))) => {
                let mut response = answer.map_err(|error| failed(url, &error))?;
                // Its thread lasts until the body was read.
                if let Some(waiting) = waiting {
                    response.extensions_mut().insert(waiting);
                }
                Ok(response)
            }
            Ok(Ok(None)) => Err(other("the request ended without an answer".to_owned())),
            Ok(Err(error)) => Err(other(format!("no thread for its connections: {error}"))),
            Err(_) => Err(late(url)),
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Reply {
    /// The error that a status means where the caller has no other reading of it.
    pub(super) fn error(&self) -> SourceError {
        SourceError::of_status(
            shown(&self.url),
            self.status,
            &self.headers,
            self.said.clone(),
        )
    }
}

/// The whole answer. A connection that breaks before it is whole, or that speaks no HTTP, is no
/// answer.
pub(super) async fn read(
    mut response: Response,
    url: Url,
    cap: usize,
    deadline: Instant,
) -> Result<Reply, SourceError> {
    let (status, headers) = (response.status(), response.headers().clone());
    if status != StatusCode::OK || cap == 0 {
        let body = drain(&mut response, deadline).await;
        let said = if status.is_success() {
            ServerWords::default()
        } else {
            ServerWords::of(&headers, &body)
        };
        return Ok(Reply {
            url,
            status,
            headers,
            body: Vec::new(),
            said,
        });
    }
    // None was accepted. A file that is stored packed is another one than was signed.
    if let Some(coding) = packed(&headers) {
        let cause = format!(
            "sent Content-Encoding {coding}, which was not asked for: the server must keep and send its files unpacked"
        );
        return Err(SourceError::Other {
            url: shown(&url),
            cause,
        });
    }
    let too_large = || SourceError::TooLarge {
        url: shown(&url),
        limit: cap,
    };
    let announced = response
        .content_length()
        .map_or(Ok(0), usize::try_from)
        .map_err(|_| too_large())?;
    if announced > cap {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = timeout_at(deadline, response.chunk())
        .await
        .map_err(|_| late(&url))?
        .map_err(|error| failed(&url, &error))?
    {
        if chunk.len() > cap.saturating_sub(body.len()) {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply {
        url,
        status,
        headers,
        body,
        said: ServerWords::default(),
    })
}

/// The codings of an answer, if one of them changes its bytes. There may be several, in one header
/// or in more (RFC 9110, section 8.4).
fn packed(headers: &HeaderMap) -> Option<String> {
    let listed: Vec<_> = headers
        .get_all(CONTENT_ENCODING)
        .into_iter()
        .map(|codings| String::from_utf8_lossy(codings.as_bytes()).to_ascii_lowercase())
        .collect();
    let packs = |coding: &str| {
        let coding = coding.trim();
        PACKED.contains(&coding.strip_prefix("x-").unwrap_or(coding))
    };
    listed
        .iter()
        .any(|codings| codings.split(',').any(packs))
        .then(|| escaped(listed.join(", ").trim()))
}

/// Reads a small body away, so that the connection serves again; what is longer or slower costs the
/// connection. Returns its beginning.
async fn drain(response: &mut Response, deadline: Instant) -> Vec<u8> {
    let (mut left, mut begin) = (DRAIN_BYTES, Vec::new());
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            begin.extend(chunk.iter().take(MAX_BODY.saturating_sub(begin.len())));
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout_at(deadline.min(Instant::now() + DRAIN_TIME), read).await;
    begin
}

/// Where a redirect leads: never from https to http, and to http only from this machine to itself, or
/// from what is asked over plain http (`plain_at`) to itself.
fn target(reply: &Reply, plain_at: Option<&str>) -> Result<Url, SourceError> {
    let location = reply
        .headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| reply.url.join(location).ok());
    let keeps_tls = |target: &Url| target.scheme() == "https" || reply.url.scheme() == "http";
    let bare = |target: &Url| target.username().is_empty() && target.password().is_none();
    // Another machine does not have us ask what listens on this one.
    let near = |target: &Url| target.scheme() == "https" || may_ask(&reply.url);
    let stays = |target: &Url| is_at(&reply.url, plain_at) && is_at(target, plain_at);
    let may_follow = |target: &Url| may_ask(target) && near(target) || stays(target);
    target
        .filter(|target| keeps_tls(target) && bare(target) && may_follow(target))
        .ok_or_else(|| reply.error())
}

fn is_at(url: &Url, origin: Option<&str>) -> bool {
    origin.is_some_and(|origin| url.origin().ascii_serialization() == origin)
}

/// https, or http to this machine.
pub(super) fn may_ask(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

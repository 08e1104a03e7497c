//! Answering a server's challenge: Basic, or a token from the service that the server names
//! (distribution's token specification).
//!
//! Everything is asked without credentials first. Credentials that config.json holds for a server
//! go
//! - to that server itself (Basic), and to a token service on the same host;
//! - to a token service on another host only where config.json names that host too (an empty entry
//!   in `auths` is enough), or where the two are Docker's own pair, docker.io and auth.docker.io;
//!
//! and nowhere else, nor where the policy keeps them back: any other service is asked for an
//! anonymous token. A server that is not what it was cannot send them elsewhere. A registry to which
//! another one's redirect leads is asked with an anonymous token of its own, as containerd asks it.

use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{Challenge, challenge};
use super::grant::{Authorization, Grant, Realm};
use super::http::{Ask, HttpClient, Reply, read};
use super::registry::REDIRECTS;
use super::threads::beginning_at;
use super::token_service::{authority, keeps_secrets, realm_url, repository, scope_of};
use super::{SourceError, shown};
use crate::credentials::{Credential, place};

const TOKEN_CAP: usize = 64 << 10;
/// The specification's least and default life of a token; the most is ours.
const TOKEN_LIFE: (u64, u64) = (60, 3600);
const SLACK: Duration = Duration::from_secs(10);
/// How long a password that was let in is used again before config.json and helpers are asked anew.
const BASIC_LIFE: Duration = Duration::from_secs(300);
const MOST_GRANTS: usize = 4096;

#[derive(Deserialize)]
struct Issued {
    token: Option<String>,
    #[serde(rename = "access_token")]
    access: Option<String>,
    expires_in: Option<serde_json::Value>,
}

impl HttpClient {
    /// Asks, and answers one challenge. What comes back may have any status but 401 and 403.
    pub(super) async fn ask(&self, ask: &Ask<'_>, deadline: Instant) -> Result<Reply, SourceError> {
        beginning_at(&ask.url, self.ask_granted(ask, deadline)).await
    }

    async fn ask_granted(&self, ask: &Ask<'_>, deadline: Instant) -> Result<Reply, SourceError> {
        let realm = (ask.url.origin().ascii_serialization(), ask.scope.to_owned());
        let mut granted = self.granted(ask, &realm);
        let authorization = granted.as_ref().map(|grant| &grant.authorization);
        let mut first = self.send(ask, authorization, deadline).await?;
        if granted.is_some() && is_bare_denial(ask, &first.url, first.status, &first.headers) {
            self.forget(&realm);
            granted = None;
            first = self.send(ask, None, deadline).await?;
        }
        if !denied(&first) {
            return Ok(first);
        }
        let mut grant = self.answer(ask, &first, granted, deadline).await?;
        let mut second = self.send(ask, Some(&grant.authorization), deadline).await?;
        if denied(&second) && self.is_over(ask, grant.credential.as_ref()) {
            grant = self.answer(ask, &first, Some(grant), deadline).await?;
            second = self.send(ask, Some(&grant.authorization), deadline).await?;
        }
        if denied(&second) {
            return Err(denial(&second, grant.tried));
        }
        self.keep(realm, grant);
        Ok(second)
    }

    /// The same for an answer whose body is to be read by somebody else.
    pub(super) async fn open(
        &self,
        ask: &Ask<'_>,
        range: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<(Url, Response), SourceError> {
        beginning_at(&ask.url, self.open_granted(ask, range, deadline)).await
    }

    async fn open_granted(
        &self,
        ask: &Ask<'_>,
        range: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<(Url, Response), SourceError> {
        let realm = (ask.url.origin().ascii_serialization(), ask.scope.to_owned());
        let mut granted = self.granted(ask, &realm);
        let authorization = granted.as_ref().map(|grant| &grant.authorization);
        let (mut url, mut first) = self.begin(ask, authorization, range, deadline).await?;
        if granted.is_some() && is_bare_denial(ask, &url, first.status(), first.headers()) {
            self.forget(&realm);
            granted = None;
            (url, first) = self.begin(ask, None, range, deadline).await?;
        }
        if !is_denial(first.status()) {
            return Ok((url, first));
        }
        let first = read(first, url, 0, deadline).await?;
        let mut grant = self.answer(ask, &first, granted, deadline).await?;
        let (mut url, mut second) = self
            .begin(ask, Some(&grant.authorization), range, deadline)
            .await?;
        if is_denial(second.status()) && self.is_over(ask, grant.credential.as_ref()) {
            grant = self.answer(ask, &first, Some(grant), deadline).await?;
            (url, second) = self
                .begin(ask, Some(&grant.authorization), range, deadline)
                .await?;
        }
        if is_denial(second.status()) {
            return Err(denial(&read(second, url, 0, deadline).await?, grant.tried));
        }
        self.keep(realm, grant);
        Ok((url, second))
    }

    /// What opens a server that denied a question, which was asked with `granted`. Few questions come
    /// to this, so its future is not part of theirs.
    fn answer<'a>(
        &'a self,
        ask: &'a Ask<'_>,
        first: &'a Reply,
        granted: Option<Grant>,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<Grant, SourceError>> + Send + 'a>> {
        Box::pin(self.find_grant(ask, first, granted, deadline))
    }

    async fn find_grant(
        &self,
        ask: &Ask<'_>,
        first: &Reply,
        granted: Option<Grant>,
        deadline: Instant,
    ) -> Result<Grant, SourceError> {
        self.forget(&(ask.url.origin().ascii_serialization(), ask.scope.to_owned()));
        let Some(wanted) = challenge(&first.headers) else {
            return Err(denial(
                first,
                granted.map_or_else(|| "without credentials".to_owned(), |grant| grant.tried),
            ));
        };
        let is_led = first.url.origin() != ask.url.origin();
        match (wanted, scope_of(&first.url)) {
            (Challenge::Basic, _) if !is_led => self.basic(ask, first, deadline).await,
            (Challenge::Bearer { realm, service }, _) if !is_led => {
                self.bearer(ask, first, (&realm, service.as_deref()), deadline)
                    .await
            }
            (Challenge::Bearer { realm, service }, Some(scope)) => {
                let wanted = (realm.as_str(), service.as_deref());
                self.bearer_there(ask, first, &scope, wanted, deadline)
                    .await
            }
            _ => Err(denial(
                first,
                "without credentials: it is where a redirect led".to_owned(),
            )),
        }
    }

    /// The token of a registry to which another one's redirect led. No password and no token of this
    /// host's goes there.
    async fn bearer_there(
        &self,
        ask: &Ask<'_>,
        first: &Reply,
        scope: &str,
        wanted: (&str, Option<&str>),
        deadline: Instant,
    ) -> Result<Grant, SourceError> {
        let there = Ask {
            method: ask.method.clone(),
            url: first.url.clone(),
            accept: ask.accept,
            cap: ask.cap,
            scope,
            redirects: 0,
            send: None,
        };
        let nobody = self.without_credentials();
        let found = nobody.bearer(&there, first, wanted, deadline).await;
        let tried = "with an anonymous token: it is where a redirect led".to_owned();
        match found {
            Ok(grant) => Ok(Grant { tried, ..grant }),
            Err(SourceError::Denied {
                url, status, said, ..
            }) => Err(SourceError::Denied {
                url,
                status,
                tried,
                said,
            }),
            Err(error) => Err(error),
        }
    }

    async fn basic(
        &self,
        ask: &Ask<'_>,
        first: &Reply,
        deadline: Instant,
    ) -> Result<Grant, SourceError> {
        let host = authority(&ask.url);
        if !keeps_secrets(&ask.url) {
            return Err(denial(
                first,
                "without credentials: none are sent over plain http".to_owned(),
            ));
        }
        match self
            .credentials
            .find(&host, repository(ask.scope), deadline)
            .await
        {
            Ok(Some(Credential::Password { user, password })) => Ok(Grant {
                authorization: Authorization::to(
                    &ask.url,
                    basic_header(&user, &password.0, &first.url)?,
                ),
                credential: Some(Credential::Password { user, password }),
                until: Instant::now() + BASIC_LIFE,
                tried: format!("with the credentials for {host}"),
            }),
            Ok(Some(Credential::IdentityToken(_))) => Err(denial(
                first,
                format!("{host} wants a password, config.json has an identity token"),
            )),
            Ok(None) => Err(denial(
                first,
                format!("without credentials: config.json has none for {host}"),
            )),
            Err(error) => Err(denial(first, format!("without credentials: {error}"))),
        }
    }

    async fn bearer(
        &self,
        ask: &Ask<'_>,
        first: &Reply,
        (realm, service): (&str, Option<&str>),
        deadline: Instant,
    ) -> Result<Grant, SourceError> {
        let realm = realm_url(realm, &ask.url).ok_or_else(|| SourceError::Other {
            url: shown(&first.url),
            cause: format!(
                "answered {} and names a token service that is not asked: {}",
                first.status.as_u16(),
                super::escaped(realm)
            ),
        })?;
        let (mut credential, mut tried) =
            self.for_token(&ask.url, ask.scope, &realm, deadline).await;
        let token = async |credential: Option<&Credential>| {
            self.token(&realm, service, ask.scope, credential, deadline)
                .await
        };
        let mut reply = token(credential.as_ref()).await?;
        if denied(&reply) && self.is_over(ask, credential.as_ref()) {
            (credential, tried) = self.for_token(&ask.url, ask.scope, &realm, deadline).await;
            reply = token(credential.as_ref()).await?;
        }
        match reply.status.as_u16() {
            200 => {}
            // A refresh token that is over is a 400 (RFC 6749 §5.2).
            400 | 401 | 403 => return Err(denial(&reply, tried)),
            _ => return Err(reply.error()),
        }
        let unusable = |what: &str| SourceError::Other {
            url: shown(&reply.url),
            cause: format!("the token service's answer {what}"),
        };
        let answer: Issued = serde_json::from_slice(&reply.body)
            .map_err(|_| unusable("is no JSON that is understood"))?;
        let token = [answer.token, answer.access]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| unusable("holds no token"))?;
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| unusable("holds no token that can be sent"))?;
        header.set_sensitive(true);
        let life = answer
            .expires_in
            .and_then(|life| life.as_u64())
            .unwrap_or(TOKEN_LIFE.0)
            .clamp(TOKEN_LIFE.0, TOKEN_LIFE.1);
        Ok(Grant {
            authorization: Authorization::to(&ask.url, header),
            until: Instant::now() + Duration::from_secs(life).saturating_sub(SLACK),
            credential,
            tried,
        })
    }

    /// The credential that may go to that token service, and how to speak of it.
    async fn for_token(
        &self,
        server: &Url,
        scope: &str,
        realm: &Url,
        deadline: Instant,
    ) -> (Option<Credential>, String) {
        let (host, service) = (authority(server), authority(realm));
        if !keeps_secrets(server) {
            return (
                None,
                format!(
                    "with an anonymous token: {host} speaks plain http, and what a credential opens would be sent over it"
                ),
            );
        }
        let found = async {
            let found = self
                .credentials
                .find(&host, repository(scope), deadline)
                .await?;
            let named = found.is_some() && self.credentials.names(&service).await?;
            Ok::<_, String>((found, named))
        };
        match found.await {
            Err(error) => (None, format!("with an anonymous token: {error}")),
            Ok((None, _)) => (
                None,
                format!("with an anonymous token: config.json has no credentials for {host}"),
            ),
            Ok((Some(credential), named)) => {
                let hub = place(&host) == "docker.io" && service == "auth.docker.io";
                if named || hub || server.host() == realm.host() {
                    (Some(credential), format!("with the credentials for {host}"))
                } else {
                    (
                        None,
                        format!(
                            "with an anonymous token: the credentials for {host} go to its token service {service} only if config.json names that host too"
                        ),
                    )
                }
            }
        }
    }

    async fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        let mut url = realm.clone();
        if let Some(Credential::IdentityToken(token)) = credential {
            let mut form = realm.clone();
            form.set_query(None);
            form.query_pairs_mut()
                .extend_pairs([
                    ("grant_type", "refresh_token"),
                    ("client_id", "rootpin"),
                    ("scope", scope),
                    ("refresh_token", token.0.as_str()),
                ])
                .extend_pairs(service.map(|service| ("service", service)));
            return self.send_form(url, &form, TOKEN_CAP, deadline).await;
        }
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .append_pair("scope", scope);
        let authorization = match credential {
            Some(Credential::Password { user, password }) => {
                url.query_pairs_mut().append_pair("account", user);
                let header = basic_header(user, &password.0, realm)?;
                Some(Authorization::to(realm, header))
            }
            _ => None,
        };
        let ask = Ask {
            method: Method::GET,
            url,
            accept: "application/json",
            cap: TOKEN_CAP,
            scope,
            redirects: REDIRECTS,
            send: None,
        };
        self.send(&ask, authorization.as_ref(), deadline).await
    }

    /// What opened it a moment ago. What credentials opened ends when the policy keeps them back.
    fn granted(&self, ask: &Ask<'_>, realm: &Realm) -> Option<Grant> {
        let kept_back = || {
            let (host, repository) = (authority(&ask.url), repository(ask.scope));
            self.credentials.withholds(&host, repository).is_some()
        };
        let grants = self.grants.lock().ok()?;
        grants
            .get(realm)
            .filter(|grant| grant.until > Instant::now())
            .filter(|grant| grant.credential.is_none() || !kept_back())
            .cloned()
    }

    /// Whether the credential was a provider's answer that the server refuses before its end, and
    /// that is dropped now.
    fn is_over(&self, ask: &Ask<'_>, credential: Option<&Credential>) -> bool {
        let (host, repository) = (authority(&ask.url), repository(ask.scope));
        credential.is_some_and(|it| self.credentials.refused(&host, repository, it))
    }

    fn keep(&self, realm: Realm, grant: Grant) {
        let Ok(mut grants) = self.grants.lock() else {
            return;
        };
        if grants.len() >= MOST_GRANTS {
            grants.clear();
        }
        let now = Instant::now();
        grants.retain(|_, grant| grant.until > now);
        grants.insert(realm, grant);
    }

    fn forget(&self, realm: &Realm) {
        if let Ok(mut grants) = self.grants.lock() {
            grants.remove(realm);
        }
    }
}

fn denied(reply: &Reply) -> bool {
    is_denial(reply.status)
}

fn is_denial(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Whether a server refuses what opened it a moment ago, and says nothing of what it wants: ECR
/// answers 403 to a password that is over. Then it is asked as at first.
fn is_bare_denial(ask: &Ask<'_>, url: &Url, status: StatusCode, headers: &HeaderMap) -> bool {
    is_denial(status) && url.origin() == ask.url.origin() && challenge(headers).is_none()
}

fn denial(reply: &Reply, tried: String) -> SourceError {
    SourceError::Denied {
        url: shown(&reply.url),
        status: reply.status.as_u16(),
        tried,
        said: reply.said.clone(),
    }
}

fn basic_header(user: &str, password: &str, url: &Url) -> Result<HeaderValue, SourceError> {
    let value = HeaderValue::from_str(&format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ));
    let mut value = value.map_err(|_| SourceError::Other {
        url: shown(url),
        cause: "the credentials cannot be sent".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

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
//! anonymous token. A server that is not what it was cannot send them elsewhere.

use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{Challenge, challenge};
use super::grant::{Grant, Realm};
use super::http::{Ask, HttpClient, Reply, may_ask, read};
use super::threads::beginning_at;
use super::{SourceError, is_loopback, shown};
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
        let granted = self.granted(ask, &realm);
        let first = self
            .send(ask, granted.as_ref().map(|grant| &grant.header), deadline)
            .await?;
        if !denied(&first) {
            return Ok(first);
        }
        let mut grant = self.answer(ask, &first, granted, deadline).await?;
        let mut second = self.send(ask, Some(&grant.header), deadline).await?;
        if denied(&second) && self.is_over(ask, grant.credential.as_ref()) {
            grant = self.answer(ask, &first, Some(grant), deadline).await?;
            second = self.send(ask, Some(&grant.header), deadline).await?;
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
        let granted = self.granted(ask, &realm);
        let (url, first) = self
            .begin(
                ask,
                granted.as_ref().map(|grant| &grant.header),
                range,
                deadline,
            )
            .await?;
        if !is_denial(first.status()) {
            return Ok((url, first));
        }
        let first = read(first, url, 0, deadline).await?;
        let mut grant = self.answer(ask, &first, granted, deadline).await?;
        let (mut url, mut second) = self
            .begin(ask, Some(&grant.header), range, deadline)
            .await?;
        if is_denial(second.status()) && self.is_over(ask, grant.credential.as_ref()) {
            grant = self.answer(ask, &first, Some(grant), deadline).await?;
            (url, second) = self
                .begin(ask, Some(&grant.header), range, deadline)
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
        if first.url.origin() != ask.url.origin() {
            return Err(denial(
                first,
                "without credentials: it is where a redirect led".to_owned(),
            ));
        }
        match wanted {
            Challenge::Basic => self.basic(ask, first, deadline).await,
            Challenge::Bearer { realm, service } => {
                self.bearer(ask, first, (&realm, service.as_deref()), deadline)
                    .await
            }
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
                header: basic_header(&user, &password.0, &first.url)?,
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
        let token = answer
            .token
            .or(answer.access)
            .filter(|token| !token.is_empty())
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
            header,
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
        let header = match credential {
            Some(Credential::Password { user, password }) => {
                url.query_pairs_mut().append_pair("account", user);
                Some(basic_header(user, &password.0, realm)?)
            }
            _ => None,
        };
        let ask = Ask {
            method: Method::GET,
            url,
            accept: "application/json",
            cap: TOKEN_CAP,
            scope,
            redirects: 0,
            send: None,
        };
        self.send(&ask, header.as_ref(), deadline).await
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

fn denial(reply: &Reply, tried: String) -> SourceError {
    SourceError::Denied {
        url: shown(&reply.url),
        status: reply.status.as_u16(),
        tried,
        said: reply.said.clone(),
    }
}

/// Whether nobody on the way reads along.
fn keeps_secrets(server: &Url) -> bool {
    server.scheme() == "https" || server.host_str().is_some_and(is_loopback)
}

/// A token service is asked over https, or over http where both it and the server are on this
/// machine.
fn realm_url(realm: &str, server: &Url) -> Option<Url> {
    let url: Url = realm.parse().ok()?;
    let bare = url.username().is_empty() && url.password().is_none();
    let local = server.host_str().is_some_and(is_loopback);
    (bare && may_ask(&url) && (url.scheme() == "https" || local)).then_some(url)
}

/// host, or host:port where the port is not the scheme's own.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The repository of a scope.
fn repository(scope: &str) -> &str {
    let named = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.rsplit_once(':'));
    named.map_or("", |(name, _)| name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_service_is_asked_over_tls_or_from_one_loopback_server_at_another() {
        let may = |realm, server: &str| realm_url(realm, &server.parse().unwrap()).is_some();
        assert!(may("https://auth.example/token?x=y", "https://r.example"));
        assert!(may("http://127.0.0.1:5001/token", "http://127.0.0.1:5000"));
        assert!(!may("http://127.0.0.1:5001/token", "https://r.example"));
        assert!(!may("http://auth.example/token", "https://r.example"));
        assert!(!may("http://auth.example/token", "http://127.0.0.1:5000"));
        assert!(!may("https://u:p@auth.example/token", "https://r.example"));
        assert!(!may("/token", "https://r.example"));
        assert!(!may("file:///etc/passwd", "https://r.example"));
    }

    #[test]
    fn a_password_is_sent_over_tls_or_within_this_machine_and_in_no_other_way() {
        for (server, keeps) in [
            ("https://r.example", true),
            ("http://127.0.0.1:5000", true),
            ("http://[::1]:5000", true),
            ("http://localhost", true),
            ("http://r.example", false),
            ("http://10.0.0.1:5000", false),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://0.0.0.0:5000", false),
        ] {
            assert_eq!(keeps_secrets(&server.parse().unwrap()), keeps, "{server}");
        }
    }
}

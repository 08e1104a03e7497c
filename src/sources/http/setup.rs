//! Sets up a client: certificates, proxies, time limits.

use std::time::Duration;

use reqwest::{NoProxy, Proxy, redirect};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// So many connections to one server stay open for later questions, whatever was asked at once.
const KEPT_OPEN: usize = 4;
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The private CA's PEM holds no certificate that can be used.
    #[error("tls-ca: {0}")]
    Ca(String),
    /// The certificate to show to a registry, or its key, can't be used.
    #[error("client: {0}; wanted are PEM of a certificate and of its key, which is not encrypted")]
    Identity(String),
    /// A proxy variable is no URL of an HTTP or SOCKS proxy. The value may hold a password and is
    /// not repeated.
    #[error("{0} is not the URL of a proxy: http, https, socks5 or socks5h")]
    Proxy(&'static str),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

pub(super) fn builder(proxy: Option<&Proxy>) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("rootpin/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(KEPT_OPEN)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .no_proxy();
    match proxy {
        Some(proxy) => builder.proxy(proxy.clone()),
        None => builder,
    }
}

/// The proxy of the environment. Plain http goes to this machine only, and that never through a
/// proxy, so `HTTP_PROXY` has no use here.
pub(super) fn proxy(
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Proxy>, ClientError> {
    let named = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)));
    let Some((name, value)) = named else {
        return Ok(None);
    };
    let direct = variable("NO_PROXY").or_else(|| variable("no_proxy"));
    let direct = direct.map_or_else(
        || LOOPBACK.to_owned(),
        |list| format!("{},{LOOPBACK}", names_of(&list)),
    );
    let proxy = Proxy::https(looking_up(&value)).map_err(|_| ClientError::Proxy(name))?;
    Ok(Some(proxy.no_proxy(NoProxy::from_string(&direct))))
}

/// A SOCKS proxy as engines use it, which looks up the names (Go, net/http): the host may know
/// none.
pub(super) fn looking_up(proxy: &str) -> String {
    match proxy.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("socks5") => {
            format!("socks5h://{rest}")
        }
        _ => proxy.to_owned(),
    }
}

/// `NO_PROXY` with `*.example` as `.example`, and without ports: others read it so, and the client
/// that we use takes the star and the port for letters of the name.
pub(super) fn names_of(list: &str) -> String {
    let names = list
        .split([',', ' '])
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            name.strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(name)
        })
        .map(|name| match name.rsplit_once(':') {
            Some((host, port))
                if !port.is_empty()
                    && port.bytes().all(|byte| byte.is_ascii_digit())
                    && (!host.contains(':') || host.ends_with(']')) =>
            {
                host.trim_start_matches('[').trim_end_matches(']')
            }
            _ => name,
        })
        .collect::<Vec<_>>()
        .join(",")
}

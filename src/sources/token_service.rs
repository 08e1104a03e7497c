//! Which token service of a registry is asked, and for what: its URL, and the scope. Pure.

use reqwest::Url;

use super::http::may_ask;
use super::is_loopback;

/// Whether nobody on the way reads along.
pub(super) fn keeps_secrets(server: &Url) -> bool {
    server.scheme() == "https" || server.host_str().is_some_and(is_loopback)
}

/// A token service is asked over https, or over http where both it and the server are on this
/// machine, or where it is that very server, which is asked over http itself.
pub(super) fn realm_url(realm: &str, server: &Url) -> Option<Url> {
    let url: Url = realm.parse().ok()?;
    let bare = url.username().is_empty() && url.password().is_none();
    let local = server.host_str().is_some_and(is_loopback);
    let itself = url.scheme() == "http" && url.origin() == server.origin();
    (bare && (itself || may_ask(&url) && (url.scheme() == "https" || local))).then_some(url)
}

/// host, or host:port where the port is not the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The repository of a scope.
pub(super) fn repository(scope: &str) -> &str {
    let named = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.rsplit_once(':'));
    named.map_or("", |(name, _)| name)
}

/// What a reader of the repository that a registry's URL is of asks a token service for.
pub(super) fn scope_of(url: &Url) -> Option<String> {
    let (_, rest) = url.path().split_once("/v2/")?;
    let parts = ["/manifests/", "/blobs/", "/referrers/", "/tags/"];
    let name = parts.iter().find_map(|part| rest.rsplit_once(part))?.0;
    Some(format!("repository:{name}:pull"))
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
        // Harbor on plain http, which the host's owner has asked so.
        assert!(may("http://r.example/token", "http://r.example:80/v2/"));
        assert!(!may("http://r.example/token", "https://r.example"));
        assert!(!may("http://r.example:81/token", "http://r.example"));
        assert!(!may("http://127.0.0.1/token", "http://r.example"));
        assert!(!may("https://u:p@auth.example/token", "https://r.example"));
        assert!(!may("/token", "https://r.example"));
        assert!(!may("file:///etc/passwd", "https://r.example"));
    }

    #[test]
    fn the_scope_of_a_registry_s_url_is_its_repository_whatever_stands_before_and_behind() {
        for (url, scope) in [
            ("https://ghcr.io/v2/team/app/manifests/v1", Some("team/app")),
            (
                "https://a.example/api/docker/v2/app/blobs/sha256:00?x=/v2/",
                Some("app"),
            ),
            (
                "https://r.example/v2/manifests/manifests/v1",
                Some("manifests"),
            ),
            ("https://r.example/v2/app/tags/list", Some("app")),
            ("https://r.example/v2/app/referrers/sha256:00", Some("app")),
            ("https://cdn.example/blobs/sha256:00", None),
            ("https://r.example/v2/token", None),
        ] {
            let wanted = scope.map(|name| format!("repository:{name}:pull"));
            assert_eq!(scope_of(&url.parse().unwrap()), wanted, "{url}");
        }
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

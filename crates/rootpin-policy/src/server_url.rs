//! The address of a trust server.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::diagnostic::Fault;

/// Reads `https://HOST[:PORT][/PATH]`, or the same with http for a loopback address. A slash at the
/// end is dropped, so that one server has one spelling. Only characters that every reader of
/// addresses takes for the same are let in.
pub(super) fn parse(text: &str) -> Result<String, Fault> {
    let bad = |why: &str| {
        Fault::new(
            "bad-url",
            format!("{text:?}: {why}"),
            "write https://HOST[:PORT][/PATH]",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, ""), |(authority, path)| (authority, path));
    if authority.contains('@') {
        return Err(Fault::new(
            "bad-url",
            "the address holds a user name or password",
            "credentials come from the docker config, never from the policy",
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(bad("a query or a fragment"));
    }
    let path_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let dots = path.split('/').any(|part| part == "." || part == "..");
    if !path.bytes().all(path_character) || dots || path.starts_with('/') || path.contains("//") {
        return Err(bad("a path that is not plain"));
    }
    let host = host(authority).ok_or_else(|| bad("no host, or one that is not understood"))?;
    match scheme {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => {
            let message =
                format!("{text:?}: http is for loopback addresses (127.0.0.0/8, [::1]) only");
            return Err(Fault::new(
                "plain-http",
                message,
                "write https; a private CA goes into tls-ca",
            ));
        }
        _ => return Err(bad("the scheme is not https")),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The host of `HOST[:PORT]`, where both are well formed.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']')?.checked_add(1)?;
        let (host, port) = authority.split_at_checked(end)?;
        let _: Ipv6Addr = host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
        (host, port)
    } else {
        let (host, port) =
            authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?;
        let label = |label: &str| {
            let inner = label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
        };
        if !host.split('.').all(label) || (looks_numeric(host) && host.parse::<Ipv4Addr>().is_err())
        {
            return None;
        }
        (host, port)
    };
    let port_fits = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| !port.starts_with(['+', '0']) && port.parse::<u16>().is_ok());
    port_fits.then_some(host)
}

/// URL readers take a host whose last part is a number for an address in shorthand (`127.1`,
/// `0x7f.1`).
fn looks_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or("");
    last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_loopback(host: &str) -> bool {
    host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_on_loopback_are_taken() {
        for good in [
            "https://notary.acme.example",
            "https://n:4443",
            "https://10.0.0.1:443/a/b",
            "http://127.0.0.1:4443",
            "http://127.9.9.9",
            "http://[::1]:80",
        ] {
            assert_eq!(parse(good).unwrap(), good);
        }
        assert_eq!(parse("https://n.example/").unwrap(), "https://n.example");
    }

    #[test]
    fn http_to_anything_that_only_resembles_loopback_is_refused() {
        for bad in [
            "http://localhost",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "http://[::2]",
            "http://0.0.0.0",
            "http://notary",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, "plain-http", "{bad}");
        }
    }

    #[test]
    fn what_readers_could_understand_differently_is_refused() {
        for bad in [
            "",
            "notary",
            "https://",
            "https:///x",
            "ftp://n",
            "HTTPS://n",
            "https://u@n",
            "https://u:p@n",
            "https://n?x",
            "https://n#x",
            "https://n/..",
            "https://n/a/../b",
            "https://n\\@m",
            "https://n:",
            "https://n:0",
            "https://n:+1",
            "https://n:65536",
            "https://n/a b",
            "https://n//a",
            "https://127.1",
            "https://0x7f.1",
            "http://127.0.0.1:80@evil",
            "https://[::1",
            "https://[x]",
            "https://é",
            "https://N.example",
            "https://n/%2e%2e",
            "https://-a",
            "https://a..b",
            "https://n.",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, "bad-url", "{bad}");
        }
    }
}

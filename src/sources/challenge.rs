//! `WWW-Authenticate`: what a server wants to see (RFC 9110 §11.6.1). Pure.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a server wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token that the service at `realm` gives out.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// More than this in one header field is not read.
const MOST: usize = 4 << 10;

/// The challenge to answer: Bearer before Basic, the first of its kind.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    // The realm of Basic is a text for people, in whatever letters its server's owner wrote it.
    let fields = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter(|value| value.len() <= MOST)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let all: Vec<Challenge> = fields.flat_map(|field| parse(&field)).collect();
    let bearer = all
        .iter()
        .find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

fn parse(field: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = field.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len()));
        if let Some(text) = after.trim_start().strip_prefix('=') {
            let (value, next) = value(text.trim_start());
            if let Some((_, parameters)) = schemes.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = next;
        } else {
            schemes.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    let of = |(scheme, parameters): (String, Vec<(String, String)>)| {
        let named = |name| {
            parameters
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer {
                realm: named("realm")?,
                service: named("service"),
            }),
            _ => None,
        }
    };
    schemes.into_iter().filter_map(of).collect()
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (word.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn of(fields: &[&str]) -> Option<Challenge> {
        let pairs = fields
            .iter()
            .map(|field| (WWW_AUTHENTICATE, field.parse().unwrap()));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| _ = headers.append(name, value));
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_bearer_challenge_gives_realm_and_service() {
        let field = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a,b:pull,push""#;
        assert_eq!(
            of(&[field]),
            Some(bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io")
            ))
        );
        assert_eq!(
            of(&[r#"bearer  scope = "x" , REALM = https://a.example/t"#]),
            Some(bearer("https://a.example/t", None))
        );
        assert_eq!(
            of(&[r#"Bearer realm="a\"b\\c""#]),
            Some(bearer("a\"b\\c", None))
        );
    }

    #[test]
    fn a_realm_in_letters_of_any_language_is_one() {
        for field in [
            &b"Basic realm=\"Zugang f\xfcr alle\""[..],
            "Basic realm=\"Вход\"".as_bytes(),
        ] {
            let value = HeaderValue::from_bytes(field).unwrap();
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
            assert_eq!(challenge(&headers), Some(Challenge::Basic));
        }
    }

    #[test]
    fn bearer_is_answered_before_basic_wherever_it_stands() {
        assert_eq!(of(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(
            of(&[r#"Basic realm="x", Bearer realm="https://a.example/""#]),
            Some(bearer("https://a.example/", None))
        );
        assert_eq!(
            of(&["Basic realm=x", r#"Bearer realm="https://a.example/""#]),
            Some(bearer("https://a.example/", None))
        );
    }

    #[test]
    fn nonsense_and_schemes_that_are_not_known_are_no_challenge() {
        for field in [
            "",
            ",,,",
            "Negotiate",
            "Digest realm=\"x\"",
            "Bearer",
            "Bearer service=x",
            "=",
            "\"",
            "Bearer realm",
            "a=b",
        ] {
            assert_eq!(of(&[field]), None, "{field}");
        }
        assert_eq!(
            of(&[&format!("Bearer realm=\"{}\"", "x".repeat(5000))]),
            None
        );
        assert_eq!(
            of(&["Bearer realm=\"https://unclosed.example/"]),
            Some(bearer("https://unclosed.example/", None))
        );
    }
}

//! Parts of names as distribution's grammar has them (`reference/regexp.go`), for files whose tools
//! refuse all of it where one name breaks the grammar.

use rootpin_trust::image::ImageRef;

/// `host[:port]`.
pub(super) fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let label = |label: &str| {
        let ends =
            label.bytes().next().is_some_and(plain) && label.bytes().last().is_some_and(plain);
        ends && label.bytes().all(|byte| plain(byte) || byte == b'-')
    };
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port && name.split('.').all(label)
}

/// The path of a repository: lower-case components between slashes.
pub(super) fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let plain = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit();
    if !text.starts_with(plain) || !text.ends_with(plain) {
        return false;
    }
    let mut between = text.split(plain).filter(|part| !part.is_empty());
    between.all(|part| [".", "_", "__"].contains(&part) || part.bytes().all(|byte| byte == b'-'))
}

/// Whether a name is one that Docker's tools complete to a full one; `tagged`: with a tag or a digest.
pub(super) fn is_reference(text: &str, tagged: bool) -> bool {
    let last = text.rsplit('/').next().unwrap_or_default();
    let names_one = text.contains('@') || last.contains(':');
    // A digest's digits alone are no name.
    let is_id = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    !is_id && (names_one || !tagged) && text.parse::<ImageRef>().is_ok()
}

/// A host, or a host and a path behind it, as the prefixes of `remapIdentity` are.
pub(super) fn is_prefix(text: &str) -> bool {
    match text.split_once('/') {
        None => is_domain(text),
        Some((domain, path)) => is_domain(domain) && is_path(path),
    }
}

/// A name without registry, tag and digest, as the left side of an alias is.
pub(super) fn is_short_name(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    let names_registry = text.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    !names_registry && is_path(text)
}

/// A repository with its registry, without tag and digest, as the right side of an alias is.
pub(super) fn is_full_name(text: &str) -> bool {
    text.split_once('/').is_some_and(|(domain, path)| {
        let named = domain.contains(['.', ':']) || domain == "localhost";
        named && is_domain(domain) && is_path(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_the_grammar_of_distribution() {
        for good in ["r.example", "R.example:5000", "localhost", "a-b.c"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", "r_example", "-a", "a..b", "a:", "a:b", "a/b", "*.b"] {
            assert!(!is_domain(bad), "{bad}");
        }
        for good in ["a", "a/b", "a.b/c__d", "a---b", "0/1"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "", "a/", "/a", "a//b", "A", "a.-b", "a___b", "a..b", "_a", "a b",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
        for (text, prefix) in [
            ("r.example", true),
            ("r.example/hub", true),
            ("r.example/hub/", false),
            ("r.example/", false),
            ("Not A Name", false),
            ("r.example/hub:v1", false),
        ] {
            assert_eq!(is_prefix(text), prefix, "{text}");
        }
        assert!(is_reference("r.example/app:v1", true) && is_reference("app:v1", true));
        assert!(
            !is_reference("r.example:5000/app", true) && is_reference("r.example:5000/app", false)
        );
        assert!(!is_reference(&"a".repeat(64), false) && !is_reference("r.example/App:v1", true));
        assert!(is_short_name("library/alpine") && !is_short_name("r.example/a"));
        assert!(is_full_name("docker.io/alpine") && !is_full_name("library/alpine"));
    }
}

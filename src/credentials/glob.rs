//! Matches images with the kubelet's patterns as the kubelet does (kubernetes,
//! pkg/credentialprovider/keyring.go, `URLsMatch`): each part of the host by itself, the port
//! exactly, and the path by its beginning.

/// Whether a pattern means an image, both without a scheme.
pub(super) fn matches(pattern: &str, image: &str) -> bool {
    let (pattern_host, pattern_path) = split(pattern);
    let (host, path) = split(image);
    let ((pattern_host, pattern_port), (host, port)) = (with_port(pattern_host), with_port(host));
    let (pattern_parts, parts) = (pattern_host.split('.'), host.split('.'));
    pattern_port == port
        && pattern_parts.clone().count() == parts.clone().count()
        && path.starts_with(pattern_path)
        && pattern_parts
            .zip(parts)
            .all(|(pattern, part)| part_matches(pattern.as_bytes(), part.as_bytes()))
}

/// The host, and the path with its slash.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find('/').unwrap_or(text.len()))
}

fn with_port(host: &str) -> (&str, &str) {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"));
    match bracketed.or_else(|| host.rsplit_once(':')) {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (host, ""),
    }
}

/// As Go's `filepath.Match` does it, where no slash can stand; a bad pattern means nothing.
fn part_matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| part_matches(rest, text)))
        }
        [b'?', rest @ ..] => text
            .split_first()
            .is_some_and(|(_, text)| part_matches(rest, text)),
        [b'[', rest @ ..] => {
            let Some((first, text)) = text.split_first() else {
                return false;
            };
            class(rest, *first).is_some_and(|(is_in, rest)| is_in && part_matches(rest, text))
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => text
            .split_first()
            .is_some_and(|(first, text)| first == literal && part_matches(rest, text)),
    }
}

/// Whether a byte is in the class that begins here, and what follows the class.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mut is_in, mut ranges) = (false, 0);
    loop {
        if let [b']', after @ ..] = rest
            && ranges > 0
        {
            return Some((is_in != negated, after));
        }
        let (low, after) = literal(rest)?;
        let (high, after) = match after {
            [b'-', after @ ..] => literal(after)?,
            after => (low, after),
        };
        is_in |= (low..=high).contains(&byte);
        (ranges, rest) = (ranges + 1, after);
    }
}

fn literal(pattern: &[u8]) -> Option<(u8, &[u8])> {
    match pattern {
        [b'\\', byte, rest @ ..] => Some((*byte, rest)),
        [b'-' | b']' | b'\\', ..] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of the kubelet's own documentation and tests of the same function.
    #[test]
    fn patterns_mean_what_the_kubelet_takes_them_for() {
        for (pattern, image, wanted) in [
            ("*.kubernetes.io", "foo.kubernetes.io/x", true),
            ("*.kubernetes.io", "kubernetes.io/x", false),
            ("*.kubernetes.io", "a.b.kubernetes.io/x", false),
            ("*.*.kubernetes.io", "a.b.kubernetes.io", true),
            ("prefix.*.io", "prefix.kubernetes.io", true),
            ("*-good.kubernetes.io", "prefix-good.kubernetes.io", true),
            ("*.kubernetes.io/foo", "x.kubernetes.io/foo/bar", true),
            ("*.kubernetes.io/foo", "x.kubernetes.io/foobar", true),
            ("*.kubernetes.io/foo", "x.kubernetes.io/bar/foo", false),
            ("registry.io:8080", "registry.io:8080/x", true),
            ("registry.io:8080", "registry.io/x", false),
            ("registry.io", "registry.io:8080/x", false),
            ("registry.io:*", "registry.io:8080/x", false),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "123.dkr.ecr.us-east-1.amazonaws.com/app",
                true,
            ),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "123.dkr.ecr.us-east-1.amazonaws.com.evil.example/app",
                false,
            ),
            ("*.azurecr.io", "evil.example/x.azurecr.io", false),
            ("gcr.io", "gcr.io/project/app", true),
            ("gcr.?o", "gcr.io/x", true),
            ("gcr.[h-j]o", "gcr.io/x", true),
            ("gcr.[^h-j]o", "gcr.io/x", false),
            ("gcr.[io", "gcr.io/x", false),
            ("[::1]:5000", "[::1]:5000/x", true),
            ("*", "gcr.io/x", false),
            ("*", "localhost/x", true),
            ("", "gcr.io/x", false),
        ] {
            assert_eq!(matches(pattern, image), wanted, "{pattern} {image}");
        }
    }
}

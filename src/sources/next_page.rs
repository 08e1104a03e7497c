//! The next page of a list, as a server names it in `Link` (RFC 8288; OCI distribution-spec, "Listing
//! Referrers").

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

/// What a server says of the page after this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextPage {
    /// This was the last one.
    None,
    /// It is here, on the server that was asked.
    At(Url),
    /// There is one, or something that may name one, and it is not asked for: it is on another
    /// server, or can't be read.
    Elsewhere,
}

/// The page after the one that was read from that URL.
pub(super) fn next_page(headers: &HeaderMap, read: &Url) -> NextPage {
    let mut found = NextPage::None;
    for value in headers.get_all(LINK) {
        let Some(targets) = value.to_str().ok().and_then(next_targets) else {
            found = NextPage::Elsewhere;
            continue;
        };
        for target in targets {
            match here(target, read) {
                Some(url) => return NextPage::At(url),
                None => found = NextPage::Elsewhere,
            }
        }
    }
    found
}

/// The target on the server that was asked, by the scheme and port that it was asked by: behind a
/// proxy that ends TLS, a server knows its other ones.
fn here(target: &str, read: &Url) -> Option<Url> {
    let named = read.join(target).ok()?;
    let is_same_port = match (named.port(), read.port()) {
        (Some(named), Some(read)) => named == read,
        _ => true,
    };
    let is_same = named.host() == read.host() && is_same_port;
    let is_web = matches!(named.scheme(), "http" | "https");
    let mut next = read.clone();
    next.set_path(named.path());
    next.set_query(named.query());
    next.set_fragment(None);
    if let (None, Some(namespace)) = (namespace(&next), namespace(read)) {
        next.query_pairs_mut().append_pair("ns", &namespace);
    }
    (is_same && is_web && next != *read).then_some(next)
}

/// The registry that is meant, which a mirror that stands for many is told with each page: its links
/// leave it out.
fn namespace(url: &Url) -> Option<String> {
    let mut pairs = url.query_pairs();
    let named = pairs.find(|(name, _)| name == "ns");
    named.map(|(_, value)| value.into_owned())
}

/// The targets of one header that are the next page; `None`: it is not understood.
fn next_targets(mut rest: &str) -> Option<Vec<&str>> {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(all);
        }
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let mut relation: Option<Cow<'_, str>> = None;
        rest = after.trim_start();
        while let Some(after) = rest.strip_prefix(';') {
            let (name, value, after) = parameter(after.trim_start())?;
            // Of several relations the first counts (RFC 8288, section 3.3).
            if name.eq_ignore_ascii_case("rel") && relation.is_none() {
                relation = Some(value);
            }
            rest = after.trim_start();
        }
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
        let relation = relation.unwrap_or_default();
        // Some servers write the quotes that JavaScript has.
        let relations = relation.trim_matches('\'');
        let mut relations = relations.split_ascii_whitespace();
        let is_next = relations.any(|one| one.eq_ignore_ascii_case("next"));
        all.extend(is_next.then_some(target));
    }
}

/// A parameter: its name, its value without quotes, and what follows it.
fn parameter(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let Some(after) = after.strip_prefix('=') else {
        return Some((name.trim(), Cow::Borrowed(""), after));
    };
    let after = after.trim_start();
    let Some(quoted) = after.strip_prefix('"') else {
        let end = after.find([';', ',']).unwrap_or(after.len());
        let (value, after) = after.split_at(end);
        return Some((name.trim(), Cow::Borrowed(value.trim()), after));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name.trim(), Cow::Owned(value), quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "http://r.example:5000/v2/a/referrers/sha256:1";

    fn of(links: &[&str], read: &str) -> NextPage {
        let mut headers = HeaderMap::new();
        for link in links {
            headers.append(LINK, link.parse().unwrap());
        }
        next_page(&headers, &read.parse().unwrap())
    }

    #[test]
    fn a_mirror_is_told_with_each_page_which_registry_is_meant() {
        let list = "https://m.example/v2/a/tags/list";
        let read = format!("{list}?n=1000&ns=r.example%3A5000");
        for (link, wanted) in [
            ("<?n=1000&last=x>", "?n=1000&last=x&ns=r.example%3A5000"),
            ("</v2/a/tags/list>", "?ns=r.example%3A5000"),
            ("<?ns=r.example:5000&last=x>", "?ns=r.example:5000&last=x"),
        ] {
            let next = NextPage::At(format!("{list}{wanted}").parse().unwrap());
            assert_eq!(of(&[&format!("{link}; rel=next")], &read), next, "{link}");
        }
        // The same page again.
        assert_eq!(of(&["<?n=1000>; rel=next"], &read), NextPage::Elsewhere);
    }

    #[test]
    fn the_next_page_is_found_in_each_form_that_a_link_may_have() {
        let next = NextPage::At(format!("{READ}?at=1").parse().unwrap());
        for links in [
            &["</v2/a/referrers/sha256:1?at=1>; rel=\"next\""][..],
            &["</v2/a/referrers/sha256:1?at=1>; rel=next"],
            &["</v2/a/referrers/sha256:1?at=1>;rel = next"],
            &["</v2/a/referrers/sha256:1?at=1>; rel='next'"],
            &["</v2/a/referrers/sha256:1?at=1>; Rel=\"prefetch NEXT\""],
            &["<?at=1>; title=\"a, \\\"b\\\"; rel=first\"; rel=next; type=x"],
            &["<http://r.example:5000/v2/a/referrers/sha256:1?at=1>; rel=next"],
            &["<https://r.example:5000/v2/a/referrers/sha256:1?at=1>; rel=next"],
            &["<https://r.example/v2/a/referrers/sha256:1?at=1>; rel=next"],
            &["</x>; rel=\"first\", </v2/a/referrers/sha256:1?at=1>; rel=\"next\""],
            &["</x>; rel=first", "<?at=1>; rel=next"],
            &["<https://other.example/?at=1>; rel=next, <?at=1>; rel=next"],
        ] {
            assert_eq!(of(links, READ), next, "{links:?}");
        }
        let behind = "https://r.example/v2/a/referrers/sha256:1";
        let next = NextPage::At(format!("{behind}?at=1").parse().unwrap());
        for link in [
            "<http://r.example/v2/a/referrers/sha256:1?at=1>; rel=next",
            "<http://r.example:5000/v2/a/referrers/sha256:1?at=1>; rel=next",
        ] {
            assert_eq!(of(&[link], behind), next, "{link}");
        }
    }

    #[test]
    fn a_page_that_is_not_asked_for_is_not_taken_for_the_end() {
        for link in [
            "<https://other.example/v2/a/referrers/sha256:1?at=1>; rel=next",
            "<https://r.example:7000/v2/a/referrers/sha256:1?at=1>; rel=next",
            "<ftp://r.example:5000/v2/a/referrers/sha256:1?at=1>; rel=next",
            "<http://r.example:5000/v2/a/referrers/sha256:1>; rel=next",
            "/v2/a/referrers/sha256:1?at=1; rel=next",
            "<?at=1>; rel=\"next",
            "<?at=1",
        ] {
            assert_eq!(of(&[link], READ), NextPage::Elsewhere, "{link}");
        }
    }

    #[test]
    fn without_a_next_page_the_list_ends() {
        for links in [
            &[][..],
            &[""],
            &["<?at=0>; rel=prev"],
            &["<?at=0>; title=next"],
            &["<?at=0>; rel=prev; rel=next"],
            &["<?at=0>"],
        ] {
            assert_eq!(of(links, READ), NextPage::None, "{links:?}");
        }
    }
}

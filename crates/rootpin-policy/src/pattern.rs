//! Patterns of repository names: what they match, which of two is more specific, and whether two
//! can match one name.

use std::fmt;
use std::str::FromStr;

use super::finding::{Fault, FindingCode};
use rootpin_trust::image::Repository;

/// A registry host and a path whose segments may be `*` (one whole segment) and, last, `**` (one or
/// more segments).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

/// How specific a pattern is: of those that match a name, the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    exact: bool,
    literal_prefix: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    /// This segment; the first of a pattern, the host, is always one.
    Literal(String),
    /// `*`
    One,
    /// `**`, only as the last
    Rest,
}

impl Pattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry's host with its port, if it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.split('/').next().unwrap_or("")
    }

    /// Whether it is the name of a single repository.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }

    /// The characters before the first wildcard.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        self.text.split('*').next().unwrap_or("")
    }

    /// What decides between two patterns that match one name.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        Specificity {
            exact: self.is_exact(),
            literal_prefix: self.literal_prefix().len(),
        }
    }

    /// Whether it matches this name.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        self.captures(repository).is_some()
    }

    /// Whether some name is matched by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.segments.iter(), other.segments.iter());
        loop {
            match (left.next(), right.next()) {
                (None, None) | (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => {
                    return true;
                }
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Segment::Literal(one)), Some(Segment::Literal(two))) if one != two => {
                    return false;
                }
                (Some(_), Some(_)) => {}
            }
        }
    }

    /// Whether every name that `other` matches is matched by this one too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let (mut outer, mut inner) = (self.segments.iter(), other.segments.iter());
        loop {
            match (outer.next(), inner.next()) {
                (None, None) | (Some(Segment::Rest), Some(_)) => return true,
                (Some(Segment::One), Some(Segment::Literal(_) | Segment::One)) => {}
                (Some(Segment::Literal(one)), Some(Segment::Literal(two))) if one == two => {}
                _ => return false,
            }
        }
    }

    /// Whether `other` has the same wildcards, in kind and number and order.
    pub(super) fn same_wildcards(&self, other: &Self) -> bool {
        let is_wildcard = |segment: &&Segment| !matches!(segment, Segment::Literal(_));
        let other = other.segments.iter().filter(is_wildcard);
        self.segments.iter().filter(is_wildcard).eq(other)
    }

    /// This pattern with its wildcards replaced by what those of `matched` stand for in
    /// `repository`.
    ///
    /// Nothing is normalised: `None` where the result is no repository in full form
    /// (`docker.io/alpine`).
    pub(super) fn carry_over(&self, matched: &Self, repository: &Repository) -> Option<Repository> {
        let mut captures = matched.captures(repository)?.into_iter();
        let mut name = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            name.push(match segment {
                Segment::Literal(text) => text.clone(),
                Segment::One | Segment::Rest => captures.next()?,
            });
        }
        Repository::from_full(&name.join("/")).ok()
    }

    /// What each wildcard stands for, if the name is matched.
    fn captures(&self, repository: &Repository) -> Option<Vec<String>> {
        let mut parts = repository.as_str().split('/');
        let mut captures = Vec::new();
        for segment in &self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Literal(_) => return None,
                Segment::One => captures.push(part.to_owned()),
                Segment::Rest => {
                    let rest: Vec<_> = std::iter::once(part).chain(parts.by_ref()).collect();
                    captures.push(rest.join("/"));
                }
            }
        }
        parts.next().is_none().then_some(captures)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = Fault;

    /// Reads a pattern in full form, with `*` for a segment and a last `**` for one or more.
    fn from_str(text: &str) -> Result<Self, Fault> {
        check_full_form(text, FindingCode::BadPattern)?;
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let text = format!("{}/{path}", host.to_ascii_lowercase());
        let bad =
            |why: &str, hint| Fault::new(FindingCode::BadPattern, format!("{text:?}: {why}"), hint);
        let last = text.split('/').count() - 1;
        let mut segments = Vec::new();
        for (index, part) in text.split('/').enumerate() {
            segments.push(match part {
                "*" => Segment::One,
                "**" if index == last => Segment::Rest,
                "**" => {
                    let hint = "** can only be the last segment; * is one whole segment";
                    return Err(bad("** stands before the end", hint));
                }
                part if part.contains('*') => {
                    let hint = "* stands for one whole segment, a last ** for one or more";
                    return Err(bad(&format!("* is part of the segment {part:?}"), hint));
                }
                part => Segment::Literal(part.to_owned()),
            });
        }
        // The name parser knows the rest of the grammar: letters in place of each wildcard must make
        // a repository.
        let sample = |segment: &Segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::One => "x".to_owned(),
            Segment::Rest => "x/x".to_owned(),
        };
        let sample: Vec<String> = segments.iter().map(sample).collect();
        match Repository::from_full(&sample.join("/")) {
            Ok(_) => Ok(Self { text, segments }),
            Err(error) => Err(bad(&error.to_string(), FORM)),
        }
    }
}

/// Says why a name or a pattern is not in full form.
pub(super) fn check_full_form(text: &str, code: FindingCode) -> Result<(), Fault> {
    let short = "it is a short name";
    let (host, path) = text.split_once('/').unwrap_or(("", text));
    let (why, hint) = if text.is_empty() {
        ("it is empty", FORM.to_owned())
    } else if text.contains('@') {
        let hint =
            "a pattern names repositories; bind bytes with [[image]] digest or [[exempt]] digests";
        ("it has a digest", hint.to_owned())
    } else if !text.contains('/') {
        let hint = format!("write the full form, as docker.io/library/{text}");
        (short, hint)
    } else if path.chars().any(|c| c.is_ascii_uppercase()) {
        let why = "its path has upper-case letters";
        (why, "paths are lower case".to_owned())
    } else if host.contains('*') {
        let hint = "name each registry in a rule of its own".to_owned();
        ("* in the host", hint)
    } else if !(host.contains(['.', ':']) || host == "localhost") {
        let hint = "write the full form, with the registry's host first, as docker.io/";
        (short, format!("{hint}{text}"))
    } else if host == "index.docker.io" {
        let why = "index.docker.io is another name of docker.io";
        (why, format!("write docker.io/{path}"))
    } else if host == "docker.io" && !path.contains('/') && path != "**" {
        let hint = format!("write the full form, docker.io/library/{path}");
        ("it is a short name of docker.io", hint)
    } else if code == FindingCode::BadPattern && path.contains(':') {
        let hint = "a pattern names repositories, all tags of them; bind one tag with [[image]]";
        ("it has a tag", hint.to_owned())
    } else {
        return Ok(());
    };
    Err(Fault::new(code, format!("{text:?}: {why}"), hint))
}

const FORM: &str =
    "write HOST[:PORT]/PATH in full form, as registry.example/team/app or docker.io/library/*";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Pattern, Fault> {
        text.parse()
    }

    fn pattern(text: &str) -> Pattern {
        parse(text).unwrap()
    }

    fn repository(text: &str) -> Repository {
        Repository::from_full(text).unwrap()
    }

    #[test]
    fn an_address_of_ipv6_is_a_host_of_a_pattern_too() {
        let pattern = parse("[::1]:5000/team/**").unwrap();
        assert!(pattern.matches(&Repository::from_full("[::1]:5000/team/app").unwrap()));
        assert_eq!(pattern.host(), "[::1]:5000");
        assert!(parse("[::1:5000/team/**").is_err());
    }

    #[test]
    fn a_host_is_the_same_in_either_case() {
        assert_eq!(
            pattern("H.Example:5000/a/**"),
            pattern("h.example:5000/a/**")
        );
        assert!(pattern("H.example/a").matches(&repository("h.EXAMPLE/a")));
    }

    #[test]
    fn one_star_is_one_segment_and_two_are_one_or_more() {
        let matches = |text: &str, name: &str| pattern(text).matches(&repository(name));
        assert!(matches("h.example/a/*", "h.example/a/b"));
        assert!(!matches("h.example/a/*", "h.example/a/b/c"));
        assert!(!matches("h.example/a/*", "h.example/a"));
        assert!(matches("h.example/a/**", "h.example/a/b/c"));
        assert!(!matches("h.example/a/**", "h.example/a"));
        assert!(!matches("h.example/a/**", "h.example/ab/c"));
        assert!(matches("h.example/*/c", "h.example/b/c"));
        assert!(!matches("h.example:5000/**", "h.example/a"));
        assert!(matches("docker.io/**", "docker.io/library/alpine"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "alpine",
            "team/app",
            "docker.io/alpine",
            "docker.io/*",
            "index.docker.io/library/a",
            "h.example/A",
            "h.example/A",
            "h.example",
            "h.example/",
            "*.example/a",
            "*/a",
            "**",
            "h.example/a*",
            "h.example/***",
            "h.example/**/a",
            "h.example/**/**",
            "h.example/a:1",
            "h.example/a:latest",
            "h.example/a:*",
            "h.example/a//b",
            "h.example/../a",
            "h.example/a@sha256:00",
            "h.example/a b",
            "h.example/ä",
            "/a",
            "https://h.example/a",
            "h.example/a/",
            " h.example/a",
            "h.example/a\n",
        ] {
            assert_eq!(
                parse(bad).unwrap_err().code,
                FindingCode::BadPattern,
                "{bad}"
            );
        }
    }

    #[test]
    fn an_exact_name_beats_any_pattern_and_a_longer_prefix_a_shorter_one() {
        let specificity = |text: &str| pattern(text).specificity();
        assert!(specificity("h.example/a") > specificity("h.example/abc/def/*"));
        assert!(specificity("h.example/a/b/*") > specificity("h.example/a/**"));
        assert!(specificity("h.example/ab/*") > specificity("h.example/*/long/tail/behind"));
    }

    #[test]
    fn what_wildcards_stand_for_is_carried_over_and_nothing_is_normalised() {
        let carried = |matched: &str, to: &str, name: &str| {
            pattern(to)
                .carry_over(&pattern(matched), &repository(name))
                .map(|name| name.as_str().to_owned())
        };
        let mirror = "m.example/hub/**";
        assert_eq!(
            carried(mirror, "docker.io/**", "m.example/hub/library/alpine").unwrap(),
            "docker.io/library/alpine"
        );
        assert_eq!(
            carried(mirror, "docker.io/**", "m.example/hub/alpine"),
            None
        );
        assert_eq!(
            carried("m.example/*/x/**", "h.example/y/*/**", "m.example/a/x/b/c").unwrap(),
            "h.example/y/a/b/c"
        );
        assert_eq!(
            carried(mirror, "docker.io/**", "m.example/other/alpine"),
            None
        );
    }

    /// The grammar in the plainest way: every way to let the last `**` take segments.
    fn naive(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) | (["**"], [_, ..]) => true,
            (["*", rest @ ..], [_, names @ ..]) => naive(rest, names),
            ([part, rest @ ..], [name, names @ ..]) => {
                part == name && *part != "**" && naive(rest, names)
            }
            _ => false,
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("*")];
        (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(mut parts, rest)| {
            if rest {
                parts.push("**");
            }
            format!("h.example/{}", parts.join("/"))
        })
    }

    fn names() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("ab")];
        prop::collection::vec(segment, 1..6)
            .prop_map(|parts| format!("h.example/{}", parts.join("/")))
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_naive_matcher(text in texts(), name in names()) {
            let parts = (text.split('/').collect::<Vec<_>>(), name.split('/').collect::<Vec<_>>());
            prop_assert_eq!(pattern(&text).matches(&repository(&name)), naive(&parts.0, &parts.1));
        }

        #[test]
        fn overlap_and_containment_agree_with_matching(one in texts(), two in texts(), name in names()) {
            let (one, two, name) = (pattern(&one), pattern(&two), repository(&name));
            prop_assert!(!(one.matches(&name) && two.matches(&name)) || (one.overlaps(&two) && two.overlaps(&one)));
            prop_assert!(!one.contains(&two) || !two.matches(&name) || one.matches(&name));
            prop_assert!(!one.contains(&two) || one.overlaps(&two));
        }

        #[test]
        fn two_that_match_one_name_with_equal_specificity_have_one_prefix(one in texts(), two in texts(), name in names()) {
            let (one, two, name) = (pattern(&one), pattern(&two), repository(&name));
            if one.matches(&name) && two.matches(&name) && one.specificity() == two.specificity() {
                prop_assert_eq!(one.literal_prefix(), two.literal_prefix());
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}

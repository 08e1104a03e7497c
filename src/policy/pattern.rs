//! Patterns of repository names: what they match, which of two is more specific, and whether two can match one name.

use std::fmt;

use super::diagnostic::Fault;
use crate::image::Repository;

/// A registry host and a path whose segments may be `*` (one whole segment) and, last, `**` (one or more segments).
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
        Specificity { exact: self.is_exact(), literal_prefix: self.literal_prefix().len() }
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
                (None, None) | (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Segment::Literal(one)), Some(Segment::Literal(two))) if one != two => return false,
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
        self.wildcards().eq(other.wildcards())
    }

    /// This pattern with its wildcards replaced by what those of `matched` stand for in `repository`.
    ///
    /// Nothing is normalised: `None` where the result is no repository in full form (`docker.io/alpine`).
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

    fn wildcards(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| !matches!(segment, Segment::Literal(_)))
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
                    captures.push(std::iter::once(part).chain(parts.by_ref()).collect::<Vec<_>>().join("/"));
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

/// Reads a pattern.
pub(super) fn parse(text: &str) -> Result<Pattern, Fault> {
    check_full_form(text, "bad-pattern")?;
    let parts: Vec<&str> = text.split('/').collect();
    let last = parts.len().saturating_sub(1);
    let mut segments = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        segments.push(match *part {
            "*" => Segment::One,
            "**" if index == last => Segment::Rest,
            "**" => return Err(bad(text, "** stands before the end", "** can only be the last segment; * is one whole segment")),
            part if part.contains('*') => {
                return Err(bad(
                    text,
                    &format!("* is part of the segment {part:?}"),
                    "* stands for one whole segment, a last ** for one or more",
                ));
            }
            part => Segment::Literal(part.to_owned()),
        });
    }
    // The name parser knows the rest of the grammar: a letter in place of each wildcard must make a repository.
    let sample: Vec<&str> = parts.iter().map(|part| if part.contains('*') { "x" } else { part }).collect();
    match Repository::from_full(&sample.join("/")) {
        Ok(_) => Ok(Pattern { text: text.to_owned(), segments }),
        Err(error) => Err(bad(text, &error.to_string(), FORM)),
    }
}

/// Finds what makes a name or a pattern other than in full form, to say so in words.
pub(super) fn check_full_form(text: &str, code: &'static str) -> Result<(), Fault> {
    let fault = |why: &str, hint: &str| Err(Fault::new(code, format!("{text:?}: {why}"), hint));
    if text.is_empty() {
        return fault("it is empty", FORM);
    }
    if text.contains('@') {
        return fault("it has a digest", "a pattern names repositories; bind bytes with [[image]] digest or [[exempt]] digests");
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return fault("it has upper-case letters", "names are lower case");
    }
    let Some((host, path)) = text.split_once('/') else {
        return fault("it is a short name", &format!("write the full form, as docker.io/library/{text}"));
    };
    if host.contains('*') {
        return fault("* in the host", "name each registry in a rule of its own");
    }
    if !(host.contains(['.', ':']) || host == "localhost") {
        return fault("it is a short name", &format!("write the full form, with the registry's host first, as docker.io/{text}"));
    }
    if host == "index.docker.io" {
        return fault("index.docker.io is another name of docker.io", &format!("write docker.io/{path}"));
    }
    if host == "docker.io" && !path.contains('/') && path != "**" {
        return fault("it is a short name of docker.io", &format!("write the full form, docker.io/library/{path}"));
    }
    if code == "bad-pattern" && path.contains(':') {
        return fault("it has a tag", "a pattern names repositories, all tags of them; bind one tag with [[image]]");
    }
    Ok(())
}

fn bad(text: &str, why: &str, hint: &str) -> Fault {
    Fault::new("bad-pattern", format!("{text:?}: {why}"), hint)
}

const FORM: &str = "write HOST[:PORT]/PATH in full form, as registry.example/team/app or docker.io/library/*";

//! `[[image]]`: names that the policy itself binds to bytes.

use std::collections::BTreeSet;
use std::fmt;

use super::diagnostic::{Fault, Location};
use super::report::{At, Place, Report};
use super::section::Section;
use super::{digest, pattern};
use rootpin_trust::image::{Digest, ImageRef, Repository, Tag};

/// A name with tag and the digests that it may stand for, and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundImage {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// All digests listed for the name.
    pub digests: BTreeSet<Digest>,
    /// Where it stands first.
    pub location: Location,
}

impl fmt::Display for BoundImage {
    /// `[[image]] name = "…" (FILE:LINE)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "[[image]] name = \"{}:{}\" ({}:{})",
            self.repository, self.tag, self.location.file, self.location.line
        )
    }
}

/// An entry as far as it was understood.
#[derive(Debug)]
pub(super) struct ImageDraft {
    pub(super) place: Place,
    pub(super) name: Option<At<(Repository, Tag)>>,
    pub(super) digest: Option<At<Digest>>,
}

/// Reads one `[[image]]`.
pub(super) fn read(section: &Section<'_>, report: &mut Report) -> ImageDraft {
    section.only(report, &["name", "digest"]);
    section.require(report, &[("name", NAME), ("digest", digest::FORM)]);
    ImageDraft {
        place: section.place,
        name: section.parsed(report, "name", parse_name),
        digest: section.parsed(report, "digest", digest::parse),
    }
}

fn parse_name(text: &str) -> Result<(Repository, Tag), Fault> {
    let bad = |why: &str| Fault::new("bad-name", format!("{text:?}: {why}"), NAME);
    if text.contains('@') {
        return Err(bad("the digest belongs in the key digest"));
    }
    let (path, last) = text
        .rsplit_once('/')
        .map_or(("", text), |(path, last)| (path, last));
    let (last, tag) = last
        .split_once(':')
        .map_or((last, None), |(last, tag)| (last, Some(tag)));
    pattern::check_full_form(
        &if path.is_empty() {
            last.to_owned()
        } else {
            format!("{path}/{last}")
        },
        "bad-name",
    )?;
    if tag.is_none() {
        return Err(bad("it has no tag"));
    }
    let name: ImageRef = text.parse().map_err(|error| bad(&format!("{error}")))?;
    match name {
        ImageRef {
            repository,
            tag: Some(tag),
            digest: None,
        } if format!("{repository}:{tag}") == text => Ok((repository, tag)),
        _ => Err(bad("it is not in full form")),
    }
}

const NAME: &str = "write HOST[:PORT]/PATH:TAG in full form, as registry.k8s.io/pause:3.10";

//! `repository.toml`: what a publisher's working folder is for.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::Deserialize;

use super::PublishError;
use crate::problem::Problem;
use crate::spelling;
use rootpin_policy::{Fault, MetadataUrl, Pattern, parse_duration};
use rootpin_trust::image::Repository;

/// The file's name in the working folder.
pub(super) const FILE: &str = "repository.toml";

/// The settings, understood.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names that this organisation owns: nothing else is signed or delegated.
    pub names: Vec<Pattern>,
    /// Names that others own, whose images may be endorsed.
    pub endorses: Vec<Pattern>,
    /// Where the repository is published, the first being the one that is read.
    pub publish: Vec<MetadataUrl>,
    /// Where hosts read it, for the policy that is shown; where it is published, unless this says
    /// otherwise.
    pub metadata: Vec<MetadataUrl>,
    terms: BTreeMap<String, SignedDuration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    version: u64,
    names: Vec<String>,
    #[serde(default)]
    endorses: Vec<String>,
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    metadata: Vec<String>,
    #[serde(default)]
    expires: BTreeMap<String, String>,
}

/// How long a role's file holds, in days, where nothing else is said.
const TERMS: [(&str, i64); 4] = [
    ("root", 365),
    ("targets", 90),
    ("snapshot", 7),
    ("timestamp", 3),
];

const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 36525);

impl Settings {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is not TOML, an entry is unknown, or a value is not what it should be.
    pub fn parse(text: &str) -> Result<Self, PublishError> {
        let wrong = |what: Problem| PublishError::Wrong(what.about(FILE));
        let file: SettingsFile = toml::from_str(text).map_err(|error| {
            let table = text.parse::<toml::Table>().ok();
            let hint = table.and_then(|table| spelling::hint::<SettingsFile>(&table));
            wrong(spelling::with(&error, hint))
        })?;
        if file.version != 1 {
            return Err(wrong(Problem::hinted(
                format!("version {}", file.version),
                "this rootpin knows version 1",
            )));
        }
        let names = parsed(&file.names).map_err(wrong)?;
        if names.is_empty() {
            return Err(wrong(Problem::hinted(
                "no names",
                "list the image names that you own, as registry.example/team/**",
            )));
        }
        let mut terms: BTreeMap<_, _> = TERMS
            .iter()
            .map(|(role, days)| ((*role).to_owned(), SignedDuration::from_hours(24 * days)))
            .collect();
        for (role, term) in file.expires {
            if !terms.contains_key(&role) {
                return Err(wrong(Problem::hinted(
                    format!("[expires] {role:?}"),
                    "root, targets (delegated roles too), snapshot or timestamp",
                )));
            }
            let length = parse_duration(&term).map_err(|fault| wrong(fault.into()))?;
            if length > LONGEST {
                return Err(wrong(Problem::hinted(
                    format!("[expires] {role}: {term} is longer than a hundred years"),
                    "root = \"365d\"",
                )));
            }
            terms.insert(role, length);
        }
        let endorses = parsed(&file.endorses).map_err(wrong)?;
        let (publish, metadata) = (
            parsed(&file.publish).map_err(wrong)?,
            parsed(&file.metadata).map_err(wrong)?,
        );
        Ok(Self {
            names,
            endorses,
            publish,
            metadata,
            terms,
        })
    }

    /// Reads it from a working folder.
    pub(super) fn load(folder: &Path) -> Result<Self, PublishError> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| PublishError::NoFolder(folder.display().to_string(), error))?;
        Self::parse(&text)
    }

    /// The text of a new file.
    #[must_use]
    pub fn text(names: &[String], publish: &[String], expires: &[(String, String)]) -> String {
        let list = |all: &[String]| toml::Value::from(all.to_vec()).to_string();
        let mut text = format!(
            "version = 1\n# the image names that this repository speaks for; nothing else is signed or delegated\nnames   = {}\n\
             # where it is published: oci://REGISTRY/REPOSITORY[:TAG] or file:///FOLDER; the first is read before each change\npublish = {}\n",
            list(names),
            list(publish)
        );
        if !expires.is_empty() {
            text.push_str("\n[expires]\n");
            text.extend(
                expires
                    .iter()
                    .map(|(role, term)| format!("{role} = {term:?}\n")),
            );
        }
        text
    }

    /// How long a role's file holds.
    #[must_use]
    pub fn term(&self, role: &str) -> SignedDuration {
        let known = if self.terms.contains_key(role) {
            role
        } else {
            "targets"
        };
        self.terms
            .get(known)
            .copied()
            .unwrap_or(SignedDuration::from_hours(24))
    }

    /// Where hosts read the repository.
    #[must_use]
    pub fn read_from(&self) -> &[MetadataUrl] {
        if self.metadata.is_empty() {
            &self.publish
        } else {
            &self.metadata
        }
    }

    /// Whether a name may be signed.
    #[must_use]
    pub fn owns(&self, name: &Repository) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a name may be endorsed.
    #[must_use]
    pub fn may_endorse(&self, name: &Repository) -> bool {
        self.owns(name) || self.endorses.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether every name of a pattern may be given to another signer.
    #[must_use]
    pub fn owns_all(&self, pattern: &Pattern) -> bool {
        self.names
            .iter()
            .chain(&self.endorses)
            .any(|owned| owned.contains(pattern))
    }
}

fn parsed<T: FromStr<Err = Fault>>(listed: &[String]) -> Result<Vec<T>, Problem> {
    let parsed = listed
        .iter()
        .map(|text| text.parse::<T>().map_err(Problem::from));
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_one_that_is_read() {
        let texts = |all: &[&str]| {
            all.iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let text = Settings::text(
            &texts(&["r.example/team/**"]),
            &texts(&["oci://r.example/trust", "file:///srv/trust"]),
            &[("timestamp".to_owned(), "12h".to_owned())],
        );
        let settings = Settings::parse(&text).unwrap();
        assert_eq!(settings.term("timestamp"), SignedDuration::from_hours(12));
        assert_eq!(settings.term("team-a"), settings.term("targets"));
        assert!(settings.owns(&Repository::from_full("r.example/team/app").unwrap()));
        assert!(!settings.owns(&Repository::from_full("s.example/team/app").unwrap()));
        assert!(settings.owns_all(&"r.example/team/a/**".parse().unwrap()));
        assert!(!settings.owns_all(&"r.example/**".parse().unwrap()));
        assert_eq!(settings.read_from().len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "",
            "version = 2\nnames = [\"r.example/**\"]",
            "version = 1\nnames = []",
            "version = 1\nnames = [\"*/x\"]",
            "version = 1\nnames = [\"r.example/**\"]\nnew = 1",
            "version = 1\nnames = [\"r.example/**\"]\npublish = [\"ftp://x\"]",
            "version = 1\nnames = [\"r.example/**\"]\n[expires]\nteam = \"1d\"",
            "version = 1\nnames = [\"r.example/**\"]\n[expires]\nroot = \"0s\"",
            "version = 1\nnames = [\"r.example/**\"]\n[expires]\nroot = \"40000d\"",
        ] {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}

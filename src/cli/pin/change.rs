//! One change of the policy: composed, checked as the whole that would come of it, shown or
//! written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use similar::TextDiff;

use super::{Changing, Failure, broken, load, shown};
use crate::cli::output::Output;
use crate::cli::typed_command::again_with;
use crate::policy_dir::pins::EditError;
use crate::policy_dir::{Editing, Owner, Proposal};
use crate::problem::Problem;
use rootpin_policy::{FindingCode, Policy};
use rootpin_trust::image::Digest;

/// A policy that is being changed.
#[derive(Debug)]
pub(super) struct PolicyChange {
    editing: Editing,
    changing: Changing,
    /// The option of this command by which the policy would load, for a mistake of that kind.
    offer: Option<(FindingCode, &'static str)>,
}

/// A change of the policy's files, and the report of it.
#[derive(Debug)]
pub(super) struct PolicyEdit {
    /// The file that changes.
    pub(super) file: String,
    /// Its text before; none: it is new.
    pub(super) before: Option<String>,
    /// Its text after.
    pub(super) after: String,
    /// Pinned files that come with it.
    pub(super) pinned: BTreeMap<String, Vec<u8>>,
    /// The report, for people.
    pub(super) words: String,
    /// The same for programs: members beside `version` and `outcome`.
    pub(super) members: Value,
}

pub(super) const MAIN: &str = "policy.toml";

impl PolicyChange {
    pub(super) fn begin(changing: Changing) -> Result<Self, Failure> {
        let editing =
            Editing::begin(&changing.dir.policy, Owner::RootOrCaller).map_err(Failure::Unknown)?;
        Ok(Self {
            editing,
            changing,
            offer: None,
        })
    }

    /// Offers an option of this command, where the policy would not load for want of it.
    pub(super) fn offering(self, code: FindingCode, option: &'static str) -> Self {
        Self {
            offer: Some((code, option)),
            ..self
        }
    }

    /// The policy as it is; none where there is no policy.toml yet.
    pub(super) fn policy(&self) -> Result<Option<Policy>, Failure> {
        match self.text(MAIN)? {
            Some(_) => load(&self.changing.dir.policy).map(Some),
            None => Ok(None),
        }
    }

    /// The file that new entries go to: `policy.toml`, or the fragment that was named.
    pub(super) fn file(&self) -> Result<String, Failure> {
        let Some(fragment) = &self.changing.fragment else {
            return Ok(MAIN.to_owned());
        };
        let name = fragment.strip_prefix("policy.d/").unwrap_or(fragment);
        if name.contains('/')
            || name.starts_with('.')
            || Path::new(name)
                .extension()
                .is_none_or(|extension| extension != "toml")
        {
            return Err(Failure::Usage(Problem::hinted(
                format!("{fragment:?} can't be a fragment"),
                "name it as 10-team.toml, a file of policy.d",
            )));
        }
        Ok(format!("policy.d/{name}"))
    }

    pub(super) fn is_fragment_named(&self) -> bool {
        self.changing.fragment.is_some()
    }

    pub(super) fn text(&self, file: &str) -> Result<Option<String>, Failure> {
        self.editing.text(file).map_err(Failure::Unknown)
    }

    /// Checks the whole policy that would come of it, and that it holds what was meant; then shows
    /// or writes it.
    pub(super) fn finish(
        self,
        edit: PolicyEdit,
        holds: impl FnOnce(&Policy) -> bool,
        output: Output,
    ) -> Result<u8, Failure> {
        let PolicyEdit {
            file,
            before,
            after,
            pinned,
            words,
            members,
        } = edit;
        let proposal = Proposal {
            file: file.clone(),
            text: after.clone(),
            pinned: pinned.clone(),
        };
        let checked = self
            .editing
            .check(proposal, Timestamp::now())
            .map_err(|findings| {
                let what = "with this change the policy would not load, so nothing is changed";
                let first = findings.first();
                let hint = first.map_or("", |first| &first.hint);
                let option = self
                    .offer
                    .filter(|(code, _)| first.is_some_and(|first| first.code == *code));
                let hint = option.map_or_else(
                    || hint.to_owned(),
                    |(_, option)| format!("{}; or {hint}", again_with(option)),
                );
                Failure::Refused(broken(what, &findings, &hint))
            })?;
        if !holds(&checked.policy) {
            return Err(Failure::Unknown(Problem::hinted(
                "the policy would not say what was meant; nothing is changed",
                "edit it by hand",
            )));
        }
        let names: Vec<&str> = pinned
            .keys()
            .map(String::as_str)
            .chain([file.as_str()])
            .collect();
        let hash = checked.policy.hash.to_string();
        // What the rule accepted before may mean nothing beside the new root.
        let for_nothing = checked.policy.warnings.iter().filter(|warning| {
            warning.code == FindingCode::UnboundTags && *warning.location.file == *file
        });
        let for_nothing = for_nothing.map(ToString::to_string);
        let words = std::iter::once(words)
            .chain(for_nothing)
            .collect::<Vec<_>>()
            .join("\n");
        let value = shown::with(
            members,
            json!({ "version": 1, "policy_hash": hash, "files": names }),
        );
        if self.changing.dry_run {
            let diff = unified(&file, before.as_deref(), &after, &pinned);
            output.value(
                &shown::with(value, json!({ "outcome": "dry-run", "diff": diff })),
                |_| diff.clone(),
            );
            return Ok(0);
        }
        checked.write().map_err(Failure::Unknown)?;
        let value = shown::with(value, json!({ "outcome": "changed" }));
        let kept = if before.is_some() {
            format!("; the old text is in {file}.bak")
        } else {
            String::new()
        };
        output.value(&value, |_| {
            format!(
                "{words}\nwritten: {}{kept}\npolicy {hash}\nhint: a running daemon takes it by itself within seconds, or by: rootpin policy reload",
                names.join(", ")
            )
        });
        Ok(0)
    }
}

/// A unified diff of the text, and a line for each file that is added.
fn unified(
    file: &str,
    before: Option<&str>,
    after: &str,
    pinned: &BTreeMap<String, Vec<u8>>,
) -> String {
    let mut out = String::new();
    for (name, bytes) in pinned {
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "new file {name}, {} bytes, sha256 {}",
            bytes.len(),
            Digest::of(bytes).hex()
        );
    }
    let from = before.map_or("/dev/null".to_owned(), |_| format!("a/{file}"));
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after);
    out.push_str(
        &diff
            .unified_diff()
            .header(&from, &format!("b/{file}"))
            .to_string(),
    );
    out
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        Self::Refused(Problem::from(error).about("nothing is changed"))
    }
}

//! The draft of a repository: the state of the place, and the changes made here that are not signed
//! yet.

use std::collections::{BTreeMap, BTreeSet};

use super::PublishError;
use super::changes::{self, Edits, RoleEntry};
use super::document::Document;
use super::metadata::{Metadata, MetadataFile, delegated, name};
use crate::problem::Problem;

/// A repository with changes that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What is published.
    pub before: Metadata,
    /// The same with what is signed already: role files and roots that another state has and that
    /// fit as they are.
    pub next: Metadata,
    /// Roles that are to be signed anew, as they are to be.
    pub edited: BTreeMap<String, Document>,
    /// Whether snapshot and timestamp are to be signed anew though nothing changed.
    pub renew: bool,
    /// Roles that wait and are to be signed here as they are.
    pub approved: BTreeSet<String>,
    /// Versions that other files of a role have, which some host may have seen: the next one is
    /// above them.
    pub taken: BTreeMap<String, u64>,
}

impl Draft {
    /// Without a change.
    #[must_use]
    pub fn on(before: Metadata) -> Self {
        Self {
            next: before.clone(),
            before,
            edited: BTreeMap::new(),
            renew: false,
            approved: BTreeSet::new(),
            taken: BTreeMap::new(),
        }
    }

    /// A role as it is to be; none, where it has no file yet.
    #[must_use]
    pub fn document(&self, role: &str) -> Option<&Document> {
        self.edited
            .get(role)
            .or_else(|| self.next.newest(role).map(|file| &file.document))
    }

    /// Edits a role. Edits that make no difference leave it as it is.
    ///
    /// # Errors
    /// See [`changes::apply`].
    pub fn edit(
        &mut self,
        role: &str,
        edits: &Edits,
        overruled: impl Fn(&RoleEntry) -> bool,
    ) -> Result<(), PublishError> {
        let old = self.document(role).cloned();
        let mut document = old.clone().unwrap_or_else(new_targets);
        changes::apply(&mut document, edits, overruled)?;
        // A delegated role's first file may be one without targets.
        if old.is_none_or(|old| old != document) {
            self.edited.insert(role.to_owned(), document);
        }
        Ok(())
    }

    /// Brings what led from `base` to `ours` to what is published now: a role that only one side
    /// changed is taken as it was signed, one that both changed is edited and waits to be signed.
    ///
    /// # Errors
    /// Both changed one entry, or the root.
    pub fn merge(
        &mut self,
        base: Option<&Metadata>,
        ours: &Metadata,
        overruled: impl Fn(&RoleEntry) -> bool,
    ) -> Result<(), PublishError> {
        self.merge_roots(ours)?;
        for role in ours.roles.keys().chain(ours.waiting.keys()) {
            let (was, here) = (base.and_then(|base| base.newest(role)), ours.newest(role));
            let Some(here) = here.filter(|here| was != Some(*here)) else {
                continue;
            };
            let there = self.next.newest(role);
            let newer =
                there.is_none_or(|there| there.document.version() < here.document.version());
            if let Some(same) = there.filter(|there| there.document.signed == here.document.signed)
            {
                let mut document = same.document.clone();
                document.take_signatures(&here.document);
                if document != same.document {
                    self.adopt(role, MetadataFile::of(document), true);
                }
            } else if there == was && newer && !self.edited.contains_key(role) {
                self.adopt(role, here.clone(), ours.waiting.contains_key(role));
            } else {
                let edits = changes::diff(was.map(|was| &was.document), &here.document);
                self.edit(role, &edits, &overruled)?;
            }
        }
        Ok(())
    }

    /// Brings one write of another publisher, which was put beside what is published, to it. What
    /// has an older version than is published may be an old state that somebody shows again: a tag
    /// that was revoked since would be signed anew.
    ///
    /// # Errors
    /// As for [`Self::merge`], and for what is older than what is published. Then nothing is
    /// changed but [`Self::taken`].
    pub fn take(&mut self, found: &Metadata, wrote: &Metadata) -> Result<(), PublishError> {
        let online = [
            ("snapshot", &wrote.snapshot),
            ("timestamp", &wrote.timestamp),
        ];
        let roles = wrote
            .roles
            .iter()
            .chain(&wrote.waiting)
            .map(|(role, file)| (role.as_str(), file));
        for (role, file) in online.into_iter().chain(roles) {
            let taken = self.taken.entry(role.to_owned()).or_default();
            *taken = file.document.version().max(*taken);
        }
        for role in wrote.roles.keys().chain(wrote.waiting.keys()) {
            let (was, here, there) = (
                found.newest(role),
                wrote.newest(role),
                self.next.newest(role),
            );
            let version =
                |file: Option<&MetadataFile>| file.map_or(0, |file| file.document.version());
            if was != here
                && there != here
                && (version(here) < version(there) || version(here) <= version(was))
            {
                let (here, there) = (version(here), version(there));
                return Err(PublishError::Conflict(
                    format!(
                        "its version {here} of {role} is no newer than what is published, {there}"
                    )
                    .into(),
                ));
            }
            // One whose keys were taken from it since could go on otherwise.
            let signed = |file: &MetadataFile| match self.next.authority(role) {
                Some(authority) => !Metadata::signers(&authority, &file.document).is_empty(),
                // It may come with its delegation.
                None if found.authority(role).is_some() => false,
                None => wrote.authority(role).is_some_and(|authority| {
                    !Metadata::signers(&authority, &file.document).is_empty()
                }),
            };
            if was != here && there != here && !here.is_some_and(signed) {
                return Err(PublishError::Conflict(
                    format!("no key that signs for {role} now has signed it").into(),
                ));
            }
        }
        let mut merged = self.clone();
        merged.merge(Some(found), wrote, |_| false)?;
        *self = merged;
        Ok(())
    }

    /// Drops what was changed here of roles that were cut off meanwhile: nobody can sign it any
    /// more.
    pub(super) fn drop_undelegated(&mut self) -> Vec<String> {
        let listed = |role: &str| {
            self.edited
                .values()
                .flat_map(delegated)
                .any(|listed| name(listed) == role)
        };
        let over = |role: &&String| self.next.authority(role).is_none() && !listed(role);
        let over: Vec<String> = self.edited.keys().filter(over).cloned().collect();
        self.edited.retain(|role, _| !over.contains(role));
        over
    }

    /// Whether there is anything to sign or to publish.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.renew
            || !self.edited.is_empty()
            || self.next.roles != self.before.roles
            || self.next.waiting != self.before.waiting
            || self.has_new_root()
    }

    /// Whether a root follows the published one.
    #[must_use]
    pub fn has_new_root(&self) -> bool {
        self.next.roots.keys().next_back() > self.before.roots.keys().next_back()
    }

    fn adopt(&mut self, role: &str, file: MetadataFile, waits: bool) {
        if waits {
            self.next.waiting.insert(role.to_owned(), file);
        } else {
            self.next.waiting.remove(role);
            self.next.roles.insert(role.to_owned(), file);
        }
    }

    fn merge_roots(&mut self, ours: &Metadata) -> Result<(), PublishError> {
        for (version, root) in &ours.roots {
            match self.next.roots.get(version) {
                Some(there) if there == root => {}
                Some(_) => {
                    return Err(PublishError::Conflict(Problem::hinted(
                        format!(
                            "root version {version} was published by another machine meanwhile"
                        ),
                        "rotate again",
                    )));
                }
                // A place that was begun anew from a later root lacks the first ones.
                None => drop(self.next.roots.insert(*version, root.clone())),
            }
        }
        Ok(())
    }
}

/// A targets file without anything in it.
#[must_use]
pub(super) fn new_targets() -> Document {
    let mut document = Document::new("targets");
    document.edit("targets", |_| ());
    document
}

//! All that one Notary repository names, and who may sign for it: for a publisher who takes it over
//! into a repository of TUF. No decision of a host rests on it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Repositories;
use super::drive::{Fetch, VerifiedUpdates};
use super::keep::lost;
use super::look::SourceFailure;
use crate::sources::NotaryServer;
use crate::state::Additions;
use rootpin_trust::image::Repository;
use rootpin_trust::notary::{GunUpdate, Inspection, KeyPins, ListedTargets};
use rootpin_trust::{Answer, Code, Collection, FetchFrom, Refusal, Role, Verified, Want};

/// Docker signs here where a signer was added to the repository, and looks here first.
const RELEASES: &str = "targets/releases";

/// One repository of a Notary server, as it verified.
#[derive(Debug)]
pub(crate) struct NotaryContents {
    /// The tags of each role that was asked for, in that order.
    pub(crate) collections: Vec<Verified<Collection>>,
    /// The roles that `targets` delegates to, each with its prefixes of tags.
    pub(crate) delegations: Vec<(Role, Vec<String>)>,
    /// Roles, and names in them that can be no images, as their entries have no SHA-256.
    pub(crate) without_sha256: Vec<(String, String)>,
}

/// The files of one repository at a server, each fetched once: every role is judged by the same
/// timestamp.
struct FetchedOnce<'a> {
    server: &'a NotaryServer,
    gun: &'a Repository,
    deadline: Instant,
    seen: Mutex<HashMap<String, Answer>>,
}

impl Repositories {
    /// Reads and verifies these roles of a repository; where none is named, those that Docker reads:
    /// `targets/releases` where it is delegated, then `targets`. The cache never answers in the
    /// server's place. The floors are written before this returns.
    ///
    /// # Errors
    /// The server gave no answer, or something does not verify.
    pub(crate) async fn notary_contents(
        &self,
        server: &NotaryServer,
        gun: &Repository,
        (pins, roles): (&KeyPins, &[String]),
        now: Timestamp,
        deadline: std::time::Instant,
    ) -> Result<NotaryContents, Refusal> {
        if let Some(refusal) = self.implausible(now) {
            return Err(refusal);
        }
        let source = FetchedOnce {
            server,
            gun,
            deadline: deadline.into(),
            seen: Mutex::default(),
        };
        let mut updates = VerifiedUpdates::new(self.unkept(now));
        let read = self.read_contents(&source, (pins, roles), now, &mut updates);
        match read.await {
            Ok(contents) => {
                let verified = updates.unkept.take_progress();
                let additions = Additions {
                    now,
                    verified: verified.iter().collect(),
                    contacts: Vec::new(),
                    rows: Vec::new(),
                };
                let written = self.writer.write(&additions);
                written.map_err(|error| error.refusal())?;
                Ok(contents)
            }
            Err(refusal) => {
                updates.keep().await;
                Err(refusal)
            }
        }
    }

    async fn read_contents(
        &self,
        source: &FetchedOnce<'_>,
        (pins, roles): (&KeyPins, &[String]),
        now: Timestamp,
        updates: &mut VerifiedUpdates,
    ) -> Result<NotaryContents, Refusal> {
        // `targets` says who else signs, so it comes first.
        let targets = self
            .read_role(source, pins, "targets", now, updates)
            .await?;
        let listed = listed(&std::mem::take(&mut updates.files))?;
        let mut without_sha256 = named("targets", listed.without_sha256);
        let delegations = listed.delegations;
        let delegates = |name: &str| delegations.iter().any(|(role, _)| role.name == name);
        let usual = [RELEASES, "targets"].map(str::to_owned);
        let asked: Vec<String> = match roles {
            [] => usual
                .into_iter()
                .filter(|role| role == "targets" || delegates(role))
                .collect(),
            roles => roles.to_vec(),
        };
        let mut collections = Vec::new();
        let mut targets = Some(targets);
        for role in asked {
            if let Some(known) = targets.take_if(|_| role == "targets") {
                collections.push(known);
                continue;
            }
            let read = self.read_role(source, pins, &role, now, updates).await?;
            let files = std::mem::take(&mut updates.files);
            let known = delegations.iter().find(|(known, _)| known.name == role);
            let file = files
                .iter()
                .find(|(name, _)| *name == format!("{role}.json"));
            if let Some(((known, _), (_, bytes))) = known.zip(file) {
                let inspected = Inspection::default().targets(known, bytes)?;
                without_sha256.extend(named(&role, inspected.without_sha256));
            }
            collections.push(read);
        }
        without_sha256.retain(|(role, _)| {
            let mut read = collections.iter();
            read.any(|collection: &Verified<Collection>| collection.get().role == *role)
        });
        Ok(NotaryContents {
            collections,
            delegations,
            without_sha256,
        })
    }

    async fn read_role(
        &self,
        source: &FetchedOnce<'_>,
        pins: &KeyPins,
        role: &str,
        now: Timestamp,
        updates: &mut VerifiedUpdates,
    ) -> Result<Verified<Collection>, Refusal> {
        let pins = KeyPins {
            role: role.to_owned(),
            ..pins.clone()
        };
        let subject = rootpin_trust::Subject::Gun(source.gun.clone());
        let floors = self.floors(&subject, updates)?;
        let update = GunUpdate::start(source.gun, &pins, floors, now);
        let read = updates.drive(update, source).await;
        let collection = read.map_err(SourceFailure::refusal)?;
        let progress = &mut updates.unkept.progress;
        let last = progress.last().ok_or_else(|| lost(&"no floors"))?;
        if let Err(refusal) = self.writer.no_replay(last.get()) {
            progress.pop();
            return Err(refusal);
        }
        Ok(collection)
    }
}

fn named(role: &str, names: Vec<String>) -> Vec<(String, String)> {
    let names = names.into_iter();
    names.map(|name| (role.to_owned(), name)).collect()
}

/// The file of `targets` among those that were verified just now.
fn listed(files: &[(String, Vec<u8>)]) -> Result<ListedTargets, Refusal> {
    let file = |name: &str| {
        let found = files.iter().find(|(known, _)| known == name);
        found.map(|(_, bytes)| bytes.as_slice()).ok_or_else(|| {
            Refusal::new(
                Code::Malformed,
                format!("an update without {name}"),
                "all files of the repository",
                "this is a fault in rootpin: report it",
            )
        })
    };
    let mut inspection = Inspection::default();
    let root = inspection.root("root.json", file("root.json")?)?;
    let targets = root.role("targets").ok_or_else(|| {
        Refusal::new(
            Code::Malformed,
            "a root file without the role targets",
            "the role targets",
            "the publisher must sign a root file that lists it",
        )
    })?;
    inspection.targets(targets, file("targets.json")?)
}

impl Fetch for FetchedOnce<'_> {
    async fn fetch(&self, want: &Want) -> Result<Answer, SourceFailure> {
        if want.from == FetchFrom::Cache {
            return Ok(Answer::Missing);
        }
        let name = want.request.file_name();
        let known = |seen: &HashMap<String, Answer>| seen.get(&name).cloned();
        if let Some(answer) = known(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(answer);
        }
        let answer = self.server.get(self.gun, want, self.deadline).await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name, answer.clone());
        Ok(answer)
    }
}

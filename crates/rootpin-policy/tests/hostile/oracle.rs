//! What must hold after each step, judged from what honest publishers signed.

use std::fmt;

use rootpin_policy::judge::{Ground, Judgement};
use rootpin_trust::image::{Digest, ImageRef};

use crate::client::{Asked, Said};
use crate::history::History;
use crate::notary::{RELEASES, TAG};
use crate::signatures::{self, COSIGN, ENVELOPED, NOTATION, SIGNED, TAGGED, TAGGED_NAME};
use crate::world::{MAIN, NOTARY, Run, first_digests};

/// What went wrong, and at which step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    what: String,
    step: Option<usize>,
}

/// A statement that an accepted answer rests on.
pub(crate) struct Accepted {
    source: &'static str,
    name: String,
    digest: Option<Digest>,
    role: String,
    versions: std::collections::BTreeMap<String, u64>,
    head: usize,
}

/// Files that one look may ask for: 256 roots, 64 roles from cache and source, and some.
const MOST_FILES: usize = 256 + 2 * 64 + 8;
/// Bytes that these worlds' files may come to: few are large.
const MOST_BYTES: usize = 2 << 20;

impl Violation {
    pub(crate) fn of(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            step: None,
        }
    }

    pub(crate) fn at(self, step: usize) -> Self {
        Self {
            step: self.step.or(Some(step)),
            ..self
        }
    }

    /// Whether it is the same kind of failure, wherever.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let kind = |violation: &Self| violation.what.split(':').next().map(ToOwned::to_owned);
        kind(self) == kind(other)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step.map_or(0, |step| step + 1);
        write!(formatter, "at step {step}: {}", self.what)
    }
}

impl Accepted {
    /// All that roots said for a question, whatever was asked of it.
    pub(crate) fn of(name: &ImageRef, head: usize, asked: &Asked) -> Vec<Self> {
        let one = |said: &Said| Self {
            source: match said.root.as_str() {
                "main" => MAIN,
                "docker" => NOTARY,
                _ => "another",
            },
            name: name.to_string(),
            digest: said.digest,
            role: said.role.clone(),
            versions: said.versions.clone(),
            head,
        };
        asked.said.iter().map(one).collect()
    }
}

/// Whether the answer is a yes by one root where two must agree.
pub(crate) fn check_quorum(name: &ImageRef, judgement: &Judgement) -> Result<(), Violation> {
    let of_both = name.repository.as_str() == "both.example/app";
    match &judgement.result {
        Ok(admission) if of_both => match &admission.ground {
            Ground::Signed(statements) if statements.len() == 2 => Ok(()),
            ground => Err(Violation::of(&format!("no quorum: {ground:?}"))),
        },
        _ => Ok(()),
    }
}

/// A yes by signatures beside the image is one for bytes that enough pinned keys signed.
pub(crate) fn check_signed(
    name: &ImageRef,
    digest: Digest,
    head: usize,
    judgement: &Judgement,
) -> Result<(), Violation> {
    let source = match name.to_string().as_str() {
        SIGNED => COSIGN,
        TAGGED_NAME => TAGGED,
        ENVELOPED => NOTATION,
        _ => return Ok(()),
    };
    if judgement.result.is_ok() && !signatures::is_signed(source, head, digest) {
        return Err(Violation::of(&format!("nobody signed these bytes: {name}")));
    }
    Ok(())
}

/// Nothing is accepted that the policy in force revokes, whoever signed it and whenever.
pub(crate) fn check_revoked(
    run: &Run<'_>,
    digest: Digest,
    judgement: &Judgement,
) -> Result<(), Violation> {
    let is_revoked = run.is_revoking && first_digests().contains(&digest);
    if is_revoked && judgement.result.is_ok() {
        return Err(Violation::of(&format!(
            "revoked bytes are let in: {digest}"
        )));
    }
    Ok(())
}

/// Nothing is accepted that offline keys did not sign for that name, nothing that is over, nothing
/// that goes back, and nothing that was not published together where no online key is lost.
pub(crate) fn check_answer(run: &mut Run<'_>, accepted: &[Accepted]) -> Result<(), Violation> {
    for one in accepted {
        if one.source == "another" {
            continue;
        }
        check_statement(run, one)?;
    }
    Ok(())
}

fn check_statement(run: &mut Run<'_>, one: &Accepted) -> Result<(), Violation> {
    let (history, head) = run.history(one.source);
    let head = head.min(one.head);
    let (name, role, digest) = (&one.name, one.role.as_str(), one.digest);
    let path = if one.source == NOTARY {
        TAG
    } else {
        name.as_str()
    };
    let of_tenant = name.starts_with("r.example/tenant/");
    let version = one.versions.get(role).copied().unwrap_or_default();
    let wrong = |what: &str| Violation::of(&format!("{what}: {name} by {role} {version}"));
    if of_tenant && role != "targets" {
        if role == "team" {
            return Err(wrong("a role answers beyond its paths"));
        }
    } else {
        let own = match (one.source, name.as_str()) {
            (NOTARY, _) => RELEASES,
            (_, name) if name.starts_with("r.example/team/") => "team",
            _ => "targets",
        };
        // Where no role names it, the answer is that of the first one.
        if role != own && digest.is_some() {
            return Err(wrong("another role than its own answers"));
        }
        let file = history
            .file(role, version)
            .ok_or_else(|| wrong("nobody signed this version"))?;
        if role == own && file.names.get(path) != digest.as_ref() {
            return Err(wrong("the offline keys did not sign these bytes"));
        }
    }
    for role in ["root", "targets", role] {
        let version = one.versions.get(role).copied().unwrap_or_default();
        match history.file(role, version) {
            Some(file) if run.now < file.expires => {}
            Some(_) => return Err(wrong("metadata is over")),
            None if of_tenant && !matches!(role, "root" | "targets") => {}
            None => return Err(wrong("nobody signed a file on the way")),
        }
    }
    check_together(run, one, history, head).map_err(|what| wrong(&what))?;
    check_highest(run, one, version).map_err(|what| wrong(&what))
}

/// Where the adversary has no online key, the files are those of one publication, and its timestamp
/// is in force.
fn check_together(
    run: &Run<'_>,
    one: &Accepted,
    history: &History,
    head: usize,
) -> Result<(), String> {
    if run.held.timestamp {
        return Ok(());
    }
    let mut roles = vec!["timestamp"];
    let (snapshot, tenant) = (
        !run.held.snapshot,
        one.name.starts_with("r.example/tenant/"),
    );
    roles.push("snapshot");
    if snapshot && !tenant {
        roles.extend(["targets", one.role.as_str()]);
    }
    if !snapshot {
        roles.truncate(1);
    }
    if snapshot && history.with(head, &one.versions, &roles).is_empty() {
        return Err(format!(
            "these files were never published together ({:?})",
            one.versions
        ));
    }
    let version = one.versions.get("timestamp").copied().unwrap_or_default();
    match history.file("timestamp", version) {
        Some(file) if run.now < file.expires => Ok(()),
        Some(_) => Err("the timestamp is over".to_owned()),
        None => Err("nobody signed the timestamp".to_owned()),
    }
}

/// No role that answered answers with an earlier version, unless the snapshot's keys were replaced
/// and the adversary has the new ones.
fn check_highest(run: &mut Run<'_>, one: &Accepted, version: u64) -> Result<(), String> {
    let (history, _) = run.history(one.source);
    let root = one.versions.get("root").copied().unwrap_or_default();
    let of_root = history
        .publications
        .iter()
        .find(|publication| publication.versions["root"] == root);
    let rotations = of_root.map_or(0, |publication| publication.snapshot_keys);
    let key = (one.source.to_owned(), one.role.clone());
    let highest = run.highest.entry(key).or_insert((rotations, version));
    let excused = run.held.snapshot && run.held.rotated && rotations > highest.0;
    if version < highest.1 && !excused {
        return Err(format!("a version goes back from {}", highest.1));
    }
    *highest = (rotations, version);
    Ok(())
}

/// Floors are of what was signed, and none goes back.
pub(crate) fn check_floors(run: &mut Run<'_>) -> Result<(), Violation> {
    for source in [MAIN, NOTARY] {
        let (history, _) = run.history(source);
        let subject = if source == MAIN {
            "tuf"
        } else {
            "n.example/team/app"
        };
        let Some(pin) = run
            .world
            .policy
            .roots
            .get(source.split(' ').next().unwrap_or_default())
        else {
            return Err(Violation::of("no such root"));
        };
        let floors = run.host.floors.get(subject).cloned().unwrap_or_default();
        let own = floors.iter().filter(|floor| pin.owns(floor));
        let mut root = 0;
        for floor in own.clone().filter(|floor| floor.role == "root") {
            root = root.max(floor.version);
        }
        let rotations = history
            .publications
            .iter()
            .find(|one| one.versions["root"] == root);
        let rotations = rotations.map_or(0, |one| one.snapshot_keys.max(one.timestamp_keys));
        for floor in own {
            let (role, version) = (floor.role.as_str(), floor.version);
            let offline = matches!(role, "root" | "targets" | "team" | RELEASES);
            let honest = history.file(role, version);
            if offline && honest.is_none_or(|file| file.statement != floor.signed) {
                return Err(Violation::of(&format!(
                    "a floor of what nobody signed: {source} {role} {version}"
                )));
            }
            let of_lists = floor
                .listed
                .iter()
                .filter(|(role, _)| matches!(role.as_str(), "targets" | "team"));
            for (role, listed) in of_lists {
                let honest = history
                    .file(role, listed.version)
                    .map(|file| file.statement);
                if listed.signed.is_some() && listed.signed != honest {
                    return Err(Violation::of(&format!(
                        "a file was noted that nobody signed: {role} {}",
                        listed.version
                    )));
                }
            }
            let online = matches!(role, "timestamp" | "snapshot");
            let key = (format!("floor {source}"), role.to_owned());
            let highest = run.highest.entry(key).or_insert((rotations, version));
            let replaced = online && rotations > highest.0;
            if version < highest.1 && !replaced {
                return Err(Violation::of(&format!(
                    "a floor goes back: {source} {role} from {} to {version}",
                    highest.1
                )));
            }
            // What was seen under former keys stays so until something is seen under the next ones.
            if version != highest.1 {
                *highest = (rotations, version);
            }
        }
        for ((kind, role), (_, version)) in &run.highest {
            let known = floors
                .iter()
                .any(|floor| floor.role == *role && pin.owns(floor));
            if *kind == format!("floor {source}") && !known {
                return Err(Violation::of(&format!(
                    "a floor is lost: {source} {role} {version}"
                )));
            }
        }
    }
    Ok(())
}

/// One question costs a bounded number of files.
pub(crate) fn check_cost(asked: &Asked) -> Result<(), Violation> {
    if asked.fetched > MOST_FILES || asked.bytes > MOST_BYTES {
        let (files, bytes) = (asked.fetched, asked.bytes);
        return Err(Violation::of(&format!(
            "over budget: {files} files, {bytes} bytes"
        )));
    }
    Ok(())
}

/// Where nobody is in the way, other bytes are refused with a judgement, not with a shrug.
pub(crate) fn check_refusal(name: &ImageRef, asked: &Asked) -> Result<(), Violation> {
    match &asked.judgement.result {
        Ok(_) => Err(Violation::of(&format!("evil bytes are let in: {name}"))),
        Err(denial) if denial.refusal.code.judged() => Ok(()),
        Err(denial) => {
            let refusal = &denial.refusal;
            Err(Violation::of(&format!(
                "could not judge: {name}: {refusal:?}"
            )))
        }
    }
}

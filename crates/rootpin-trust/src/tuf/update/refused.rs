//! Refusals that explain: the source is behind, or has another history of roots.

use crate::budget::ROOT_BYTES;
use crate::floors::BEHIND;
use crate::{Answer, Code, FetchFrom, Refusal, Request, Step};

use jiff::Timestamp;

use super::{At, Update};
use crate::envelope::Envelope;
use crate::format::Format;
use crate::tuf::trusted::Trusted;

impl Update {
    /// A file that none of the keys signed which the roots here list: the source may have another
    /// history of roots. It is refused in any case; the source's root of a version that is known
    /// here tells a person why.
    pub(super) fn explained(&mut self, refusal: Refusal) -> Result<Step<Trusted>, Refusal> {
        if refusal.code != Code::BadSignature {
            return Err(refusal);
        }
        Ok(self.want_other_root(refusal, self.chain.version()))
    }

    fn want_other_root(&mut self, refusal: Refusal, version: u64) -> Step<Trusted> {
        let (at, request) = (At::OtherRoot(refusal, version), Request::root(version));
        self.want(at, request, ROOT_BYTES, FetchFrom::Source)
    }

    pub(super) fn compare_root(
        &mut self,
        refusal: Refusal,
        version: u64,
        answer: Answer,
    ) -> Result<Step<Trusted>, Refusal> {
        let pinned = self.pins.root.version();
        let bytes = match answer {
            Answer::Bytes(bytes) => bytes,
            // A history that was begun anew is shorter.
            Answer::Missing if version > pinned => {
                return Ok(self.want_other_root(refusal, pinned));
            }
            Answer::Missing => return Err(refusal),
        };
        let here = if version == pinned {
            self.pins.root.chain()
        } else {
            &self.chain
        };
        let (file, budget) = (format!("{version}.root.json"), &mut self.budget);
        match Envelope::read(Format::Tuf, &file, "root", &bytes, ROOT_BYTES, budget) {
            Ok(there) if there.statement != here.last.envelope.statement => {
                let found = format!(
                    "{}; root {version} at the source differs from root {version} here: another history of roots",
                    refusal.found
                );
                let hint = "see both with rootpin pin diff; if the publisher says that the repository was begun anew, pin its root: rootpin pin add ID --replace --from FILE";
                Err(Refusal {
                    found,
                    hint: hint.to_owned(),
                    ..refusal
                }
                .of_unpinned_root())
            }
            _ => Err(refusal),
        }
    }

    /// The policy's own floor, which a freshly made host has in place of what it would have seen.
    pub(super) fn check_policy(&self, role: &str, file: &Envelope) -> Result<(), Refusal> {
        match self.pins.floor.get(role) {
            Some(oldest) if file.version < *oldest => {
                let found = format!("{} version {}", file.file, file.version);
                let hint = "the source is behind; if the repository was really begun anew, lower the root's floor in the policy";
                let wanted = format!("version {oldest} or later, which the policy's floor demands");
                let refusal = Refusal::new(Code::Rollback, found, wanted, hint);
                Err(if role == "root" {
                    refusal
                } else {
                    refusal.of_source_behind()
                })
            }
            _ => Ok(()),
        }
    }
}

/// A snapshot that lists less than this host has seen listed.
pub(super) fn went_back(file: &Envelope, role: &str, found: Option<u64>, seen: u64) -> Refusal {
    let role = crate::refusal::shown(role);
    let found = found.map_or_else(
        || format!("none of {role}"),
        |found| format!("version {found} of {role}"),
    );
    Refusal::new(
        Code::Rollback,
        format!("{} version {} that lists {found}", file.file, file.version),
        format!("version {seen} or later, which this host has seen listed"),
        BEHIND,
    )
}

/// Refuses what this host has known for longer than the policy's ceiling on freshness, though it
/// has not expired.
pub(super) fn check_age(
    file: &Envelope,
    since: Timestamp,
    ceiling: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Refusal> {
    match ceiling {
        Some(ceiling) if now >= ceiling => {
            let file = file.shown();
            let found = format!("{file}, first seen at {since} and too old at {ceiling}");
            let hint = "have the publisher sign a newer one, or ask whether the source is held back; the root's max-age in the policy says how old";
            let wanted = "a version that is no older than the root's max-age";
            Err(Refusal::new(Code::Expired, found, wanted, hint))
        }
        _ => Ok(()),
    }
}

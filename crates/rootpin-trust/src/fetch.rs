//! The fetch protocol: a verification names one file after the other, and its caller brings the
//! bytes.

use crate::image::Digest;
use crate::{Code, Progress, Refusal, Verified};

/// A verification that needs files: an update of a repository's metadata, or a search in it.
pub trait Verification {
    /// The result, once everything verified.
    type Outcome;

    /// Takes the answer to the last [`Step::Fetch`]; the first call takes none.
    ///
    /// # Errors
    /// The metadata does not verify. The verification is over then, and refuses further answers.
    fn next(&mut self, answer: Option<Answer>) -> Result<Step<Self::Outcome>, Refusal>;

    /// The floors that were raised so far, also by a verification that failed: an attacker who can
    /// cut a connection must not make the host forget a version. None if nothing is new.
    fn progress(&mut self) -> Option<Verified<Progress>>;

    /// The verified files to cache, by [`Request::cache_name`].
    fn files(&mut self) -> Vec<(String, Vec<u8>)>;

    /// Runs to the end, with files that are at hand.
    ///
    /// # Errors
    /// The metadata does not verify, or `fetch` failed.
    fn run<E: From<Refusal>>(
        &mut self,
        mut fetch: impl FnMut(&Want) -> Result<Answer, E>,
    ) -> Result<Self::Outcome, E> {
        let mut answer = None;
        loop {
            match self.next(answer.take())? {
                Step::Fetch(want) => answer = Some(fetch(&want)?),
                Step::Done(outcome) => return Ok(outcome),
            }
        }
    }
}

/// One file of a repository's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `root`, `timestamp`, `snapshot`, `targets`, or a delegated role's name.
    pub role: String,
    /// The edition of its file.
    pub edition: Edition,
}

/// One of several files of the same role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// The newest file.
    Newest,
    /// The file with this version in its name (TUF 1.0.34, section 6.2).
    Version(u64),
    /// The file with this SHA-256 in its name (Notary).
    Sha256(Digest),
}

/// The place that a file must come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchFrom {
    /// The caller's cache, or [`Answer::Missing`]. Cached bytes are verified like all others.
    Cache,
    /// The repository.
    Source,
}

/// A file that the verification needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The file.
    pub request: Request,
    /// The most bytes that the caller may read of it.
    pub max_bytes: usize,
    /// Where it must come from.
    pub from: FetchFrom,
}

/// The caller's answer to a [`Want`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The file's bytes.
    Bytes(Vec<u8>),
    /// There is no such file (HTTP status 404).
    Missing,
}

/// The next step of a verification.
#[derive(Debug)]
pub enum Step<T> {
    /// Bring this file.
    Fetch(Want),
    /// Everything verified.
    Done(T),
}

impl Request {
    /// The newest file of a role.
    #[must_use]
    pub fn newest(role: &str) -> Self {
        Self::of(role, Edition::Newest)
    }

    /// The root file of that version.
    #[must_use]
    pub fn root(version: u64) -> Self {
        Self::of("root", Edition::Version(version))
    }

    /// The file of a role, with its version in its name where snapshots are consistent.
    #[must_use]
    pub fn versioned(role: &str, version: Option<u64>) -> Self {
        Self::of(role, version.map_or(Edition::Newest, Edition::Version))
    }

    /// The file of a role that has that SHA-256.
    pub(crate) fn hashed(role: &str, sha256: Digest) -> Self {
        Self::of(role, Edition::Sha256(sha256))
    }

    fn of(role: &str, edition: Edition) -> Self {
        Self {
            role: role.to_owned(),
            edition,
        }
    }

    /// Whether it is one root file of the chain, of a given version.
    #[must_use]
    pub fn is_root_version(&self) -> bool {
        self.role == "root" && matches!(self.edition, Edition::Version(_))
    }

    /// The file's name at a source: `3.root.json`, `timestamp.json`, `7.snapshot.json`. The name of
    /// a delegated TUF role is one path segment, so all but letters, digits and `_ - . ~` is
    /// percent-encoded; Notary has `targets/releases.SHA256.json`.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.edition {
            Edition::Newest => format!("{}.json", encoded(&self.role)),
            Edition::Version(version) => format!("{version}.{}.json", encoded(&self.role)),
            Edition::Sha256(digest) => format!("{}.{}.json", self.role, digest.hex()),
        }
    }

    /// The file's name in a cache: each root of the chain is kept as `3.root.json`, all else as
    /// `ROLE.json` with the role's name as it is.
    #[must_use]
    pub fn cache_name(&self) -> String {
        match self.edition {
            Edition::Version(version) if self.role == "root" => format!("{version}.root.json"),
            _ => format!("{}.json", self.role),
        }
    }
}

impl Answer {
    /// The bytes, if there is such a file.
    pub(crate) fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Missing => None,
        }
    }

    /// The bytes of a role's file that must be there. Off-spec: Notary takes a cached timestamp
    /// where the server says 404.
    pub(crate) fn present(self, role: &str) -> Result<Vec<u8>, Refusal> {
        let hint = "the repository at this source is not complete, and no other role answers in this one's place: check the address, or have it published again";
        self.bytes().ok_or_else(|| {
            let wanted = format!("the role {role}");
            Refusal::new(Code::RoleMissing, format!("no {role}.json"), wanted, hint)
        })
    }

    /// The bytes of a file that signed metadata lists: without it the source is half published.
    pub(crate) fn listed(self, role: &str) -> Result<Vec<u8>, Refusal> {
        self.present(role).map_err(Refusal::of_source_behind)
    }
}

impl From<Option<Vec<u8>>> for Answer {
    fn from(found: Option<Vec<u8>>) -> Self {
        found.map_or(Self::Missing, Self::Bytes)
    }
}

fn encoded(role: &str) -> String {
    role.bytes()
        .map(|byte| match byte {
            // Dots do no harm: the name goes on with .json.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

//! Who asked for this host's credentials, and what came of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Who asks for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CredentialAsker {
    /// Docker's clients, by `docker-credential-rootpin` of root's.
    Docker,
    /// The kubelet, by `rootpin-credential-provider`.
    Kubelet,
}

/// What came of a question for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialOutcome {
    Given,
    Withheld,
    /// It may have them, and nobody could be asked for them.
    Failed,
}

/// What came of the questions since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CredentialCounts {
    pub(crate) last: Option<Timestamp>,
    pub(crate) given: u64,
    pub(crate) withheld: u64,
    pub(crate) failed: u64,
}

/// By who asked.
pub(crate) type CredentialsAsked = BTreeMap<CredentialAsker, CredentialCounts>;

impl CredentialAsker {
    /// The stable name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Kubelet => "kubelet",
        }
    }
}

impl CredentialOutcome {
    /// The stable name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Withheld => "withheld",
            Self::Failed => "failed",
        }
    }
}

impl CredentialCounts {
    pub(super) fn count(&mut self, outcome: CredentialOutcome, now: Timestamp) {
        self.last = Some(now);
        let count = match outcome {
            CredentialOutcome::Given => &mut self.given,
            CredentialOutcome::Withheld => &mut self.withheld,
            CredentialOutcome::Failed => &mut self.failed,
        };
        *count += 1;
    }
}

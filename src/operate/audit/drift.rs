//! Each way in which a host of a fleet can differ.

use serde::Serialize;

/// One way in which a host differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// A stable code, as docs/audit.md lists them.
    pub code: &'static str,
    /// What was found.
    pub detail: String,
}

rootpin_trust::codes! {
    /// Each way in which a host of a fleet can differ.
    pub(super) enum DriftCode;
    Behind = "behind", "it holds an older version of a root file than most of the hosts that hold one";
    ClockAhead = "clock-ahead", "its report is of the future";
    FarAhead = "far-ahead", "it alone claims a version of a timestamp that is beyond all others by more than 10,000";
    HeldBack = "held-back", "it had contact with a source, and still has an older timestamp than another host had by then";
    PinExtra = "pin-extra", "it pins a root key that is not to be pinned";
    PinMissing = "pin-missing", "it lacks a pin";
    PolicyDiffers = "policy-differs", "it has another policy, or none";
    Silent = "silent", "its last report is older than `--older-than`";
    SplitView = "split-view", "it was shown other signed bytes of a version than other hosts";
    TrustsUnpinned = "trusts-unpinned", "a root role on it holds a key that none of its own roots pins";
}

pub(super) fn differs(code: DriftCode, detail: String) -> Drift {
    let code = code.as_str();
    Drift { code, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_way_in_which_a_host_differs_and_no_other() {
        let (_, section) = include_str!("../../../docs/audit.md")
            .split_once("## Many hosts\n")
            .unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let wanted = DriftCode::ALL
            .iter()
            .map(|code| format!("| `{}` | {} |", code.as_str(), code.meaning()));
        assert_eq!(rows.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}

//! The settings of a policy for the whole host: `mode`, `[local]`, `[limits]`, `[docker]`, `[sweep]`,
//! `[credentials]`, `prove` and `break-glass`.

use std::collections::BTreeSet;

use jiff::SignedDuration;

rootpin_trust::codes! {
    /// What happens on a "no", the looser mode first.
    pub enum Mode;
    Audit = "audit", "it is recorded and let through";
    Enforce = "enforce", "it is denied";
}

/// Bytes that came from no registry: built, committed, loaded, imported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// Whether such bytes are let through at all.
    pub allow: bool,
    /// The only containerd namespaces where they are; `None`: in all.
    pub namespaces: Option<BTreeSet<String>>,
}

/// Bounds on exemptions, on outages and on break-glass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far away an exemption's end may lie.
    pub max_exempt: SignedDuration,
    /// How long unexpired cached metadata serves while no source answers.
    pub offline: SignedDuration,
    /// How long break-glass may last.
    pub max_break_glass: SignedDuration,
}

/// What dockerd may be asked for, where the authorization plugin guards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Docker {
    /// Whether a pull must name a digest: the classic store asks the registry for a tag once more
    /// after the plugin has.
    pub require_digest: bool,
    /// Whether Swarm may be used: its nodes pull what a manager names, and no plugin is asked.
    pub swarm: bool,
    /// Whether plugins may be pulled, which are images that run as root.
    pub plugins: bool,
}

/// Which registries may be given this host's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialsTo {
    /// Every one that asks.
    #[default]
    Any,
    /// Those that the policy names.
    Rooted,
}

rootpin_trust::codes! {
    /// What a sweep does with a name that is not, or no longer, admitted.
    pub enum SweepAction;
    Report = "report", "it is reported: log, metric, audit record";
    Remove = "remove", "the name is also taken from the engine";
}

impl Mode {
    pub(crate) const WORDS: [(&str, Self); 2] =
        [("enforce", Self::Enforce), ("audit", Self::Audit)];
}

impl Local {
    /// Whether bytes that came from no registry are let through in this containerd namespace.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        let only = self.namespaces.as_ref();
        self.allow && only.is_none_or(|namespaces| namespaces.contains(namespace))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_exempt: SignedDuration::from_hours(90 * 24),
            offline: SignedDuration::from_hours(14 * 24),
            max_break_glass: SignedDuration::from_hours(24),
        }
    }
}

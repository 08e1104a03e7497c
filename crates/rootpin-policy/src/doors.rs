//! What a policy says of the doors beside the pull: `[docker]`, `[sweep]` and `prove`.

use super::diagnostic::Fault;
use super::report::Report;
use super::section::Section;

/// What dockerd may be asked for, where the authorization plugin keeps its door.
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

/// What a sweep does with a name that is no longer admitted, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SweepAction {
    /// It is told: log, metric, audit record.
    #[default]
    Report,
    /// The name is taken from the engine as well.
    Remove,
}

impl SweepAction {
    /// `report` or `remove`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Remove => "remove",
        }
    }
}

/// Reads `[docker]`.
pub(super) fn read_docker(document: &Section<'_>, report: &mut Report) -> Docker {
    let Some(section) = document.table(report, "[docker]", "docker") else {
        return Docker::default();
    };
    section.only(report, &["require-digest", "swarm", "plugins"]);
    let mut allows = |key| {
        section
            .parsed(report, key, parse_allow)
            .is_some_and(|at| at.value)
    };
    let (swarm, plugins) = (allows("swarm"), allows("plugins"));
    Docker {
        require_digest: section
            .flag(report, "require-digest")
            .is_some_and(|at| at.value),
        swarm,
        plugins,
    }
}

/// Reads `[sweep]`.
pub(super) fn read_sweep(document: &Section<'_>, report: &mut Report) -> SweepAction {
    let Some(section) = document.table(report, "[sweep]", "sweep") else {
        return SweepAction::default();
    };
    section.only(report, &["action"]);
    section
        .parsed(report, "action", parse_action)
        .map(|at| at.value)
        .unwrap_or_default()
}

/// Reads `prove`: whether a root-only command may have this host pull two images of its own.
pub(super) fn read_prove(document: &Section<'_>, report: &mut Report) -> bool {
    document.flag(report, "prove").is_none_or(|at| at.value)
}

fn parse_allow(text: &str) -> Result<bool, Fault> {
    match text {
        "allow" => Ok(true),
        "deny" => Ok(false),
        _ => Err(Fault::new(
            "bad-value",
            format!("it can't be {text:?}"),
            "write \"deny\" (the default) or \"allow\"",
        )),
    }
}

fn parse_action(text: &str) -> Result<SweepAction, Fault> {
    match text {
        "report" => Ok(SweepAction::Report),
        "remove" => Ok(SweepAction::Remove),
        _ => Err(Fault::new(
            "bad-value",
            format!("action can't be {text:?}"),
            "write \"report\" (the default) or \"remove\"",
        )),
    }
}

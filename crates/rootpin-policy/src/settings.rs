//! What a policy says once: `version`, `default`, `mode`, `[local]`, `[limits]`.

use std::collections::BTreeSet;
use std::fmt;

use jiff::SignedDuration;

use super::diagnostic::Fault;
use super::duration;
use super::report::Report;
use super::section::Section;

/// What happens on a "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It is recorded and let through.
    Audit,
    /// It is denied.
    Enforce,
}

/// Bytes that came from no registry: built, committed, loaded, imported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// Whether such bytes are let through at all.
    pub allow: bool,
    /// The only containerd namespaces where they are; without, in all.
    pub namespaces: Option<BTreeSet<String>>,
}

/// Bounds on what else the policy, or an outage, may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far away an exemption's end may lie.
    pub max_exempt: SignedDuration,
    /// How long unexpired cached metadata serves when no source answers.
    pub offline: SignedDuration,
}

impl Mode {
    /// `audit` or `enforce`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "audit" => Ok(Self::Audit),
            "enforce" => Ok(Self::Enforce),
            _ => Err(Fault::new(
                "bad-value",
                format!("there is no mode {text:?}"),
                "write \"enforce\" or \"audit\"",
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Local {
    /// Whether bytes that came from no registry are let through in this containerd namespace.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        self.allow
            && self
                .namespaces
                .as_ref()
                .is_none_or(|namespaces| namespaces.contains(namespace))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_exempt: SignedDuration::from_hours(90 * 24),
            offline: SignedDuration::from_hours(14 * 24),
        }
    }
}

/// Checks `version`: another one may mean other things by the same words.
pub(super) fn check_version(document: &Section<'_>, report: &mut Report) {
    if let Some(version) = document
        .number(report, "version")
        .filter(|version| version.value != 1)
    {
        report.error(
            version.place,
            "bad-value",
            format!("version {} is not understood", version.value),
            "write version = 1",
        );
    }
}

/// Checks `default`: there is only one, and it must be said.
pub(super) fn check_default(document: &Section<'_>, report: &mut Report) {
    document.parsed(report, "default", |text| match text {
        "deny" => Ok(()),
        _ => Err(Fault::new(
            "bad-value",
            format!("the default can't be {text:?}"),
            "write default = \"deny\", the only one that exists",
        )),
    });
}

/// Reads `[local]`.
pub(super) fn read_local(document: &Section<'_>, report: &mut Report) -> Local {
    let Some(section) = document.table(report, "[local]", "local") else {
        return Local::default();
    };
    section.only(report, &["content", "namespaces"]);
    let content = section.parsed(report, "content", |text| match text {
        "allow" => Ok(true),
        "deny" => Ok(false),
        _ => Err(Fault::new(
            "bad-value",
            format!("content can't be {text:?}"),
            "write \"deny\" (the default) or \"allow\"",
        )),
    });
    let allow = content.is_some_and(|at| at.value);
    let namespaces = section.list(report, "namespaces", parse_namespace);
    if let Some(place) = section.key("namespaces").filter(|_| !allow) {
        report.warning(
            place,
            "no-effect",
            "namespaces means nothing while content is \"deny\"",
            "leave it out, or write content = \"allow\"",
        );
    }
    Local {
        allow,
        namespaces: namespaces.map(|list| list.into_iter().map(|at| at.value).collect()),
    }
}

/// Reads `[limits]`.
pub(super) fn read_limits(document: &Section<'_>, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = document.table(report, "[limits]", "limits") else {
        return limits;
    };
    section.only(report, &["max-exempt", "offline"]);
    if let Some(max_exempt) = section.parsed(report, "max-exempt", duration::parse) {
        limits.max_exempt = max_exempt.value;
    }
    if let Some(offline) = section.parsed(report, "offline", duration::parse) {
        limits.offline = offline.value;
    }
    limits
}

fn parse_namespace(text: &str) -> Result<String, Fault> {
    if text.is_empty()
        || text.len() > 76
        || !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Err(Fault::new(
            "bad-value",
            format!("{text:?} is not a containerd namespace"),
            "as moby, k8s.io or buildkit",
        ));
    }
    Ok(text.to_owned())
}

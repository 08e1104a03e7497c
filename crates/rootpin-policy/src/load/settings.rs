//! Reads what `policy.toml` says once for the whole host.

use jiff::Timestamp;

use super::section::Section;
use super::values;
use crate::break_glass::BreakGlassUse;
use crate::duration;
use crate::finding::FindingCode::{BadValue, NoEffect, Until};
use crate::settings::{CredentialsTo, Docker, Limits, Local, Mode, SweepAction};

pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) audit_until: Option<Timestamp>,
    pub(super) local: Local,
    pub(super) limits: Limits,
    pub(super) docker: Docker,
    pub(super) sweep: SweepAction,
    pub(super) prove: bool,
    pub(super) break_glass: BreakGlassUse,
    pub(super) credentials_to: CredentialsTo,
}

/// Checks `version`: another one may mean other things by the same words.
pub(super) fn check_version(document: &Section<'_, '_>) {
    if let Some(version) = document.number("version")
        && version.value != 1
    {
        let message = format!("version {} is not understood", version.value);
        version.place.error(BadValue, message, "write version = 1");
    }
}

pub(super) fn read(document: &Section<'_, '_>, now: Timestamp) -> Settings {
    document.choice("default", &[("deny", ())]);
    let mode = document.choice("mode", &Mode::WORDS);
    let mode = mode.map_or(Mode::Enforce, |at| at.value);
    let audit_until = read_audit_until(document, mode, now);
    Settings {
        mode,
        audit_until,
        local: document
            .table("[local]", "local", read_local)
            .unwrap_or_default(),
        limits: document
            .table("[limits]", "limits", read_limits)
            .unwrap_or_default(),
        docker: document
            .table("[docker]", "docker", read_docker)
            .unwrap_or_default(),
        sweep: document
            .table("[sweep]", "sweep", read_sweep)
            .unwrap_or_default(),
        prove: document.flag("prove").unwrap_or(true),
        break_glass: document
            .choice("break-glass", &BREAK_GLASS)
            .map_or(BreakGlassUse::Allowed, |at| at.value),
        credentials_to: document
            .table("[credentials]", "credentials", read_credentials)
            .unwrap_or_default(),
    }
}

/// The end of audit mode. It is optional, so that no limit applies to it.
fn read_audit_until(document: &Section<'_, '_>, mode: Mode, now: Timestamp) -> Option<Timestamp> {
    let until = document.instant("audit-until")?;
    if mode == Mode::Enforce {
        let message = "audit-until means nothing while mode is \"enforce\"";
        let hint = "leave it out, write mode = \"audit\", or write it in a [[rule]]";
        until.place.warning(NoEffect, message, hint);
    } else if until.value <= now {
        let message = format!("audit mode ended at {}: the policy enforces", until.value);
        let hint = "write mode = \"enforce\" and take audit-until out, or give it a new end";
        until.place.warning(Until, message, hint);
    }
    Some(until.value)
}

const BREAK_GLASS: [(&str, BreakGlassUse); 2] = [
    ("allowed", BreakGlassUse::Allowed),
    ("forbidden", BreakGlassUse::Forbidden),
];

const ALLOW: [(&str, bool); 2] = [("deny", false), ("allow", true)];

fn read_local(section: &Section<'_, '_>) -> Local {
    let allow = section.choice("content", &ALLOW).is_some_and(|at| at.value);
    let namespaces = section.list("namespaces", values::namespace);
    if let Some(place) = section.key("namespaces")
        && !allow
    {
        let message = "namespaces means nothing while content is \"deny\"";
        place.warning(
            NoEffect,
            message,
            "leave it out, or write content = \"allow\"",
        );
    }
    let namespaces = namespaces.map(|list| list.into_iter().map(|at| at.value).collect());
    Local { allow, namespaces }
}

fn read_limits(section: &Section<'_, '_>) -> Limits {
    let (max_exempt, offline, max_break_glass) = (
        section.parsed("max-exempt", duration::parse),
        section.parsed("offline", duration::parse),
        section.parsed("max-break-glass", duration::parse_positive),
    );
    let default = Limits::default();
    Limits {
        max_exempt: max_exempt.map_or(default.max_exempt, |at| at.value),
        offline: offline.map_or(default.offline, |at| at.value),
        max_break_glass: max_break_glass.map_or(default.max_break_glass, |at| at.value),
    }
}

fn read_docker(section: &Section<'_, '_>) -> Docker {
    Docker {
        require_digest: section.flag("require-digest") == Some(true),
        swarm: section.choice("swarm", &ALLOW).is_some_and(|at| at.value),
        plugins: section.choice("plugins", &ALLOW).is_some_and(|at| at.value),
    }
}

fn read_sweep(section: &Section<'_, '_>) -> SweepAction {
    let words = [
        ("report", SweepAction::Report),
        ("remove", SweepAction::Remove),
    ];
    section
        .choice("action", &words)
        .map_or(SweepAction::Report, |at| at.value)
}

fn read_credentials(section: &Section<'_, '_>) -> CredentialsTo {
    let words = [
        ("any", CredentialsTo::Any),
        ("rooted", CredentialsTo::Rooted),
    ];
    section
        .choice("only-to", &words)
        .map_or(CredentialsTo::Any, |at| at.value)
}

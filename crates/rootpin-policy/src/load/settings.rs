//! Reads what `policy.toml` says once for the whole host.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rootpin_trust::image::Digest;

use super::section::Section;
use super::values;
use crate::break_glass::BreakGlassUse;
use crate::finding::FindingCode::{BadValue, NoEffect, Until};
use crate::settings::{CredentialsTo, Docker, Limits, Local, Mode, SweepAction};
use crate::{Policy, duration};

/// Checks `version`: another one may mean other things by the same words.
pub(super) fn check_version(document: &Section<'_, '_>) {
    if let Some(version) = document.number("version")
        && version.value != 1
    {
        let message = format!("version {} is not understood", version.value);
        version.place.error(BadValue, message, "write version = 1");
    }
}

/// The policy of these settings, without any entry.
pub(super) fn read(document: &Section<'_, '_>, now: Timestamp) -> Policy {
    document.choice("default", &[("deny", ())]);
    let mode = document.either("mode", Mode::WORDS);
    let actions = [SweepAction::Report, SweepAction::Remove].map(|one| (one.as_str(), one));
    let sweep = document.table("[sweep]", "sweep", |sweep| sweep.either("action", actions));
    Policy {
        // Those of all files, once they are read.
        hash: Digest::of(&[]),
        dir: None,
        warnings: Vec::new(),
        mode,
        audit_until: read_audit_until(document, mode, now),
        local: document.part("local", read_local),
        limits: document.part("limits", read_limits),
        docker: document.part("docker", read_docker),
        sweep: sweep.unwrap_or(SweepAction::Report),
        prove: document.flag("prove").unwrap_or(true),
        break_glass: document.either("break-glass", BREAK_GLASS),
        credentials_to: document.part("credentials", |part| part.either("only-to", ONLY_TO)),
        roots: BTreeMap::new(),
        rules: Vec::new(),
        owned: BTreeMap::new(),
        images: BTreeMap::new(),
        exempts: Vec::new(),
        revoked_digests: BTreeMap::new(),
        revoked_keys: BTreeSet::new(),
        revoked_key_reasons: BTreeMap::new(),
        allowed_lints: Vec::new(),
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

const ONLY_TO: [(&str, CredentialsTo); 2] = [
    ("any", CredentialsTo::Any),
    ("rooted", CredentialsTo::Rooted),
];

const ALLOW: [(&str, bool); 2] = [("deny", false), ("allow", true)];

fn read_local(section: &Section<'_, '_>) -> Local {
    let allow = section.either("content", ALLOW);
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
        swarm: section.either("swarm", ALLOW),
        plugins: section.either("plugins", ALLOW),
    }
}

//! Reads what `policy.toml` says once for the whole host.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use rootpin_trust::image::Digest;

use super::section::Section;
use super::values;
use crate::break_glass::BreakGlassUse;
use crate::finding::Fault;
use crate::finding::FindingCode::BadValue;
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
pub(super) fn read(document: &Section<'_, '_>) -> Policy {
    document.choice("default", &[("deny", ())]);
    let mode = document.either("mode", Mode::WORDS);
    let actions = [SweepAction::Report, SweepAction::Remove].map(|one| (one.as_str(), one));
    let sweep = document.table("[sweep]", "sweep", |sweep| sweep.either("action", actions));
    Policy {
        // Those of all files, once they are read.
        hash: Digest::of(&[]),
        dir: None,
        texts: Vec::new(),
        warnings: Vec::new(),
        mode,
        audit_until: document.instant("audit-until").map(|at| at.value),
        local: document.part("local", read_local),
        limits: document.part("limits", read_limits),
        docker: document.part("docker", read_docker),
        sweep: sweep.unwrap_or(SweepAction::Report),
        prove: document.flag("prove", true),
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
    let namespaces = namespaces.map(|list| list.into_iter().map(|at| at.value).collect());
    Local { allow, namespaces }
}

fn read_limits(section: &Section<'_, '_>) -> Limits {
    type Parse = fn(&str) -> Result<SignedDuration, Fault>;
    let read = |key, parse: Parse, default| {
        let duration = section.parsed(key, parse);
        duration.map_or(default, |at| at.value)
    };
    let default = Limits::default();
    Limits {
        max_exempt: read("max-exempt", duration::parse, default.max_exempt),
        offline: read("offline", duration::parse, default.offline),
        max_break_glass: read(
            "max-break-glass",
            duration::parse_positive,
            default.max_break_glass,
        ),
    }
}

fn read_docker(section: &Section<'_, '_>) -> Docker {
    Docker {
        require_digest: section.flag("require-digest", false),
        swarm: section.either("swarm", ALLOW),
        plugins: section.either("plugins", ALLOW),
    }
}

//! From files to a policy, or to everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::diagnostic::{Diagnostic, Location, Severity};
use super::exempt::{Exempt, ExemptDraft};
use super::file::{self, Draft, Kind};
use super::files::{Files, Reading};
use super::image::{BoundImage, ImageDraft};
use super::report::Report;
use super::revoked::{Revoked, RevokedDraft};
use super::rule::{Rule, RuleDraft};
use super::{Mode, Policy, Root, check, fragment};
use rootpin_trust::image::Digest;

/// Loads the policy of a directory, as the daemon and `policy check` both do. `now` decides which
/// exemptions are over or end too far away.
///
/// # Errors
/// Every finding, in the order of the files, if one of them is an error. Nothing is loaded half.
pub fn load(files: &dyn Files, now: Timestamp) -> Result<Policy, Vec<Diagnostic>> {
    let mut report = Report::default();
    let mut reading = Reading::new(files);
    let mut drafts = vec![file::read(
        "policy.toml",
        Kind::Main,
        &mut report,
        &mut reading,
    )];
    match files.fragments() {
        Ok(names) => {
            for name in BTreeSet::from_iter(names) {
                drafts.push(file::read(&name, Kind::Fragment, &mut report, &mut reading));
            }
        }
        Err(error) => {
            let place = report.add_source("policy.d", String::new());
            report.error(place, "unreadable", error.message, error.hint);
        }
    }
    fragment::check(&drafts, &mut report);
    check::check(&drafts, now, &mut report);
    let policy = assemble(drafts, reading.hash(), &report);
    match (report.finish(), policy) {
        (Ok(warnings), Some(policy)) => Ok(Policy {
            warnings,
            dir: files.dir(),
            ..policy
        }),
        (Ok(_), None) => Err(vec![lost()]),
        (Err(findings), _) => Err(findings),
    }
}

/// The policy that the drafts say, unless some entry was not understood.
fn assemble(drafts: Vec<Draft>, hash: Digest, report: &Report) -> Option<Policy> {
    let main = drafts.first()?;
    let mut policy = Policy {
        hash,
        dir: None,
        mode: main.mode.unwrap_or(Mode::Enforce),
        roots: BTreeMap::new(),
        rules: Vec::new(),
        local: main.local.clone(),
        limits: main.limits,
        docker: main.docker,
        sweep: main.sweep,
        prove: main.prove,
        warnings: Vec::new(),
        images: BTreeMap::new(),
        exempts: Vec::new(),
        revoked_digests: BTreeMap::new(),
        revoked_keys: BTreeSet::new(),
        revoked_key_reasons: BTreeMap::new(),
    };
    let mut rules = Vec::new();
    for draft in drafts {
        for root in draft.roots {
            let root = root.root?;
            policy.roots.insert(root.id.clone(), Arc::new(root));
        }
        rules.extend(draft.rules);
        for image in draft.images {
            add_image(&mut policy, image, report)?;
        }
        for exempt in draft.exempts {
            policy.exempts.push(assemble_exempt(exempt, report)?);
        }
        for revoked in draft.revoked {
            add_revoked(&mut policy, revoked)?;
        }
    }
    for rule in rules {
        let rule = assemble_rule(rule, &policy.roots, policy.mode, report)?;
        policy.rules.push(rule);
    }
    Some(policy)
}

fn assemble_rule(
    draft: RuleDraft,
    roots: &BTreeMap<String, Arc<Root>>,
    mode: Mode,
    report: &Report,
) -> Option<Rule> {
    let of_rule: Option<Vec<_>> = draft
        .roots
        .iter()
        .map(|root| roots.get(&root.value).cloned())
        .collect();
    Some(Rule {
        pattern: draft.pattern?.value,
        roots: of_rule.filter(|roots| !roots.is_empty())?,
        quorum: draft.quorum.value,
        mode: draft.mode.map_or(mode, |at| at.value),
        signed_as: draft.signed_as.map(|at| at.value),
        is_final: draft.is_final,
        location: report.location(draft.place),
    })
}

fn add_image(policy: &mut Policy, draft: ImageDraft, report: &Report) -> Option<()> {
    let ((repository, tag), digest) = (draft.name?.value, draft.digest?.value);
    let tags = policy.images.entry(repository.clone()).or_default();
    let bound = tags.entry(tag.clone()).or_insert_with(|| BoundImage {
        repository,
        tag,
        digests: BTreeSet::new(),
        location: report.location(draft.place),
    });
    bound.digests.insert(digest);
    Some(())
}

fn assemble_exempt(draft: ExemptDraft, report: &Report) -> Option<Exempt> {
    Some(Exempt {
        pattern: draft.pattern?.value,
        until: draft.until?.value,
        reason: draft.reason?,
        digests: draft
            .digests
            .map(|digests| digests.into_iter().map(|at| at.value).collect()),
        location: report.location(draft.place),
    })
}

fn add_revoked(policy: &mut Policy, draft: RevokedDraft) -> Option<()> {
    let reason = draft.reason?;
    match draft.what? {
        Revoked::Digest(digest) => _ = policy.revoked_digests.entry(digest).or_insert(reason),
        Revoked::Key(key) => {
            policy.revoked_keys.insert(key);
            policy.revoked_key_reasons.entry(key).or_insert(reason);
        }
    }
    Some(())
}

/// An entry that was not understood and yet not reported would be a fault of ours; a policy is not
/// loaded without it.
fn lost() -> Diagnostic {
    Diagnostic {
        location: Location {
            file: "policy.toml".into(),
            line: 1,
            column: 1,
        },
        code: "unreadable",
        message: "an entry of the policy was not understood".to_owned(),
        hint: "please report this with the policy".to_owned(),
        severity: Severity::Error,
        source_line: String::new(),
        caret: 0,
    }
}

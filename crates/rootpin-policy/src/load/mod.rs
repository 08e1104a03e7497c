//! Loads a policy whole, or says everything that is wrong with it.

mod check;
mod entries;
mod fragment;
mod mandatory;
mod report;
mod revocation;
mod root;
mod section;
mod settings;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use toml::de::DeTable;

use self::entries::{ExemptDraft, ImageDraft, Revoked, RevokedDraft, RuleDraft};
use self::report::{At, Place, Report, Source};
use self::root::RootDraft;
use self::section::Section;
use crate::entry::{BoundImage, Exempt, IndexSigning, Rule};
use crate::files::{Files, Reading, Unreadable};
use crate::finding::{Diagnostic, FindingCode};
use crate::lint::AllowedLint;
use crate::pattern::Pattern;
use crate::{Policy, Root};

/// All that one file says, as far as it is understood.
#[derive(Default)]
struct Draft<'r> {
    owns: Option<At<'r, Pattern>>,
    settings: Option<Policy>,
    roots: Vec<RootDraft<'r>>,
    rules: Vec<RuleDraft<'r>>,
    images: Vec<ImageDraft<'r>>,
    exempts: Vec<ExemptDraft<'r>>,
    revoked: Vec<RevokedDraft>,
    allowed_lints: Vec<Option<AllowedLint>>,
}

/// Loads the policy of a directory, as the daemon and `policy check` both do. `now` decides which
/// exemptions have ended or end too far away.
///
/// # Errors
/// Every finding, in the order of the files, if one of them is an error. Nothing is loaded half.
pub fn load(files: &dyn Files, now: Timestamp) -> Result<Policy, Vec<Diagnostic>> {
    let report = Report::new(Reading::new(files));
    let mut sources = vec![Source::new(
        0,
        "policy.toml",
        read(&report.files, "policy.toml"),
    )];
    match files.fragments() {
        Ok(names) => sources.extend(
            BTreeSet::from_iter(names)
                .iter()
                .zip(1..)
                .map(|(name, index)| Source::new(index, name, read(&report.files, name))),
        ),
        Err(unreadable) => sources.push(Source::new(1, "policy.d", Err(unreadable))),
    }
    let place = |source| Place {
        report: &report,
        source,
        start: 0,
    };
    let drafts = sources.iter().map(|source| draft(place(source), now));
    let mut drafts: Vec<_> = drafts.collect();
    revocation::add_canonical(&mut drafts);
    fragment::check(&drafts);
    check::check(&drafts, sources.iter().all(Source::is_whole), now);
    let policy = assemble(drafts);
    if policy.is_none()
        && let Some(main) = sources.first()
    {
        // An entry that is missing without a finding would be an error of this program.
        place(main).lost();
    }
    let hash = report.files.hash();
    match (report.finish(), policy) {
        (Ok(warnings), Some(policy)) => Ok(Policy {
            hash,
            warnings,
            dir: files.dir(),
            ..policy
        }),
        (Ok(findings) | Err(findings), _) => Err(findings),
    }
}

fn read(files: &Reading<'_>, name: &str) -> Result<String, Unreadable> {
    String::from_utf8(files.read(name)?).map_err(|error| Unreadable {
        message: format!(
            "not UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        ),
        hint: "save the file as UTF-8".to_owned(),
    })
}

fn draft(start: Place<'_>, now: Timestamp) -> Draft<'_> {
    if start.unreadable() {
        return Draft::default();
    }
    let (table, errors) = DeTable::parse_recoverable(&start.source.text);
    for error in errors {
        let place = start.at(error.span().map_or(0, |span| span.start));
        place.syntax(error.message());
    }
    let is_main = start.source.is_main();
    let title = if is_main {
        "the policy"
    } else {
        "the fragment"
    };
    Section::read(title, start, table.get_ref(), |document| {
        settings::check_version(document);
        let (mut draft, mut allowed_lints) = (Draft::default(), Vec::new());
        if is_main {
            draft.settings = Some(settings::read(document, now));
            allowed_lints =
                document.tables("[[allow-lint]]", "allow-lint", entries::read_allowed_lint);
            if let Some(place) = document.key("fragment") {
                let hint = "[fragment] belongs in the files of policy.d";
                place.error(FindingCode::Fragment, "policy.toml is no fragment", hint);
            }
        } else {
            draft.owns = fragment::read_owns(document);
        }
        Draft {
            roots: document.tables("[[root]]", "root", root::read),
            rules: document.tables("[[rule]]", "rule", entries::read_rule),
            images: document.tables("[[image]]", "image", entries::read_image),
            exempts: document.tables("[[exempt]]", "exempt", entries::read_exempt),
            revoked: document.tables("[[revoked]]", "revoked", entries::read_revoked),
            allowed_lints,
            ..draft
        }
    })
}

/// The policy that the drafts say; `None` if some entry was not understood.
fn assemble(mut drafts: Vec<Draft<'_>>) -> Option<Policy> {
    let mut policy = drafts.first_mut()?.settings.take()?;
    let mut rules = Vec::new();
    for draft in drafts {
        if let Some(At { value, place }) = draft.owns {
            policy
                .owned
                .insert(place.location().file.to_string(), value);
        }
        for root in draft.roots {
            let root = root.root?;
            policy.roots.insert(root.id.clone(), Arc::new(root));
        }
        rules.extend(draft.rules);
        for image in draft.images {
            let ((repository, tag), digest) = (image.name?.value, image.digest?.value);
            let tags = policy.images.entry(repository.clone()).or_default();
            let bound = tags.entry(tag.clone()).or_insert_with(|| BoundImage {
                repository,
                tag,
                digests: BTreeSet::new(),
                location: image.place.location(),
            });
            bound.digests.insert(digest);
        }
        for exempt in draft.exempts {
            let digests = exempt.digests;
            let digests = digests.map(|list| list.into_iter().map(|at| at.value).collect());
            policy.exempts.push(Exempt {
                pattern: exempt.pattern?.value,
                until: exempt.until?.value,
                reason: exempt.reason?,
                digests,
                location: exempt.place.location(),
            });
        }
        for allowed in draft.allowed_lints {
            policy.allowed_lints.push(allowed?);
        }
        for RevokedDraft { revoked, reason } in draft.revoked {
            match (revoked?, reason?) {
                (Revoked::Digest(digest), reason) => {
                    policy.revoked_digests.entry(digest).or_insert(reason);
                }
                (Revoked::Key(key), reason) => {
                    policy.revoked_keys.insert(key);
                    policy.revoked_key_reasons.entry(key).or_insert(reason);
                }
            }
        }
    }
    for rule in rules {
        let rule = assemble_rule(rule, &policy.roots)?;
        policy.rules.push(rule);
    }
    Some(policy)
}

fn assemble_rule(draft: RuleDraft<'_>, roots: &BTreeMap<String, Arc<Root>>) -> Option<Rule> {
    let named = draft
        .roots
        .iter()
        .map(|root| roots.get(&root.value).cloned());
    let named: Option<Vec<_>> = named.collect();
    Some(Rule {
        pattern: draft.pattern?.value,
        roots: named?,
        quorum: draft.quorum.value,
        mode: draft.mode.map(|at| at.value),
        audit_until: draft.audit_until.map(|at| at.value),
        signed_as: draft.signed_as.map(|at| at.value),
        tags_unbound: draft.unbound.is_some(),
        index: match draft.by_manifests {
            Some(_) => IndexSigning::OrManifests,
            None => IndexSigning::Itself,
        },
        is_final: draft.is_final,
        credentials: draft.credentials,
        location: draft.place.location(),
    })
}

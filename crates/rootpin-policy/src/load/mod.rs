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

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::Repository;
use toml::de::DeTable;

use self::entries::{Bounds, ExemptDraft, ImageDraft, Revoked, RuleDraft};
use self::report::{At, Place, Report, Source};
use self::root::RootDraft;
use self::section::Section;
use crate::Policy;
use crate::entry::{AllowedLint, BoundImage, Rule};
use crate::files::{Files, Reading, Unreadable};
use crate::finding::{Diagnostic, FindingCode};
use crate::pattern::Pattern;
use crate::settings::{Limits, Mode};

/// All that one file says, as far as it is understood.
#[derive(Default)]
struct Draft<'r> {
    owns: Option<At<'r, Pattern>>,
    settings: Option<Policy>,
    roots: Vec<RootDraft<'r>>,
    rules: Vec<RuleDraft<'r>>,
    images: Vec<ImageDraft<'r>>,
    exempts: Vec<ExemptDraft<'r>>,
    revoked: Vec<Option<(Revoked, String)>>,
    allowed_lints: Vec<Option<AllowedLint>>,
}

impl<'r> Draft<'r> {
    fn rule_patterns(&self) -> impl Iterator<Item = &At<'r, Pattern>> {
        self.rules.iter().filter_map(|rule| rule.pattern.as_ref())
    }

    fn exempt_patterns(&self) -> impl Iterator<Item = &At<'r, Pattern>> {
        let exempts = self.exempts.iter();
        exempts.filter_map(|exempt| exempt.pattern.as_ref())
    }

    fn image_names(&self) -> impl Iterator<Item = (&Repository, Place<'r>)> {
        let names = self.images.iter().filter_map(|image| image.name.as_ref());
        names.map(|name| (&name.value.0, name.place))
    }
}

/// Loads the policy of a directory, as the daemon and `policy check` both do. `now` decides which
/// exemptions end too far away.
///
/// # Errors
/// Every finding, in the order of the files. Nothing is loaded half.
pub fn load(files: &dyn Files, now: Timestamp) -> Result<Policy, Vec<Diagnostic>> {
    let report = Report::new(Reading::new(files));
    let read = |name: &str| read(&report.files, name);
    let mut sources = vec![Source::new(0, "policy.toml", read("policy.toml"))];
    match files.fragments() {
        Ok(names) => {
            let names = BTreeSet::from_iter(names);
            let fragment = |(name, index): (&String, _)| Source::new(index, name, read(name));
            sources.extend(names.iter().zip(1..).map(fragment));
        }
        Err(unreadable) => sources.push(Source::new(1, "policy.d", Err(unreadable))),
    }
    let start = |source| Place {
        report: &report,
        source,
        start: 0,
    };
    let mut bounds = Bounds::new(Mode::Enforce, Limits::default(), now);
    let drafts = sources
        .iter()
        .map(|source| draft(start(source), &mut bounds, now));
    let drafts: Vec<_> = drafts.collect();
    fragment::check(&drafts);
    check::check(&drafts, sources.iter().all(Source::is_whole));
    let policy = assemble(drafts);
    if policy.is_none()
        && report.is_empty()
        && let Some(source) = sources.first()
    {
        // An entry that is missing without a finding would be an error of this program.
        let message = "an entry of the policy was not understood";
        let hint = "please report this with the policy";
        start(source).error(FindingCode::Unreadable, message, hint);
    }
    let hash = report.files.hash();
    match (report.finish(), policy) {
        (findings, Some(policy)) if findings.is_empty() => Ok(Policy {
            hash,
            dir: files.dir(),
            texts: sources.into_iter().map(|source| source.text).collect(),
            ..policy
        }),
        (findings, _) => Err(findings),
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

/// What a file says. Reads the `bounds` of all files from `policy.toml`, which comes first.
fn draft<'r>(start: Place<'r>, bounds: &mut Bounds, now: Timestamp) -> Draft<'r> {
    if start.unreadable() {
        return Draft::default();
    }
    let (table, errors) = DeTable::parse_recoverable(start.source.text.as_str());
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
            let settings = settings::read(document);
            *bounds = Bounds::new(settings.mode, settings.limits, now);
            draft.settings = Some(settings);
            let read = entries::read_allowed_lint;
            allowed_lints = document.tables("[[allow-lint]]", "allow-lint", read);
            if let Some(place) = document.key("fragment") {
                let hint = "[fragment] belongs in the files of policy.d";
                place.error(FindingCode::Fragment, "policy.toml is no fragment", hint);
            }
        } else {
            draft.owns = fragment::read_owns(document);
        }
        let bounds = *bounds;
        let rule = |section: &Section<'r, '_>| entries::read_rule(section, bounds);
        let exempt = |section: &Section<'r, '_>| entries::read_exempt(section, bounds);
        Draft {
            roots: document.tables("[[root]]", "root", root::read),
            rules: document.tables("[[rule]]", "rule", rule),
            images: document.tables("[[image]]", "image", entries::read_image),
            exempts: document.tables("[[exempt]]", "exempt", exempt),
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
            let file = place.location().file.to_string();
            policy.owned.insert(file, value);
        }
        for root in draft.roots {
            let root = root.root?;
            policy.roots.insert(root.id.clone(), Arc::new(root));
        }
        rules.extend(draft.rules);
        for image in draft.images {
            let ((repository, tag), digest) = (image.name?.value, image.digest?);
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
            policy.exempts.push(exempt.exempt?);
        }
        for allowed in draft.allowed_lints {
            policy.allowed_lints.push(allowed?);
        }
        for revoked in draft.revoked {
            let (revoked, reason) = revoked?;
            match revoked {
                Revoked::Digest(digest) => policy.revoked_digests.entry(digest).or_insert(reason),
                Revoked::Key(key) => policy.revoked_key_reasons.entry(key).or_insert(reason),
            };
        }
    }
    policy.revoke_by_canonical_id();
    for RuleDraft { roots, rule, .. } in rules {
        let defined = |root: &At<'_, String>| policy.roots.get(&root.value).cloned();
        let roots = roots.iter().map(defined).collect::<Option<_>>()?;
        policy.rules.push(Rule { roots, ..rule? });
    }
    Some(policy)
}

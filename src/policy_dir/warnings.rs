//! What is legal in a policy and yet hardly meant: what means nothing, what is over, and what is
//! revoked. Also an `[[allow-lint]]` of a code that does not exist. No decision rests on it.

mod shared_signers;
mod written;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use toml::de::DeTable;

use rootpin_policy::FindingCode::{
    self, BadValue, NoEffect, Quorum, RevokedPin, UnboundTags, Until,
};
use rootpin_policy::{
    Diagnostic, Fault, IndexSigning, MetadataUrl, Mode, Policy, Root, RootKind, Rule, Severity,
};
use rootpin_trust::KeyId;
use rootpin_trust::image::Digest;

use super::LintCode;
use shared_signers::shared_signers;
use written::{WrittenFile, WrittenPlace, WrittenPolicy, WrittenTable};

/// More warnings than this are of no use; a last one says that there are more.
const MAX_WARNINGS: usize = 1000;

/// Collects findings, each at its place.
struct Warnings<'a> {
    policy: &'a Policy,
    now: Timestamp,
    found: Vec<((usize, usize), Diagnostic)>,
}

/// All warnings about a policy, in the order of its files.
///
/// # Errors
/// Each `[[allow-lint]]` whose code does not exist.
pub(super) fn find(policy: &Policy, now: Timestamp) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let texts = policy.texts.iter();
    let files = texts.filter_map(|text| Some((text, DeTable::parse(text.as_str()).ok()?)));
    let files: Vec<WrittenFile<'_>> = files.collect();
    let written = WrittenPolicy::new(&files);
    let mut warnings = Warnings {
        policy,
        now,
        found: Vec::new(),
    };
    if let Some(top) = written.top() {
        warnings.settings(top);
    }
    for root in policy.roots.values() {
        if let Some(table) = written.entry(&root.location) {
            warnings.root(root, table);
            warnings.revoked_keys(root, table);
        }
    }
    for rule in &policy.rules {
        if let Some(table) = written.entry(&rule.location) {
            warnings.rule(rule, table);
            warnings.trial(rule, table);
        }
    }
    for exempt in policy.exempts() {
        if let Some(table) = written.entry(&exempt.location) {
            warnings.end("the exemption", exempt.until, table.value("until"));
        }
    }
    let bound = written.all("image").flat_map(|image| image.texts("digest"));
    let exempts = written.all("exempt");
    let exempt = exempts.flat_map(|exempt| exempt.texts("digests"));
    for (place, digest) in bound.chain(exempt) {
        warnings.digest(digest, place);
    }
    for allowed in &policy.allowed_lints {
        if let Some(table) = written.entry(&allowed.location) {
            warnings.lint_code(&allowed.code, table.value("code"));
        }
    }
    let mut found = warnings.found;
    found.sort_by_key(|(place, _)| *place);
    let found = found.into_iter().map(|(_, finding)| finding);
    let (errors, mut found): (Vec<_>, Vec<_>) =
        found.partition(|finding| finding.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(last) = found.get_mut(MAX_WARNINGS) {
        last.message += " (and more: only so many are shown)";
        found.truncate(MAX_WARNINGS + 1);
    }
    Ok(found)
}

impl Warnings<'_> {
    fn warn(
        &mut self,
        place: WrittenPlace<'_>,
        code: FindingCode,
        message: impl Into<String>,
        hint: &str,
    ) {
        let fault = Fault::new(code, message, hint);
        self.add(place, Severity::Warning, fault);
    }

    fn add(&mut self, place: WrittenPlace<'_>, severity: Severity, fault: Fault) {
        let WrittenPlace { file, text, start } = place;
        let finding = text.finding(start, severity, fault);
        self.found.push(((file, start), finding));
    }

    fn lint_code(&mut self, name: &str, place: WrittenPlace<'_>) {
        if LintCode::of(name).is_none() {
            let message = format!("{name:?} is not a code of lint");
            let hint = "write a code that `rootpin policy lint` shows";
            let fault = Fault::new(BadValue, message, hint);
            self.add(place, Severity::Error, fault);
        }
    }

    /// The mode without its end.
    fn mode(&self) -> Mode {
        self.policy.mode_at(Some(Timestamp::MIN))
    }

    fn settings(&mut self, top: WrittenTable<'_>) {
        if let Some(until) = self.policy.audit_until {
            let place = top.value("audit-until");
            if self.mode() == Mode::Enforce {
                let message = "audit-until means nothing while mode is \"enforce\"";
                let hint = "leave it out, write mode = \"audit\", or write it in a [[rule]]";
                self.warn(place, NoEffect, message, hint);
            } else if until <= self.now {
                let message = format!("audit mode ended at {until}: the policy enforces");
                let hint =
                    "write mode = \"enforce\" and take audit-until out, or give it a new end";
                self.warn(place, Until, message, hint);
            }
        }
        let namespaces = top.table("local").and_then(|local| local.key("namespaces"));
        if let Some(place) = namespaces.filter(|_| !self.policy.local.allow) {
            let message = "namespaces means nothing while content is \"deny\"";
            let hint = "leave it out, or write content = \"allow\"";
            self.warn(place, NoEffect, message, hint);
        }
    }

    fn root(&mut self, root: &Root, table: WrittenTable<'_>) {
        let speaks_tls = match &root.kind {
            RootKind::Notary(notary) => notary.server.starts_with("https:"),
            RootKind::Tuf(tuf) => {
                tuf.metadata.is_empty() || tuf.metadata.iter().any(is_read_by_tls)
            }
            RootKind::Cosign(_) | RootKind::Notation(_) => {
                for key in ["max-age", "recheck"] {
                    if let Some(place) = table.key(key) {
                        let message =
                            format!("{key} means nothing for signatures, which never age");
                        self.warn(place, NoEffect, message, "leave it out");
                    }
                }
                return;
            }
        };
        if let Some(place) = table.key("tls-ca").filter(|_| !speaks_tls) {
            let message = "tls-ca means nothing without TLS";
            self.warn(place, NoEffect, message, "leave it out");
        }
    }

    /// Revocation comes before everything: whatever is revoked is refused wherever else it stands.
    fn digest(&mut self, text: &str, place: WrittenPlace<'_>) {
        let digest = text.parse::<Digest>().ok();
        if digest.is_some_and(|digest| self.policy.revoked_digest(&digest).is_some()) {
            let message = "this digest is revoked, and so refused";
            let hint = "take it out here, and list the digest of a version that is not revoked; or take out its [[revoked]], if it was a mistake";
            self.warn(place, RevokedPin, message, hint);
        }
    }

    fn revoked_keys(&mut self, root: &Root, table: WrittenTable<'_>) {
        let (effect, hint) = match &root.kind {
            RootKind::Cosign(_) => (
                "signatures by it count for nothing",
                "pin the key that the publisher signs with now, and take this one out",
            ),
            RootKind::Notation(_) => (
                "signatures under its certificate count for nothing",
                "pin the certificate that the publisher signs with now, and take this one out",
            ),
            RootKind::Notary(_) | RootKind::Tuf(_) => (
                "a root role that lists it is refused",
                "ask the publisher to rotate the root role and for the fingerprint of the new key, pin that, and take this one out",
            ),
        };
        let revoked = self.policy.revoked_keys();
        let pinned = pinned_keys(root, table).into_iter();
        let pinned: Vec<_> = pinned.filter(|(key, _)| revoked.contains(key)).collect();
        for (key, place) in &pinned {
            let message = format!("the key {key} is revoked: {effect}");
            self.warn(*place, RevokedPin, message, hint);
        }
        let left = root.keys.difference(revoked).count();
        if let (RootKind::Cosign(cosign), Some((_, place))) = (&root.kind, pinned.first())
            && u64::try_from(left).is_ok_and(|left| left < cosign.threshold)
        {
            let message = format!(
                "{left} of the root's keys are not revoked, and its threshold is {}: nothing can be signed for it",
                cosign.threshold
            );
            self.warn(*place, RevokedPin, message, "pin the keys that sign now");
        }
    }

    fn rule(&mut self, rule: &Rule, table: WrittenTable<'_>) {
        if rule.quorum > 1 {
            for how in shared_signers(self.policy, rule) {
                let message = format!(
                    "one signer can satisfy both roots, and the quorum takes signatures by different keys: {how}"
                );
                let hint = "list roots that no signer can satisfy together, or have each image signed by as many keys as the quorum wants";
                self.warn(table.value("quorum"), Quorum, message, hint);
            }
        }
        let is_bound = rule.roots.iter().any(|root| root.binds().tag);
        if rule.tags_unbound && is_bound && !rule.may_bind_no_tag() {
            let message = "tags = \"unbound\", and each quorum of the rule's roots binds the tag";
            self.warn(table.value("tags"), UnboundTags, message, "leave it out");
        }
        // Only roots that list no tags are asked about the manifests of an index.
        let mut roots = rule.roots.iter();
        if rule.index == IndexSigning::OrManifests && roots.all(|root| root.lists_tags()) {
            let message =
                "index = \"by-manifests\", and no root of the rule is of type cosign or notation";
            self.warn(table.value("index"), NoEffect, message, "leave it out");
        }
    }

    /// `audit-until` of a rule.
    fn trial(&mut self, rule: &Rule, table: WrittenTable<'_>) {
        let Some(until) = rule.audit_until else {
            return;
        };
        let place = table.value("audit-until");
        self.end("the rule's audit", until, place);
        match (self.mode(), rule.mode) {
            (Mode::Audit, None) if self.policy.audit_until.is_none() => {
                let message = "audit-until means nothing while the policy's mode is \"audit\"";
                let hint = "write mode = \"enforce\" in the rule, or at the top of the policy";
                self.warn(place, NoEffect, message, hint);
            }
            // Where the policy only audits, it says what comes after the trial.
            (Mode::Enforce, Some(_)) if until > self.now => {
                let message = format!(
                    "mode = \"enforce\" means nothing before audit-until: the rule's refusals are let through until {until}"
                );
                let hint = "take audit-until out to enforce now, or take mode out";
                self.warn(table.value("mode"), NoEffect, message, hint);
            }
            _ => {}
        }
    }

    /// What has ended is void.
    fn end(&mut self, what: &str, until: Timestamp, place: WrittenPlace<'_>) {
        if until <= self.now {
            let message = format!("{what} ended at {until} and is void");
            let hint = "take it out, or give it a new end";
            self.warn(place, Until, message, hint);
        }
    }
}

fn is_read_by_tls(url: &MetadataUrl) -> bool {
    match url {
        MetadataUrl::Http(url) => url.starts_with("https:"),
        MetadataUrl::Oci { .. } => true,
        MetadataUrl::File(_) => false,
    }
}

/// The pinned keys of a root, each with the place of its entry.
fn pinned_keys<'a>(root: &Root, table: WrittenTable<'a>) -> Vec<(KeyId, WrittenPlace<'a>)> {
    let list = match root.kind {
        RootKind::Tuf(_) => {
            let place = table.value("file");
            return root.keys.iter().map(|key| (*key, place)).collect();
        }
        RootKind::Notation(_) => "certificates",
        RootKind::Notary(_) | RootKind::Cosign(_) => "keys",
    };
    let written = root.entries.iter().zip(table.texts(list));
    let keys = written.flat_map(|(entry, (place, _))| {
        let keys = entry.keys.iter();
        keys.map(move |(key, _)| (*key, place))
    });
    keys.collect()
}

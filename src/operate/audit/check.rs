//! Makes every finding of an audit from the facts of the host.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::findings::{AuditFinding, FindingCode};
use super::report::{
    HostReport, ListedKey, ResidentImage, TrustDirectory, TrustedRepository, TrustedRole,
};
use crate::decide::survey::{Covered, Survey, SurveyJudgement};
use rootpin_trust::{Code, key_name};

/// What ends within this time is told before it does.
pub const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The findings about the policy and its roots.
pub(super) fn policy(survey: &Survey, now: Timestamp) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    if let Some(policy) = &survey.policy {
        if policy.mode == "audit" {
            found.push(AuditFinding::new(
                FindingCode::PolicyAuditMode,
                "the policy",
                format!("mode audit in {}", policy.hash),
            ));
        }
        found.extend(policy.warnings.iter().map(|warning| {
            AuditFinding::new(
                FindingCode::PolicyWarning,
                "the policy",
                warning.lines().next().unwrap_or_default(),
            )
        }));
    }
    for root in &survey.roots {
        let subject = format!("root {}", root.id);
        if root.held.is_empty() {
            found.push(AuditFinding::new(
                FindingCode::RootUnseen,
                &subject,
                "no metadata of it was verified here yet",
            ));
        }
        for held in &root.held {
            let subject = if root.kind == "tuf" {
                subject.clone()
            } else {
                format!("{subject}: {}", held.repository)
            };
            found.extend(
                held.root_expires
                    .as_deref()
                    .and_then(|expires| ending(&subject, "the root file", expires, now)),
            );
        }
    }
    found
}

/// Whether one of the names that metadata shows of a key is a revoked one.
fn is_revoked(key: &ListedKey, revoked: &[String]) -> bool {
    let fingerprint = key.fingerprint.as_deref().and_then(key_name);
    let fingerprint = fingerprint.map(|name| name.to_string());
    let names = [Some(&key.id), Some(&key.listed_as), fingerprint.as_ref()];
    names
        .into_iter()
        .flatten()
        .any(|name| revoked.contains(name))
}

/// The findings about an image.
pub(super) fn image(image: &ResidentImage, has_name: bool) -> Option<AuditFinding> {
    let place = image
        .namespace
        .as_ref()
        .map_or(image.engine.clone(), |namespace| {
            format!("{}, namespace {namespace}", image.engine)
        });
    let subject = format!("{} ({place})", image.name);
    let Some(judgement) = &image.judgement else {
        if has_name && image.digest.is_some() {
            return None;
        }
        let detail = if has_name {
            "the engine knows no digest of a registry for it"
        } else {
            "no name that a policy could cover"
        };
        return Some(AuditFinding::new(
            FindingCode::ImageUnnamed,
            &subject,
            detail,
        ));
    };
    match judgement.outcome.as_str() {
        "refused" => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let through = if judgement.let_through {
                "let through in audit mode: "
            } else {
                ""
            };
            let detail = format!(
                "{through}{}: found {}; wanted {}",
                text(&judgement.code),
                text(&judgement.found),
                text(&judgement.wanted)
            );
            let finding = AuditFinding::new(FindingCode::ImageRefused, &subject, detail);
            Some(AuditFinding {
                hint: refused_hint(&finding.hint, judgement),
                ..finding
            })
        }
        "allowed" if judgement.ground.as_deref() == Some("exempt") => Some(AuditFinding::new(
            FindingCode::ImageExempt,
            &subject,
            judgement.rule.clone().unwrap_or_default(),
        )),
        _ => None,
    }
}

/// What to do with a refused image: to remove it, or what the refusal itself advises. Nothing but
/// other bytes cures a revocation.
fn refused_hint(remove: &str, judgement: &SurveyJudgement) -> String {
    match judgement.hint.as_deref().unwrap_or_default() {
        "" => remove.to_owned(),
        advice if judgement.code.as_deref() == Some(Code::Revoked.as_str()) => {
            format!("{remove}, then {advice}")
        }
        advice => format!("{remove}, or: {advice}"),
    }
}

/// The findings about a trust directory itself.
pub(super) fn directory(directory: &TrustDirectory) -> Option<AuditFinding> {
    let root_keys: BTreeSet<&str> = directory
        .repositories
        .iter()
        .filter_map(root_role)
        .flat_map(|role| &role.keys)
        .map(|key| key.id.as_str())
        .collect();
    let (count, roots) = (
        directory.private_keys.len(),
        directory
            .private_keys
            .iter()
            .filter(|key| root_keys.contains(key.as_str()))
            .count(),
    );
    let detail = match (count, roots) {
        (0, _) => return None,
        (_, 0) => format!("{count} in private/"),
        _ => format!("{count} in private/, {roots} of them of root keys"),
    };
    Some(AuditFinding::new(
        FindingCode::PrivateKey,
        &directory.path,
        detail,
    ))
}

/// Repositories that the policy names and no trust directory has.
pub(super) fn absent(report: &HostReport, named: &[String]) -> Vec<AuditFinding> {
    if report.trust_directories.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<&str> = report
        .trust_directories
        .iter()
        .flat_map(|one| &one.repositories)
        .map(|one| one.repository.as_str())
        .collect();
    let absent = named.iter().filter(|name| !known.contains(name.as_str()));
    absent
        .map(|name| {
            AuditFinding::new(
                FindingCode::NotInTrustDirectory,
                name,
                "named by a [[rule]]",
            )
        })
        .collect()
}

/// The findings about a repository of a trust directory. `policy`: what covers it, and the revoked
/// keys; none where no policy is known.
pub(super) fn repository(
    path: &str,
    one: &TrustedRepository,
    policy: Option<(&Covered, &[String])>,
    now: Timestamp,
) -> Vec<AuditFinding> {
    let subject = format!("{} in {path}", one.repository);
    let mut found = Vec::new();
    let mut tell = |code, detail: String| found.push(AuditFinding::new(code, &subject, detail));
    if let Some((covered, revoked)) = policy {
        if covered.rule.is_none() {
            tell(FindingCode::NotInPolicy, "no entry covers it".to_owned());
        }
        pins(one, covered, &mut tell);
        for role in &one.roles {
            let revoked: Vec<_> = role
                .keys
                .iter()
                .filter(|key| is_revoked(key, revoked))
                .map(|key| key.id.as_str())
                .collect();
            if !revoked.is_empty() {
                tell(
                    FindingCode::KeyRevoked,
                    format!("role {} lists {}", role.name, revoked.join(", ")),
                );
            }
        }
    }
    for role in &one.roles {
        let distinct = role
            .keys
            .iter()
            .map(|key| &key.id)
            .collect::<BTreeSet<_>>()
            .len();
        if u64::try_from(distinct).unwrap_or(u64::MAX) < role.threshold {
            tell(
                FindingCode::ThresholdUnreachable,
                format!(
                    "role {} has {distinct} keys and wants {}",
                    role.name, role.threshold
                ),
            );
        } else if distinct < role.keys.len() {
            tell(
                FindingCode::KeyTwice,
                format!(
                    "role {} lists {} entries over {distinct} keys",
                    role.name,
                    role.keys.len()
                ),
            );
        }
    }
    for (name, file) in &one.files {
        if !file.signed {
            let code = if name == "root.json" {
                FindingCode::RootNotSigned
            } else {
                FindingCode::RoleNotSigned
            };
            tell(
                code,
                format!(
                    "{name} version {} bears {} good signatures of its role's keys",
                    file.version,
                    file.signers.len()
                ),
            );
        }
    }
    if !one.left_over.is_empty() {
        let ids: Vec<_> = one.left_over.iter().map(|key| key.id.as_str()).collect();
        tell(FindingCode::LeftOverKey, ids.join(", "));
    }
    chain(one, &mut tell);
    certificates(one, now, &mut tell);
    for (name, file) in &one.files {
        let renewed = name == "timestamp.json" || name == "snapshot.json";
        let what = format!("{name} version {}", file.version);
        match ending(&subject, &what, &file.expires, now) {
            Some(finding) if !renewed => found.push(finding),
            Some(_) if is_past(&file.expires, now) => {
                found.push(AuditFinding::new(
                    FindingCode::Stale,
                    &subject,
                    format!("{what} expired at {}", file.expires),
                ));
            }
            _ => {}
        }
    }
    found
}

/// The root's role, by which a repository is pinned.
pub(super) fn root_role(one: &TrustedRepository) -> Option<&TrustedRole> {
    one.roles.iter().find(|role| role.name == "root")
}

fn pins(one: &TrustedRepository, covered: &Covered, tell: &mut impl FnMut(FindingCode, String)) {
    let Some(root) = root_role(one).filter(|_| !covered.keys.is_empty()) else {
        return;
    };
    let unpinned: Vec<&ListedKey> = root
        .keys
        .iter()
        .filter(|key| !covered.keys.contains(&key.id))
        .collect();
    if unpinned.is_empty() {
        return;
    }
    let ids: Vec<_> = unpinned.iter().map(|key| key.id.as_str()).collect();
    let code = if unpinned.len() == root.keys.len() {
        FindingCode::RootNotPinned
    } else {
        FindingCode::RootExtraKey
    };
    tell(
        code,
        format!(
            "the root role lists {}, and {} pins {}",
            ids.join(", "),
            covered.roots.join(", "),
            covered.keys.join(", ")
        ),
    );
}

fn chain(one: &TrustedRepository, tell: &mut impl FnMut(FindingCode, String)) {
    for (at, link) in one.chain.iter().enumerate() {
        if link.linked == Some(false) {
            tell(
                FindingCode::ChainBroken,
                format!(
                    "version {} is not signed by the root keys of version {}",
                    link.version,
                    link.version.saturating_sub(1)
                ),
            );
        }
        let of_root = |keys: &[super::report::ReportedKey]| {
            keys.iter()
                .filter(|one| one.role == "root")
                .map(|one| one.key.clone())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (new, gone) = (of_root(&link.introduced), of_root(&link.dropped));
        if at > 0 && !(new.is_empty() && gone.is_empty()) {
            let part = |word: &str, keys: &str| {
                if keys.is_empty() {
                    String::new()
                } else {
                    format!(", {word} {keys}")
                }
            };
            tell(
                FindingCode::RootRotated,
                format!(
                    "version {}{}{}",
                    link.version,
                    part("introduced", &new),
                    part("dropped", &gone)
                ),
            );
        }
    }
}

fn certificates(
    one: &TrustedRepository,
    now: Timestamp,
    tell: &mut impl FnMut(FindingCode, String),
) {
    for key in root_role(one).into_iter().flat_map(|role| &role.keys) {
        let Some(certificate) = &key.certificate else {
            continue;
        };
        let subject = certificate.subject.as_deref().unwrap_or("(none)");
        let below = subject.strip_suffix("/*").is_some_and(|prefix| {
            !prefix.is_empty()
                && one
                    .repository
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('/'))
        });
        if subject != one.repository && !below {
            tell(
                FindingCode::SubjectName,
                format!("certificate {} is for {subject}", key.listed_as),
            );
        }
        if is_past(&certificate.not_after, now) {
            tell(
                FindingCode::CertificateExpired,
                format!(
                    "certificate {} ended at {}",
                    key.listed_as, certificate.not_after
                ),
            );
        } else if is_soon(&certificate.not_after, now) {
            tell(
                FindingCode::ExpiresSoon,
                format!(
                    "certificate {} ends at {}",
                    key.listed_as, certificate.not_after
                ),
            );
        }
    }
}

/// That something is over, or soon will be.
fn ending(subject: &str, what: &str, expires: &str, now: Timestamp) -> Option<AuditFinding> {
    if is_past(expires, now) {
        return Some(AuditFinding::new(
            FindingCode::Expired,
            subject,
            format!("{what} expired at {expires}"),
        ));
    }
    is_soon(expires, now).then(|| {
        AuditFinding::new(
            FindingCode::ExpiresSoon,
            subject,
            format!("{what} expires at {expires}"),
        )
    })
}

fn is_past(end: &str, now: Timestamp) -> bool {
    end.parse::<Timestamp>().is_ok_and(|end| end <= now)
}

fn is_soon(end: &str, now: Timestamp) -> bool {
    end.parse::<Timestamp>()
        .is_ok_and(|end| end.duration_since(now) < SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_advised_to_have_revoked_bytes_signed() {
        let remove = FindingCode::ImageRefused.hint();
        let advised = |code: &str, hint: Option<&str>| {
            let judgement = SurveyJudgement {
                code: Some(code.to_owned()),
                hint: hint.map(str::to_owned),
                ..SurveyJudgement::default()
            };
            refused_hint(remove, &judgement)
        };
        let another = "use another version of the image";
        assert_eq!(
            advised("revoked", Some(another)),
            format!("{remove}, then {another}")
        );
        assert_eq!(
            advised("no-statement", Some("have it signed")),
            format!("{remove}, or: have it signed")
        );
        assert_eq!(advised("no-statement", None), remove);
    }
}

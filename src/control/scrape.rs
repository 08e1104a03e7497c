//! The metrics, with what is looked up when they are asked for.

use std::time::Duration;

use jiff::Timestamp;
use rootpin_policy::Policy;

use crate::decide::Decider;
use crate::observe::{Observer, StatusBoard, label_value};
use crate::state::MarkStanding;

/// Of so many exemptions at most the end is shown, and of so many rules' audits.
const MAX_ENDS: usize = 100;
/// The label of audit mode as a whole, among those of rules.
const AUDIT_MODE: &str = "*";

/// A sample: name, labels, value.
type Sample = (&'static str, String, f64);

/// The metrics that are looked up here; all samples of their names are replaced.
const LOOKED_UP: [&str; 21] = [
    "rootpin_shared_signer_total",
    "rootpin_clock_ok",
    "rootpin_state_ok",
    "rootpin_state_acknowledged",
    "rootpin_state_lost",
    "rootpin_state_begun_seconds",
    "rootpin_audit_ok",
    "rootpin_policy_info",
    "rootpin_exemptions",
    "rootpin_exemption_ends_seconds",
    "rootpin_audit_ends_seconds",
    "rootpin_root_expires_seconds",
    "rootpin_metadata_expires_seconds",
    "rootpin_metadata_age_seconds",
    "rootpin_signature_seen_seconds",
    "rootpin_sources_behind",
    "rootpin_sources_silent",
    "rootpin_break_glass",
    "rootpin_break_glass_until_seconds",
    "rootpin_build_info",
    "rootpin_up",
];

/// Everything, as Prometheus reads it.
pub(crate) fn scrape(
    decider: &Decider,
    observer: &Observer,
    status: &StatusBoard,
    now: Timestamp,
) -> String {
    let mut samples = host(decider, observer, status, now);
    samples.extend(policy(decider, now));
    samples.extend(roots(decider, now));
    let metrics = observer.metrics();
    metrics.replace(&LOOKED_UP, samples);
    metrics.text()
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn count(of: usize) -> f64 {
    u32::try_from(of).unwrap_or(u32::MAX).into()
}

fn since_1970(time: Timestamp) -> f64 {
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH))
        .unwrap_or_default()
        .as_secs_f64()
}

fn host(
    decider: &Decider,
    observer: &Observer,
    status: &StatusBoard,
    now: Timestamp,
) -> Vec<Sample> {
    let plain = |name, value| (name, String::new(), value);
    let standing = status.mark().standing(decider.store());
    let glass = decider.break_glass(now);
    let shared = u32::try_from(decider.shared_signers()).unwrap_or(u32::MAX);
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let mut samples = vec![
        plain("rootpin_shared_signer_total", shared.into()),
        plain(
            "rootpin_clock_ok",
            yes(decider.clock_trouble(now).is_none()),
        ),
        plain("rootpin_state_ok", yes(decider.store().trouble().is_none())),
        plain(
            "rootpin_state_acknowledged",
            yes(standing == MarkStanding::Acknowledged),
        ),
        plain(
            "rootpin_state_lost",
            yes(matches!(standing, MarkStanding::Lost { .. })),
        ),
        plain("rootpin_audit_ok", yes(observer.audit_trouble().is_none())),
        plain("rootpin_break_glass", yes(glass.is_some())),
        ("rootpin_build_info", version, 1.0),
        plain("rootpin_up", 1.0),
    ];
    samples.extend(
        glass.map(|glass| plain("rootpin_break_glass_until_seconds", since_1970(glass.until))),
    );
    if let Ok(Some(origin)) = decider.store().origin() {
        samples.push(plain(
            "rootpin_state_begun_seconds",
            since_1970(origin.begun),
        ));
    }
    samples
}

fn policy(decider: &Decider, now: Timestamp) -> Vec<Sample> {
    let Ok(policy) = decider.policy() else {
        return Vec::new();
    };
    let labels = format!(
        "hash=\"{}\",mode=\"{}\"",
        policy.hash,
        policy.mode_at(Some(now))
    );
    let mut exempt: Vec<_> = policy.exempts().iter().collect();
    exempt.retain(|exempt| !exempt.is_over(now));
    exempt.sort_by_key(|exempt| exempt.until);
    let mut samples = vec![
        ("rootpin_policy_info", labels, 1.0),
        ("rootpin_exemptions", String::new(), count(exempt.len())),
    ];
    let end = |name, pattern: &str, until| {
        let labels = format!("match=\"{}\"", label_value(pattern));
        (name, labels, since_1970(until))
    };
    let exempt = exempt.into_iter().take(MAX_ENDS);
    samples.extend(exempt.map(|exempt| {
        let pattern = exempt.pattern.as_str();
        end("rootpin_exemption_ends_seconds", pattern, exempt.until)
    }));
    let audits = audit_ends(&policy, now);
    let audits = audits.into_iter().take(MAX_ENDS);
    samples
        .extend(audits.map(|(until, pattern)| end("rootpin_audit_ends_seconds", pattern, until)));
    samples
}

/// When audit mode and the rules' audits end, as far as they have not; the first one first.
fn audit_ends(policy: &Policy, now: Timestamp) -> Vec<(Timestamp, &str)> {
    let whole = policy.audit_until.map(|until| (until, AUDIT_MODE));
    let rules = policy.rules.iter();
    let rules = rules.filter_map(|rule| Some((rule.audit_until?, rule.pattern.as_str())));
    let mut ends: Vec<_> = rules.chain(whole).collect();
    ends.retain(|(until, _)| *until > now);
    ends.sort_unstable();
    ends
}

fn roots(decider: &Decider, now: Timestamp) -> Vec<Sample> {
    let mut samples = Vec::new();
    for known in decider.root_expiries() {
        let labels = format!("root=\"{}\"", label_value(&known.root));
        let mut add = |name, value| samples.push((name, labels.clone(), value));
        add("rootpin_root_expires_seconds", since_1970(known.at));
        if let Some(at) = known.metadata {
            add("rootpin_metadata_expires_seconds", since_1970(at));
        }
        if let Some(contact) = known.contact {
            let age = now.duration_since(contact).as_secs_f64();
            add("rootpin_metadata_age_seconds", age.max(0.0));
        }
    }
    for known in decider.signature_roots() {
        let labels = format!("root=\"{}\"", label_value(&known.root.id));
        let seen = known.seen.map(since_1970);
        samples.extend(seen.map(|seen| ("rootpin_signature_seen_seconds", labels, seen)));
    }
    let behind = count(decider.sources_behind().len());
    samples.push(("rootpin_sources_behind", String::new(), behind));
    let silent = count(decider.silent_sources().len());
    samples.push(("rootpin_sources_silent", String::new(), silent));
    samples
}

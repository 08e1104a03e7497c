//! The daemon's health: its state, its clock, its records, and the roots that it
//! trusts.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::decide::survey::ReportedBinding;
use crate::decide::{Decider, RootExpiry, SignatureRoot};
use crate::plain_text::time_left;
use crate::problem::Problem;
use crate::state::{HostTime, MarkStanding, StateMark};
use rootpin_policy::RootKind;

/// A root that expires within this time is to be renewed by its publisher.
const RENEW_WITHIN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is to be told of the state: what is wrong with it, and whether anybody knows that it is
/// new.
pub(super) fn state(mark: &StateMark, decider: &Decider, red: &mut Vec<String>) -> Value {
    let trouble = decider.store().trouble();
    let standing = mark.standing(decider.store());
    let folder = decider.store().directory().display();
    let problem = match &standing {
        MarkStanding::Acknowledged => None,
        MarkStanding::New(origin) => Some(Problem::hinted(
            format!(
                "new since {}: nothing that this host saw before protects it from rollback",
                origin.begun
            ),
            format!(
                "on a new host, `rootpin state acknowledge`; else look for the volume of {folder}"
            ),
        )),
        MarkStanding::Lost { known, origin } => Some(Problem::hinted(
            format!(
                "LOST: {} names the state {known}, and {folder} has {}",
                mark.path().display(),
                origin
                    .as_ref()
                    .map_or("one without an ID".to_owned(), |origin| format!(
                        "another one, begun at {}",
                        origin.begun
                    ))
            ),
            "mount or restore the folder and restart rootpind; if the floors are gone for good, `rootpin state acknowledge --lost`",
        )),
        MarkStanding::Unknown(why) => trouble.is_none().then(|| {
            let why = why.clone();
            why.about("whether it is the one that was acknowledged can't be told")
        }),
    };
    red.extend(trouble.iter().map(|_| "the state is in trouble".to_owned()));
    if matches!(standing, MarkStanding::Lost { .. }) {
        red.push("the state is not the one that was acknowledged on this host".to_owned());
    }
    json!({ "ok": trouble.is_none() && !matches!(standing, MarkStanding::Lost { .. }), "trouble": trouble, "standing": standing.as_str(),
        "told": problem.as_ref().map(ToString::to_string), "what": problem.as_ref().map(|problem| &problem.what),
        "hint": problem.as_ref().and_then(|problem| problem.hint.as_ref()) })
}

/// A root and until when its own metadata holds. Nothing is signed under it after that, so an
/// expired one is for a person.
fn root(expiry: &RootExpiry, now: Timestamp, red: &mut Vec<String>) -> Value {
    let RootExpiry {
        root,
        at: expires,
        unread,
        ..
    } = expiry;
    let left = expires.duration_since(now);
    let trouble = match left {
        left if left <= SignedDuration::ZERO => {
            red.push(format!("root {root} is expired"));
            Some(Problem::hinted(
                format!("root {root} expired at {expires}"),
                "its publisher renews it with `rootpin repo rotate`, or the tool that made it",
            ))
        }
        left if left <= RENEW_WITHIN => Some(Problem::hinted(
            format!("root {root} expires at {expires}, in {}", time_left(left)),
            "its publisher must renew it",
        )),
        _ => None,
    };
    let trouble = trouble.map(|problem| problem.to_string());
    json!({ "id": root, "expires": expires.to_string(), "trouble": trouble, "unread": unread })
}

/// Break-glass: as long as it is in force, a person must act.
pub(super) fn break_glass(decider: &Decider, now: Timestamp, red: &mut Vec<String>) -> Value {
    let shown = super::break_glass::shown(decider, &HostTime::at(now));
    if super::break_glass::is_in_force(&shown) {
        let until = shown.get("until").and_then(Value::as_str);
        let until = until.unwrap_or_default();
        red.push(format!("break-glass is in force until {until}"));
    }
    shown
}

/// Every root whose metadata is known here, and every one whose signatures are beside images.
pub(super) fn roots(decider: &Decider, now: Timestamp, red: &mut Vec<String>) -> Vec<Value> {
    let expiring = decider.root_expiries();
    let of_metadata = expiring.iter().map(|expiry| root(expiry, now, red));
    let mut rows: Vec<Value> = of_metadata.collect();
    rows.extend(decider.signature_roots().iter().map(signature_root));
    rows
}

/// A root whose signatures are beside images: its keys, and when such a signature was last found.
/// That none was is no fault: an image that is cached asks no registry.
fn signature_root(SignatureRoot { root, seen }: &SignatureRoot) -> Value {
    let kind = match root.kind {
        RootKind::Notation(_) => "notation",
        RootKind::Cosign(_) | RootKind::Notary(_) | RootKind::Tuf(_) => "cosign",
    };
    let keys: Vec<String> = root.keys.iter().map(ToString::to_string).collect();
    let (count, plural) = (keys.len(), if keys.len() == 1 { "" } else { "s" });
    let seen = seen.map(|seen| format!("{seen:.0}"));
    let last = seen
        .as_deref()
        .map_or("none was found in a registry yet".to_owned(), |seen| {
            format!("the last one was found at {seen}")
        });
    let binds = root.binds();
    json!({ "id": root.id, "type": kind, "binds": ReportedBinding::of(root), "keys": keys, "seen": seen,
        "told": format!("{} ({kind}, {count} key{plural}, {binds}): {last}", root.id) })
}

/// Every source that shows less than this host has verified. What was verified answers for it, so
/// none makes the host red.
pub(super) fn behind(decider: &Decider) -> Vec<Value> {
    decider
        .sources_behind()
        .into_iter()
        .map(|behind| {
            let refusal = &behind.refusal;
            let what = format!(
                "{} is behind since {}: {refusal}; what was verified answers until {}",
                behind.source, behind.since, behind.until
            );
            json!({
                "source": behind.source,
                "since": behind.since.to_string(),
                "times": behind.times,
                "until": behind.until.to_string(),
                "code": refusal.code.as_str(),
                "trouble": Problem::hinted(what, refusal.hint.as_str()).to_string(),
            })
        })
        .collect()
}

/// The sources that do not answer while what was verified does: none makes the host red.
pub(super) fn silent(decider: &Decider) -> Vec<Value> {
    let silent = decider.silent_sources().into_iter();
    silent
        .map(|silent| {
            json!({ "source": silent.source, "since": silent.since.to_string(), "trouble": silent.told() })
        })
        .collect()
}

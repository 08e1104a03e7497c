//! `rootpin status`: what is known of the doors: proven, configured or not checked, and never more
//! than was shown.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ahead, health};
use crate::decide::{Decider, Door};
use crate::observe::{
    CredentialAsker, CredentialCounts, Observer, SelfChecks, StatusBoard, Swept, Unproven,
};
use crate::plain_text::counted;

/// What is known of whether an engine asks a door.
struct DoorProof {
    state: &'static str,
    /// `false`: the engine is known to pass the door by. `None`: that is not known.
    asked: Option<bool>,
    detail: Option<String>,
}

impl DoorProof {
    fn not_asked(detail: String) -> Self {
        Self {
            state: "not checked",
            asked: Some(false),
            detail: Some(detail),
        }
    }
}

impl From<(&'static str, Option<String>)> for DoorProof {
    fn from((state, detail): (&'static str, Option<String>)) -> Self {
        Self {
            state,
            asked: (state == "proven").then_some(true),
            detail,
        }
    }
}

/// How long a status waits for the self-checks that it demands.
pub(super) const CHECKED_WITHIN: Duration = Duration::from_secs(2);

/// Why the verifier is not checked.
const UNTOLD: &str =
    "containerd doesn't tell whether it runs the verifier: a question that comes is the proof";

/// The object of `rootpin status --json`, and the exit code: 0, or 1 when a person must act.
pub(super) fn report(board: &StatusBoard, decider: &Decider, observer: &Observer) -> (Value, u32) {
    let found = board.checks();
    let mut red = Vec::new();
    let doors = doors(board, &found, observer, &mut red);
    let now = Timestamp::now();
    let policy = policy(decider, &found, now, &mut red);
    let state = health::state(board.mark(), decider, &mut red);
    let clock = decider.clock_trouble(now);
    red.extend(clock.iter().map(|_| "the clock can't be right".to_owned()));
    let audit = observer.audit_trouble();
    red.extend(
        audit
            .iter()
            .map(|_| "decisions are not recorded".to_owned()),
    );
    let glass = health::break_glass(decider, now, &mut red);
    let roots = health::roots(decider, now, &mut red);
    let ahead = ahead::shown(decider, now);
    let value = json!({
        "version": 1,
        "ok": red.is_empty(),
        "why": red,
        "rootpin": env!("CARGO_PKG_VERSION"),
        "started": seconds(board.started),
        "policy": policy,
        "state": state,
        "clock": { "ok": clock.is_none(), "trouble": clock },
        "audit": { "ok": audit.is_none(), "trouble": audit },
        "break_glass": glass,
        "roots": roots,
        "ahead": ahead,
        "behind": health::behind(decider),
        "silent": health::silent(decider),
        "doors": doors,
    });
    (value, u32::from(!red.is_empty()))
}

/// A row for each door that rootpin.toml opens, and for each engine's sweep.
fn doors(
    board: &StatusBoard,
    found: &SelfChecks,
    observer: &Observer,
    red: &mut Vec<String>,
) -> Vec<Value> {
    let asked = |door, engine: Option<&str>| observer.last_question(door, engine).map(seconds);
    let last = asked(Door::Verifier, None);
    let (state, detail) = match &last {
        Some(_) => ("proven", None),
        None => ("not checked", Some(UNTOLD.to_owned())),
    };
    let mut doors = vec![row(Door::Verifier, None, last.as_deref(), (state, detail))];
    for engine in &board.engines {
        let of = Some(engine.as_str());
        let last = asked(Door::Gate, of);
        doors.push(row(
            Door::Gate,
            of,
            last.as_deref(),
            found.proof(Door::Gate, engine, red),
        ));
        let last = asked(Door::Apply, of);
        let applies = found.applies(engine, last.is_some());
        doors.push(row(Door::Apply, of, last.as_deref(), applies));
        if let Some(running) = found.run_time.get(engine) {
            let last = asked(Door::Run, of);
            if running.is_err() {
                red.push(format!("{engine} does not ask run"));
            }
            let runs = runs(running, last.is_some());
            doors.push(row(Door::Run, of, last.as_deref(), runs));
        }
    }
    if let Some(address) = &board.resolver {
        let last = asked(Door::Resolver, None);
        let (state, detail) = match &last {
            Some(_) => ("proven", format!("at {address}")),
            None => (
                "not checked",
                format!(
                    "at {address}: `rootpin hosts check` says whether hosts.toml leads there and nowhere else"
                ),
            ),
        };
        doors.push(row(
            Door::Resolver,
            None,
            last.as_deref(),
            (state, Some(detail)),
        ));
    }
    for plugin in &board.plugins {
        let last = asked(Door::Authz, Some(plugin));
        let proof = found.proof(Door::Authz, plugin, red);
        doors.push(row(Door::Authz, Some(plugin), last.as_deref(), proof));
    }
    doors.extend(credentials(board, observer));
    for (engine, swept) in &found.swept {
        if swept.refused > 0 {
            red.push(format!(
                "{engine} has names that are refused: {}, see rootpin sweep --dry-run",
                swept.refused
            ));
        }
        doors.push(sweep_row(engine, swept, found.watching.get(engine)));
    }
    for door in &mut doors {
        red.extend(found.without_socket(door));
    }
    doors
}

/// A row for each of those who ask for this host's credentials.
fn credentials(board: &StatusBoard, observer: &Observer) -> Vec<Value> {
    let mut asked = observer.credentials_asked();
    if board.kubelet {
        asked.entry(CredentialAsker::Kubelet).or_default();
    }
    let row = |(asker, counts): (CredentialAsker, CredentialCounts)| {
        let last = counts.last.map(seconds);
        let CredentialCounts {
            given,
            withheld,
            failed,
            ..
        } = counts;
        let (state, detail) = match &last {
            Some(_) => (
                "proven",
                format!("since the start {given} given, {withheld} withheld, {failed} failed"),
            ),
            None => (
                "not checked",
                "`rootpin doctor` says whether the kubelet asks another provider".to_owned(),
            ),
        };
        let mut row = row(
            Door::Credentials,
            Some(asker.as_str()),
            last.as_deref(),
            (state, Some(detail)),
        );
        let counts = [("given", given), ("withheld", withheld), ("failed", failed)];
        if let Some(members) = row.as_object_mut() {
            members.extend(counts.map(|(name, count)| (name.to_owned(), json!(count))));
        }
        row
    };
    asked.into_iter().map(row).collect()
}

fn row(door: Door, engine: Option<&str>, last: Option<&str>, proof: impl Into<DoorProof>) -> Value {
    let DoorProof {
        state,
        asked,
        detail,
    } = proof.into();
    json!({ "door": door.as_str(), "engine": engine, "state": state, "asked": asked, "last_question": last, "detail": detail })
}

/// Whether containerd asks before it makes containers, and whether it had made some that may not
/// run.
fn runs(running: &Result<usize, String>, is_asked: bool) -> DoorProof {
    let asks = if is_asked { "proven" } else { "configured" };
    match running {
        Ok(0) => (asks, None).into(),
        Ok(refused) => {
            let detail =
                format!("containers that ran already and may not run: {refused}, see the log");
            (asks, Some(detail)).into()
        }
        Err(why) => DoorProof::not_asked(format!(
            "NOT ASKED, containers are made all the same: {why}"
        )),
    }
}

fn policy(decider: &Decider, found: &SelfChecks, now: Timestamp, red: &mut Vec<String>) -> Value {
    match decider.policy() {
        Ok(policy) => {
            let warnings: Vec<_> = policy.warnings.iter().map(ToString::to_string).collect();
            let mode = policy.mode_at(decider.instant(now)).as_str();
            red.extend(
                found
                    .policy_trouble
                    .iter()
                    .map(|_| "the policy on disk is not in force".to_owned()),
            );
            json!({ "in_force": true, "hash": policy.hash.to_string(), "mode": mode,
                "audit_until": policy.audit_until.map(|until| until.to_string()), "local": policy.local.allow, "trouble": found.policy_trouble,
                "warnings": warnings })
        }
        Err(refusal) => {
            red.push("no policy is in force".to_owned());
            json!({ "in_force": false, "hash": null, "mode": null, "trouble": refusal.found, "warnings": [] })
        }
    }
}

impl SelfChecks {
    /// Whether containerd applies layers by an engine's gate.
    fn applies(&self, engine: &str, is_asked: bool) -> (&'static str, Option<String>) {
        match self.appliers.get(engine) {
            _ if is_asked => ("proven", None),
            Some(Ok(true)) => ("configured", None),
            Some(Ok(false)) => (
                "not checked",
                Some("containerd has no differ at this socket".to_owned()),
            ),
            Some(Err(why)) => ("not checked", Some(why.clone())),
            None => ("not checked", None),
        }
    }

    /// What the last self-check of a door says of it; one that is passed by is for a person to
    /// mend.
    fn proof(&self, door: Door, engine: &str, red: &mut Vec<String>) -> DoorProof {
        match self.canaries.get(engine) {
            None => ("not checked", None).into(),
            Some((_, Ok(()))) => ("proven", None).into(),
            Some((at, Err(Unproven::Silent(why)))) => {
                red.push(format!("{engine} does not answer"));
                ("not checked", Some(format!("at {}: {why}", seconds(*at)))).into()
            }
            Some((at, Err(Unproven::Passed(why)))) => {
                red.push(format!("{engine} does not ask {}", door.as_str()));
                DoorProof::not_asked(format!("NOT ASKED at {}: {why}", seconds(*at)))
            }
            Some((at, Err(Unproven::Bypassed(why)))) => {
                red.push(format!("{engine} has a way past {}", door.as_str()));
                bypassed(*at, why)
            }
            // It is shown, and nobody has to act.
            Some((at, Err(Unproven::Accepted(why)))) => bypassed(*at, why),
        }
    }

    /// Tells of a door that nobody can ask, whatever else is known of it.
    fn without_socket(&self, row: &mut Value) -> Option<String> {
        let (door, engine) = (
            row.get("door")?.as_str()?.to_owned(),
            row.get("engine").and_then(Value::as_str).map(str::to_owned),
        );
        let (_, why) = self
            .deaf
            .iter()
            .find(|((name, of), _)| *name == door && *of == engine)?;
        let row = row.as_object_mut()?;
        row.insert("state".to_owned(), json!("not listening"));
        row.insert("detail".to_owned(), json!(format!("NOT LISTENING: {why}")));
        Some(engine.map_or_else(
            || format!("{door} does not listen"),
            |engine| format!("{door} of {engine} does not listen"),
        ))
    }
}

fn bypassed(at: Timestamp, why: &str) -> DoorProof {
    let detail = format!("BYPASSED at {}: {why}", seconds(at));
    ("bypassed", Some(detail)).into()
}

/// A time as people read it: nobody needs the nanoseconds of a question.
fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The row of a sweeper.
fn sweep_row(engine: &str, swept: &Swept, watching: Option<&Result<(), String>>) -> Value {
    let Swept {
        at,
        images,
        refused,
        unjudged,
        trouble,
    } = swept;
    let names = counted(*images, "name");
    let mut detail = format!("{names}: {refused} refused, {unjudged} not judged");
    detail.extend(trouble.iter().map(|trouble| format!("; {trouble}")));
    let deaf = watching.and_then(|watching| watching.as_ref().err());
    detail.extend(deaf.map(|why| format!("; no events: {why}")));
    let state = watching.map_or("not checked", |watching| {
        if watching.is_ok() {
            "watching"
        } else {
            "not watching"
        }
    });
    let last = at.map(seconds);
    json!({ "door": Door::Sweep.as_str(), "engine": engine, "state": state, "last_question": last, "detail": detail })
}

//! What is known of the doors: proven, configured or not checked, and never more than was shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::health;
use crate::decide::{Decider, Door};
use crate::observe::Observer;
use crate::state::Mark;

/// What came of a self-check that did not prove its door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unproven {
    /// The engine said something else than it would after asking: it passes the door by.
    Passed(String),
    /// The engine asks, and does on another road what the door would refuse.
    Bypassed(String),
    /// The engine said nothing.
    Silent(String),
}

/// What the self-checks and the look at the policy last found.
#[derive(Debug)]
pub struct StatusBoard {
    started: Timestamp,
    engines: Vec<String>,
    /// Where the resolver listens, if there is one.
    resolver: Option<String>,
    /// The dockerds that have an authorization plugin here.
    plugins: Vec<String>,
    mark: Mark,
    inner: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    canaries: BTreeMap<String, (Timestamp, Result<(), Unproven>)>,
    /// Whether the engine has a differ at the applying gate's socket, or why that is not known.
    appliers: BTreeMap<String, Result<bool, String>>,
    /// How many containers ran already that may not run, or why no container is asked for.
    run_time: BTreeMap<String, Result<usize, String>>,
    policy_trouble: Option<String>,
    /// Of each sweeper: what it last found, and whether it hears of names as they are written.
    swept: BTreeMap<String, Swept>,
    watching: BTreeMap<String, Result<(), String>>,
    /// The doors that have no socket, with the engine whose they are, and why.
    deaf: BTreeMap<(&'static str, Option<String>), String>,
}

/// How the names on an engine stand.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// When all were last looked at.
    pub at: Option<Timestamp>,
    /// How many there are.
    pub images: usize,
    /// How many of them the policy refuses.
    pub refused: usize,
    /// How many could not be judged.
    pub unjudged: usize,
    /// What could not be looked at.
    pub trouble: Option<String>,
}

impl Found {
    /// What the last self-check of a door says of it; one that is passed by is for a person to
    /// mend.
    fn proof(
        &self,
        door: Door,
        engine: &str,
        red: &mut Vec<String>,
    ) -> (&'static str, Option<String>) {
        match self.canaries.get(engine) {
            None => ("not checked", None),
            Some((_, Ok(()))) => ("proven", None),
            Some((at, Err(Unproven::Silent(why)))) => {
                ("not checked", Some(format!("at {}: {why}", seconds(*at))))
            }
            Some((at, Err(Unproven::Passed(why)))) => {
                red.push(format!("{engine} does not ask {}", door.as_str()));
                (
                    "not checked",
                    Some(format!("NOT ASKED at {}: {why}", seconds(*at))),
                )
            }
            Some((at, Err(Unproven::Bypassed(why)))) => {
                red.push(format!("{engine} has a way past {}", door.as_str()));
                (
                    "bypassed",
                    Some(format!("BYPASSED at {}: {why}", seconds(*at))),
                )
            }
        }
    }
}

impl Found {
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

/// Why the verifier is not checked.
const UNTOLD: &str =
    "containerd doesn't tell whether it runs the verifier: a question that comes is the proof";

impl StatusBoard {
    /// Nothing checked yet.
    #[must_use]
    pub fn new(
        started: Timestamp,
        engines: Vec<String>,
        resolver: Option<String>,
        plugins: Vec<String>,
        mark: Mark,
    ) -> Self {
        Self {
            started,
            engines,
            resolver,
            plugins,
            mark,
            inner: Mutex::default(),
        }
    }

    /// Where the state that a person knows of is written down.
    #[must_use]
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// What an engine's canary brought back.
    pub fn canary(&self, engine: &str, at: Timestamp, result: Result<(), Unproven>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .canaries
            .insert(engine.to_owned(), (at, result));
    }

    /// Whether an engine has a differ at its applying gate's socket.
    pub fn applier(&self, engine: &str, found: Result<bool, String>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .appliers
            .insert(engine.to_owned(), found);
    }

    /// How many of an engine's containers ran already that may not run, or why none is asked for.
    pub fn run_time(&self, engine: &str, found: Result<usize, String>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .run_time
            .insert(engine.to_owned(), found);
    }

    /// What a sweep found.
    pub fn swept(&self, engine: &str, swept: Swept) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .swept
            .insert(engine.to_owned(), swept);
    }

    /// Whether an engine tells of names as they are written.
    pub fn watching(&self, engine: &str, watching: Result<(), String>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watching
            .insert(engine.to_owned(), watching);
    }

    /// Whether a door has its socket, or why not.
    pub fn listening(&self, door: Door, engine: Option<&str>, result: Result<(), String>) {
        let deaf = &mut self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .deaf;
        let key = (door.as_str(), engine.map(str::to_owned));
        match result {
            Ok(()) => _ = deaf.remove(&key),
            Err(why) => _ = deaf.insert(key, why),
        }
    }

    /// Whether a door has its socket.
    #[must_use]
    pub fn is_listening(&self, door: Door, engine: Option<&str>) -> bool {
        let key = (door.as_str(), engine.map(str::to_owned));
        !self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .deaf
            .contains_key(&key)
    }

    /// What is wrong with the policy on disk while another one is in force; `None` when it is the
    /// one in force.
    pub fn policy_trouble(&self, trouble: Option<String>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .policy_trouble = trouble;
    }

    /// What is wrong with the policy on disk, or that there is none in force.
    #[must_use]
    pub fn trouble(&self, decider: &Decider) -> Option<String> {
        let known = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .policy_trouble
            .clone();
        known.or_else(|| decider.policy().err().map(|refusal| refusal.found))
    }

    /// The object of `rootpin status --json`, and the exit code: 0, or 1 when a person must act.
    #[must_use]
    pub fn report(&self, decider: &Decider, observer: &Observer) -> (Value, u32) {
        let found = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = |door, engine: Option<&str>| observer.last_question(door, engine).map(seconds);
        let mut doors = vec![json!({
            "door": Door::Verifier.as_str(),
            "engine": null,
            "state": if asked(Door::Verifier, None).is_some() { "proven" } else { "not checked" },
            "last_question": asked(Door::Verifier, None),
            "detail": if asked(Door::Verifier, None).is_some() { None } else { Some(UNTOLD) },
        })];
        let mut red = Vec::new();
        for engine in &self.engines {
            let (gate, detail) = found.proof(Door::Gate, engine, &mut red);
            let last = asked(Door::Gate, Some(engine));
            doors.push(json!({ "door": "gate", "engine": engine, "state": gate, "last_question": last, "detail": detail }));
            let last = asked(Door::Apply, Some(engine));
            let (state, detail) = match found.appliers.get(engine) {
                _ if last.is_some() => ("proven", None),
                Some(Ok(true)) => ("configured", None),
                Some(Ok(false)) => (
                    "not checked",
                    Some("containerd has no differ at this socket".to_owned()),
                ),
                Some(Err(why)) => ("not checked", Some(why.clone())),
                None => ("not checked", None),
            };
            doors.push(json!({ "door": "apply", "engine": engine, "state": state, "last_question": last, "detail": detail }));
            if let Some(found_running) = found.run_time.get(engine) {
                let last = asked(Door::Run, Some(engine));
                if found_running.is_err() {
                    red.push(format!("{engine} does not ask run"));
                }
                let asks = if last.is_some() {
                    "proven"
                } else {
                    "configured"
                };
                let (state, detail) = match found_running {
                    Ok(0) => (asks, None),
                    Ok(refused) => (
                        asks,
                        Some(format!(
                            "containers that ran already and may not run: {refused}, see the log"
                        )),
                    ),
                    Err(why) => (
                        "not checked",
                        Some(format!(
                            "NOT ASKED, containers are made all the same: {why}"
                        )),
                    ),
                };
                doors.push(json!({ "door": "run", "engine": engine, "state": state, "last_question": last, "detail": detail }));
            }
        }
        if let Some(address) = &self.resolver {
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
            doors.push(json!({ "door": "resolver", "engine": null, "state": state, "last_question": last, "detail": detail }));
        }
        for plugin in &self.plugins {
            let (state, detail) = found.proof(Door::Authz, plugin, &mut red);
            let last = asked(Door::Authz, Some(plugin));
            doors.push(json!({ "door": "authz", "engine": plugin, "state": state, "last_question": last, "detail": detail }));
        }
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
        let policy = match decider.policy() {
            Ok(policy) => {
                let warnings: Vec<_> = policy.warnings.iter().map(ToString::to_string).collect();
                let mode = policy.mode.as_str();
                red.extend(
                    found
                        .policy_trouble
                        .iter()
                        .map(|_| "the policy on disk is not in force".to_owned()),
                );
                json!({ "in_force": true, "hash": policy.hash.to_string(), "mode": mode, "local": policy.local.allow, "trouble": found.policy_trouble,
                    "warnings": warnings })
            }
            Err(refusal) => {
                red.push("no policy is in force".to_owned());
                json!({ "in_force": false, "hash": null, "mode": null, "trouble": refusal.found, "warnings": [] })
            }
        };
        let now = Timestamp::now();
        let state = health::state(&self.mark, decider, &mut red);
        let clock = decider.clock_trouble(now);
        red.extend(clock.iter().map(|_| "the clock can't be right".to_owned()));
        let audit = observer.audit_trouble();
        red.extend(
            audit
                .iter()
                .map(|_| "decisions are not recorded".to_owned()),
        );
        let roots = health::roots(decider, now, &mut red);
        let value = json!({
            "version": 1,
            "ok": red.is_empty(),
            "why": red,
            "rootpin": env!("CARGO_PKG_VERSION"),
            "started": seconds(self.started),
            "policy": policy,
            "state": state,
            "clock": { "ok": clock.is_none(), "trouble": clock },
            "audit": { "ok": audit.is_none(), "trouble": audit },
            "roots": roots,
            "behind": health::behind(decider),
            "doors": doors,
        });
        (value, u32::from(!red.is_empty()))
    }
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
    let mut detail = format!("{images} names: {refused} refused, {unjudged} not judged");
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

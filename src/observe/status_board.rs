//! The status board: what the self-checks, the sweeps and the look at the policy last found.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::decide::{Decider, Door};
use crate::state::StateMark;

/// What came of a self-check that did not prove its door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unproven {
    /// The engine said something else than it would after asking: it passes the door by.
    Passed(String),
    /// The engine asks, and does on another road what the door would refuse.
    Bypassed(String),
    /// The same, and another door judges what comes in so, or a person has accepted it.
    Accepted(String),
    /// The engine said nothing.
    Silent(String),
}

/// What the self-checks and the look at the policy last found.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    pub(crate) started: Timestamp,
    pub(crate) engines: Vec<String>,
    /// Where the resolver listens, if there is one.
    pub(crate) resolver: Option<String>,
    /// The dockerds that have an authorization plugin here.
    pub(crate) plugins: Vec<String>,
    /// Whether a kubelet's credential providers are asked for it.
    pub(crate) kubelet: bool,
    mark: StateMark,
    inner: Mutex<SelfChecks>,
    /// The number of the last demand for self-checks that are made now.
    demands: watch::Sender<u64>,
    /// Of each engine that is checked: which demand its last check answers.
    answered: watch::Sender<BTreeMap<String, u64>>,
}

/// The demands for self-checks of one engine.
#[derive(Debug)]
pub(crate) struct CheckDemands(watch::Receiver<u64>);

impl CheckDemands {
    /// The demand that a check which begins now answers, as every one before it.
    pub(crate) fn begin(&mut self) -> u64 {
        *self.0.borrow_and_update()
    }

    /// Waits for so long, or for a demand that no check which has begun answers.
    pub(crate) async fn demanded_within(&mut self, time: Duration) {
        if let Ok(Err(_)) = tokio::time::timeout(time, self.0.changed()).await {
            // Nobody can demand any more.
            tokio::time::sleep(time).await;
        }
    }
}

/// What was found last.
#[derive(Debug, Default)]
pub(crate) struct SelfChecks {
    pub(crate) canaries: BTreeMap<String, (Timestamp, Result<(), Unproven>)>,
    /// Whether the engine has a differ at the applying gate's socket, or why that is not known.
    pub(crate) appliers: BTreeMap<String, Result<bool, String>>,
    /// How many containers ran already that may not run, or why no container is asked for.
    pub(crate) run_time: BTreeMap<String, Result<usize, String>>,
    pub(crate) policy_trouble: Option<String>,
    /// Of each sweeper: what it last found, and whether it hears of names as they are written.
    pub(crate) swept: BTreeMap<String, Swept>,
    pub(crate) watching: BTreeMap<String, Result<(), String>>,
    /// The doors that have no socket, with the engine whose they are, and why.
    pub(crate) deaf: BTreeMap<(&'static str, Option<String>), String>,
}

/// How the names on an engine stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Swept {
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

impl StatusBoard {
    /// Nothing checked yet.
    #[must_use]
    pub(crate) fn new(
        started: Timestamp,
        engines: Vec<String>,
        resolver: Option<String>,
        plugins: Vec<String>,
        kubelet: bool,
        mark: StateMark,
    ) -> Self {
        Self {
            started,
            engines,
            resolver,
            plugins,
            kubelet,
            mark,
            inner: Mutex::default(),
            demands: watch::Sender::default(),
            answered: watch::Sender::default(),
        }
    }

    /// From now on an engine is checked, whenever somebody demands it.
    pub(crate) fn checked_on_demand(&self, engine: &str) -> CheckDemands {
        self.answered.send_modify(|answered| {
            answered.insert(engine.to_owned(), 0);
        });
        CheckDemands(self.demands.subscribe())
    }

    /// Has each engine checked now, and waits for that, no longer than `within`: what was found last
    /// may be of an engine that was restarted since.
    pub(crate) async fn check_now(&self, within: Duration) {
        let mut answered = self.answered.subscribe();
        let mut demand = 0;
        self.demands.send_modify(|last| {
            *last += 1;
            demand = *last;
        });
        let all = answered.wait_for(|answered| answered.values().all(|known| *known >= demand));
        // An engine that hangs is shown as it was found last.
        let _ = tokio::time::timeout(within, all).await;
    }

    /// All that was found last.
    pub(crate) fn checks(&self) -> MutexGuard<'_, SelfChecks> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the state that a person knows of is written down.
    #[must_use]
    pub(crate) fn mark(&self) -> &StateMark {
        &self.mark
    }

    /// What an engine's canary brought back, which answers this demand.
    pub(crate) fn canary(&self, engine: &str, demand: u64, result: Result<(), Unproven>) {
        self.checks()
            .canaries
            .insert(engine.to_owned(), (Timestamp::now(), result));
        self.answered.send_modify(|answered| {
            answered.insert(engine.to_owned(), demand);
        });
    }

    /// Whether an engine has a differ at its applying gate's socket.
    pub(crate) fn applier(&self, engine: &str, found: Result<bool, String>) {
        self.checks().appliers.insert(engine.to_owned(), found);
    }

    /// How many of an engine's containers ran already that may not run, or why none is asked for.
    pub(crate) fn run_time(&self, engine: &str, found: Result<usize, String>) {
        self.checks().run_time.insert(engine.to_owned(), found);
    }

    /// What a sweep found.
    pub(crate) fn swept(&self, engine: &str, swept: Swept) {
        self.checks().swept.insert(engine.to_owned(), swept);
    }

    /// Whether an engine tells of names as they are written.
    pub(crate) fn watching(&self, engine: &str, watching: Result<(), String>) {
        self.checks().watching.insert(engine.to_owned(), watching);
    }

    /// Whether a door has its socket, or why not.
    pub(crate) fn listening(&self, door: Door, engine: Option<&str>, result: Result<(), String>) {
        let deaf = &mut self.checks().deaf;
        let key = (door.as_str(), engine.map(str::to_owned));
        match result {
            Ok(()) => _ = deaf.remove(&key),
            Err(why) => _ = deaf.insert(key, why),
        }
    }

    /// Whether a door has its socket.
    #[must_use]
    pub(crate) fn is_listening(&self, door: Door, engine: Option<&str>) -> bool {
        let key = (door.as_str(), engine.map(str::to_owned));
        !self.checks().deaf.contains_key(&key)
    }

    /// What is wrong with the policy on disk while another one is in force; `None` when it is the
    /// one in force.
    pub(crate) fn policy_trouble(&self, trouble: Option<String>) {
        self.checks().policy_trouble = trouble;
    }

    /// What is wrong with the policy on disk, or that there is none in force.
    #[must_use]
    pub(crate) fn trouble(&self, decider: &Decider) -> Option<String> {
        let known = self.checks().policy_trouble.clone();
        known.or_else(|| decider.policy().err().map(|refusal| refusal.found))
    }
}

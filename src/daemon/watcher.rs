//! The policy's files: looked at, judged, and judged again when they, or the time, have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::decide::{Decider, InForce, policy_unusable};
use crate::observe::{Observer, StatusBoard};
use crate::policy_dir::{Earliest, LastGood, Owner, PolicyDir};
use crate::state::MarkStanding;

/// How long a changed file must stay as it is before it is taken: a copy cut short may be valid
/// TOML.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// How often a policy that was refused is tried again, though its files are the same.
const RETRY: Duration = Duration::from_secs(3);
/// How often the policy's files are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The first policy. One that does not load is no reason not to serve: the last one that did stays
/// in force, as it would have without the restart; where there is none, everything is refused,
/// saying why. `standing`: of the state that the last one is kept in. One that is not the state of
/// this host brings no policy along.
pub(super) fn first_policy(
    first: &Candidate,
    last_good: &LastGood,
    dir: &Path,
    standing: &MarkStanding,
) -> InForce {
    match &first.loaded {
        Ok(policy) => {
            tell(policy);
            Ok(Arc::clone(policy))
        }
        Err(why) => {
            let ours = matches!(standing, MarkStanding::Acknowledged | MarkStanding::New(_));
            if let Some(policy) = last_good
                .load(dir, first.at.max(first.earliest.at))
                .filter(|_| ours)
            {
                log::error!(
                    "{why}; the last good one, {}, is in force again",
                    policy.hash
                );
                return Ok(Arc::new(policy));
            }
            log::error!("{why}; everything is refused until it loads");
            Err(policy_unusable(why))
        }
    }
}

/// What is legal in it and yet hardly meant.
fn tell(policy: &rootpin_policy::Policy) {
    for warning in &policy.warnings {
        log::warn!("{warning}");
    }
}

/// The first error and how many there are: enough for a refusal; `rootpin policy check` shows all.
fn summary(dir: &Path, errors: &[rootpin_policy::Diagnostic]) -> String {
    let first = errors
        .first()
        .map(|error| {
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .unwrap_or_default();
    let more = if errors.len() > 1 {
        format!(" (and {} more)", errors.len() - 1)
    } else {
        String::new()
    };
    format!(
        "the policy in {} does not load: {first}{more}",
        dir.display()
    )
}

/// Looks at the policy's files and takes what has changed.
pub(super) struct Watcher {
    dir: PathBuf,
    /// What the last look that was taken had read.
    taken: PolicyDir,
    /// What came of it, and when it is to be judged again though no file has changed.
    judged: JudgedPolicy,
    last_good: LastGood,
    /// Whether the policy in force is to be kept as soon as it is known whose the state is.
    unkept: bool,
    decider: Arc<Decider>,
    observer: Arc<Observer>,
    status: Arc<StatusBoard>,
}

/// When a policy was judged, and what may make it another judgement.
#[derive(Debug)]
struct JudgedPolicy {
    tried: Instant,
    at: Timestamp,
    /// The clock could not be right.
    earliest: Timestamp,
    /// Why it was refused.
    refused: Option<String>,
    /// When the next exemption ends.
    until: Option<Timestamp>,
    /// Somebody asked for it.
    again: bool,
}

impl JudgedPolicy {
    fn of(candidate: &Candidate) -> Self {
        let exempts = candidate.loaded.iter().flat_map(|policy| policy.exempts());
        Self {
            tried: Instant::now(),
            at: candidate.at,
            earliest: candidate.earliest.at,
            refused: candidate.loaded.as_ref().err().cloned(),
            until: exempts
                .map(|exempt| exempt.until)
                .filter(|until| *until > candidate.at)
                .min(),
            again: false,
        }
    }

    /// Whether it is to be judged again: a refused one every few seconds, whatever refused it (a
    /// mode, an owner, the clock); any one when time has moved past what was judged by it, or back
    /// behind that.
    fn is_due(&self, now: Timestamp, since_tried: Duration) -> bool {
        let refused = self.refused.is_some() && (self.again || since_tried >= RETRY);
        let became_plausible = self.at < self.earliest && now >= self.earliest;
        let went_back = now.duration_since(self.at) < SignedDuration::from_secs(-60);
        refused || became_plausible || went_back || self.until.is_some_and(|until| now >= until)
    }
}

impl Watcher {
    /// One that has seen the first policy.
    pub(super) fn new(
        dir: PathBuf,
        first: Candidate,
        last_good: LastGood,
        (decider, observer, status): (&Arc<Decider>, &Arc<Observer>, &Arc<StatusBoard>),
    ) -> Self {
        let judged = JudgedPolicy::of(&first);
        let (decider, observer, status) = (
            Arc::clone(decider),
            Arc::clone(observer),
            Arc::clone(status),
        );
        let mut watcher = Self {
            dir,
            taken: first.files,
            judged,
            last_good,
            unkept: false,
            decider,
            observer,
            status,
        };
        watcher
            .decider
            .set_earliest(first.earliest.at, &first.earliest.why);
        watcher.told(first.loaded.err());
        watcher.keep();
        watcher
    }

    /// Looks again and again, and at once when somebody asks.
    pub(super) async fn watch(
        mut self,
        mut reloads: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
    ) {
        let mut next: Option<Candidate> = None;
        let mut waiting: Vec<oneshot::Sender<Result<(), String>>> = Vec::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                request = reloads.recv() => match request {
                    Some(request) => {
                        waiting.push(request);
                        self.judged.again = true;
                    }
                    None => return,
                },
            }
            if self.unkept {
                self.keep();
            }
            let changed = self.taken.look() != self.taken.identity();
            if !changed
                && !self
                    .judged
                    .is_due(Timestamp::now(), self.judged.tried.elapsed())
            {
                next = None;
            } else {
                // What is taken is what was read at the first of two looks that agree, with every
                // file that it names.
                let same = next
                    .take()
                    .filter(|next| next.files.look() == next.files.identity());
                match same {
                    Some(next) if next.since.elapsed() >= SETTLE => self.take(next),
                    Some(unsettled) => next = Some(unsettled),
                    None => next = Some(Candidate::read(&self.dir)),
                }
            }
            if next.is_none() {
                self.judged.again = false;
                for told in waiting.drain(..) {
                    let _ = told.send(self.status.trouble(&self.decider).map_or(Ok(()), Err));
                }
            }
        }
    }

    fn take(&mut self, next: Candidate) {
        let before = std::mem::replace(&mut self.judged, JudgedPolicy::of(&next));
        self.taken = next.files;
        self.decider
            .set_earliest(next.earliest.at, &next.earliest.why);
        let result = next.loaded.map(|policy| {
            tell(&policy);
            log::info!("policy {} is in force", policy.hash);
            self.decider.set_policy(policy);
        });
        let why = result.err();
        if let Some(why) = &why {
            // Where none is in force, every refusal says what is wrong now.
            self.decider.set_unusable(policy_unusable(why));
        }
        // The same refusal every few seconds is no news.
        if why.is_none() || why != before.refused {
            if let Some(why) = &why {
                let stays = if self.decider.policy().is_ok() {
                    "the last good one stays in force"
                } else {
                    "everything is refused"
                };
                log::error!("{why}; {stays}");
            }
            let word = if why.is_none() { "taken" } else { "refused" };
            self.observer.metrics().add(
                "rootpin_policy_loads_total",
                format!("result=\"{word}\""),
                1.0,
            );
        }
        self.told(why);
        self.keep();
    }

    /// Says which policy is in force, and why it isn't the one on disk.
    fn told(&self, trouble: Option<String>) {
        self.observer.policy_in_force(
            self.decider
                .policy()
                .ok()
                .map(|policy| policy.hash.to_string()),
        );
        self.observer.metrics().set(
            "rootpin_policy_ok",
            String::new(),
            f64::from(u8::from(trouble.is_none())),
        );
        self.status.policy_trouble(trouble);
    }

    /// Keeps the policy on disk for a start at which it doesn't load. Not where the state is lost
    /// or can't be used: nothing is made in a folder of which nobody knows whose it is. Once
    /// somebody has acknowledged it, an older policy there must not be the one that comes back.
    fn keep(&mut self) {
        let Ok(policy) = self.decider.policy() else {
            return;
        };
        // What was in force before one that was refused is kept already, where it could be.
        if self.judged.refused.is_some() && !self.unkept {
            return;
        }
        self.unkept = matches!(
            self.status.mark().standing(self.decider.store()),
            MarkStanding::Lost { .. } | MarkStanding::Unknown(_)
        );
        if self.unkept {
            return;
        }
        if let Err(error) = self
            .last_good
            .keep(&self.dir, policy.hash, &self.taken.files())
        {
            log::warn!("the policy can't be kept for the next start: {error}");
        }
    }
}

/// What a changed folder holds, until it is seen to stand still.
pub(super) struct Candidate {
    loaded: Result<Arc<rootpin_policy::Policy>, String>,
    files: PolicyDir,
    earliest: Earliest,
    at: Timestamp,
    since: Instant,
}

impl Candidate {
    /// Loads the policy, and keeps what it was read from, to see when that changes.
    pub(super) fn read(dir: &Path) -> Self {
        let (files, at) = (PolicyDir::open(dir, Owner::Root), Timestamp::now());
        let (loaded, earliest) = files.load(at);
        let loaded = loaded.map(Arc::new).map_err(|errors| summary(dir, &errors));
        Self {
            loaded,
            files,
            earliest,
            at,
            since: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(refused: bool, at: &str, until: Option<&str>) -> JudgedPolicy {
        JudgedPolicy {
            tried: Instant::now(),
            at: at.parse().unwrap(),
            earliest: "2026-11-01T00:00:00Z".parse().unwrap(),
            refused: refused.then(|| "mode 0777".to_owned()),
            until: until.map(|until| until.parse().unwrap()),
            again: false,
        }
    }

    #[test]
    fn a_refused_policy_is_tried_again_every_few_seconds_and_at_once_when_somebody_asks() {
        let (at, now) = (
            "2026-12-01T00:00:00Z",
            "2026-12-01T00:00:09Z".parse().unwrap(),
        );
        assert!(!judged(true, at, None).is_due(now, Duration::from_secs(1)));
        assert!(judged(true, at, None).is_due(now, RETRY));
        assert!(
            JudgedPolicy {
                again: true,
                ..judged(true, at, None)
            }
            .is_due(now, Duration::ZERO)
        );
        assert!(!judged(false, at, None).is_due(now, RETRY));
        assert!(
            !JudgedPolicy {
                again: true,
                ..judged(false, at, None)
            }
            .is_due(now, RETRY)
        );
    }

    #[test]
    fn a_policy_is_judged_again_when_time_moves_past_what_was_judged_by_it() {
        let due = |at: &str, until: Option<&str>, now: &str| {
            judged(false, at, until).is_due(now.parse().unwrap(), Duration::ZERO)
        };
        assert!(
            due("1970-01-01T00:01:00Z", None, "2026-12-01T00:00:00Z"),
            "the clock was set"
        );
        assert!(!due("1970-01-01T00:01:00Z", None, "1970-01-01T00:02:00Z"));
        let until = Some("2026-12-02T00:00:00Z");
        assert!(
            due("2026-12-01T00:00:00Z", until, "2026-12-02T00:00:00Z"),
            "an exemption is over"
        );
        assert!(!due("2026-12-01T00:00:00Z", until, "2026-12-01T23:59:59Z"));
        assert!(
            due("2026-12-03T00:00:00Z", None, "2026-12-01T00:00:00Z"),
            "the clock went back"
        );
    }
}

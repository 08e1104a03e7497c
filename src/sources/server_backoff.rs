//! A server that does not answer is left alone for a while, and each question in that while gets
//! its last backoff.
//!
//! A server that cannot be reached is left alone as a whole. What it fails to answer once it was
//! reached says something of one repository only: who owns another one there could otherwise freeze
//! it. A server that takes questions and answers none, of one repository after another, is left
//! alone as a whole too, for a few seconds at a time; a failing status is an answer here.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::SourceError;
use super::backoff::Backoff;

/// More repositories of one server that do not answer, and the one that failed longest ago is
/// forgotten: it is asked, and found silent, anew.
const MAX_REPOSITORIES: usize = 4096;

/// So many repositories in a row without an answer, and their server has none for any.
const SILENT_IN_A_ROW: usize = 3;
/// Shorter than one deadline, and never longer: who has three repositories of their own could make
/// the server look so.
const PAUSE: Duration = Duration::from_secs(5);

/// How long one server and its repositories are left alone.
#[derive(Debug, Default)]
pub(super) struct ServerBackoff(Mutex<BackoffState>);

#[derive(Debug, Default)]
struct BackoffState {
    server: Quiet,
    repositories: HashMap<String, Quiet>,
    /// Those that were silent since the server last answered, no more than count.
    in_a_row: BTreeSet<String>,
    /// How long the whole server is left alone for them.
    pause: Option<(Instant, SourceError)>,
}

#[derive(Debug, Default)]
struct Quiet {
    backoff: Backoff,
    last: Option<(Instant, SourceError)>,
}

impl ServerBackoff {
    /// The error for a question that is not asked yet, where the server or that repository is to be
    /// left alone.
    pub(super) fn of(&self, repository: &str, url: &str) -> Option<SourceError> {
        self.of_at(repository, url, Instant::now())
    }

    fn of_at(&self, repository: &str, url: &str, now: Instant) -> Option<SourceError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = [Some(&known.server), known.repositories.get(repository)];
        let alone = quiet
            .into_iter()
            .flatten()
            .find_map(|quiet| quiet.error(url, now));
        alone.or_else(|| {
            let (until, last) = known.pause.as_ref()?;
            let wait = until.checked_duration_since(now)?;
            (!wait.is_zero()).then(|| again(last, url, wait))
        })
    }

    /// Takes note of how a question about that repository ended.
    pub(super) fn remember<T>(&self, repository: &str, answer: &Result<T, SourceError>) {
        self.remember_at(repository, answer.as_ref().err(), Instant::now());
    }

    fn remember_at(&self, repository: &str, error: Option<&SourceError>, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error @ SourceError::Silent { .. }) = error {
            known.in_a_row(repository, error, now);
        } else {
            known.in_a_row.clear();
            known.pause = None;
        }
        match error {
            Some(error @ (SourceError::Untrusted { .. } | SourceError::Unreachable { .. })) => {
                known.server.failed(error, now);
            }
            Some(error) if error.is_silent() => {
                known.server = Quiet::default();
                known.make_room(repository);
                known
                    .repositories
                    .entry(repository.to_owned())
                    .or_default()
                    .failed(error, now);
            }
            _ => {
                known.server = Quiet::default();
                known.repositories.remove(repository);
            }
        }
    }
}

impl BackoffState {
    fn in_a_row(&mut self, repository: &str, error: &SourceError, now: Instant) {
        if self.in_a_row.len() < SILENT_IN_A_ROW {
            self.in_a_row.insert(repository.to_owned());
        }
        // A question that was under way when the pause began says nothing new.
        let paused = self.pause.as_ref().is_some_and(|(until, _)| *until > now);
        if self.in_a_row.len() >= SILENT_IN_A_ROW && !paused {
            self.pause = now.checked_add(PAUSE).map(|until| (until, error.clone()));
        }
    }

    /// Room for a repository.
    fn make_room(&mut self, repository: &str) {
        if self.repositories.len() < MAX_REPOSITORIES || self.repositories.contains_key(repository)
        {
            return;
        }
        let oldest = self
            .repositories
            .iter()
            .min_by_key(|(_, quiet)| quiet.last.as_ref().map(|(at, _)| *at))
            .map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            self.repositories.remove(&oldest);
        }
    }
}

impl Quiet {
    fn error(&self, url: &str, now: Instant) -> Option<SourceError> {
        let wait: Duration = self.backoff.wait(now)?;
        self.last.as_ref().map(|(_, last)| again(last, url, wait))
    }

    fn failed(&mut self, error: &SourceError, now: Instant) {
        // Chance for the jitter: the keys of a hasher, which differ each time.
        let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_be_bytes();
        self.backoff.failed(now, u32::from_be_bytes([a, b, c, d]));
        self.last = Some((now, error.clone()));
    }
}

/// The last error, for another file of that server.
fn again(last: &SourceError, url: &str, wait: Duration) -> SourceError {
    let again = format!(" (asked again in {} s)", wait.as_secs().saturating_add(1));
    last.clone().at(url, &again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::ServerWords;

    fn failed(error: SourceError) -> Result<(), SourceError> {
        Err(error)
    }

    fn url() -> String {
        "https://r.example/x".to_owned()
    }

    #[test]
    fn what_one_repository_s_questions_come_to_silences_no_other_of_its_server() {
        for error in [
            SourceError::Answered {
                url: url(),
                status: 500,
                said: ServerWords::default(),
                again_in: None,
            },
            SourceError::Silent {
                url: url(),
                cause: "no complete answer before the deadline".to_owned(),
            },
        ] {
            let backoff = ServerBackoff::default();
            backoff.remember("attacker", &failed(error));
            assert!(
                backoff
                    .of("attacker", "u")
                    .unwrap()
                    .to_string()
                    .contains("asked again in")
            );
            assert_eq!(backoff.of("victim", "u"), None);
            backoff.remember("attacker", &Ok(()));
            assert_eq!(backoff.of("attacker", "u"), None);
        }
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_left_alone_for_all_until_it_answers_anything() {
        let backoff = ServerBackoff::default();
        backoff.remember(
            "one",
            &failed(SourceError::Unreachable {
                url: url(),
                cause: "connection refused".to_owned(),
            }),
        );
        for repository in ["one", "two"] {
            let error = backoff.of(repository, "https://r.example/y").unwrap();
            assert!(
                matches!(&error, SourceError::Unreachable { url, .. } if url.ends_with("/y")),
                "{error}"
            );
        }
        backoff.remember(
            "two",
            &failed(SourceError::Answered {
                url: url(),
                status: 503,
                said: ServerWords::default(),
                again_in: None,
            }),
        );
        assert_eq!(backoff.of("one", "u"), None);
        assert!(backoff.of("two", "u").unwrap().is_silent());
    }

    fn silent() -> SourceError {
        SourceError::Silent {
            url: url(),
            cause: "no complete answer before the deadline".to_owned(),
        }
    }

    #[test]
    fn one_repository_more_than_are_kept_forgets_the_oldest_alone() {
        let (backoff, start) = (ServerBackoff::default(), Instant::now());
        let error = SourceError::Answered {
            url: url(),
            status: 500,
            said: ServerWords::default(),
            again_in: None,
        };
        for number in 0..=MAX_REPOSITORIES {
            // All within the half second that the shortest back-off lasts.
            let at = start + Duration::from_micros(u64::try_from(number).unwrap());
            backoff.remember_at(&number.to_string(), Some(&error), at);
        }
        let known = |number: usize| {
            let now = start + Duration::from_millis(5);
            backoff.of_at(&number.to_string(), "u", now).is_some()
        };
        assert!(!known(0));
        assert!((1..=MAX_REPOSITORIES).all(known));
        assert_eq!(
            backoff.0.lock().unwrap().repositories.len(),
            MAX_REPOSITORIES
        );
    }

    #[test]
    fn a_server_that_hangs_for_one_repository_after_another_is_left_alone_briefly() {
        let (backoff, start) = (ServerBackoff::default(), Instant::now());
        backoff.remember_at("one", Some(&silent()), start);
        backoff.remember_at("one", Some(&silent()), start);
        backoff.remember_at("two", Some(&silent()), start);
        assert_eq!(
            backoff.of_at("four", "u", start),
            None,
            "two repositories may be of one owner"
        );
        backoff.remember_at("three", Some(&silent()), start);
        let error = backoff.of_at("four", "u", start).unwrap();
        assert!(error.is_silent(), "{error}");
        // What was under way makes it no longer.
        backoff.remember_at("five", Some(&silent()), start + PAUSE / 2);
        assert_eq!(backoff.of_at("four", "u", start + PAUSE), None);
        // The next one that hangs shows that it lasts, and an answer that it is over.
        backoff.remember_at("four", Some(&silent()), start + PAUSE);
        assert!(backoff.of_at("six", "u", start + PAUSE).is_some());
        backoff.remember_at("seven", None, start + PAUSE);
        assert_eq!(backoff.of_at("six", "u", start + PAUSE), None);
        backoff.remember_at("six", Some(&silent()), start + PAUSE);
        assert_eq!(backoff.of_at("eight", "u", start + PAUSE), None);
    }

    #[test]
    fn failing_statuses_of_many_repositories_silence_no_other() {
        let (backoff, start) = (ServerBackoff::default(), Instant::now());
        let failed = SourceError::Answered {
            url: url(),
            status: 503,
            said: ServerWords::default(),
            again_in: None,
        };
        for number in 0..10 {
            backoff.remember_at(&number.to_string(), Some(&failed), start);
            // Nor does silence count across them.
            backoff.remember_at(&format!("{number}s"), Some(&silent()), start);
        }
        assert_eq!(backoff.of_at("victim", "u", start), None);
    }
}

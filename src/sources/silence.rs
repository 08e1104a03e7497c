//! A server that does not answer is left alone for a while, and each question in that while gets
//! its last silence.
//!
//! A server that cannot be reached is left alone as a whole. What it fails to answer once it was
//! reached says something of one repository only: who owns another one there could otherwise freeze
//! it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::SourceError;
use super::backoff::Backoff;

/// More repositories of one server that do not answer, and all of this is forgotten: they are
/// asked, and found silent, anew.
const MAX_REPOSITORIES: usize = 4096;

/// How long one server and its repositories are left alone.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    server: Quiet,
    repositories: HashMap<String, Quiet>,
}

#[derive(Debug, Default)]
struct Quiet {
    backoff: Backoff,
    last: Option<SourceError>,
}

impl Silence {
    /// The error for a question that is not asked yet, where the server or that repository is to be
    /// left alone.
    pub(super) fn of(&self, repository: &str, url: &str) -> Option<SourceError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let quiet = [Some(&known.server), known.repositories.get(repository)];
        quiet
            .into_iter()
            .flatten()
            .find_map(|quiet| quiet.error(url, now))
    }

    /// Takes note of how a question about that repository ended.
    pub(super) fn remember<T>(&self, repository: &str, answer: &Result<T, SourceError>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Err(error @ SourceError::Unreachable { .. }) => known.server.failed(error),
            Err(error) if error.is_silent() => {
                known.server = Quiet::default();
                if known.repositories.len() >= MAX_REPOSITORIES {
                    known.repositories.clear();
                }
                known
                    .repositories
                    .entry(repository.to_owned())
                    .or_default()
                    .failed(error);
            }
            _ => {
                known.server = Quiet::default();
                known.repositories.remove(repository);
            }
        }
    }
}

impl Quiet {
    fn error(&self, url: &str, now: Instant) -> Option<SourceError> {
        let wait: Duration = self.backoff.wait(now)?;
        let again = format!(" (asked again in {} s)", wait.as_secs().saturating_add(1));
        self.last.clone().map(|last| last.at(url, &again))
    }

    fn failed(&mut self, error: &SourceError) {
        // Chance for the jitter: the keys of a hasher, which differ each time.
        let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_be_bytes();
        self.backoff
            .failed(Instant::now(), u32::from_be_bytes([a, b, c, d]));
        self.last = Some(error.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Said;

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
                said: Said::default(),
                again_in: None,
            },
            SourceError::Silent {
                url: url(),
                cause: "no complete answer before the deadline".to_owned(),
            },
        ] {
            let silence = Silence::default();
            silence.remember("attacker", &failed(error));
            assert!(
                silence
                    .of("attacker", "u")
                    .unwrap()
                    .to_string()
                    .contains("asked again in")
            );
            assert_eq!(silence.of("victim", "u"), None);
            silence.remember("attacker", &Ok(()));
            assert_eq!(silence.of("attacker", "u"), None);
        }
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_left_alone_for_all_until_it_answers_anything() {
        let silence = Silence::default();
        silence.remember(
            "one",
            &failed(SourceError::Unreachable {
                url: url(),
                cause: "connection refused".to_owned(),
            }),
        );
        for repository in ["one", "two"] {
            let error = silence.of(repository, "https://r.example/y").unwrap();
            assert!(
                matches!(&error, SourceError::Unreachable { url, .. } if url.ends_with("/y")),
                "{error}"
            );
        }
        silence.remember(
            "two",
            &failed(SourceError::Answered {
                url: url(),
                status: 503,
                said: Said::default(),
                again_in: None,
            }),
        );
        assert_eq!(silence.of("one", "u"), None);
        assert!(silence.of("two", "u").unwrap().is_silent());
    }

    #[test]
    fn repositories_without_number_are_no_memory_without_end() {
        let silence = Silence::default();
        for number in 0..=MAX_REPOSITORIES {
            silence.remember(
                &number.to_string(),
                &failed(SourceError::Silent {
                    url: url(),
                    cause: String::new(),
                }),
            );
        }
        assert!(silence.0.lock().unwrap().repositories.len() <= MAX_REPOSITORIES);
    }
}

//! Turns of the searches beside images. Each has the bytes of some signatures in memory, and who has a
//! repository may have a host look at many of its images at once: of one repository only a few are
//! searched at a time, and none of another one waits for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::SourceError;
use rootpin_trust::image::Repository;

/// Searches of one repository that have a turn at the same time.
const AT_ONCE: usize = 8;
/// So many repositories are remembered, beside those that are searched.
const MOST_REPOSITORIES: usize = 1024;

/// The turns of each repository.
#[derive(Debug, Default)]
pub(super) struct SearchTurns(Mutex<HashMap<Repository, Arc<Semaphore>>>);

/// One search's turn, until it is dropped.
pub(super) type SearchTurn = OwnedSemaphorePermit;

impl SearchTurns {
    /// Waits for a turn.
    pub(super) async fn take(
        &self,
        repository: &Repository,
        deadline: Instant,
    ) -> Result<SearchTurn, SourceError> {
        let turn = timeout_at(deadline.into(), self.of(repository).acquire_owned()).await;
        // It is never closed.
        let turn = turn.ok().and_then(Result::ok);
        turn.ok_or_else(|| SourceError::Silent {
            url: repository.to_string(),
            cause: format!(
                "{AT_ONCE} other images of it were searched for signatures all the time"
            ),
        })
    }

    fn of(&self, repository: &Repository) -> Arc<Semaphore> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REPOSITORIES {
            known.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        let new = || Arc::new(Semaphore::new(AT_ONCE));
        Arc::clone(known.entry(repository.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        Repository::from_full(&format!("r.example/{name}")).unwrap()
    }

    #[tokio::test]
    async fn a_repository_has_a_few_searches_at_once_and_another_one_does_not_wait_for_them() {
        let (turns, now) = (SearchTurns::default(), Instant::now());
        let (busy, other) = (repository("busy"), repository("other"));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(&busy, now).await.unwrap());
        }
        let error = turns.take(&busy, now).await.unwrap_err();
        assert!(
            error.is_silent() && error.to_string().contains("r.example/busy"),
            "{error}"
        );
        assert!(turns.take(&other, now).await.is_ok());
        held.pop();
        assert!(turns.take(&busy, now).await.is_ok());
    }

    #[tokio::test]
    async fn repositories_that_are_not_searched_are_forgotten_and_the_others_keep_their_turns() {
        let (turns, now) = (SearchTurns::default(), Instant::now());
        let busy = repository("busy");
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(&busy, now).await.unwrap());
        }
        for at in 0..3 * MOST_REPOSITORIES {
            let turn = turns.take(&repository(&at.to_string()), now).await;
            assert!(turn.is_ok());
        }
        assert!(turns.0.lock().unwrap().len() <= MOST_REPOSITORIES);
        assert!(turns.take(&busy, now).await.is_err());
    }
}

//! Which registries have no lists of referrers, so that they are not asked for one for each image.
//!
//! One odd answer must not hide the signatures of all images of a repository: a registry that had a
//! list keeps it, and before an image is refused the list is asked for once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::SourceError;
use super::http::Reply;
use super::signature_answer::wrong;
use super::signature_list::is_of_repository;
use rootpin_trust::image::Repository;

/// What the registries said, by their API. One address may stand for several registries, by the host
/// that it is told or by the first part of the path.
#[derive(Debug, Default)]
pub(super) struct WithoutReferrers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Repositories without a list, by their whole name.
    without: HashMap<(String, String), Without>,
    /// When there was a list last, by the host and the first part of the path.
    lists: HashMap<(String, String), Instant>,
}

/// Since when a repository has no list, and when its registry said so once more, before an image was
/// refused. A question that had no answer is none: another image's must not rest on it.
#[derive(Debug, Clone, Copy)]
struct Without {
    since: Instant,
    again: Option<Instant>,
}

/// So many are remembered.
const MOST_KNOWN: usize = 4096;
/// A registry may learn it: then new signatures are there and nowhere else.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// Before an image is refused, a registry is asked no more often than this.
const AGAIN: Duration = Duration::from_secs(5);

impl WithoutReferrers {
    /// Whether a repository is known to have no list.
    pub(super) fn has(&self, api: &str, repository: &Repository) -> bool {
        self.has_at(api, repository, Instant::now())
    }

    fn has_at(&self, api: &str, repository: &Repository, now: Instant) -> bool {
        let known = self.lock();
        let without = known.without.get(&whole(api, repository));
        without.is_some_and(|without| now - without.since < KNOWN_FOR)
    }

    /// Whether it is asked once more before an image is refused.
    pub(super) fn asks_again(&self, api: &str, repository: &Repository) -> bool {
        self.asks_again_at(api, repository, Instant::now())
    }

    fn asks_again_at(&self, api: &str, repository: &Repository, now: Instant) -> bool {
        let known = self.lock();
        let without = known.without.get(&whole(api, repository));
        let again = without.and_then(|without| without.again);
        again.is_none_or(|again| now - again >= AGAIN)
    }

    /// Whether an answer should be a list of referrers, and is not the word that there is none.
    ///
    /// # Errors
    /// It is neither: that it is denied, or gone, says nothing of what is there.
    pub(super) fn is_list(
        &self,
        api: &str,
        repository: &Repository,
        reply: &Reply,
    ) -> Result<bool, SourceError> {
        match reply.status.as_u16() {
            200 => Ok(true),
            // One that gave lists a while ago has none for this image, or an odd moment.
            404 if is_of_repository(reply) || self.had_list(api, repository) => Ok(false),
            // Artifactory says 406 (go-containerregistry, issue 1962).
            400 | 404 | 405 | 406 | 501 if !self.had_list(api, repository) => {
                self.add(api, repository);
                Ok(false)
            }
            status @ (400 | 405 | 406) => {
                let cause = format!("answered {status}, and gave lists of referrers a while ago");
                Err(wrong(&reply.url, &cause))
            }
            // A list that is too long, or broken, is this image's alone: who may push beside it made
            // it.
            _ => Err(reply.error()),
        }
    }

    /// It says that it has none.
    fn add(&self, api: &str, repository: &Repository) {
        self.add_at(api, repository, Instant::now());
    }

    fn add_at(&self, api: &str, repository: &Repository, since: Instant) {
        let mut known = self.lock();
        let whole = whole(api, repository);
        let again = known.without.contains_key(&whole).then_some(since);
        known.without.insert(whole, Without { since, again });
    }

    /// It gave one.
    pub(super) fn gave_list(&self, api: &str, repository: &Repository) {
        let mut known = self.lock();
        known.without.remove(&whole(api, repository));
        known.lists.insert(first(api, repository), Instant::now());
    }

    /// Whether it gave one a while ago, of this repository or one beside it.
    fn had_list(&self, api: &str, repository: &Repository) -> bool {
        let known = self.lock();
        let list = known.lists.get(&first(api, repository));
        list.is_some_and(|list| list.elapsed() < KNOWN_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.without.len() >= MOST_KNOWN {
            known.without.clear();
        }
        if known.lists.len() >= MOST_KNOWN {
            known.lists.clear();
        }
        known
    }
}

fn whole(api: &str, repository: &Repository) -> (String, String) {
    (api.to_owned(), repository.as_str().to_owned())
}

fn first(api: &str, repository: &Repository) -> (String, String) {
    let path = repository.path();
    let first = path.split_once('/').map_or("", |(first, _)| first);
    (api.to_owned(), format!("{}/{first}", repository.host()))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::sources::ServerWords;

    const API: &str = "https://r.example/v2";

    fn repository(path: &str) -> Repository {
        Repository::from_full(&format!("r.example/{path}")).unwrap()
    }

    #[test]
    fn what_a_registry_does_not_have_is_known_for_a_while_and_asked_for_again_before_a_no() {
        let (known, one) = (WithoutReferrers::default(), repository("one"));
        known.add(API, &one);
        let now = Instant::now();
        assert!(known.has_at(API, &one, now) && !known.has(API, &repository("two")));
        assert!(!known.has_at(API, &one, now + KNOWN_FOR));
        // For each image, until there is an answer; then for many images once.
        assert!(known.asks_again_at(API, &one, now) && known.asks_again_at(API, &one, now));
        known.add_at(API, &one, now);
        assert!(!known.asks_again_at(API, &one, now + AGAIN / 2));
        assert!(known.asks_again_at(API, &one, now + AGAIN));
    }

    #[test]
    fn a_list_that_was_there_is_no_longer_known_not_to_be() {
        let (known, one) = (WithoutReferrers::default(), repository("one"));
        known.add(API, &one);
        assert!(!known.had_list(API, &one));
        known.gave_list(API, &one);
        assert!(!known.has(API, &one) && known.had_list(API, &one));
        assert!(!known.had_list("http://r.example/v2", &one));
        // Others beside it have lists too, and not those below another first part.
        known.gave_list(API, &repository("team/one"));
        assert!(known.had_list(API, &repository("team/two")));
        assert!(!known.had_list(API, &repository("proxy/one")));
    }

    #[test]
    fn what_a_mirror_says_of_one_registry_is_no_word_of_another() {
        let (known, one) = (WithoutReferrers::default(), repository("team/app"));
        let other = Repository::from_full("other.example/team/app").unwrap();
        known.add(API, &one);
        assert!(known.has(API, &one) && !known.has(API, &other));
        known.gave_list(API, &one);
        assert!(known.had_list(API, &one) && !known.had_list(API, &other));
    }

    #[test]
    fn that_a_repository_is_not_there_is_no_word_of_the_registry_s_lists() {
        for (code, remembered) in [("NAME_UNKNOWN", false), ("NOT_FOUND", true)] {
            let (known, one) = (WithoutReferrers::default(), repository("one"));
            let body = format!("{{\"errors\":[{{\"code\":\"{code}\"}}]}}");
            let reply = Reply {
                url: reqwest::Url::parse("https://r.example/v2/one/referrers/x").unwrap(),
                status: reqwest::StatusCode::NOT_FOUND,
                headers: HeaderMap::new(),
                // As a reply with another status than 200 is read.
                body: Vec::new(),
                said: ServerWords::of(&HeaderMap::new(), body.as_bytes()),
            };
            assert_eq!(known.is_list(API, &one, &reply), Ok(false));
            assert_eq!(known.has(API, &one), remembered, "{code}");
        }
    }

    #[test]
    fn no_more_than_a_bounded_number_is_remembered() {
        let known = WithoutReferrers::default();
        for at in 0..2 * MOST_KNOWN {
            known.add(API, &repository(&at.to_string()));
            known.gave_list(API, &repository(&format!("{at}/one")));
        }
        let known = known.0.lock().unwrap();
        assert!(known.without.len() <= MOST_KNOWN && known.lists.len() <= MOST_KNOWN);
    }
}

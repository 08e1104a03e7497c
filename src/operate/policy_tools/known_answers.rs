//! Answers that were found already: the hosts of a fleet have mostly the same images, on the same
//! evidence.

use std::collections::HashMap;

use super::judged::Judged;
use super::reported::Seen;
use super::suppose::Answer;

/// So many answers are kept, some 20 MB of them. Further ones are found each time.
const MOST_ANSWERS: usize = 20_000;
/// A fleet has a few policies at a time.
const MOST_POLICIES: usize = 64;

/// Answers by the policy that a host judged by, and by all that it reports of an image.
#[derive(Debug, Default)]
pub(super) struct KnownAnswers {
    policies: HashMap<Judged, usize>,
    answers: HashMap<(usize, Seen), Answer>,
}

impl KnownAnswers {
    /// The number of a policy that hosts judged by; `None` beyond those that are kept apart.
    pub(super) fn number(&mut self, judged: &Judged) -> Option<usize> {
        if let Some(known) = self.policies.get(judged) {
            return Some(*known);
        }
        let number = self.policies.len();
        (number < MOST_POLICIES).then(|| {
            self.policies.insert(judged.clone(), number);
            number
        })
    }

    /// The answer about an image under the policy of that number, found by `find` if it is new.
    pub(super) fn of(
        &mut self,
        number: Option<usize>,
        seen: Seen,
        find: impl FnOnce(&Seen) -> Answer,
    ) -> (Seen, Answer) {
        let Some(number) = number else {
            let answer = find(&seen);
            return (seen, answer);
        };
        let key = (number, seen);
        if let Some(known) = self.answers.get(&key) {
            return (key.1, known.clone());
        }
        let answer = find(&key.1);
        if self.answers.len() < MOST_ANSWERS {
            self.answers.insert(key.clone(), answer.clone());
        }
        (key.1, answer)
    }
}

//! The same procedure over statements that are only supposed, for `policy simulate` and `policy
//! diff`. It makes no [`Admission`](crate::judge::Admission): what it returns lets nothing in.

use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::Collection;

use crate::judge::{Ask, Denial, Heard, Judge, Question, Step};
use crate::{Mode, Policy};

/// A judge of a supposed question.
#[derive(Debug)]
pub struct Supposing<'a>(Judge<'a>);

/// What is supposed to be heard.
#[derive(Debug, Clone)]
pub enum Supposed {
    /// The root says this; nothing of it was verified now.
    Says(Arc<Collection>),
    /// A refusal, or a registry's digest.
    Heard(Heard),
}

/// What the policy would say.
#[derive(Debug)]
pub struct Supposition {
    /// The ground of a yes and the policy's entry, or the no.
    pub result: Result<(&'static str, String), Denial>,
    /// The mode for a no.
    pub mode: Mode,
}

impl<'a> Supposing<'a> {
    /// A judge of one question, by a clock that is right.
    #[must_use]
    pub fn start(policy: &'a Policy, question: Question, now: Timestamp) -> Self {
        Self(Judge::start(policy, question, now, None))
    }

    /// Continues with what is supposed: `None` at first, then the answer to each question.
    ///
    /// # Errors
    /// What has to be supposed next.
    pub fn next(&mut self, supposed: Option<Supposed>) -> Result<Supposition, Ask> {
        let judge = &mut self.0;
        let heard = match supposed {
            Some(Supposed::Says(collection)) => {
                judge.suppose(collection);
                None
            }
            Some(Supposed::Heard(heard)) => Some(heard),
            None => None,
        };
        match judge.next(heard) {
            Step::Ask(ask) => Err(ask),
            Step::Done(judgement) => Ok(Supposition {
                result: judgement.result.map(|yes| (yes.ground.as_str(), yes.rule)),
                mode: judgement.mode,
            }),
        }
    }
}

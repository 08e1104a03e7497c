//! The judge: what the policy says of a name and its bytes. It reads and waits for nothing: it says
//! what it wants to hear, and goes on when it has heard it.
//!
//! ```text
//! Judge::start(policy, question, now)
//!   └─ next(heard) ─▶ Ask(need)  fetch it, and call next with what was heard
//!                 └─▶ Done(judgement)
//! ```
//!
//! Each call of [`Judge::next`] goes through the one procedure from its beginning, with all that
//! was heard so far; where it wants something that was not heard, that is what it asks for. So the
//! procedure reads as the rules in docs/policy.md do, and there is no other one: what differs
//! between doors is data in the [`Question`].

mod answer;
mod entries;
mod procedure;
mod question;
mod refusals;
mod resolve;
mod roots;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::tuf;

use crate::{Policy, Root};

pub use answer::{Admission, Basis, Denial, Ground, Judgement, Statement, rank};
pub use entries::{Entry, EntryKind, Why};
pub(crate) use entries::{Lookup, entries};
pub use question::{Action, NameSource, NamedBytes, Origin, Question};

/// One question, and what was heard for it.
#[derive(Debug)]
pub struct Judge<'a> {
    policy: &'a Policy,
    task: Task,
    now: Timestamp,
    /// Why nothing that rests on time can be judged: the clock can't be right.
    clock: Option<Refusal>,
    heard: Vec<(Need, Heard)>,
    wanted: Option<Need>,
    basis: Cell<Basis>,
    /// The names that were refused, in the order of the procedure, which goes through them again
    /// after each answer; and how many it has come to this time.
    refused: RefCell<Vec<RefusedName>>,
    come_to: Cell<usize>,
}

/// A name that was refused for some bytes.
#[derive(Debug)]
struct RefusedName {
    name: ImageRef,
    top: Digest,
    denial: Denial,
    /// Whether it is about the bytes, so that no other name can mend it.
    is_final: bool,
    basis: Basis,
}

#[derive(Debug)]
enum Task {
    Judge(Box<Question>),
    Resolve(ImageRef),
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Learn this, and call [`Judge::next`] with it.
    Ask(Need),
    /// The answer.
    Done(Judgement),
}

/// What the judge wants to hear.
#[derive(Debug, Clone)]
pub enum Need {
    /// What a root says of a repository's name.
    Root {
        /// The root.
        root: Arc<Root>,
        /// The repository as the statement must name it.
        repository: Repository,
        /// The tag or digest that is looked for.
        about: tuf::Question,
        /// Whether its source is to be asked before its time, because what is at hand says no.
        again: bool,
        /// How many roots share the time that is left, this one among them.
        sharers: usize,
    },
    /// Which digest the registry has under a tag. It gets half of the time that is left.
    Registry(ImageRef),
}

/// What was heard.
#[derive(Debug, Clone)]
pub enum Heard {
    /// A root's verified statement, or why there is none.
    Root(Result<Statement, Refusal>),
    /// The registry's word, or why there is none.
    Registry(Result<Digest, Refusal>),
}

/// A part of the procedure: what it found, or what it has to hear first.
type Asked<T> = Result<T, Box<Need>>;

impl<'a> Judge<'a> {
    /// A judge of one question. `clock`: why the clock can't be right, if it can't.
    #[must_use]
    pub fn start(
        policy: &'a Policy,
        question: Question,
        now: Timestamp,
        clock: Option<Refusal>,
    ) -> Self {
        Self::of(policy, Task::Judge(Box::new(question)), now, clock)
    }

    /// A judge of which digest a tag stands for.
    #[must_use]
    pub fn resolve(
        policy: &'a Policy,
        name: ImageRef,
        now: Timestamp,
        clock: Option<Refusal>,
    ) -> Self {
        Self::of(policy, Task::Resolve(name), now, clock)
    }

    fn of(policy: &'a Policy, task: Task, now: Timestamp, clock: Option<Refusal>) -> Self {
        Self {
            policy,
            task,
            now,
            clock,
            heard: Vec::new(),
            wanted: None,
            basis: Cell::new(Basis::Policy),
            refused: RefCell::default(),
            come_to: Cell::new(0),
        }
    }

    /// Goes on with what was heard: `None` at first, then the answer to each [`Step::Ask`].
    pub fn next(&mut self, heard: Option<Heard>) -> Step {
        if let (Some(need), Some(heard)) = (self.wanted.take(), heard) {
            self.heard.push((need, heard));
        }
        self.basis.set(Basis::Policy);
        self.come_to.set(0);
        let judged = match &self.task {
            Task::Judge(question) => self.judge(question),
            Task::Resolve(name) => self.resolved(name),
        };
        match judged {
            Ok(judgement) => Step::Done(Judgement {
                basis: self.basis.get(),
                ..judgement
            }),
            Err(need) => {
                self.wanted = Some((*need).clone());
                Step::Ask(*need)
            }
        }
    }

    /// What was heard of that, or the need of it.
    fn hear(&self, need: Need) -> Asked<&Heard> {
        self.heard_of(&need).ok_or(Box::new(need))
    }

    fn heard_of(&self, need: &Need) -> Option<&Heard> {
        // What is wanted again was mostly heard a moment ago.
        let known = self.heard.iter().rev().find(|(known, _)| known.is(need));
        known.map(|(_, heard)| heard)
    }

    fn rests_on(&self, basis: Basis) {
        self.basis.set(self.basis.get().weaker(basis));
    }
}

impl Need {
    /// The same, once its source was asked before its time.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut need = self.clone();
        if let Self::Root { again, .. } = &mut need {
            *again = true;
        }
        need
    }

    /// Whether it is the same thing that is wanted.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Root {
                    root,
                    repository,
                    about,
                    again,
                    ..
                },
                Self::Root {
                    root: other,
                    repository: other_repository,
                    about: other_about,
                    again: other_again,
                    ..
                },
            ) => {
                root.id == other.id
                    && repository == other_repository
                    && about == other_about
                    && again == other_again
            }
            (Self::Registry(name), Self::Registry(other)) => name == other,
            (Self::Root { .. }, Self::Registry(_)) | (Self::Registry(_), Self::Root { .. }) => {
                false
            }
        }
    }
}

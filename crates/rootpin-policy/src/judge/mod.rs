//! The judge decides by the policy whether names may be used for bytes. It does no I/O: it asks for
//! what it needs to know, and continues once it has heard the answer.
//!
//! ```text
//! Judge::start(policy, question, now, clock)
//!   └─ next(heard) ─▶ Ask(ask)         fetch it, and call next with what was heard
//!                 └─▶ Done(judgement)
//! ```
//!
//! Each call of [`Judge::next`] runs the one procedure from its beginning with all that was heard so
//! far, and asks for the first thing that is missing. So the procedure reads as docs/policy.md does.
//! It serves every door: what differs between doors is data in the [`Question`].

mod answer;
mod break_glass;
mod entries;
mod names;
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
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Collection, Refusal, tuf};

use crate::{BreakGlass, Policy, Root};

pub use answer::{Admission, Basis, Denial, Ground, Judgement, Statement};
pub use entries::{EntryKind, Lookup, Why, entries};
pub use question::{Action, NameSource, NamedBytes, Origin, Question};

/// One question, and what was heard for it.
#[derive(Debug)]
pub struct Judge<'a> {
    policy: &'a Policy,
    question: Question,
    now: Timestamp,
    clock: Option<Refusal>,
    glass: Option<Arc<BreakGlass>>,
    /// Each need, whether its source was asked again, and the answer.
    heard: Vec<(Need, bool, Heard)>,
    wanted: Option<(Need, bool)>,
    /// What roots are only supposed to say. Always empty where an answer counts.
    supposed: Vec<(Need, Arc<Collection>)>,
    basis: Cell<Basis>,
    /// The names that were refused so far, in the order of the procedure.
    refused: RefCell<Vec<(ImageRef, Digest, Denial, Basis)>>,
    /// How many names this run of the procedure has come to.
    come_to: Cell<usize>,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Fetch this, and call [`Judge::next`] with it.
    Ask(Ask),
    /// The answer.
    Done(Judgement),
}

/// Something to fetch.
#[derive(Debug)]
pub struct Ask {
    /// What to fetch.
    pub need: Need,
    /// Whether to ask the source before its time, because the metadata at hand says no.
    pub again: bool,
    /// The name that is judged, for hints; a statement may carry another one.
    pub name: ImageRef,
    /// How many needs share the time that is left, this one among them.
    pub sharers: usize,
}

/// Something that the judge has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A root's statement about a repository, as the statement names it, and a tag or digest.
    Root(Arc<Root>, Repository, tuf::Question),
    /// The digest that a registry serves for a tag.
    Registry(ImageRef),
}

/// What was heard.
#[derive(Debug, Clone)]
pub enum Heard {
    /// A root's verified statement, or why there is none.
    Root(Result<Statement, Refusal>),
    /// The registry's digest, or why there is none.
    Registry(Result<Digest, Refusal>),
}

impl Ask {
    fn of(need: Need, again: bool, name: &ImageRef, sharers: usize) -> Self {
        let name = name.clone();
        Self {
            need,
            again,
            name,
            sharers,
        }
    }
}

/// A part of the procedure returns what it found, or what it has to hear first.
type Asked<T> = Result<T, Ask>;

impl<'a> Judge<'a> {
    /// A judge of one question. `clock`: why the clock can't be right, if it can't.
    #[must_use]
    pub fn start(
        policy: &'a Policy,
        question: Question,
        now: Timestamp,
        clock: Option<Refusal>,
    ) -> Self {
        Self {
            policy,
            question,
            now,
            clock,
            glass: None,
            heard: Vec::new(),
            wanted: None,
            supposed: Vec::new(),
            basis: Cell::new(Basis::Policy),
            refused: RefCell::default(),
            come_to: Cell::new(0),
        }
    }

    /// The same, while root lets pass what the policy refuses.
    #[must_use]
    pub fn with_break_glass(self, glass: Option<Arc<BreakGlass>>) -> Self {
        Self { glass, ..self }
    }

    /// Continues with what was heard: `None` at first, then the answer to each [`Step::Ask`].
    pub fn next(&mut self, heard: Option<Heard>) -> Step {
        if let (Some((need, again)), Some(heard)) = (self.wanted.take(), heard) {
            self.heard.push((need, again, heard));
        }
        self.basis.set(Basis::Policy);
        self.come_to.set(0);
        match self.judge(&self.question) {
            Ok(mut judgement) => {
                judgement.basis = self.basis.get();
                judgement.breaks_glass = self.breaks_glass(&judgement);
                Step::Done(judgement)
            }
            Err(ask) => {
                self.wanted = Some((ask.need.clone(), ask.again));
                Step::Ask(ask)
            }
        }
    }

    /// The newest answer to a need, and whether its source was asked again for it.
    fn heard(&self, need: &Need) -> Option<(bool, &Heard)> {
        let mut known = self.heard.iter().rev();
        let (_, again, heard) = known.find(|(known, ..)| known == need)?;
        Some((*again, heard))
    }

    /// Supposes that the root which was asked last says this; nothing of it was verified.
    pub(crate) fn suppose(&mut self, collection: Arc<Collection>) {
        let wanted = self.wanted.take().map(|(need, _)| (need, collection));
        self.supposed.extend(wanted);
    }

    fn supposed(&self, need: &Need) -> Option<&Collection> {
        let mut supposed = self.supposed.iter();
        let (_, collection) = supposed.find(|(known, _)| known == need)?;
        Some(collection)
    }

    fn basis_of(&self, root: &Root, statement: &Statement) -> Basis {
        // Signatures of a digest never age.
        let is_fresh = self.now.duration_since(statement.contact) <= root.recheck;
        if is_fresh || !root.lists_tags() {
            Basis::Roots
        } else {
            Basis::Doubtful
        }
    }

    fn rests_on(&self, basis: Basis) {
        self.basis.set(self.basis.get().max(basis));
    }
}

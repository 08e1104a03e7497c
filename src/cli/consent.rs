//! The question before a change, and whether anybody is there to answer it: one rule for all verbs.
//! docs/README.md says it to users.
//!
//! A verb that finds out by itself what is to be changed shows it, and asks. Where nobody can be
//! asked it changes nothing without `--yes`. A verb whose command line says all that it changes asks
//! nothing.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{QueueSelector, tcflush};

use super::output::Output;
use crate::observe::plain_lines;
use crate::problem::Problem;

/// Whether a person can be asked. With `--json` a program reads the answer.
pub(super) fn is_anybody_there(output: Output) -> bool {
    !output.json && io::stdin().is_terminal()
}

/// Asks at the terminal. What was typed before the question is not an answer to it.
pub(super) fn agreed(question: &str) -> bool {
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    let mut errors = io::stderr();
    let _ = write!(errors, "{} [y/N] ", plain_lines(question)).and_then(|()| errors.flush());
    let mut line = String::new();
    let read = io::stdin().lock().take(100).read_line(&mut line);
    read.is_ok() && ["y", "Y", "yes"].contains(&line.trim())
}

/// Says that nothing is changed because nobody can be asked; `hint` names the options that go on
/// without a question. Returns the exit code.
pub(super) fn nobody_to_ask(verb: &str, hint: &str, output: Output) -> u8 {
    output.misused(Problem::hinted(
        format!("{verb} asks before it changes anything, and nobody is at a terminal"),
        hint,
    ))
}

//! Why a command did nothing, with its exit code.

use super::output::Output;
use crate::problem::Problem;

/// Why a command did nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Wrong usage: 64.
    Usage(Problem),
    /// The answer is no: 1.
    Refused(Problem),
    /// The answer is not known: 2.
    Unknown(Problem),
}

impl Failure {
    /// Says it, and gives the exit code.
    pub(super) fn exit(self, output: Output) -> u8 {
        match self {
            Self::Usage(problem) => output.misused(problem),
            Self::Refused(problem) => {
                output.refused(problem);
                1
            }
            Self::Unknown(problem) => {
                output.error(problem);
                2
            }
        }
    }
}

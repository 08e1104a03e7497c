//! Tests of the state as a whole.

mod opening;
mod support;
mod writing;

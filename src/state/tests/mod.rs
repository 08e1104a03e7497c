//! Tests of the state as a whole.

mod damage;
mod disk;
mod opening;
pub(super) mod support;
mod writing;

//! Tests of the state as a whole.

mod damage;
mod disk;
mod key_sets;
mod opening;
pub(super) mod support;
mod writing;

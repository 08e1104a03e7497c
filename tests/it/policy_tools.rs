//! `rootpin policy lint`, `diff`, `simulate`, `test` and `schema`: what a policy would do before it is in force.

mod cases;
mod diff;
mod documented;
mod inventories;
mod lint;
mod parts;
pub(crate) mod samples;
mod schema;
pub(crate) mod simulate;

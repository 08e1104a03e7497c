//! `rootpin policy lint`, `diff` and `simulate`: what a policy would do before it is in force.

mod lint;
mod simulate;

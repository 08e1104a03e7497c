//! The signing side: what a host that publishes statements holds and does. Nothing that verifies stands on it.

pub mod key;
pub mod place;

//! The signing side: what a host that publishes statements holds and does. Nothing that verifies stands on it.

pub mod key;
pub mod key_file;
pub mod keyring;
pub mod private_file;
mod public_key;
pub mod token;

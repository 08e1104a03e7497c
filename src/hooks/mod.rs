//! The doors: translate a native request, ask, translate back. No policy here.

mod claims;
mod containerd;
mod containerd_diff;
mod dockerd;
mod fail_closed;
pub mod image_verifier;
pub mod socket;

pub use containerd::Containerd;
pub use containerd_diff::EngineGates;
pub use dockerd::{Answer, Docker};

use crate::nonce;

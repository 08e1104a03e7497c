//! The doors: translate a native request, ask, translate back. No policy here.

pub mod fail_closed;
pub mod nonce;
pub mod socket;

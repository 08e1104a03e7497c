//! rootpin: a trust plugin for containerd and Docker.

#![forbid(unsafe_code)]

pub mod hooks;
pub mod image;
pub mod json;
pub mod policy;
pub mod sources;
pub mod state;
pub mod trust;

//! rootpin: a trust plugin for containerd and Docker.

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decide;
pub mod hooks;
pub mod image;
pub mod json;
pub mod observe;
pub mod policy;
pub mod policy_dir;
pub mod sources;
pub mod state;
pub mod trust;

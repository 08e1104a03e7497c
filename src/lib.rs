//! rootpin: a trust plugin for containerd and Docker.

#![forbid(unsafe_code)]

pub mod image;
pub mod json;
pub mod trust;

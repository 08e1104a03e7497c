//! What a person runs on a host: each folder is the work of one command. `cli` parses and prints.

pub mod audit;
pub mod doctor;
pub(crate) mod hosts;
pub mod prove;

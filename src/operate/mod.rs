//! The work of the commands that look after a host, a folder each. `cli` parses and prints.

pub mod audit;
mod codes_with_facts;
pub mod doctor;
pub(crate) mod evidence_folder;
pub(crate) mod hosts;
pub(crate) mod import;
pub mod kubernetes;
pub(crate) mod leftover;
pub(crate) mod platform;
pub mod policy_tools;
pub mod prove;
pub(crate) mod record;
pub(crate) mod support;

pub(crate) use codes_with_facts::codes_with_facts;

//! The integration tests: one binary, because each further one links everything once more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test should stop at once"
)]
#![allow(clippy::too_many_lines, reason = "a test tells one story, to its end")]

mod anew;
mod attacks;
mod audit;
mod break_glass;
mod bundle;
mod chart;
mod cli;
mod config_management;
#[path = "../support/containerd.rs"]
mod containerd;
#[path = "../support/cosign.rs"]
mod cosign;
mod credentials;
mod daemon;
mod decide;
mod docker_authz;
mod doctor;
mod documents;
mod evidence;
#[path = "../support/fault_table.rs"]
mod fault_table;
mod faults;
mod fixtures;
mod fleet;
mod floods;
#[path = "../support/front.rs"]
mod front;
mod full_output;
mod gate_hints;
mod gate_index;
mod gates;
mod grid;
mod help;
mod hints;
mod hostile_http;
mod hosts;
mod import;
mod keys;
mod kubernetes;
mod layers;
mod least_privilege;
mod load;
#[path = "../support/load.rs"]
mod load_support;
mod local;
mod metrics;
mod nested;
mod nri;
mod past_attacks;
mod pin;
mod place;
mod place_attacks;
mod policy_dir;
mod policy_tools;
mod prove;
#[path = "../support/publisher.rs"]
mod publisher;
mod recipes;
mod registry;
mod release;
mod removal;
mod repo;
mod repo_keys;
mod resolver;
mod schema;
mod scripts;
mod service;
mod sources;
mod support;
mod sweep;
mod time_and_loss;
mod tls;
mod toolchain;
mod typed;
mod verifier;
mod verify_file;
mod workflow;
#[path = "../support/world.rs"]
mod world;

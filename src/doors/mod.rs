//! The doors: each translates an engine's request, asks, and translates the decision back. No
//! policy here.

mod canary;
mod claims;
pub mod credential_helper;
pub mod credential_provider;
mod docker_authz;
mod fail_closed;
mod gate;
mod nri;
mod resolver;
pub mod socket;
mod store_index;
pub mod sweep;
pub mod verifier;

pub(crate) use docker_authz::AuthzPlugin as DockerPlugin;
pub(crate) use gate::EngineGates;
pub(crate) use nri::RunDoor;
pub(crate) use resolver::ResolverDoor;

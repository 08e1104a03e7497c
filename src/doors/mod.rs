//! The doors: each translates an engine's request, asks, and translates the decision back. No
//! policy here.

mod canary;
mod claims;
mod docker_authz;
mod fail_closed;
mod gate;
mod nri;
mod resolver;
pub mod socket;
pub mod sweep;
pub mod verifier;

pub use docker_authz::Plugin as DockerPlugin;
pub use gate::EngineGates;
pub use nri::RunDoor;
pub use resolver::Resolver;

//! The doors: translate a native request, ask, translate back. No policy here.

mod canary;
mod claims;
mod containerd;
mod containerd_diff;
mod containerd_events;
mod containerd_images;
mod containerd_tasks;
mod docker_authz;
mod docker_images;
mod dockerd;
mod fail_closed;
pub mod image_verifier;
mod nri;
mod resolver;
pub mod socket;
pub mod sweep;

pub use containerd::Containerd;
pub use containerd_diff::EngineGates;
pub(crate) use containerd_images::is_id;
pub use containerd_images::name_of_record;
pub use docker_authz::Plugin as DockerPlugin;
pub use docker_images::{DockerImage, images as docker_images};
pub use dockerd::{Answer, Docker, GRPC_BYPASS};
pub use nri::RunDoor;
pub use resolver::Resolver;

use crate::nonce;

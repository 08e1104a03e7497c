//! The clients of the engines: what doors, audit, doctor and proof ask containerd and dockerd.

pub mod containerd;
pub mod dockerd;
pub mod ttrpc_mux;

pub use containerd::Containerd;
pub(crate) use containerd::images::is_id;
pub use containerd::images::name_of_record;
pub use dockerd::images::{DockerImage, images as docker_images};
pub use dockerd::{Answer, Docker, GRPC_BYPASS};

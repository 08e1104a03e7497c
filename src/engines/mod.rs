//! The clients of the engines: what doors, audit, doctor and proof ask containerd and dockerd.

pub mod containerd;
pub mod dockerd;
#[cfg(test)]
mod fuzz;
pub(crate) mod ttrpc_mux;

pub(crate) use containerd::ContainerdClient;
pub(crate) use containerd::images::is_id;
pub(crate) use containerd::images::name_of_record;
pub use dockerd::DockerdClient;
pub(crate) use dockerd::images::{DockerImage, images as docker_images};
pub(crate) use dockerd::{GRPC_BYPASS, GRPC_GATED, is_containerd_store};

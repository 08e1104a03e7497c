//! containerd's and Docker's `hosts.toml`, as far as it decides who may say what a tag is: whether
//! that is the resolver and nobody else, and how a file is made so.
//!
//! An engine asks every host of the file that may both pull and resolve, in turn, until one
//! answers: so a file is closed only if the resolver is the only such host, and the registry
//! itself, which without a word may do everything, is named and kept from it (containerd,
//! `core/remotes/docker/config/hosts.go` and `resolver.go`).

mod close;
mod daemon_json;
mod dialect;
mod document;
mod hole;
mod place;

use std::net::SocketAddr;

pub use close::{Certificates, close};
pub use daemon_json::DaemonJson;
pub use document::HostsFile;
pub use hole::{Hole, NO_FILE, WRITABLE, holes, holes_at, mirrored, passed_over};
pub use place::{Place, fetches_at, registries};

/// The name of the folder that stands for every registry without one of its own.
pub const DEFAULT: &str = "_default";

/// Docker Hub, which alone has mirrors of dockerd's own.
pub const DOCKER_HUB: &str = "docker.io";

/// Below it the resolver answers tags only, so that the engine asks the registry itself for bytes,
/// with its own credentials.
const RESOLVE_ONLY: &str = "/resolve";

/// The URL of the resolver in a registry's file; in `_default`, which has no other way to the
/// registries, the one that bytes come by too.
fn url(resolver: SocketAddr, registry: &str) -> String {
    let path = if registry == DEFAULT {
        ""
    } else {
        RESOLVE_ONLY
    };
    format!("http://{resolver}{path}")
}

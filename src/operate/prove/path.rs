//! The ways by which an image can come onto this host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::client::BlobOrigin;
use super::engine::ProofEngine;
use super::{Offer, ProofFailure, client, cri, docker, resolver, transfer};
use crate::canary::Canary;
use crate::engines::DockerdClient;
use crate::engines::dockerd::PastPlugins;

/// One way. Its name is stable: `ENGINE/WAY`.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) name: String,
    /// Whether somebody is asked for the name on it, so that known layers are no way past.
    pub(super) asks_by_name: bool,
    /// Whether what is signed must come in by it.
    pub(super) control: ControlImage,
    way: PathKind,
}

/// What the control shows on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlImage {
    /// It has to come in: one that is stopped shows a path that is broken, and not one that is
    /// shut.
    Required,
    /// The policy may let nothing in by it, signed or not.
    Optional,
    /// Nothing that comes in by it can be signed.
    None,
}

#[derive(Debug, Clone)]
enum PathKind {
    Client(Arc<ProofEngine>, BlobOrigin),
    TransferPull(Arc<ProofEngine>),
    TransferImport(Arc<ProofEngine>),
    Cri(Arc<ProofEngine>),
    Docker(Arc<DockerdClient>, docker::DockerRequest),
    /// No image comes by it: whether dockerd answers it says all.
    /// With the containerds whose gates are asked.
    Grpc(Arc<DockerdClient>, Vec<PathBuf>),
    Resolver(SocketAddr),
}

/// Every way into a containerd.
pub(super) fn of_engine(engine: &Arc<ProofEngine>) -> Vec<Path> {
    let path = |name: &str, asks_by_name, way| Path {
        name: format!("{}/{name}", engine.name),
        asks_by_name,
        control: ControlImage::Required,
        way,
    };
    let mut paths = vec![
        path(
            "client-pull",
            false,
            PathKind::Client(Arc::clone(engine), BlobOrigin::Registry),
        ),
        path(
            "client-import",
            false,
            PathKind::Client(Arc::clone(engine), BlobOrigin::Archive),
        ),
    ];
    if engine.has("io.containerd.grpc.v1", "transfer") {
        // The image verifier came with 2.0 (containerd, docs/image-verification.md).
        if engine.version >= (2, 0) {
            paths.push(path(
                "transfer-pull",
                true,
                PathKind::TransferPull(Arc::clone(engine)),
            ));
        }
        paths.push(path(
            "transfer-import",
            false,
            PathKind::TransferImport(Arc::clone(engine)),
        ));
    }
    if engine.has("io.containerd.grpc.v1", "cri") {
        // CRI pulls by the transfer service since 2.1; where a setting made it go back to its own
        // client, that is a hole.
        paths.push(path(
            "cri-pull",
            engine.version >= (2, 1),
            PathKind::Cri(Arc::clone(engine)),
        ));
    }
    paths
}

/// Every way into a dockerd. `authz`: its authorization plugin is ours. `past_plugin`: whether a way
/// past it is looked for, with the containerds whose gates are asked.
pub(super) fn of_docker(
    name: &str,
    docker: &Arc<DockerdClient>,
    authz: bool,
    past_plugin: Option<Vec<PathBuf>>,
) -> Vec<Path> {
    let path = |way: &str, asks_by_name, control, of| Path {
        name: format!("{name}/{way}"),
        asks_by_name,
        control,
        way: PathKind::Docker(Arc::clone(docker), of),
    };
    let local = if authz {
        ControlImage::Optional
    } else {
        ControlImage::Required
    };
    let mut paths = vec![
        path(
            "pull",
            authz,
            ControlImage::Required,
            docker::DockerRequest::Pull,
        ),
        path("load", false, local, docker::DockerRequest::Load),
        path(
            "import",
            false,
            ControlImage::None,
            docker::DockerRequest::Import,
        ),
        path("build", false, local, docker::DockerRequest::Build),
        path(
            "buildkit",
            false,
            ControlImage::Optional,
            docker::DockerRequest::Buildkit,
        ),
    ];
    // Where there is no plugin, nothing is passed by.
    if let Some(engines) = past_plugin {
        let way = PathKind::Grpc(Arc::clone(docker), engines);
        paths.push(Path {
            name: format!("{name}/grpc"),
            asks_by_name: false,
            control: ControlImage::None,
            way,
        });
    }
    paths
}

/// The resolver, which answers whoever asks it for a tag.
pub(super) fn of_resolver(at: SocketAddr) -> Path {
    Path {
        name: "resolver".to_owned(),
        asks_by_name: true,
        control: ControlImage::Required,
        way: PathKind::Resolver(at),
    }
}

impl Path {
    /// Whether an image means something here: that of known layers does once they are known.
    pub(super) fn is_for(&self, canary: Canary, control_is_in: bool) -> bool {
        match canary {
            Canary::Signed => self.control != ControlImage::None,
            Canary::Unsigned => true,
            Canary::Known => control_is_in,
        }
    }

    /// Whether the daemon keeps no record of which door judged the call: dockerd shows it to the
    /// plugin without an image's name, or with the name of what it makes alone.
    pub(super) fn leaves_no_trace(&self) -> bool {
        match &self.way {
            PathKind::Docker(_, way) => *way != docker::DockerRequest::Pull,
            _ => false,
        }
    }

    /// Whether it is `BuildKit` behind dockerd's plugins.
    pub(super) fn is_grpc(&self) -> bool {
        matches!(self.way, PathKind::Grpc(..))
    }

    /// Brings an image in; or why it did not come. `namespace` is for what lets one choose it.
    pub(super) async fn bring(&self, namespace: &str, offer: &Offer) -> Result<(), ProofFailure> {
        let brought = match &self.way {
            PathKind::Client(engine, origin) => {
                client::bring(engine, namespace, offer, *origin).await
            }
            PathKind::TransferPull(engine) => transfer::pull(engine, namespace, offer).await,
            PathKind::TransferImport(engine) => transfer::import(engine, namespace, offer).await,
            PathKind::Cri(engine) => cri::pull(engine, &offer.name.to_string()).await,
            PathKind::Docker(docker, way) => return Ok(docker::bring(docker, *way, offer).await?),
            PathKind::Grpc(docker, engines) => {
                return match docker.past_plugins(engines).await? {
                    PastPlugins::Nothing => Err(ProofFailure::NoWay),
                    PastPlugins::Gated => Err(ProofFailure::Gated),
                    PastPlugins::Open => Ok(()),
                };
            }
            PathKind::Resolver(at) => return Ok(resolver::resolve(*at, offer).await?),
        };
        brought.map_err(|status| ProofFailure::Said(status.message().to_owned()))
    }
}

//! The ways by which an image can come onto this host.

use std::net::SocketAddr;
use std::sync::Arc;

use super::client::Origin;
use super::engine::Engine;
use super::{Failure, Offer, client, cri, docker, resolver, transfer};
use crate::canary::Canary;
use crate::engines::Docker;

/// One way. Its name is stable: `ENGINE/WAY`.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) name: String,
    /// Whether somebody is asked for the name on it, so that known layers are no way past.
    pub(super) asks_by_name: bool,
    /// Whether what is signed must come in by it.
    pub(super) control: Control,
    way: Way,
}

/// What the control shows on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    /// It has to come in: one that is stopped shows a path that is broken, and not one that is
    /// shut.
    Required,
    /// The policy may let nothing in by it, signed or not.
    Optional,
    /// Nothing that comes in by it can be signed.
    None,
}

#[derive(Debug, Clone)]
enum Way {
    Client(Arc<Engine>, Origin),
    TransferPull(Arc<Engine>),
    TransferImport(Arc<Engine>),
    Cri(Arc<Engine>),
    Docker(Arc<Docker>, docker::Way),
    /// No image comes by it: whether dockerd answers it says all.
    Grpc(Arc<Docker>),
    Resolver(SocketAddr),
}

/// Every way into a containerd.
pub(super) fn of_engine(engine: &Arc<Engine>) -> Vec<Path> {
    let path = |name: &str, asks_by_name, way| Path {
        name: format!("{}/{name}", engine.name),
        asks_by_name,
        control: Control::Required,
        way,
    };
    let mut paths = vec![
        path(
            "client-pull",
            false,
            Way::Client(Arc::clone(engine), Origin::Registry),
        ),
        path(
            "client-import",
            false,
            Way::Client(Arc::clone(engine), Origin::Archive),
        ),
    ];
    if engine.has("io.containerd.grpc.v1", "transfer") {
        // The image verifier came with 2.0 (containerd, docs/image-verification.md).
        if engine.version >= (2, 0) {
            paths.push(path(
                "transfer-pull",
                true,
                Way::TransferPull(Arc::clone(engine)),
            ));
        }
        paths.push(path(
            "transfer-import",
            false,
            Way::TransferImport(Arc::clone(engine)),
        ));
    }
    if engine.has("io.containerd.grpc.v1", "cri") {
        // CRI pulls by the transfer service since 2.1; where a setting made it go back to its own
        // client, that is a hole.
        paths.push(path(
            "cri-pull",
            engine.version >= (2, 1),
            Way::Cri(Arc::clone(engine)),
        ));
    }
    paths
}

/// Every way into a dockerd. `authz`: its authorization plugin is ours.
pub(super) fn of_docker(name: &str, docker: &Arc<Docker>, authz: bool) -> Vec<Path> {
    let path = |way: &str, asks_by_name, control, of| Path {
        name: format!("{name}/{way}"),
        asks_by_name,
        control,
        way: Way::Docker(Arc::clone(docker), of),
    };
    let local = if authz {
        Control::Optional
    } else {
        Control::Required
    };
    let mut paths = vec![
        path("pull", authz, Control::Required, docker::Way::Pull),
        path("load", false, local, docker::Way::Load),
        path("import", false, Control::None, docker::Way::Import),
        path("build", false, local, docker::Way::Build),
        path("buildkit", false, Control::Optional, docker::Way::Buildkit),
    ];
    if authz {
        // Where there is no plugin, nothing is passed by.
        let way = Way::Grpc(Arc::clone(docker));
        paths.push(Path {
            name: format!("{name}/grpc"),
            asks_by_name: false,
            control: Control::None,
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
        control: Control::Required,
        way: Way::Resolver(at),
    }
}

impl Path {
    /// Whether an image means something here: that of known layers does once they are known.
    pub(super) fn is_for(&self, canary: Canary, control_is_in: bool) -> bool {
        match canary {
            Canary::Signed => self.control != Control::None,
            Canary::Unsigned => true,
            Canary::Known => control_is_in,
        }
    }

    /// Whether it is `BuildKit` behind dockerd's plugins.
    pub(super) fn is_grpc(&self) -> bool {
        matches!(self.way, Way::Grpc(_))
    }

    /// Brings an image in; or why it did not come. `namespace` is for what lets one choose it.
    pub(super) async fn bring(&self, namespace: &str, offer: &Offer) -> Result<(), Failure> {
        let brought = match &self.way {
            Way::Client(engine, origin) => client::bring(engine, namespace, offer, *origin).await,
            Way::TransferPull(engine) => transfer::pull(engine, namespace, offer).await,
            Way::TransferImport(engine) => transfer::import(engine, namespace, offer).await,
            Way::Cri(engine) => cri::pull(engine, &offer.name.to_string()).await,
            Way::Docker(docker, way) => return Ok(docker::bring(docker, *way, offer).await?),
            Way::Grpc(docker) => {
                return if docker.answers_grpc().await? {
                    Ok(())
                } else {
                    Err(Failure::NoWay)
                };
            }
            Way::Resolver(at) => return Ok(resolver::resolve(*at, offer).await?),
        };
        brought.map_err(|status| Failure::Said(status.message().to_owned()))
    }
}

//! Opens the doors that rootpin.toml names, each at its socket, and proves that engines ask.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;

use super::canary;
use super::listening::{Doorway, ListensAt, Told};
use crate::config::{Config, Dockerd, Engine};
use crate::control::ControlService;
use crate::control::wire::control_server::ControlServer;
use crate::decide::{Decider, Door};
use crate::doors::{DockerPlugin, EngineGates, ResolverDoor, RunDoor, socket};
use crate::observe::{Observer, StatusBoard};
use crate::sockets::{Passed, SocketUnavailable};
use crate::sources::Sources;

/// The end of a door: its server's.
pub(super) type DoorEnd = Result<(), tonic::transport::Error>;

/// What every door asks, and where it tells what it saw.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) decider: Arc<Decider>,
    pub(super) observer: Arc<Observer>,
    pub(super) sources: Arc<Sources>,
    pub(super) status: Arc<StatusBoard>,
}

/// The doors that are open or being opened.
pub(super) struct OpenDoors {
    pub(super) all: JoinSet<DoorEnd>,
    /// The gates of each engine, with the sockets by which they are asked.
    pub(super) asked: Vec<(Arc<EngineGates>, Door, PathBuf)>,
    shared: Shared,
    told: Told,
    /// Ends every door but the gates.
    stopped: watch::Receiver<bool>,
    /// Ends the gates. What an applying gate hands to containerd comes back to the gate, which so
    /// stops after it.
    gates_stopped: watch::Receiver<bool>,
}

impl OpenDoors {
    pub(super) fn new(
        shared: Shared,
        [stopped, gates_stopped]: [watch::Receiver<bool>; 2],
    ) -> Self {
        Self {
            all: JoinSet::new(),
            asked: Vec::new(),
            told: Told {
                status: Arc::clone(&shared.status),
                observer: Arc::clone(&shared.observer),
            },
            shared,
            stopped,
            gates_stopped,
        }
    }

    /// Opens a containerd's gates and the door of its NRI, and begins to prove them.
    pub(super) async fn open_engine(
        &mut self,
        engine: &Engine,
        passed: &mut Passed,
    ) -> Result<(), String> {
        let Shared {
            decider,
            observer,
            status,
            ..
        } = self.shared.clone();
        let gates = Arc::new(EngineGates::new(
            engine,
            Arc::clone(&decider),
            Arc::clone(&observer),
        )?);
        tokio::spawn(Arc::clone(&gates).follow());
        for (door, path, stopped) in [
            (Door::Gate, &engine.gate, &self.gates_stopped),
            (Door::Apply, &engine.apply, &self.stopped),
        ] {
            let at = ListensAt {
                door,
                engine: Some(engine.name.clone()),
                place: path.clone(),
            };
            let doorway = Doorway::open(at, passed, &self.told).await;
            self.asked.push((Arc::clone(&gates), door, path.clone()));
            self.all.spawn(serve_gate(
                doorway,
                Arc::clone(&gates),
                door,
                stopped.clone(),
            ));
        }
        if let Some(socket) = engine.nri.clone() {
            let door = RunDoor::new(
                socket,
                Arc::clone(&gates),
                decider,
                Arc::clone(&observer),
                Arc::clone(&status),
            );
            let stopped = until_stopped(self.stopped.clone());
            self.all.spawn(Arc::new(door).serve(stopped));
        }
        let apply = engine.apply.display().to_string();
        tokio::spawn(canary::prove(gates, apply, status, observer));
        Ok(())
    }

    /// Opens the resolver, where there is one.
    pub(super) async fn open_resolver(
        &mut self,
        config: &Config,
        passed: &mut Passed,
    ) -> Result<(), String> {
        let Some(address) = config.resolver else {
            return Ok(());
        };
        let Shared {
            decider,
            observer,
            sources,
            ..
        } = self.shared.clone();
        let resolver = Arc::new(ResolverDoor::new(
            decider, observer, sources, address, config,
        )?);
        let at = ListensAt {
            door: Door::Resolver,
            engine: None,
            place: address,
        };
        let doorway = Doorway::open(at, passed, &self.told).await;
        let stopped = self.stopped.clone();
        self.all.spawn(async move {
            if let Some(listener) = doorway.listener(until_stopped(stopped.clone())).await {
                resolver.serve(listener, until_stopped(stopped)).await;
            }
            Ok(())
        });
        Ok(())
    }

    /// Opens a dockerd's authorization plugin, where it has one, and begins to prove it.
    pub(super) async fn open_plugin(
        &mut self,
        dockerd: &Dockerd,
        config: &Config,
        passed: &mut Passed,
    ) {
        let Some(path) = dockerd.authz.clone() else {
            return;
        };
        let Shared {
            decider,
            observer,
            sources,
            status,
        } = self.shared.clone();
        let plugin = Arc::new(DockerPlugin::new(
            dockerd,
            config.containerds(),
            decider,
            sources,
            observer,
        ));
        let at = ListensAt {
            door: Door::Authz,
            engine: Some(dockerd.name.clone()),
            place: path,
        };
        let doorway = Doorway::open(at, passed, &self.told).await;
        let stopped = self.stopped.clone();
        tokio::spawn(Arc::clone(&plugin).prove(status));
        self.all.spawn(async move {
            if let Some(listener) = doorway.kept(until_stopped(stopped.clone())).await {
                plugin.serve(listener, until_stopped(stopped)).await;
            }
            Ok(())
        });
    }

    /// Opens the control socket, at a listener that is there already or as soon as there is one.
    pub(super) fn open_control(
        &mut self,
        place: PathBuf,
        listener: Result<UnixListener, SocketUnavailable>,
        control: ControlService,
    ) {
        let at = ListensAt {
            door: Door::Verifier,
            engine: None,
            place,
        };
        let doorway = Doorway::with(at, listener, &self.told);
        self.all
            .spawn(serve_control(doorway, control, self.stopped.clone()));
    }
}

async fn serve_gate(
    doorway: Doorway<PathBuf>,
    gates: Arc<EngineGates>,
    door: Door,
    stopped: watch::Receiver<bool>,
) -> DoorEnd {
    match doorway.kept(until_stopped(stopped.clone())).await {
        Some(listener) => gates.serve(door, listener, until_stopped(stopped)).await,
        None => Ok(()),
    }
}

async fn serve_control(
    doorway: Doorway<PathBuf>,
    control: ControlService,
    stopped: watch::Receiver<bool>,
) -> DoorEnd {
    let Some(listener) = doorway.kept(until_stopped(stopped.clone())).await else {
        return Ok(());
    };
    let server = Server::builder().add_service(ControlServer::new(control));
    server
        .serve_with_incoming_shutdown(socket::connections(listener), until_stopped(stopped))
        .await
}

async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

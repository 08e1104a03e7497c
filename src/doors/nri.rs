//! The run-time door: a plugin of containerd's NRI that refuses a container whose image is no
//! longer admitted.
//!
//! rootpind connects to NRI's socket and is asked from there on. A plugin that is away, too late,
//! or that speaks badly is passed over by containerd below 2.2, and the container is made: so there
//! is an answer in time to each question, and the way back is sought for ever.

mod container_origin;
#[cfg(test)]
mod fuzz;
mod images;
mod proved;
mod question;
mod rootfs;
mod running;
mod session;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::Decider;
use crate::doors::EngineGates;
use crate::observe::{self, Observer, StatusBoard};

/// Generated from `proto/`.
mod wire {
    #![allow(
        clippy::all,
        clippy::as_conversions,
        clippy::pedantic,
        missing_docs,
        unreachable_pub
    )]
    tonic::include_proto!("nri.pkg.api.v1alpha1");
    pub mod ttrpc {
        tonic::include_proto!("ttrpc");
    }
}

/// CRI's namespace: no other client of containerd asks NRI.
const NAMESPACE: &str = "k8s.io";
/// How long to wait before the next attempt to connect: containerd may have been restarted.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The run-time door of one engine.
#[derive(Debug)]
pub(crate) struct RunDoor {
    socket: PathBuf,
    gates: Arc<EngineGates>,
    decider: Arc<Decider>,
    observer: Arc<Observer>,
    status: Arc<StatusBoard>,
    proved: proved::Proved,
}

impl RunDoor {
    /// The door that NRI's socket leads to.
    #[must_use]
    pub(crate) fn new(
        socket: PathBuf,
        gates: Arc<EngineGates>,
        decider: Arc<Decider>,
        observer: Arc<Observer>,
        status: Arc<StatusBoard>,
    ) -> Self {
        Self {
            socket,
            gates,
            decider,
            observer,
            status,
            proved: proved::Proved::default(),
        }
    }

    /// Keeps connected until told to stop. A question that was asked is answered first.
    ///
    /// # Errors
    /// None: a door that can't be kept is told of, and tried again.
    pub(crate) async fn serve(
        self: Arc<Self>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        tokio::pin!(stop);
        let mut wait = FIRST_WAIT;
        let mut told = false;
        self.open("not connected yet".to_owned());
        loop {
            let (why, was_connected) = match self.session(&mut stop).await {
                session::Ended::Stopped => return Ok(()),
                session::Ended::Lost { why, was_connected } => (why, was_connected),
            };
            if was_connected {
                (wait, told) = (FIRST_WAIT, false);
            }
            if !told {
                let (engine, socket) = (&self.gates.name, self.socket.display());
                log::error!(
                    "engine {engine}: no connection to NRI on {socket}: {why}; containers are made unasked there, until it is back"
                );
                told = true;
            }
            self.open(why);
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = &mut stop => return Ok(()),
            }
        }
    }

    /// Tells that nobody is asked, and why.
    fn open(&self, why: String) {
        self.set("rootpin_nri_connected", 0);
        self.status.run_time(&self.gates.name, Err(why));
    }

    /// Tells that each container is asked for, and how many ran already that may not run.
    fn shut(&self, refused: usize) {
        self.set("rootpin_nri_connected", 1);
        self.set("rootpin_running_refused", refused);
        self.status.run_time(&self.gates.name, Ok(refused));
    }

    fn set(&self, metric: &'static str, to: usize) {
        let to = u32::try_from(to).unwrap_or(u32::MAX);
        self.observer.metrics().set(
            metric,
            format!("engine=\"{}\"", observe::label_value(&self.gates.name)),
            to.into(),
        );
    }
}

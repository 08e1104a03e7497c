//! Shows systemd that rootpind answers: what is asked is what engines and people ask, by the same
//! sockets. A daemon that hangs shows nothing, and is started anew (systemd.service(5),
//! `WatchdogSec=`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::DaemonClient;
use crate::decide::Door;
use crate::doors::EngineGates;
use crate::observe::StatusBoard;
use crate::problem::Problem;

/// What is asked.
pub(super) struct Watchdog {
    pub(super) control: PathBuf,
    /// The gates of each engine, each door with its socket.
    pub(super) gates: Vec<(Arc<EngineGates>, Door, PathBuf)>,
    pub(super) status: Arc<StatusBoard>,
}

impl Watchdog {
    /// Shows it for as long as it is so, three times in the time that systemd gives.
    pub(super) async fn keep(self, within: Duration) {
        let every = within / 3;
        let mut was_well = true;
        loop {
            let begun = Instant::now();
            let asked = tokio::time::timeout(every, self.ask(every)).await;
            let asked =
                asked.unwrap_or_else(|_| Err(Problem::new(format!("no answer within {every:?}"))));
            match &asked {
                Ok(()) => super::notify(&[sd_notify::NotifyState::Watchdog]),
                Err(why) if was_well => {
                    log::error!("rootpind does not answer its own question: {why}");
                }
                Err(_) => {}
            }
            was_well = asked.is_ok();
            tokio::time::sleep(every.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn ask(&self, time: Duration) -> Result<(), Problem> {
        DaemonClient::connect(&self.control, time)
            .await?
            // Not the status, which has every engine checked each time.
            .metrics()
            .await?;
        for (gates, door, socket) in &self.gates {
            // One that somebody else has is told of otherwise, and a new start would not bring it
            // back.
            if self.status.is_listening(*door, Some(&gates.name)) {
                gates
                    .ask_by_socket(*door, socket)
                    .await
                    .map_err(|why| Problem::new(why).about(socket.display()))?;
            }
        }
        Ok(())
    }
}

//! Asks the engines that run, and looks at their processes and files. Changes nothing.

mod containerd;
mod dockerd;
mod idle;
mod processes;

use std::time::Duration;

pub(super) use containerd::containerd;
pub(crate) use dockerd::AUTHORIZATION;
pub(super) use dockerd::docker;
pub(super) use idle::{config as idle_config, idle};
pub(crate) use processes::process_names;
pub(super) use processes::{SET_ID, dockerd_at, engines, listener, only_dockerd, process};

/// For one answer of an engine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends whatever takes too long.
async fn in_time<T>(
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer to {what} within {PATIENCE:?}")))
}

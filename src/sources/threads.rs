//! Connections to servers have threads of their own in the daemon.
//!
//! hyper reads interim responses (RFC 9110, section 15.2) without a pause for as long as some have
//! arrived. A server that sends nothing else so keeps a thread busy, beyond the deadline of the
//! question and the end of the daemon. None of the doors' threads is to be that one.

use std::sync::OnceLock;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

static THREADS: OnceLock<Handle> = OnceLock::new();

/// From now on every request of this process, and its connection, runs there.
pub(crate) fn use_threads(threads: &Handle) {
    let _ = THREADS.set(threads.clone());
}

/// Runs a request there, or here where there are no such threads. It is given up with the future.
/// `None`: it panicked.
pub(super) async fn on_threads<T: Send + 'static>(
    request: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let Some(threads) = THREADS.get() else {
        return Some(request.await);
    };
    let mut running = JoinSet::new();
    running.spawn_on(request, threads);
    running.join_next().await.and_then(Result::ok)
}

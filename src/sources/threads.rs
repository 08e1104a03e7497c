//! In the daemon, the connections to each server have a thread of their own.
//!
//! hyper reads interim responses (RFC 9110, section 15.2) for as long as some have arrived, or until
//! tokio interrupts it after 128 reads, each of up to 400 kB. Only then does it see that nobody waits
//! any more. So a server that sends nothing else keeps a thread busy, beyond the deadline of the
//! question and the end of the daemon. That thread is no door's and no other server's.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// So many servers have a thread of their own. Where more have connections open at a time, a new one
/// shares the thread that was used longest ago.
const MAX_THREADS: usize = 64;
/// How long a thread without connections waits for the next request. A connection is kept open for
/// longer.
const IDLE: Duration = Duration::from_secs(60);

static THREADS: OnceLock<Mutex<ServerThreads>> = OnceLock::new();

/// By origin.
#[derive(Default)]
struct ServerThreads(HashMap<String, ServerThread>);

struct ServerThread {
    runtime: Handle,
    used: Instant,
    /// The thread ends with it.
    _keep: oneshot::Sender<()>,
}

/// From now on every request of this process, and its connection, runs on the thread of its server.
pub(crate) fn use_threads() {
    let _ = THREADS.set(Mutex::default());
}

/// Runs a request on the thread of the server that the URL names, or here where there are no such
/// threads. It is given up with the future. `None`: it panicked.
///
/// # Errors
/// The system gives no thread.
pub(super) async fn on_threads<T: Send + 'static>(
    url: &Url,
    request: impl Future<Output = T> + Send + 'static,
) -> io::Result<Option<T>> {
    let Some(threads) = THREADS.get() else {
        return Ok(Some(request.await));
    };
    let thread = threads
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .of(&url.origin().ascii_serialization(), Instant::now())?;
    let mut running = JoinSet::new();
    running.spawn_on(request, &thread);
    Ok(running.join_next().await.and_then(Result::ok))
}

impl ServerThreads {
    fn of(&mut self, origin: &str, now: Instant) -> io::Result<Handle> {
        // A connection is a task.
        self.0.retain(|_, thread| {
            thread.runtime.metrics().num_alive_tasks() > 0
                || now.saturating_duration_since(thread.used) < IDLE
        });
        if !self.0.contains_key(origin) && self.0.len() < MAX_THREADS {
            self.0.insert(origin.to_owned(), ServerThread::start(now)?);
        }
        let thread = match self.0.get_mut(origin) {
            Some(own) => Some(own),
            None => self.0.values_mut().min_by_key(|thread| thread.used),
        };
        let thread = thread.ok_or_else(|| io::Error::other("no thread"))?;
        thread.used = now;
        Ok(thread.runtime.clone())
    }
}

impl ServerThread {
    fn start(now: Instant) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (keep, kept) = oneshot::channel();
        std::thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(kept);
                // A look-up of a name may still run.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            used: now,
            _keep: keep,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: usize) -> String {
        format!("https://{number}.example")
    }

    #[test]
    fn each_server_has_one_thread_until_it_has_no_connection_and_is_asked_nothing() {
        let (mut threads, begun) = (ServerThreads::default(), Instant::now());
        let first = threads.of(&origin(1), begun).unwrap();
        let same = threads.of(&origin(1), begun).unwrap();
        let other = threads.of(&origin(2), begun).unwrap();
        assert_eq!(first.id(), same.id());
        assert_ne!(first.id(), other.id());
        // A connection of the first one's.
        let connection = first.spawn(std::future::pending::<()>());
        threads.of(&origin(3), begun + IDLE).unwrap();
        assert_eq!(threads.0.len(), 2);
        assert_eq!(
            threads.of(&origin(1), begun + IDLE).unwrap().id(),
            first.id()
        );
        drop(connection);
    }

    #[test]
    fn servers_beyond_the_most_share_threads() {
        let (mut threads, begun) = (ServerThreads::default(), Instant::now());
        let of = |threads: &mut ServerThreads, number| threads.of(&origin(number), begun).unwrap();
        let own: Vec<_> = (0..MAX_THREADS)
            .map(|number| of(&mut threads, number))
            .collect();
        let shared = of(&mut threads, MAX_THREADS);
        assert!(own.iter().any(|thread| thread.id() == shared.id()));
        assert_eq!(threads.0.len(), MAX_THREADS);
    }
}

//! In the daemon, the connections to each server have a thread of their own.
//!
//! hyper reads interim responses (RFC 9110, section 15.2) for as long as some have arrived, or until
//! tokio interrupts it after 128 reads, each of up to 400 kB. Only then does it see that nobody waits
//! any more. So a server that sends nothing else keeps a thread busy. That thread is no door's and no
//! other server's, and it ends, with its connections, once a question was given up on it and no other
//! one waits or reads an answer. A server that leads to others, by redirects or to token services, has threads for few of
//! them: else it could take all.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// So many servers at a time may have a thread because one other server leads to them. Registries have a
/// token service, and a few hosts for their blobs.
const MAX_LED_TO: usize = 8;

tokio::task_local! {
    /// The origin of the server that a question began at.
    static ASKED: String;
}

static THREADS: OnceLock<Mutex<ServerThreads>> = OnceLock::new();

/// By origin.
#[derive(Default)]
struct ServerThreads(HashMap<String, ServerThread>);

struct ServerThread {
    runtime: Handle,
    used: Instant,
    /// The server that led to this one, which was not asked for itself yet.
    led_by: Option<String>,
    /// The requests that wait for an answer, or for the rest of one.
    waiting: usize,
    /// Whether one was given up.
    given_up: bool,
    /// The thread ends with it.
    _keep: oneshot::Sender<()>,
}

/// From now on every request of this process, and its connection, runs on the thread of its server.
pub(crate) fn use_threads() {
    let _ = THREADS.set(Mutex::default());
}

/// Asks the server of the URL: whatever server that leads to counts as led to by this one.
pub(super) async fn beginning_at<T>(url: &Url, asking: impl Future<Output = T>) -> T {
    // A token is a part of the question that it is for.
    if THREADS.get().is_none() || ASKED.try_with(|_| ()).is_ok() {
        return asking.await;
    }
    ASKED
        .scope(url.origin().ascii_serialization(), asking)
        .await
}

/// Runs a request on the thread of the server that the URL names, or here where there are no such
/// threads. It is given up with the future. `None`: it panicked. The thread, and each connection on
/// it, lasts at least as long as what comes with the answer: a body may still be read there.
///
/// # Errors
/// The system gives no thread, or the server that was asked leads to too many others.
pub(super) async fn on_threads<T: Send + 'static>(
    url: &Url,
    request: impl Future<Output = T> + Send + 'static,
) -> io::Result<Option<(T, Option<Arc<WaitingRequest>>)>> {
    let Some(threads) = THREADS.get() else {
        return Ok(Some((request.await, None)));
    };
    let origin = url.origin().ascii_serialization();
    let asked = ASKED.try_with(String::clone).ok();
    let led_by = asked.filter(|asked| *asked != origin);
    let (origin, runtime) = threads.lock().unwrap_or_else(PoisonError::into_inner).of(
        &origin,
        led_by,
        Instant::now(),
    )?;
    let mut waiting = WaitingRequest {
        threads,
        origin,
        is_answered: false,
    };
    let mut running = JoinSet::new();
    running.spawn_on(request, &runtime);
    let answer = running.join_next().await.and_then(Result::ok);
    waiting.is_answered = true;
    let waiting = Some(Arc::new(waiting));
    Ok(answer.map(|answer| (answer, waiting)))
}

/// A request on a server's thread, until its whole answer was read, or it is given up.
pub(super) struct WaitingRequest {
    threads: &'static Mutex<ServerThreads>,
    origin: String,
    is_answered: bool,
}

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        let threads = self.threads.lock();
        let mut threads = threads.unwrap_or_else(PoisonError::into_inner);
        threads.ended(&self.origin, self.is_answered);
    }
}

impl ServerThreads {
    /// The thread of that server for one request more, and whose it is.
    fn of(
        &mut self,
        origin: &str,
        led_by: Option<String>,
        now: Instant,
    ) -> io::Result<(String, Handle)> {
        // A connection is a task.
        self.0.retain(|_, thread| {
            thread.waiting > 0
                || thread.runtime.metrics().num_alive_tasks() > 0
                || now.saturating_duration_since(thread.used) < IDLE
        });
        if let Some(thread) = self.0.get_mut(origin) {
            thread.led_by = thread.led_by.take().filter(|_| led_by.is_some());
        } else {
            let led_to = |by| {
                self.0
                    .values()
                    .filter(move |thread| thread.led_by.as_ref() == Some(by))
            };
            if let Some(by) = led_by
                .as_ref()
                .filter(|by| led_to(by).count() >= MAX_LED_TO)
            {
                let why = format!("{by} leads to more than {MAX_LED_TO} other servers at a time");
                return Err(io::Error::other(why));
            }
            if self.0.len() < MAX_THREADS {
                let thread = ServerThread::start(led_by, now)?;
                self.0.insert(origin.to_owned(), thread);
            }
        }
        let owner = if self.0.contains_key(origin) {
            Some(origin.to_owned())
        } else {
            let longest_ago = self.0.iter().min_by_key(|(_, thread)| thread.used);
            longest_ago.map(|(owner, _)| owner.clone())
        };
        let thread = owner.and_then(|owner| Some((self.0.get_mut(&owner)?, owner)));
        let (thread, owner) = thread.ok_or_else(|| io::Error::other("no thread"))?;
        thread.used = now;
        thread.waiting += 1;
        Ok((owner, thread.runtime.clone()))
    }

    /// A request on that thread was answered, or given up.
    fn ended(&mut self, owner: &str, is_answered: bool) {
        let Some(thread) = self.0.get_mut(owner) else {
            return;
        };
        thread.waiting = thread.waiting.saturating_sub(1);
        thread.given_up |= !is_answered;
        if thread.given_up && thread.waiting == 0 {
            self.0.remove(owner);
        }
    }
}

impl ServerThread {
    fn start(led_by: Option<String>, now: Instant) -> io::Result<Self> {
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
            led_by,
            waiting: 0,
            given_up: false,
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
        let (_, first) = threads.of(&origin(1), None, begun).unwrap();
        let (_, same) = threads.of(&origin(1), None, begun).unwrap();
        let (_, other) = threads.of(&origin(2), None, begun).unwrap();
        for number in [1, 1, 2] {
            threads.ended(&origin(number), true);
        }
        assert_eq!(first.id(), same.id());
        assert_ne!(first.id(), other.id());
        // A connection of the first one's.
        let connection = first.spawn(std::future::pending::<()>());
        threads.of(&origin(3), None, begun + IDLE).unwrap();
        assert_eq!(threads.0.len(), 2);
        assert_eq!(
            threads.of(&origin(1), None, begun + IDLE).unwrap().1.id(),
            first.id()
        );
        drop(connection);
    }

    #[test]
    fn a_thread_on_which_a_request_was_given_up_ends_once_nobody_waits_there() {
        let (mut threads, begun) = (ServerThreads::default(), Instant::now());
        let mut first = None;
        for _ in 0..2 {
            first = Some(threads.of(&origin(1), None, begun).unwrap().1);
        }
        let connection = first.unwrap().spawn(std::future::pending::<()>());
        threads.ended(&origin(1), false);
        assert_eq!(threads.0.len(), 1, "another request waits");
        threads.ended(&origin(1), true);
        assert!(threads.0.is_empty());
        // Its connections end with it.
        let ended = Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(connection);
        assert!(ended.unwrap_err().is_cancelled());
        threads.ended(&origin(1), false);
    }

    #[test]
    fn a_server_has_threads_for_few_of_those_that_it_leads_to_and_each_that_is_asked_has_its_own() {
        let (mut threads, begun) = (ServerThreads::default(), Instant::now());
        let by = || Some(origin(0));
        threads.of(&origin(0), None, begun).unwrap();
        for number in 1..=MAX_LED_TO {
            threads.of(&origin(number), by(), begun).unwrap();
        }
        for number in 9..109 {
            assert!(threads.of(&origin(number), by(), begun).is_err());
        }
        assert_eq!(threads.0.len(), 1 + MAX_LED_TO);
        // One that has its thread, another one's, and one that is asked for itself.
        threads.of(&origin(1), by(), begun).unwrap();
        threads.of(&origin(9), Some(origin(10)), begun).unwrap();
        threads.of(&origin(11), None, begun).unwrap();
        assert!(threads.of(&origin(12), by(), begun).is_err());
        // It is asked for itself, and is led to no more.
        threads.of(&origin(1), None, begun).unwrap();
        threads.of(&origin(12), by(), begun).unwrap();
    }

    #[test]
    fn servers_beyond_the_most_share_threads() {
        let (mut threads, begun) = (ServerThreads::default(), Instant::now());
        let of = |threads: &mut ServerThreads, number| {
            threads.of(&origin(number), None, begun).unwrap().1
        };
        let own: Vec<_> = (0..MAX_THREADS)
            .map(|number| of(&mut threads, number))
            .collect();
        let shared = of(&mut threads, MAX_THREADS);
        assert!(own.iter().any(|thread| thread.id() == shared.id()));
        assert_eq!(threads.0.len(), MAX_THREADS);
    }
}

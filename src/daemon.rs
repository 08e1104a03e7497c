//! The daemon, start to end: configuration, log, policy, state, sockets, ready, serve, drain.

mod canary;
mod listening;
mod metrics_door;
mod open_doors;
mod watchdog;
mod watcher;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{self, Config};
use crate::control::{ControlService, recall_break_glass, warn_ahead, watch_break_glass};
use crate::decide::{Decider, Door};
use crate::doors::{EngineGates, sweep};
use crate::observe::{self, Observer, StatusBoard};
use crate::policy_dir::LastGood;
use crate::sockets::Passed;
use crate::sources::{Credentials, Sources, use_threads};
use crate::state::{StateMark, Store};
use metrics_door::MetricsDoor;
use open_doors::{DoorEnd, OpenDoors, Shared};
use watchdog::Watchdog;
use watcher::{Candidate, SETTLE, Watcher, first_policy};

/// `rootpin verify --state` may have the state open for a moment.
const WAIT_FOR_STATE: Duration = Duration::from_secs(10);
/// How often a state that could not be opened is tried again.
const STATE_AGAIN: Duration = Duration::from_secs(1);

/// How long a stop waits for layers that are being unpacked. Twice the `deadline` comes after it:
/// together less than `TimeoutStopSec=` of the packaged unit.
const UNPACKS: Duration = Duration::from_secs(120);
/// Before it is said that a stop waits.
const SILENCE: Duration = Duration::from_secs(1);

/// `EX_CONFIG` of sysexits: systemd and people tell a mistake in the configuration from a failure
/// by it.
const EXIT_CONFIG: u8 = 78;

/// What `rootpind` was told on its command line.
#[derive(Debug)]
pub struct Options {
    /// rootpin.toml.
    pub config: PathBuf,
}

/// Runs the daemon to its end. Returns the exit code.
#[must_use]
pub fn run(options: &Options) -> u8 {
    observe::init_log();
    let mut passed = Passed::take();
    let config = match config::load(&options.config) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{error}");
            passed.send_away_who_waits();
            return EXIT_CONFIG;
        }
    };
    use_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(serve(&options.config, &config, &mut passed)));
    match result {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            passed.send_away_who_waits();
            1
        }
    }
}

/// Forbids core dumps, which would hold credentials. The unit limits them too, and a kernel that
/// refuses must not keep the node down.
fn keep_memory_private() {
    if let Err(why) = crate::credentials::forbid_core_dumps() {
        log::warn!("{why}; rootpind's memory has credentials: check LimitCORE=0 in its unit");
    }
}

async fn serve(config_path: &Path, config: &Config, passed: &mut Passed) -> Result<(), String> {
    let started = Timestamp::now();
    let control = listening::first(&config.control, passed).await?;
    let policy_dir = policy_dir(config_path, config);
    let store = Arc::new(open_state(&config.state));
    let last_good = LastGood::beside(&config.state);
    let first = Candidate::read(&policy_dir);
    let mark = StateMark::beside(config_path);
    let in_force = first_policy(&first, &last_good, &policy_dir, &mark.standing(&store));
    keep_memory_private();
    let sources = Arc::new(Sources::new(Arc::new(credentials(config))));
    let decider = Arc::new(Decider::new(
        in_force,
        Arc::clone(&sources),
        store,
        config.deadline,
        true,
    ));
    let observer = Arc::new(Observer::new(config.audit_log.as_deref()));
    let status = Arc::new(status_board(config, started, mark));
    observer
        .metrics()
        .set("rootpin_start_seconds", String::new(), seconds(started));
    // Before the first question: it says by which clock none may be judged.
    let watcher = Watcher::new(policy_dir, first, last_good, (&decider, &observer, &status));
    keep_beside(config, &decider, &observer, &status);
    tokio::spawn(open_late(Arc::clone(decider.store())));

    let (stop, stopped) = watch::channel(false);
    let (stop_gates, gates_stopped) = watch::channel(false);
    let shared = Shared {
        decider: Arc::clone(&decider),
        observer: Arc::clone(&observer),
        sources: Arc::clone(&sources),
        status: Arc::clone(&status),
    };
    let mut doors = OpenDoors::new(shared, [stopped, gates_stopped]);
    for engine in &config.engines {
        doors.open_engine(engine, passed).await?;
    }
    doors.open_resolver(config, passed).await?;
    for dockerd in &config.dockers {
        doors.open_plugin(dockerd, config, passed).await;
    }
    let sweep = sweep::start(config, &decider, &observer, &status)?;
    let (reload, reloads) = mpsc::channel(8);
    tokio::spawn(watcher.watch(reloads));
    let service = ControlService {
        decider,
        observer: Arc::clone(&observer),
        sources,
        status: Arc::clone(&status),
        reload: reload.clone(),
        sweep,
        importing: tokio::sync::Mutex::default(),
    };
    doors.open_control(config.control.clone(), control, service);
    std::mem::take(passed).send_away();

    // Before anybody is told that we are here: until then a signal is the end.
    let mut signals = [
        on(SignalKind::terminate())?,
        on(SignalKind::interrupt())?,
        on(SignalKind::hangup())?,
    ];
    notify(&[sd_notify::NotifyState::Ready]);
    log_start(&config.control, &status);
    let OpenDoors { mut all, asked, .. } = doors;
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(
            Watchdog {
                control: config.control.clone(),
                gates: asked.clone(),
                status,
            }
            .keep(within),
        );
    }
    until_told(&mut signals, &observer, &reload, &mut all).await?;
    notify(&[sd_notify::NotifyState::Stopping]);
    unpacked(&asked, &mut signals).await;
    drain(&mut all, config, [stop, stop_gates]).await;
    Ok(())
}

/// Starts what decides nothing: the end of break-glass, and the metrics.
fn keep_beside(
    config: &Config,
    decider: &Arc<Decider>,
    observer: &Arc<Observer>,
    status: &Arc<StatusBoard>,
) {
    recall_break_glass(decider, observer);
    tokio::spawn(warn_ahead(Arc::clone(decider)));
    tokio::spawn(watch_break_glass(Arc::clone(decider), Arc::clone(observer)));
    if let Some(address) = config.metrics.clone() {
        let door = MetricsDoor {
            decider: Arc::clone(decider),
            observer: Arc::clone(observer),
            status: Arc::clone(status),
        };
        tokio::spawn(door.serve(address));
    }
}

/// The policy's folder: as rootpin.toml names it, or beside rootpin.toml.
fn policy_dir(config_path: &Path, config: &Config) -> PathBuf {
    let beside = || {
        let path = std::path::absolute(config_path);
        path.map_or_else(
            |_| config::DEFAULT_POLICY.into(),
            |path| config::beside(&path),
        )
    };
    config.policy.clone().unwrap_or_else(beside)
}

fn credentials(config: &Config) -> Credentials {
    Credentials::configured(
        &config.credentials,
        config.docker_config.as_deref(),
        config.credential_helper_timeout,
    )
    .with_hosts(config.hosts_dir.clone())
    .without_resolver(config.resolver)
}

fn status_board(config: &Config, started: Timestamp, mark: StateMark) -> StatusBoard {
    let engines = config.engines.iter();
    let guarded = config
        .dockers
        .iter()
        .filter(|docker| docker.authz.is_some());
    StatusBoard::new(
        started,
        engines.map(|engine| engine.name.clone()).collect(),
        config.resolver.map(|address| address.to_string()),
        guarded.map(|docker| docker.name.clone()).collect(),
        config.credentials.kubelet_config.is_some(),
        mark,
    )
}

fn log_start(control: &Path, status: &StatusBoard) {
    let (version, control) = (env!("CARGO_PKG_VERSION"), control.display());
    if status.is_listening(Door::Verifier, None) {
        log::info!("rootpin {version} answers on {control}");
    } else {
        log::info!("rootpin {version} runs, and does not answer on {control} yet");
    }
}

/// Waits for the layers that are being unpacked on an applying gate's word, which a restart would
/// cut off. Every door goes on answering meanwhile: what would wait in a socket of systemd's for
/// longer than its engine does is lost too. A second signal ends it.
async fn unpacked(
    doors: &[(Arc<EngineGates>, Door, PathBuf)],
    [terminate, interrupt, _]: &mut [Signal; 3],
) {
    let all = async {
        for (gates, ..) in doors {
            gates.until_unpacked().await;
        }
    };
    let waiting = async {
        tokio::time::sleep(SILENCE).await;
        log::info!("layers are being unpacked: stopping when they are, within {UNPACKS:?}");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = all => return,
        () = waiting => {}
        () = tokio::time::sleep(UNPACKS) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    log::warn!("stopping while layers are being unpacked");
}

/// Stops the gates after the others: what an applying gate has handed to containerd comes back to
/// them.
async fn drain(
    doors: &mut JoinSet<DoorEnd>,
    config: &Config,
    [stop, stop_gates]: [watch::Sender<bool>; 2],
) {
    let _ = stop.send(true);
    let others = doors.len().saturating_sub(config.engines.len());
    let mut drained = ended(doors, others, config.deadline).await;
    let _ = stop_gates.send(true);
    drained &= ended(doors, config.engines.len(), config.deadline).await;
    if !drained {
        log::warn!(
            "stopping with questions unanswered after {:?}",
            config.deadline
        );
    }
}

/// Waits for so many doors to end: questions that were asked are answered, and nobody waits longer
/// than one may take.
async fn ended(doors: &mut JoinSet<DoorEnd>, count: usize, deadline: Duration) -> bool {
    let all = async {
        for _ in 0..count {
            let _ = doors.join_next().await;
        }
    };
    tokio::time::timeout(deadline, all).await.is_ok()
}

/// Waits for the signal to stop. SIGHUP has the policy looked at and the audit file opened anew.
async fn until_told(
    [terminate, interrupt, hangup]: &mut [Signal; 3],
    observer: &Observer,
    reload: &mpsc::Sender<oneshot::Sender<Result<(), String>>>,
    doors: &mut JoinSet<DoorEnd>,
) -> Result<(), String> {
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                let reloading = sd_notify::NotifyState::monotonic_usec_now().ok();
                notify(&[Some(sd_notify::NotifyState::Reloading), reloading].into_iter().flatten().collect::<Vec<_>>());
                observer.reopen();
                let (told, answer) = oneshot::channel();
                if reload.send(told).await.is_ok() {
                    // Files that never come to rest must not keep us from the next signal.
                    let _ = tokio::time::timeout(SETTLE * 3, answer).await;
                }
                notify(&[sd_notify::NotifyState::Ready]);
            }
            ended = doors.join_next() => {
                let why = match ended {
                    Some(Ok(Err(error))) => error.to_string(),
                    Some(Err(error)) => error.to_string(),
                    Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
                };
                return Err(format!("a socket is no longer served: {why}"));
            }
        }
    }
}

fn on(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("signals: {error}"))
}

/// A state that cannot be used is served as such: every decision that needs it is a "could not
/// judge" that says why.
fn open_state(dir: &Path) -> Store {
    Store::open_waiting(dir, Instant::now() + WAIT_FOR_STATE).unwrap_or_else(|error| {
        log::error!("{error}; every question that needs it is refused");
        Store::broken(dir, &error)
    })
}

/// Opens a state that could not be opened as soon as that works. Not by the doors' threads, which
/// answer meanwhile.
async fn open_late(store: Arc<Store>) {
    loop {
        let store = Arc::clone(&store);
        let opened = tokio::task::spawn_blocking(move || store.try_again()).await;
        if opened.unwrap_or(true) {
            return;
        }
        tokio::time::sleep(STATE_AGAIN).await;
    }
}

fn seconds(time: Timestamp) -> f64 {
    std::time::Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH))
        .unwrap_or_default()
        .as_secs_f64()
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("telling systemd: {error}");
    }
}

//! Names that are on this host already, by whatever way they came: each is judged again, at once
//! when it is written, and all of them whenever what was decided may no longer hold. Detects,
//! reports, and removes if the policy says so; see `docs/sweep.md`.

mod engine;
mod findings;
mod in_containerd;
mod in_docker;
mod judging;
mod pending;
mod period;
mod swept_image;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::engine::SweptEngine;
use self::watch::{SweepRequest, Watch};
use crate::config::Config;
use crate::control::SweepOrder;
use crate::decide::Decider;
use crate::engines::{ContainerdClient, DockerdClient};
use crate::observe::{Observer, StatusBoard, Swept, plain};

/// For one question to a dockerd.
const DOCKER_DEADLINE: Duration = Duration::from_secs(20);
/// Whoever asks for a sweep is answered by then, with what is known.
const ORDER: Duration = Duration::from_secs(100);

/// Starts the sweeper of every engine, and takes orders from the control socket.
///
/// # Errors
/// An engine's socket is no address.
pub(crate) fn start(
    config: &Config,
    decider: &Arc<Decider>,
    observer: &Arc<Observer>,
    status: &Arc<StatusBoard>,
) -> Result<mpsc::Sender<SweepOrder>, String> {
    let docker = |socket| DockerdClient::at(socket, DOCKER_DEADLINE);
    let mut engines = Vec::new();
    for engine in &config.engines {
        let containerd = ContainerdClient::at(&engine.containerd)
            .map_err(|error| format!("engine {}: {error}", engine.name))?;
        let dockers = config
            .dockers
            .iter()
            .map(|known| docker(&known.socket))
            .collect();
        engines.push((
            engine.name.clone(),
            SweptEngine::Containerd(Arc::new(containerd), dockers),
        ));
    }
    let beside = !engines.is_empty();
    engines.extend(config.dockers.iter().map(|known| {
        (
            known.name.clone(),
            SweptEngine::Docker(docker(&known.socket), beside),
        )
    }));
    let watches = engines.into_iter().map(|(name, engine)| {
        status.swept(&name, Swept::default());
        let watch = Arc::new(Watch {
            name,
            engine: Arc::new(engine),
            decider: Arc::clone(decider),
            observer: Arc::clone(observer),
            status: Arc::clone(status),
            pending: Arc::default(),
            known: Mutex::default(),
        });
        let (sender, wanted) = mpsc::channel(4);
        tokio::spawn(Arc::clone(&watch).run(wanted));
        tokio::spawn(Arc::clone(&watch).follow());
        (watch, sender)
    });
    let (sender, orders) = mpsc::channel(4);
    tokio::spawn(serve(watches.collect(), Arc::clone(decider), orders));
    Ok(sender)
}

type Watches = Vec<(Arc<Watch>, mpsc::Sender<SweepRequest>)>;

/// One order after the other: each sweeps every engine, all at one time.
async fn serve(watches: Watches, decider: Arc<Decider>, mut orders: mpsc::Receiver<SweepOrder>) {
    while let Some(SweepOrder { dry_run, answer }) = orders.recv().await {
        let mut sweeps = JoinSet::new();
        for (at, (_, sender)) in watches.iter().enumerate() {
            let sender = sender.clone();
            sweeps.spawn(async move {
                let (done, swept) = oneshot::channel();
                let all = async {
                    sender.send(SweepRequest { dry_run, done }).await.is_ok() && swept.await.is_ok()
                };
                (at, tokio::time::timeout(ORDER, all).await.unwrap_or(false))
            });
        }
        let mut late: Vec<bool> = vec![true; watches.len()];
        while let Some(Ok((at, done))) = sweeps.join_next().await {
            if let Some(late) = late.get_mut(at) {
                *late = !done;
            }
        }
        let _ = answer.send(report(&watches, &late, &decider, dry_run));
    }
}

/// The object of `rootpin sweep --json`, and the exit code: 0 all is admitted, 1 something is
/// refused, 2 not all could be judged.
fn report(watches: &Watches, late: &[bool], decider: &Decider, dry_run: bool) -> (Value, u32) {
    let (mut findings, mut containers, mut untold, mut engines) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((watch, _), late) in watches.iter().zip(late) {
        let known = watch.known();
        let (of_engine, running) = known.json(&watch.name);
        findings.extend(of_engine);
        containers.extend(running);
        let subject = plain(&watch.name);
        untold.extend(
            known
                .untold()
                .iter()
                .map(|why| json!({ "subject": subject, "why": why })),
        );
        if *late {
            untold.push(
                json!({ "subject": subject, "why": format!("the sweep was not done within {ORDER:?}: sources or the engine are slow") }),
            );
        }
        let count = known.count();
        engines.push(json!({
            "engine": subject, "images": count.images, "refused": count.refused, "unjudged": count.unjudged,
            "microseconds": u64::try_from(known.took.as_micros()).unwrap_or(u64::MAX),
        }));
    }
    let policy = decider.policy();
    let unjudged = findings.iter().any(|finding| {
        finding
            .get("outcome")
            .is_some_and(|outcome| outcome == "unjudged")
    });
    let (outcome, exit) = match () {
        () if unjudged || !untold.is_empty() || policy.is_err() => ("unknown", 2),
        () if !findings.is_empty() => ("findings", 1),
        () => ("clean", 0),
    };
    let value = json!({
        "version": 1,
        "outcome": outcome,
        "at": Timestamp::now().to_string(),
        "policy": policy.as_ref().ok().map(|policy| policy.hash.to_string()),
        "action": policy.as_ref().ok().map(|policy| policy.sweep.as_str()),
        "dry_run": dry_run,
        "engines": engines,
        "findings": findings,
        "containers": containers,
        "untold": untold,
    });
    (value, exit)
}

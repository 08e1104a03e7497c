//! Proofs on the control socket of a real daemon; what they find is tested on real engines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rootpin::canary::Canary;
use rootpin::control::{DaemonClient, FoundPath, ProofCall};
use rootpin::problem::Problem;
use rootpin::publish::OneOff;
use rootpin_trust::image::{Digest, ImageRef};

use crate::world::{Daemon, PATIENCE, World};

struct Prover {
    world: World,
    daemon: Daemon,
    key: OneOff,
    port: u16,
}

impl Prover {
    /// A daemon, and a server on loopback that has nothing.
    fn new(name: &str) -> Option<Self> {
        let world = World::new(name)?;
        let daemon = world.start();
        let port = world.notary.port;
        Some(Self {
            world,
            daemon,
            key: OneOff::new(Timestamp::now(), SignedDuration::from_mins(5)).unwrap(),
            port,
        })
    }

    fn begin(&self) -> Result<ProofCall, Problem> {
        self.world.runtime.block_on(async {
            let mut client = DaemonClient::connect(&self.world.path("control"), PATIENCE).await?;
            client.prove(self.port, self.key.root()).await
        })
    }

    /// As soon as the daemon sees that the one before has left.
    fn begin_next(&self) -> ProofCall {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.begin() {
                Ok(call) => return call,
                Err(why) => assert!(
                    why.what.contains("another proof runs") && Instant::now() < end,
                    "{why}"
                ),
            }
        }
    }

    fn name(&self, call: &ProofCall, canary: Canary) -> ImageRef {
        format!(
            "127.0.0.1:{}/rootpin-prove-{}/path:{}",
            self.port,
            call.nonce(),
            canary.tag()
        )
        .parse()
        .unwrap()
    }

    /// Has the control signed, in metadata that is served as a proof's is.
    fn sign(&self, call: &ProofCall) {
        let name = self.name(call, Canary::Signed);
        let image = Canary::Signed.image(&name.repository);
        let files = self
            .key
            .publish(&BTreeMap::from([(name.to_string(), image.manifest.bytes)]))
            .unwrap();
        for (file, bytes) in files {
            self.world.notary.serve(
                &format!("/rootpin-prove-{}/metadata/{file}", call.nonce()),
                bytes,
            );
        }
    }
}

#[test]
fn a_proof_has_the_control_admitted_for_as_long_as_it_lasts() {
    let Some(mut prover) = Prover::new("p-lasts") else {
        return;
    };
    let mut call = prover.begin().unwrap();
    prover.sign(&call);
    let ask = |canary: Canary| {
        let name = prover.name(&call, canary);
        prover
            .world
            .verifier(
                &name.to_string(),
                &canary.image(&name.repository).digest().to_string(),
            )
            .code
    };
    assert_eq!(Canary::ALL.map(ask), [0, 1, 1]);
    let asked = prover.world.runtime.block_on(call.asked()).unwrap();
    let told: Vec<_> = asked
        .iter()
        .map(|one| (one.door.as_str(), one.outcome.as_str(), one.code.as_str()))
        .collect();
    let no = ("verifier", "refused", "no-statement");
    assert_eq!(told, [("verifier", "allowed", ""), no, no]);
    let (name, found) = (
        prover.name(&call, Canary::Signed),
        FoundPath {
            path: "one/way".to_owned(),
            result: "shut",
        },
    );
    prover
        .world
        .runtime
        .block_on(call.end(&[
            found,
            FoundPath {
                path: "other/way".to_owned(),
                result: "open",
            },
        ]))
        .unwrap();
    let control = Canary::Signed.image(&name.repository).digest().to_string();
    let over = prover.world.verifier(&name.to_string(), &control);
    assert!(over.code == 1 && over.out.contains("no-rule"), "{over:?}");
    let metrics = prover.world.rootpin(&["metrics"]).out;
    assert!(
        metrics.contains(
            "\nrootpin_prove_ok{path=\"one/way\"} 1\nrootpin_prove_ok{path=\"other/way\"} 0\n"
        ),
        "{metrics}"
    );
    prover.daemon.line("a proof begins");
    prover.daemon.line("is over: ended");
    let events: Vec<_> = prover
        .world
        .audit()
        .into_iter()
        .filter(|record| record["event"].is_string())
        .collect();
    assert_eq!(
        (events.len(), &events[0]["event"], &events[1]["why"]),
        (2, &"prove-begin".into(), &"ended".into())
    );
    assert_eq!(events[0]["root"], Digest::of(prover.key.root()).to_string());
    assert_eq!(events[0]["pid"], std::process::id());
}

#[test]
fn there_is_one_proof_at_a_time_and_it_ends_when_whoever_began_it_goes_away() {
    let Some(mut prover) = Prover::new("p-one") else {
        return;
    };
    let call = prover.begin().unwrap();
    prover.sign(&call);
    assert!(
        prover
            .begin()
            .unwrap_err()
            .what
            .contains("another proof runs")
    );
    let name = prover.name(&call, Canary::Signed);
    drop(call);
    prover.daemon.line("is over: left");
    let control = Canary::Signed.image(&name.repository).digest().to_string();
    assert!(
        prover
            .world
            .verifier(&name.to_string(), &control)
            .out
            .contains("no-rule")
    );
    let next = prover.begin_next();
    assert!(
        !name.to_string().contains(next.nonce()),
        "each has a nonce of its own"
    );
}

#[test]
fn a_policy_that_changes_ends_a_proof_and_one_that_forbids_it_lets_none_begin() {
    let Some(prover) = Prover::new("p-policy") else {
        return;
    };
    let mut call = prover.begin().unwrap();
    prover.world.write_policy(
        &prover
            .world
            .policy()
            .replace("default =", "prove = false\ndefault ="),
    );
    assert_eq!(prover.world.rootpin(&["policy", "reload"]).code, 0);
    assert!(
        prover
            .world
            .runtime
            .block_on(call.asked())
            .unwrap_err()
            .what
            .contains("the policy changed")
    );
    assert!(prover.begin().unwrap_err().what.contains("prove = false"));
}

#[test]
fn what_is_no_proof_is_refused_in_one_line() {
    let Some(prover) = Prover::new("p-refused") else {
        return;
    };
    for (port, root) in [(0, prover.key.root()), (1, b"{}"), (1, &vec![b' '; 20_000])] {
        let why = prover.world.runtime.block_on(async {
            let mut client =
                DaemonClient::connect(&prover.world.path("control"), Duration::from_secs(5))
                    .await?;
            client.prove(port, root).await.map(|_| ())
        });
        let why = why.unwrap_err().to_string();
        assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
    }
    // Nothing of them is left in the way.
    assert!(prover.begin().is_ok());
}

#[test]
fn a_host_without_an_engine_that_answers_proves_nothing() {
    let Some(prover) = Prover::new("p-silent") else {
        return;
    };
    let text = std::fs::read_to_string(prover.world.path("rootpin.toml")).unwrap();
    let silent: Vec<_> = text
        .lines()
        .map(|line| {
            if line.starts_with("containerd") {
                "containerd = \"/no/such.sock\""
            } else {
                line
            }
        })
        .collect();
    let config = prover.world.path("silent.toml").display().to_string();
    std::fs::write(&config, silent.join("\n")).unwrap();
    let (report, code) = prover.world.rootpin_json(&["prove", "--config", &config]);
    assert_eq!(
        (code, &report["ok"], report["silent"][0]["engine"].as_str()),
        (2, &false.into(), Some("main")),
        "{report}"
    );
    let ended = prover
        .world
        .rootpin(&["prove", "--config", "/no/such/file"]);
    assert!(
        ended.code == 2 && ended.err.contains("another file is named by --config"),
        "{ended:?}"
    );
    assert_eq!(
        prover
            .world
            .rootpin(&["prove", "--config", &config, "--path", "main/cri-pull"])
            .code,
        64
    );
}

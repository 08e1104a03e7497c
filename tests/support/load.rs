//! A node that starts all its pods: many questions at once, over many connections, about names of a
//! healthy trust server, and of one each that is slow, dead and hostile.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each user uses its part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a broken test should stop at once"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use containerd_client::services::v1::diff_client::DiffClient;
use rootpin::control::DaemonClient;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::containerd::channel;
use crate::front::{Front, Mode};
use crate::publisher::Publisher;
use crate::world::{Daemon, Image, PATIENCE, World};

/// Of one question.
pub const DEADLINE: &str = "20s";

/// Whose names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Healthy,
    Slow,
    Dead,
    Hostile,
}

/// One question's door, source, time and code.
#[derive(Debug)]
pub struct Answer {
    pub gate: bool,
    pub source: Source,
    /// Whether the publisher signed the bytes that were asked about.
    pub signed: bool,
    /// Whether the answer names what was asked about; the gate's yes names nothing.
    pub own: bool,
    pub took: Duration,
    pub code: String,
}

/// A name, and the bytes that are to come in under it.
struct Asked {
    name: String,
    image: Image,
    signed: bool,
}

/// A host, its sources and what is asked.
pub struct Load {
    pub world: World,
    pub slow: Front,
    pub dead: Front,
    pub hostile: Front,
    repositories: usize,
    /// Whoever asks, and each kind of server, has threads of its own: one that sends as fast as it
    /// can takes no time of another.
    clients: Runtime,
    _servers: Runtime,
}

/// Of ten connections one each asks about the slow, the dead and the hostile source.
fn source_of(connection: usize) -> Source {
    match connection % 10 {
        0 => Source::Slow,
        1 => Source::Dead,
        2 => Source::Hostile,
        _ => Source::Healthy,
    }
}

fn gun(source: Source, number: usize) -> String {
    match source {
        Source::Healthy => format!("r.test/healthy/app{number}"),
        Source::Slow => "r.test/slow/app".to_owned(),
        Source::Dead => "r.test/dead/app".to_owned(),
        Source::Hostile => "r.test/hostile/app".to_owned(),
    }
}

impl Load {
    /// With so many repositories on the healthy server. `None`, with a message, where the tests
    /// don't run as root.
    pub fn new(folder: &str, repositories: usize) -> Option<Self> {
        let mut world = World::new(folder)?;
        world.deadline = DEADLINE;
        let (clients, servers) = (threads(), threads());
        let front = |mode| servers.block_on(Front::listen(world.notary.port, mode));
        let slow = front(Mode::ByteASecond(None));
        let (dead, hostile) = (front(Mode::Refuse), front(Mode::Endless));
        let mut policy = "version = 1\ndefault = \"deny\"\n".to_owned();
        for (source, port, count) in [
            (Source::Healthy, world.notary.port, repositories),
            (Source::Slow, slow.port, 1),
            (Source::Dead, dead.port, 1),
            (Source::Hostile, hostile.port, 1),
        ] {
            let name = format!("{source:?}").to_lowercase();
            let mut keys = Vec::new();
            for number in 0..count {
                let gun = gun(source, number);
                let image = Image::named(&gun);
                let mut publisher = Publisher::new(&gun);
                publisher.tag("v1", &image.index.digest, 7);
                keys.push(publisher.root_key().id());
                world.notary.publish(&publisher);
                world
                    .containerd
                    .hold("default", |held| image.hold_as(held, &format!("{gun}:v1")));
            }
            let _ = write!(
                policy,
                "[[root]]\nid = \"{name}\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:{port}\"\nkeys = {keys:?}\n\
                 role = \"targets/releases\"\n[[rule]]\nmatch = \"r.test/{name}/*\"\nroots = [\"{name}\"]\n"
            );
        }
        world.write_policy(&policy);
        Some(Self {
            world,
            slow,
            dead,
            hostile,
            repositories,
            clients,
            _servers: servers,
        })
    }

    /// So many questions over so many connections, of which one in so many tens is to the gate, and
    /// the others are to the verifier's door.
    pub fn ask(&self, questions: usize, connections: usize, gates: usize) -> Vec<Answer> {
        let each = questions / connections;
        self.clients.block_on(async {
            let mut asking = tokio::task::JoinSet::new();
            for connection in 0..connections {
                let (source, gate) = (source_of(connection), connection / 10 % gates == 0);
                let images: Vec<_> = (0..each)
                    .map(|number| {
                        let gun = gun(source, (connection + number) % self.repositories);
                        // Every second time bytes that somebody else made.
                        let signed = gate || number % 2 == 0;
                        let other = format!("{gun} {connection} {number}");
                        let image = Image::named(if signed { &gun } else { &other });
                        Asked {
                            name: format!("{gun}:v1"),
                            image,
                            signed,
                        }
                    })
                    .collect();
                let (control, socket) = (self.world.path("control"), self.world.path("gate"));
                asking.spawn(async move {
                    if gate {
                        by_gate(source, &socket, images).await
                    } else {
                        by_verifier(source, &control, images).await
                    }
                });
            }
            asking.join_all().await.into_iter().flatten().collect()
        })
    }

    /// So many questions about the healthy source's names, one after another at the verifier's door.
    pub fn ask_healthy(&self, questions: usize) {
        let asked = |number| {
            let gun = gun(Source::Healthy, number % self.repositories);
            Asked {
                name: format!("{gun}:v1"),
                image: Image::named(&gun),
                signed: true,
            }
        };
        let asked = (0..questions).map(asked).collect();
        let control = self.world.path("control");
        let asking = by_verifier(Source::Healthy, &control, asked);
        let answers = self.clients.block_on(asking);
        assert!(answers.iter().all(|answer| answer.code == "allowed"));
    }
}

/// Threads of one's own.
pub fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn by_verifier(
    source: Source,
    control: &std::path::Path,
    questions: Vec<Asked>,
) -> Vec<Answer> {
    let mut client = DaemonClient::connect(control, PATIENCE).await.unwrap();
    let mut answers = Vec::new();
    for asked in questions {
        let digest = &asked.image.index.digest;
        let begun = Instant::now();
        let answer = client
            .decide("verifier", &asked.name, digest)
            .await
            .unwrap();
        let took = begun.elapsed();
        let answer: Value = serde_json::from_str(&answer.json).unwrap();
        let code = answer["code"].as_str().unwrap_or("allowed").to_owned();
        answers.push(Answer {
            gate: false,
            source,
            signed: asked.signed,
            own: answer["name"] == asked.name && answer["digest"] == *digest,
            took,
            code,
        });
    }
    answers
}

async fn by_gate(source: Source, socket: &std::path::Path, questions: Vec<Asked>) -> Vec<Answer> {
    let mut client = DiffClient::new(channel(socket));
    let mut answers = Vec::new();
    for Asked { image, signed, .. } in questions {
        let mut request = tonic::Request::new(image.unpack());
        request
            .metadata_mut()
            .insert("containerd-namespace", "default".parse().unwrap());
        let begun = Instant::now();
        let status = client.apply(request).await.unwrap_err();
        let took = begun.elapsed();
        let allowed = status.code() == tonic::Code::Unimplemented;
        let own = allowed || status.message().contains(&image.layer.digest);
        let code = match status.code() {
            tonic::Code::Unimplemented => "allowed".to_owned(),
            // `rootpin: could not judge NAME: CODE: …`
            _ => rootpin_trust::Code::ALL
                .iter()
                .map(|code| code.as_str())
                .find(|code| status.message().contains(&format!(": {code}: ")))
                .unwrap_or_else(|| panic!("{status:?}"))
                .to_owned(),
        };
        answers.push(Answer {
            gate: true,
            source,
            signed,
            own,
            took,
            code,
        });
    }
    answers
}

/// How often each code came, by source.
pub fn codes(answers: &[Answer]) -> BTreeMap<(Source, &str), usize> {
    let mut codes = BTreeMap::new();
    for answer in answers {
        *codes
            .entry((answer.source, answer.code.as_str()))
            .or_default() += 1;
    }
    codes
}

/// The times of a source's answers, shortest first.
pub fn times(answers: &[Answer], wanted: impl Fn(&Answer) -> bool) -> Vec<Duration> {
    let mut times: Vec<_> = answers
        .iter()
        .filter(|one| wanted(one))
        .map(|one| one.took)
        .collect();
    times.sort_unstable();
    times
}

/// The most memory that a daemon had, in KiB.
pub fn peak(daemon: &Daemon) -> u64 {
    memory(daemon, "VmHWM")
}

/// A size of /proc/PID/status, in KiB.
pub fn memory(daemon: &Daemon, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with(&format!("{what}:")))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

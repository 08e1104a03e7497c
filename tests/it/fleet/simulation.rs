//! Hosts that ask questions, sweep, and look at one source, on simulated time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::backoff::Backoff;
use super::due::{Due, MetadataTimes, later};
use super::period::until_next;

/// What happens on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A pod starts: the first of its questions. The next pod's start is drawn then.
    Pod,
    /// A pod starts that all hosts start together; what is at hand may not know its tag.
    Together { is_new: bool },
    /// rootpind starts anew, or takes another policy: nothing is at hand, and it sweeps.
    Restart,
    /// The sweep that nothing asks for.
    Sweep,
}

#[derive(Default)]
struct Host {
    at_hand: Option<MetadataTimes>,
    backoff: Backoff,
}

/// A look at the source: when, by which host, and whether it answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) second: f64,
    pub(super) host: usize,
    pub(super) answered: bool,
}

pub(super) struct Fleet {
    hosts: Vec<Host>,
    /// Milliseconds, host, event: the earliest first.
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    recheck: SignedDuration,
    pods_an_hour: f64,
    /// Seconds in which the source does not answer.
    pub(super) away: Range<f64>,
    chance: u64,
    start: (Timestamp, Instant),
    pub(super) looks: VecDeque<Look>,
}

impl Fleet {
    /// Hosts that have never looked, each with a sweep somewhere in the first hour.
    pub(super) fn new(hosts: usize, pods_an_hour: f64, recheck: SignedDuration) -> Self {
        let mut fleet = Self {
            hosts: (0..hosts).map(|_| Host::default()).collect(),
            events: BinaryHeap::new(),
            recheck,
            pods_an_hour,
            away: f64::INFINITY..f64::INFINITY,
            chance: 0x9e37_79b9_7f4a_7c15,
            start: ("2030-01-01T00:00:00Z".parse().unwrap(), Instant::now()),
            looks: VecDeque::new(),
        };
        for host in 0..hosts {
            let sweep = fleet.random() * 3600.0;
            fleet.plan(sweep, host, Event::Sweep);
            fleet.plan_pod(0.0, host);
        }
        fleet
    }

    /// Something happens on each host, somewhere between these seconds.
    pub(super) fn all(&mut self, within: Range<f64>, event: &str) {
        let event = match event {
            "pod" => Event::Together { is_new: false },
            "new tag" => Event::Together { is_new: true },
            "restart" => Event::Restart,
            other => panic!("no event {other}"),
        };
        for host in 0..self.hosts.len() {
            let at = within.start + self.random() * (within.end - within.start);
            self.plan(at, host, event);
        }
    }

    /// Goes on until that second.
    pub(super) fn run(&mut self, until: f64) {
        while let Some(Reverse((at, host, event))) = self.events.peek().copied()
            && at < milliseconds(until)
        {
            self.events.pop();
            let second = Duration::from_millis(at).as_secs_f64();
            match event {
                Event::Pod => {
                    self.plan_pod(second, host);
                    self.ask(at, host, false);
                }
                Event::Together { is_new } => {
                    self.ask(at, host, false);
                    // The judge asks once more where what is at hand says no.
                    if is_new {
                        self.ask(at, host, true);
                    }
                }
                Event::Restart => {
                    self.hosts[host].at_hand = None;
                    self.ask(at, host, false);
                }
                Event::Sweep => {
                    self.ask(at, host, false);
                    let chance = u32::from(self.bits().to_be_bytes()[0]);
                    let next = second + until_next(chance).as_secs_f64();
                    self.plan(next, host, Event::Sweep);
                }
            }
        }
    }

    /// Until when each host answers by what is at hand, in seconds.
    pub(super) fn valid_until(&self) -> impl Iterator<Item = f64> {
        self.hosts.iter().map(|host| {
            host.at_hand.map_or(0.0, |known| {
                known.valid_until.duration_since(self.start.0).as_secs_f64()
            })
        })
    }

    /// A question, by what rootpind decides.
    fn ask(&mut self, at: u64, host: usize, again: bool) {
        let second = Duration::from_millis(at).as_secs_f64();
        let now = later(
            self.start.0,
            SignedDuration::from_millis(at.try_into().unwrap()),
        );
        let instant = self.start.1 + Duration::from_millis(at);
        let random = u32::try_from(self.bits() >> 32).unwrap();
        let known = &mut self.hosts[host];
        if Due::of(known.at_hand, now, now, again) == Due::Nothing
            || known.backoff.wait(instant).is_some()
        {
            return;
        }
        let answered = !self.away.contains(&second);
        let contact = if answered {
            known.backoff = Backoff::default();
            now
        } else {
            known.backoff.failed(instant, random);
            known.at_hand.map_or(Timestamp::MIN, |known| known.contact)
        };
        // Also what the cache answers in place of a silent source does so for as long.
        known.at_hand = Some(MetadataTimes {
            contact,
            asked: now,
            valid_until: later(now, self.recheck),
        });
        self.looks.push_back(Look {
            second,
            host,
            answered,
        });
    }

    fn plan_pod(&mut self, second: f64, host: usize) {
        let pause = -self.random().ln() * 3600.0 / self.pods_an_hour;
        self.plan(second + pause, host, Event::Pod);
    }

    fn plan(&mut self, second: f64, host: usize, event: Event) {
        self.events
            .push(Reverse((milliseconds(second), host, event)));
    }

    /// Above 0, at most 1.
    fn random(&mut self) -> f64 {
        (f64::from(u32::try_from(self.bits() >> 32).unwrap()) + 1.0) / 4_294_967_296.0
    }

    /// xorshift64*: the same fleet each time.
    fn bits(&mut self) -> u64 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn milliseconds(second: f64) -> u64 {
    Duration::from_secs_f64(second)
        .as_millis()
        .try_into()
        .unwrap()
}

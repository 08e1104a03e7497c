//! What happens to the fleet, and what is counted of it.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::simulation::{Fleet, Look};

pub(super) const HOSTS: usize = 10_000;
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
/// Long enough for each host to have swept once.
const WARM: f64 = 3600.0;

/// How many pods start on a host in an hour, and what that is called.
const QUIET: (f64, &str) = (6.0, "a pod each 10 min on each host");
const BUSY: (f64, &str) = (60.0, "a pod each minute on each host");

pub(super) struct Load {
    pub(super) what: String,
    pub(super) mean: f64,
    pub(super) busiest: usize,
}

pub(super) struct Together {
    pub(super) what: &'static str,
    pub(super) busiest: usize,
    pub(super) within_a_minute: usize,
}

pub(super) struct Outage {
    pub(super) what: &'static str,
    pub(super) attempts: f64,
    pub(super) busiest: usize,
    pub(super) back: [f64; 3],
}

pub(super) struct Withdrawal {
    pub(super) what: String,
    pub(super) reached: [f64; 3],
}

pub(super) fn load() -> Vec<Load> {
    let cases = [
        (QUIET, MINUTE, "60s"),
        (BUSY, MINUTE, "60s"),
        (BUSY, MINUTE * 10, "10m"),
    ];
    let row = |((pods, what), recheck, shown): ((f64, &str), SignedDuration, &str)| {
        let mut fleet = Fleet::new(HOSTS, pods, recheck);
        fleet.run(WARM);
        fleet.looks.clear();
        fleet.run(WARM + 1800.0);
        Load {
            what: format!("{what}, `recheck` {shown}"),
            mean: fleet.looks.len() as f64 / 1800.0,
            busiest: busiest(&fleet),
        }
    };
    cases.into_iter().map(row).collect()
}

pub(super) fn together() -> Vec<Together> {
    let cases = [
        (
            "a new tag is rolled out to all within 10 min",
            "new tag",
            600.0,
        ),
        (
            "a new tag is rolled out to all within 1 min",
            "new tag",
            60.0,
        ),
        ("a CronJob starts on all within 1 s", "pod", 1.0),
        (
            "all take another policy, or restart, within 2 s",
            "restart",
            2.0,
        ),
        (
            "all take another policy, or restart, within 5 min",
            "restart",
            300.0,
        ),
    ];
    let row = |(what, event, span)| {
        let mut fleet = Fleet::new(HOSTS, QUIET.0, MINUTE);
        fleet.run(WARM);
        fleet.looks.clear();
        fleet.all(WARM..WARM + span, event);
        fleet.run(WARM + 60.0);
        let hosts = firsts(&fleet).len();
        fleet.run(WARM + span);
        Together {
            what,
            busiest: busiest(&fleet),
            within_a_minute: hosts,
        }
    };
    cases.into_iter().map(row).collect()
}

pub(super) fn outage() -> Vec<Outage> {
    let row = |(pods, what)| {
        let mut fleet = Fleet::new(HOSTS, pods, MINUTE);
        let back = WARM + 3600.0;
        fleet.away = WARM..back;
        fleet.run(WARM);
        fleet.looks.clear();
        fleet.run(back);
        let attempts = fleet.looks.len() as f64 / 3600.0;
        assert!(fleet.looks.iter().all(|look| !look.answered));
        fleet.looks.clear();
        fleet.run(back + 4200.0);
        Outage {
            what,
            attempts,
            busiest: busiest(&fleet),
            back: parts(firsts(&fleet).into_values().map(|at| at - back)),
        }
    };
    [QUIET, BUSY].into_iter().map(row).collect()
}

pub(super) fn withdrawal() -> Vec<Withdrawal> {
    let mut rows = Vec::new();
    let mut fleet = Fleet::new(HOSTS, BUSY.0, MINUTE);
    fleet.run(WARM);
    let left = fleet.valid_until().map(|until| (until - WARM).max(0.0));
    rows.push(Withdrawal {
        what: "a question there is answered by it: at the latest".to_owned(),
        reached: parts(left),
    });
    for (pods, what) in [BUSY, QUIET, (0.01, "no pod starts")] {
        let mut fleet = Fleet::new(HOSTS, pods, MINUTE);
        fleet.run(WARM);
        fleet.looks.clear();
        fleet.run(WARM + 4200.0);
        rows.push(Withdrawal {
            what: format!("the host knows, and reports the image that it has: {what}"),
            reached: parts(firsts(&fleet).into_values().map(|at| at - WARM)),
        });
    }
    rows
}

/// The most looks in one second.
fn busiest(fleet: &Fleet) -> usize {
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    for look in &fleet.looks {
        *seconds.entry(look.second as u64).or_default() += 1;
    }
    seconds.into_values().max().unwrap_or_default()
}

/// When each host first got an answer.
fn firsts(fleet: &Fleet) -> BTreeMap<usize, f64> {
    let mut firsts = BTreeMap::new();
    for Look { second, host, .. } in fleet.looks.iter().filter(|look| look.answered) {
        firsts.entry(*host).or_insert(*second);
    }
    firsts
}

/// When half, 99 % and all of the hosts are done.
fn parts(times: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut times: Vec<f64> = times.collect();
    assert_eq!(times.len(), HOSTS, "every host");
    times.sort_by(f64::total_cmp);
    [HOSTS / 2 - 1, HOSTS / 100 * 99 - 1, HOSTS - 1].map(|at| times[at])
}

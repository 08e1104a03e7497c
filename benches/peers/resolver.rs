//! What a pull pays for the resolver, and what the resolver holds while bytes flow through it.

use std::fs;
use std::path::PathBuf;

use crate::Stage;
use crate::command::run;
use crate::daemon::Daemon;
use crate::image::sha256;
use crate::lab::Engine;
use crate::report::Report;
use crate::stats::{median, paired};

/// How an engine comes by an image.
struct Way {
    name: &'static str,
    engine: Engine,
    /// Whether the bytes come through the resolver too, as with `_default`.
    through: bool,
}

impl Way {
    /// How many questions of a pull are judged: what the tag is, and whether its manifest may be
    /// had where that comes through the resolver too.
    fn questions(&self) -> usize {
        1 + usize::from(self.through)
    }
}

const WAYS: [Way; 3] = [
    Way {
        name: "containerd 2.1, tags by the resolver",
        engine: Engine::Containerd2,
        through: false,
    },
    Way {
        name: "containerd 1.7, tags by the resolver",
        engine: Engine::Containerd17,
        through: false,
    },
    Way {
        name: "containerd 2.1, all through the resolver",
        engine: Engine::Containerd2,
        through: true,
    },
];

/// Pulls in pairs, by the resolver and straight from the registry, no other door, the store empty
/// before each.
pub(crate) fn pulls(stage: &Stage, daemon: &Daemon, report: &mut Report, count: usize) {
    for way in WAYS {
        let certs = certs(stage, &way);
        let by_resolver = ["--hosts-dir", certs.to_str().unwrap()];
        let (mut with, mut without, mut own) = (Vec::new(), Vec::new(), Vec::new());
        stage.lab.restart(way.engine, false);
        for at in 0..count {
            for asks in [at % 2 == 0, at % 2 != 0] {
                let options = if asks { &by_resolver[..] } else { &[] };
                // A small one first has every connection made.
                stage.lab.forget(way.engine);
                stage.pull(way.engine, options, &stage.name(0));
                stage.lab.forget(way.engine);
                let (mark, before) = (daemon.mark(), spent(stage));
                let took = stage.pull(way.engine, options, &stage.large_name());
                assert_eq!(
                    daemon.spent("resolver", mark).each.len(),
                    usize::from(asks) * way.questions(),
                    "questions about {}",
                    way.name
                );
                if asks {
                    with.push(took);
                    own.push(spent(stage) - before);
                } else {
                    without.push(took);
                }
            }
        }
        let name = way.name;
        report.keep(&format!("{name}: pull, ms"), &with);
        report.keep(&format!("{name}: straight from the registry, ms"), &without);
        report.keep(&format!("{name}: the resolver's own time, ms"), &own);
        report.row(
            format!("{name}: pull"),
            "60s",
            with.len(),
            "ms",
            median(&with),
            None,
        );
        report.row(
            "  straight from the registry",
            "-",
            without.len(),
            "ms",
            median(&without),
            None,
        );
        report.row(
            "  paired ratio, geometric mean",
            "60s",
            with.len(),
            "",
            paired(&with, &without),
            None,
        );
        if way.through {
            // Until the head of each answer has come, most of it is the registry's time, which the
            // other arm has too.
            report.row(
                "  until each answer began, the registry's time in it",
                "60s",
                own.len(),
                "ms",
                median(&own),
                None,
            );
            continue;
        }
        report.row(
            "  the resolver's own time in it",
            "60s",
            own.len(),
            "ms",
            median(&own),
            None,
        );
        let shares: Vec<f64> = own
            .iter()
            .zip(&with)
            .map(|(own, with)| own / with)
            .collect();
        report.row(
            "  its share of the pull",
            "60s",
            shares.len(),
            "",
            median(&shares),
            Some(0.01),
        );
    }
}

/// A gigabyte by digest, one stream after the other, and what is resident meanwhile.
pub(crate) fn memory(stage: &Stage, daemon: &Daemon, report: &mut Report) {
    const WANTED: usize = 1 << 30;
    let (registry, resolver) = (stage.lab.var("LAB_REGISTRY"), stage.lab.var("LAB_RESOLVER"));
    let largest = stage
        .large
        .layers
        .iter()
        .max_by_key(|layer| layer.len())
        .unwrap();
    let path = stage
        .lab
        .repository("large")
        .split_once('/')
        .unwrap()
        .1
        .to_owned();
    let url = format!(
        "http://{resolver}/v2/{path}/blobs/{}?ns={}",
        sha256(largest),
        registry.replace(':', "%3A")
    );
    let (mut passed, mut resident) = (0, Vec::new());
    let before = daemon.memory("VmRSS");
    let client = reqwest::Client::new();
    stage.lab.runtime.block_on(async {
        while passed < WANTED {
            let mut response = client.get(&url).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let (mut length, mut next) = (0, 0);
            while let Some(chunk) = response.chunk().await.unwrap() {
                length += chunk.len();
                if length >= next {
                    resident.push(daemon.memory("VmRSS"));
                    next += 8 << 20;
                }
            }
            assert_eq!(length, largest.len());
            passed += length;
        }
    });
    let most = resident.iter().copied().fold(0.0, f64::max);
    report.keep("resident while a gigabyte flows through, MiB", &resident);
    report.plain(
        "rootpind, resident before a gigabyte flows through",
        "60s",
        1,
        "MiB",
        before,
        None,
    );
    report.plain(
        "  the most while it does",
        "60s",
        resident.len(),
        "MiB",
        most,
        None,
    );
    report.plain(
        "  more than before",
        "60s",
        resident.len(),
        "MiB",
        most - before,
        Some(8.0),
    );
}

/// The hosts.toml of the lab's registry, as `rootpin hosts write` makes it.
fn certs(stage: &Stage, way: &Way) -> PathBuf {
    let folder = if way.through {
        stage.lab.certs_through()
    } else {
        stage.lab.folder.join("certs")
    };
    let _ = fs::remove_dir_all(&folder);
    let (registry, resolver) = (stage.lab.var("LAB_REGISTRY"), stage.lab.var("LAB_RESOLVER"));
    let mut rootpin = stage.lab.program("rootpin");
    rootpin
        .args([
            "hosts",
            "write",
            if way.through { "_default" } else { registry },
            "--resolver",
            resolver,
            "--dir",
        ])
        .arg(&folder);
    run(&mut rootpin);
    folder
}

/// Milliseconds that the resolver has spent so far on answering, by its own clock.
fn spent(stage: &Stage) -> f64 {
    let control = Daemon::control(&stage.lab, "rootpin");
    let metrics = run(stage
        .lab
        .program("rootpin")
        .arg("--control")
        .arg(control)
        .arg("metrics"));
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("rootpin_resolver_seconds_sum "));
    line.map_or(0.0, |seconds| seconds.parse::<f64>().unwrap() * 1e3)
}

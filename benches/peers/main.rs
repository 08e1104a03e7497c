//! Measures rootpin against its peers, on real engines: see `benches/README.md`. `benches/run`
//! starts this.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken benchmark should stop at once"
)]
#![allow(clippy::disallowed_macros, reason = "this program's own terminal")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/real/cold.rs"]
mod cold;
#[path = "../../tests/support/command.rs"]
mod command;
mod daemon;
mod decisions;
mod image;
mod lab;
mod processes;
mod pulls;
mod report;
mod resolver;
mod stats;
mod timed;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use command::run;
use daemon::Daemon;
use image::Image;
use lab::{Engine, Lab, write};
use report::Report;
use serde_json::{Value, json};

/// The lab with everything pushed and signed.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) small: Vec<Image>,
    pub(crate) large: Image,
}

impl Stage {
    fn set(programs: PathBuf, repositories: usize) -> Self {
        let lab = Lab::start(programs);
        eprintln!("bench: making images");
        let small: Vec<_> = (0..repositories)
            .map(|at| Image::small(&lab.folder, &format!("image {at}")))
            .collect();
        let large = Image::large(&lab.folder);
        let stage = Self { lab, small, large };
        eprintln!(
            "bench: pushing and signing {repositories} images, and one of {:.0} MB",
            stage.large.megabytes()
        );
        for (at, image) in stage.small.iter().enumerate() {
            stage.publish(image, &stage.repository(at));
        }
        stage.publish(&stage.large, &stage.lab.repository("large"));
        stage
    }

    fn publish(&self, image: &Image, repository: &str) {
        self.lab.push(image, repository, "v1");
        self.lab.sign(image, repository, "v1");
    }

    pub(crate) fn repository(&self, at: usize) -> String {
        self.lab.repository(&format!("app{at}"))
    }

    pub(crate) fn name(&self, at: usize) -> String {
        format!("{}:v1", self.repository(at))
    }

    pub(crate) fn large_name(&self) -> String {
        format!("{}:v1", self.lab.repository("large"))
    }

    /// The folder of a policy that trusts the lab's root for all of the lab's images.
    pub(crate) fn policy(&self, recheck: &str) -> PathBuf {
        let folder = self.lab.folder.join(format!("policy-{recheck}"));
        let (server, key, registry) = (
            self.lab.var("LAB_NOTARY_URL"),
            self.lab.root_key(),
            self.lab.var("LAB_REGISTRY"),
        );
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"lab\"\ntype = \"notary\"\nserver = \"{server}\"\ntls-ca = \"roots/ca.pem\"\n\
             keys = [\"{key}\"]\nrole = \"targets\"\nrecheck = \"{recheck}\"\n[[rule]]\nmatch = \"{registry}/bench/*\"\nroots = [\"lab\"]\n"
        );
        write(&folder.join("policy.toml"), text);
        write(
            &folder.join("roots/ca.pem"),
            fs::read(self.lab.var("LAB_NOTARY_CA")).unwrap(),
        );
        folder
    }

    /// Milliseconds of a pull that must succeed. After a restart of either side containerd may wait
    /// up to three seconds before it looks for a socket again.
    pub(crate) fn pull(&self, engine: Engine, options: &[&str], name: &str) -> f64 {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.lab.pull(engine, options, name) {
                Ok(took) => return took.as_secs_f64() * 1e3,
                Err(words) if words.contains("Error while dialing") && Instant::now() < end => {
                    self.lab.forget(engine);
                }
                Err(words) => panic!("{name} was not pulled: {words}"),
            }
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benchmarks too.
    let Some(programs) = std::env::var_os("ROOTPIN_BENCH_PROGRAMS") else {
        eprintln!("nothing is measured: start this by benches/run");
        return;
    };
    let quick = words.iter().any(|word| word == "--quick");
    let only = words
        .iter()
        .skip_while(|word| *word != "--only")
        .nth(1)
        .cloned()
        .unwrap_or_default();
    let wanted = |section: &str| only.is_empty() || only == section;
    let asked = |part: &str| wanted("decisions") || only == part;
    let many = |full: usize, few: usize| if quick { few } else { full };

    let stage = Stage::set(programs.into(), many(50, 5));
    let mut report = Report::new();
    if wanted("processes") {
        processes::warm(&stage, &mut report, many(200, 10));
        processes::cold(&stage, &mut report, many(60, 5));
        processes::verifier(&stage, &mut report, many(500, 20));
    }
    if asked("memory") || asked("gate") || wanted("pulls") || wanted("resolver") {
        let daemon = Daemon::start(&stage.lab, "rootpin", &stage.policy("60s"), true);
        if asked("memory") {
            decisions::memory(&stage, &daemon, &mut report, many(10_000, 20));
        }
        if asked("gate") {
            decisions::gate(&stage, &daemon, &mut report, many(1000, 20));
        }
        if wanted("pulls") {
            pulls::pulls(&stage, &daemon, &mut report, many(10, 2));
        }
        if wanted("resolver") {
            resolver::pulls(&stage, &daemon, &mut report, many(10, 2));
            resolver::memory(&stage, &daemon, &mut report);
        }
        report.plain(
            "rootpind, resident at the end",
            "60s",
            1,
            "MiB",
            daemon.memory("VmRSS"),
            None,
        );
    }

    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"));
    let now = jiff::Timestamp::now();
    let file = folder.join(format!("{}.json", now.strftime("%Y%m%dT%H%M%SZ")));
    let text =
        serde_json::to_string_pretty(&report.json(&circumstances(&stage, now, quick))).unwrap();
    write(&file, text);
    println!("{}\n\nevery run: {}", report.table(), file.display());
}

fn circumstances(stage: &Stage, now: jiff::Timestamp, quick: bool) -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    let version = |program: &mut std::process::Command| run(program).trim().to_owned();
    json!({
        "time": now.to_string(),
        "quick": quick,
        "cores": std::thread::available_parallelism().unwrap().get(),
        "cpu": model,
        "load": fs::read_to_string("/proc/loadavg").unwrap().trim(),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim(),
        "rootpin": version(stage.lab.program("rootpin").arg("--version")),
        "image": { "megabytes": stage.large.megabytes(), "layers": stage.large.layers.len() },
    })
}

//! Decisions by the daemon's own clock, and what the daemon weighs after many of them.

use std::collections::HashMap;

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::types::Descriptor;
use tonic::{Code, Request};

use crate::Stage;
use crate::daemon::Daemon;
use crate::image::{self, Image, sha256};
use crate::lab::Engine;
use crate::report::Report;
use crate::stats::{median, quantile};
use crate::timed::milliseconds;

/// Median and 99th percentile of microseconds, in milliseconds, against the targets of 0.5 and
/// 1.5 ms.
pub(crate) fn within(report: &mut Report, what: &str, microseconds: &[f64]) {
    let spent: Vec<f64> = microseconds.iter().map(|each| each / 1e3).collect();
    report.keep(&format!("{what}, ms"), &spent);
    report.row(
        format!("{what}: median"),
        "60s",
        spent.len(),
        "ms",
        median(&spent),
        Some(0.5),
    );
    report.plain(
        format!("{what}: 99th percentile"),
        "60s",
        spent.len(),
        "ms",
        quantile(&spent, 0.99),
        Some(1.5),
    );
}

/// The resident set after a tenth and all of so many questions about fifty repositories, each asked by the program
/// that containerd runs.
pub(crate) fn memory(stage: &Stage, daemon: &Daemon, report: &mut Report, questions: usize) {
    report.plain(
        "rootpind, resident before any question",
        "-",
        1,
        "MiB",
        daemon.memory("VmRSS"),
        None,
    );
    let mark = daemon.mark();
    for at in 0..questions {
        if at == questions / 10 {
            resident(stage, daemon, report, at);
        }
        let (image, name) = (
            &stage.small[at % stage.small.len()],
            stage.name(at % stage.small.len()),
        );
        let descriptor = format!(r#"{{"digest":"{}"}}"#, image.digest());
        let mut verifier = stage.lab.program("rootpin-verifier");
        verifier
            .arg("--control")
            .arg(Daemon::control(&stage.lab, "rootpin"))
            .args(["-name", &name, "-digest", &image.digest()]);
        milliseconds(
            verifier.args([
                "-stdin-media-type",
                "application/vnd.oci.descriptor.v1+json",
            ]),
            &descriptor,
        );
    }
    let spent = daemon.spent("verifier", mark).each;
    assert_eq!(spent.len(), questions, "every question is on record");
    let (first, later) = spent.split_at(stage.small.len());
    resident(stage, daemon, report, questions);
    report.plain(
        "  its peak",
        "60s",
        questions,
        "MiB",
        daemon.memory("VmHWM"),
        None,
    );
    within(
        report,
        "decision, verifier door, 50 repositories in turn",
        later,
    );
    let first: Vec<f64> = first.iter().map(|each| each / 1e3).collect();
    report.keep("first decision of a repository, ms", &first);
    report.row(
        "  the first of each repository: asks the trust server, writes floors",
        "-",
        first.len(),
        "ms",
        median(&first),
        None,
    );
}

fn resident(stage: &Stage, daemon: &Daemon, report: &mut Report, decisions: usize) {
    let what = format!(
        "rootpind, resident after {decisions} decisions over {} repositories",
        stage.small.len()
    );
    let found = daemon.memory("VmRSS");
    report.plain(what, "60s", decisions, "MiB", found, Some(12.0));
}

/// So many images are in the largest store.
const MANY: usize = 2000;
/// So many of them come in one archive.
const AT_ONCE: usize = 50;

/// The gate's questions as containerd asks them, one after the other, for layers that are in its
/// store.
pub(crate) fn gate(stage: &Stage, daemon: &Daemon, report: &mut Report, count: usize) {
    let engine = Engine::Containerd2;
    stage.lab.forget(engine);
    stage.pull(engine, &["--local"], &stage.name(0));
    let first = &stage.small[..1];
    ask_gate(stage, daemon, report, count, first, "1 image", false);
    for at in 1..stage.small.len() {
        stage.pull(engine, &["--local"], &stage.name(at));
    }
    let store = format!("{} images", stage.small.len());
    ask_gate(stage, daemon, report, count, &stage.small, &store, false);
    ask_gate(
        stage,
        daemon,
        report,
        count / 10,
        &stage.small,
        &store,
        true,
    );
    fill(stage, engine, MANY - stage.small.len());
    let store = format!("{MANY} images");
    ask_gate(stage, daemon, report, count, &stage.small, &store, false);
    ask_gate(
        stage,
        daemon,
        report,
        count / 10,
        &stage.small,
        &store,
        true,
    );
    stage.lab.forget(engine);
}

/// Imports so many images more, without unpacking them.
fn fill(stage: &Stage, engine: Engine, count: usize) {
    let file = stage.lab.folder.join("filler.tar");
    for begin in (0..count).step_by(AT_ONCE) {
        let images = begin..(begin + AT_ONCE).min(count);
        let names = images.map(|at| format!("{}:v1", stage.lab.repository(&format!("filler{at}"))));
        std::fs::write(&file, image::archive(names)).unwrap();
        stage.lab.import(engine, &file);
    }
}

/// `unhinted`: by questions that no hint answers, so that the gate needs all that may lie above the
/// layer.
fn ask_gate(
    stage: &Stage,
    daemon: &Daemon,
    report: &mut Report,
    count: usize,
    images: &[Image],
    store: &str,
    unhinted: bool,
) {
    let lab = &stage.lab;
    let mark = daemon.mark();
    // A manifest that is nowhere, which nothing was ever listed under.
    let annotations: HashMap<String, String> = if unhinted {
        let labels = [
            ("image-ref", stage.name(0)),
            ("manifest-digest", sha256(b"nowhere")),
        ];
        let full =
            labels.map(|(name, value)| (format!("containerd.io/snapshot/cri.{name}"), value));
        full.into()
    } else {
        HashMap::new()
    };
    lab.runtime.block_on(async {
        let channel = containerd_client::connect(lab.sockets().join("containerd2.gate.sock"))
            .await
            .unwrap();
        let mut gate = DiffClient::new(channel);
        for layer in images
            .iter()
            .flat_map(|image| &image.layers)
            .cycle()
            .take(count)
        {
            let descriptor = Descriptor {
                media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
                digest: sha256(layer),
                size: i64::try_from(layer.len()).unwrap(),
                annotations: annotations.clone(),
            };
            let mut request = Request::new(ApplyRequest {
                diff: Some(descriptor),
                ..Default::default()
            });
            request
                .metadata_mut()
                .insert("containerd-namespace", "default".parse().unwrap());
            let answer = gate
                .apply(request)
                .await
                .map(|_| ())
                .map_err(|status| status.code());
            assert_eq!(
                answer,
                Err(Code::Unimplemented),
                "the gate's word for go on"
            );
        }
    });
    let spent = daemon.spent("gate", mark).each;
    assert_eq!(spent.len(), count, "every question is on record");
    let how = if unhinted {
        ", that no hint answers"
    } else {
        ""
    };
    let what = format!("decision, gate door, {store} in the store{how}");
    within(report, &what, &spent);
}

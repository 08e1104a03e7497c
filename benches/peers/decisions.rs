//! Decisions by the daemon's own clock, and what the daemon weighs after many of them.

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::types::Descriptor;
use tonic::{Code, Request};

use crate::Stage;
use crate::daemon::Daemon;
use crate::image::{Image, sha256};
use crate::lab::{Engine, milliseconds};
use crate::report::Report;
use crate::stats::{median, quantile};

/// Median and 99th percentile of microseconds, in milliseconds, against the target of half a
/// millisecond.
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
        Some(0.5),
    );
}

/// The resident set after a thousand questions about fifty repositories, each asked by the program
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
    let what = format!(
        "rootpind, resident after {questions} decisions over {} repositories",
        stage.small.len()
    );
    report.plain(
        what,
        "60s",
        questions,
        "MiB",
        daemon.memory("VmRSS"),
        Some(25.0),
    );
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

/// The gate's questions as containerd asks them, one after the other, for layers that are in its
/// store.
pub(crate) fn gate(stage: &Stage, daemon: &Daemon, report: &mut Report, count: usize) {
    let engine = Engine::Containerd2;
    stage.lab.forget(engine);
    stage.pull(engine, &["--local"], &stage.name(0));
    ask_gate(stage, daemon, report, count, &stage.small[..1], "1 image");
    for at in 1..stage.small.len() {
        stage.pull(engine, &["--local"], &stage.name(at));
    }
    ask_gate(
        stage,
        daemon,
        report,
        count,
        &stage.small,
        &format!("{} images", stage.small.len()),
    );
    stage.lab.forget(engine);
}

fn ask_gate(
    stage: &Stage,
    daemon: &Daemon,
    report: &mut Report,
    count: usize,
    images: &[Image],
    store: &str,
) {
    let lab = &stage.lab;
    let mark = daemon.mark();
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
                ..Default::default()
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
    within(
        report,
        &format!("decision, gate door, {store} in the store"),
        &spent,
    );
}

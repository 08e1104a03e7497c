//! Whole processes, from start to end: `rootpin verify` against `notary lookup`, and the verifier
//! that containerd runs for each pull.

use std::fs;
use std::process::Command;

use crate::Stage;
use crate::daemon::Daemon;
use crate::report::Report;
use crate::stats::{self, median, ratio};
use crate::timed::milliseconds;

/// Runs both sides of a comparison in turn, each first in every second pair.
fn pairs(
    count: usize,
    mut ours: impl FnMut(usize) -> f64,
    mut theirs: impl FnMut(usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    (0..count)
        .map(|at| {
            if at % 2 == 0 {
                let first = ours(at);
                (first, theirs(at))
            } else {
                let first = theirs(at);
                (ours(at), first)
            }
        })
        .unzip()
}

fn compare(
    report: &mut Report,
    what: &str,
    recheck: &'static str,
    target: Option<f64>,
    (ours, theirs): (Vec<f64>, Vec<f64>),
    peer: &str,
) {
    report.keep(&format!("{what}, ms"), &ours);
    report.keep(&format!("{what}: {peer}, ms"), &theirs);
    report.row(what, recheck, ours.len(), "ms", median(&ours), None);
    report.row(
        format!("  {peer}"),
        "-",
        theirs.len(),
        "ms",
        median(&theirs),
        None,
    );
    report.row(
        "  ratio of the medians",
        recheck,
        ours.len(),
        "",
        ratio(&ours, &theirs),
        target,
    );
}

/// A daemon, and a trust directory, that have seen the repository before.
pub(crate) fn warm(stage: &Stage, report: &mut Report, count: usize) {
    let name = stage.name(0);
    let trust = stage.lab.folder.join("warm-trust");
    let _ = fs::remove_dir_all(&trust);
    for (recheck, target) in [("60s", Some(0.2)), ("0s", None)] {
        let daemon = Daemon::start(&stage.lab, "warm", &stage.policy(recheck), false);
        let control = Daemon::control(&stage.lab, "warm");
        let ours = |_| {
            milliseconds(
                stage
                    .lab
                    .program("rootpin")
                    .arg("--control")
                    .arg(&control)
                    .args(["verify", &name]),
                "",
            )
        };
        let theirs = |_| {
            milliseconds(
                stage
                    .lab
                    .notary(&trust)
                    .args(["lookup", &stage.repository(0), "v1"]),
                "",
            )
        };
        ours(0);
        theirs(0);
        compare(
            report,
            "rootpin verify, warm daemon",
            recheck,
            target,
            pairs(count, ours, theirs),
            "notary lookup, warm",
        );
        drop(daemon);
    }
}

/// Nothing seen before: no floor, no cached metadata, no connection.
pub(crate) fn cold(stage: &Stage, report: &mut Report, count: usize) {
    let (name, policy) = (stage.name(0), stage.policy("60s"));
    let folder = stage.lab.folder.join("cold");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let theirs = |at: usize| {
        milliseconds(
            stage.lab.notary(&folder.join(format!("trust{at}"))).args([
                "lookup",
                &stage.repository(0),
                "v1",
            ]),
            "",
        )
    };
    let ours = |at: usize| {
        let mut verify = stage.lab.program("rootpin");
        verify
            .arg("verify")
            .arg("--policy")
            .arg(&policy)
            .arg("--state")
            .arg(folder.join(format!("state{at}")));
        milliseconds(verify.arg(&name), "")
    };
    compare(
        report,
        "rootpin verify --policy --state, empty state",
        "60s",
        Some(1.0),
        pairs(count, ours, theirs),
        "notary lookup, empty trust dir",
    );

    let mut starts = Vec::new();
    let theirs = |at: usize| {
        milliseconds(
            stage
                .lab
                .notary(&folder.join(format!("trust-d{at}")))
                .args(["lookup", &stage.repository(0), "v1"]),
            "",
        )
    };
    let ours = |_: usize| {
        let daemon = Daemon::start(&stage.lab, "cold-daemon", &policy, false);
        starts.push(daemon.start);
        milliseconds(
            stage
                .lab
                .program("rootpin")
                .arg("--control")
                .arg(Daemon::control(&stage.lab, "cold-daemon"))
                .args(["verify", &name]),
            "",
        )
    };
    let runs = pairs(count, ours, theirs);
    compare(
        report,
        "rootpin verify, first question to a daemon of empty state",
        "60s",
        Some(1.0),
        runs,
        "notary lookup, empty trust dir",
    );
    report.keep("rootpind, start to ready, ms", &starts);
    report.row(
        "rootpind, start to ready, empty state",
        "-",
        starts.len(),
        "ms",
        median(&starts),
        None,
    );
}

/// What a pull waits for, and what the start of any process costs here.
pub(crate) fn verifier(stage: &Stage, report: &mut Report, count: usize) {
    let daemon = Daemon::start(&stage.lab, "verifier-door", &stage.policy("60s"), false);
    let control = Daemon::control(&stage.lab, "verifier-door");
    let (digest, length) = (stage.small[0].digest(), stage.small[0].manifest.len());
    let descriptor = format!(
        r#"{{"mediaType":"{}","digest":"{digest}","size":{length}}}"#,
        crate::image::MANIFEST
    );
    let ask = |_| {
        let mut verifier = stage.lab.program("rootpin-verifier");
        verifier
            .arg("--control")
            .arg(&control)
            .args(["-name", &stage.name(0), "-digest", &digest]);
        milliseconds(
            verifier.args([
                "-stdin-media-type",
                "application/vnd.oci.descriptor.v1+json",
            ]),
            &descriptor,
        )
    };
    ask(0);
    let mark = daemon.mark();
    let (ours, nothing) = pairs(count, ask, |_| milliseconds(&mut Command::new("true"), ""));
    report.keep("rootpin-verifier, ms", &ours);
    report.keep("true, ms", &nothing);
    report.row(
        "rootpin-verifier, start to answer",
        "60s",
        count,
        "ms",
        median(&ours),
        Some(5.0),
    );
    report.row(
        "  /bin/true, start to end",
        "-",
        count,
        "ms",
        median(&nothing),
        None,
    );
    let spent = daemon.spent("verifier", mark).each;
    crate::decisions::within(report, "decision in the daemon, verifier door", &spent);
    report.plain(
        "  the verifier's 99th percentile, start to answer",
        "60s",
        count,
        "ms",
        stats::quantile(&ours, 0.99),
        None,
    );
}

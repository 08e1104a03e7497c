//! What a pull pays: the daemon's own time in it, and its length with rootpin against without.

use crate::Stage;
use crate::daemon::Daemon;
use crate::lab::Engine;
use crate::report::Report;
use crate::stats::{median, paired, quantile};

/// A way for an image to come in.
struct Way {
    name: &'static str,
    engine: Engine,
    options: &'static [&'static str],
    /// The door that is asked about each layer.
    door: &'static str,
}

const WAYS: [Way; 3] = [
    Way {
        name: "containerd 2.1, transfer service",
        engine: Engine::Containerd2,
        options: &[],
        door: "apply",
    },
    Way {
        name: "containerd 2.1, ctr --local",
        engine: Engine::Containerd2,
        options: &["--local"],
        door: "gate",
    },
    Way {
        name: "containerd 1.7, ctr",
        engine: Engine::Containerd17,
        options: &[],
        door: "gate",
    },
];

/// Pulls in pairs, with and without rootpin, the store empty before each.
pub(crate) fn pulls(stage: &Stage, daemon: &Daemon, report: &mut Report, count: usize) {
    for way in WAYS {
        let (mut with, mut without, mut own, mut verifier, mut each) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for at in 0..count {
            for guarded in [at % 2 == 0, at % 2 != 0] {
                let mark = daemon.mark();
                let took = once(stage, &way, guarded);
                let (layers, images) =
                    (daemon.spent(way.door, mark), daemon.spent("verifier", mark));
                // The small pull that comes first has one layer.
                let wanted = if guarded {
                    stage.large.layers.len() + 1
                } else {
                    0
                };
                assert_eq!(
                    layers.each.len(),
                    wanted,
                    "layers that {} asked about, guarded: {guarded}",
                    way.name
                );
                if guarded {
                    with.push(took);
                    own.push(layers.sum_milliseconds() - layers.each[0] / 1e3);
                    verifier.push(images.each.iter().skip(1).sum::<f64>() / 1e3);
                    each.extend(layers.each.into_iter().skip(1));
                } else {
                    without.push(took);
                }
            }
        }
        tell(report, &way, &with, &without, &own);
        if way.options.is_empty() && way.engine == Engine::Containerd2 {
            report.keep(
                &format!("{}: the verifier door's own time, ms", way.name),
                &verifier,
            );
            report.row(
                "  the verifier door's own time",
                "60s",
                count,
                "ms",
                median(&verifier),
                None,
            );
        }
        let each: Vec<f64> = each.into_iter().map(|micros| micros / 1e3).collect();
        report.keep(
            &format!(
                "{}: each of the {} door's decisions, ms",
                way.name, way.door
            ),
            &each,
        );
        report.row(
            format!("  one decision at the {} door", way.door),
            "60s",
            each.len(),
            "ms",
            median(&each),
            None,
        );
        report.plain(
            "  its 99th percentile",
            "60s",
            each.len(),
            "ms",
            quantile(&each, 0.99),
            None,
        );
    }
}

fn tell(report: &mut Report, way: &Way, with: &[f64], without: &[f64], own: &[f64]) {
    let Way { name, door, .. } = way;
    report.keep(&format!("{name}: pull with rootpin, ms"), with);
    report.keep(&format!("{name}: pull without, ms"), without);
    report.keep(&format!("{name}: the {door} door's own time, ms"), own);
    report.row(
        format!("{name}: pull with rootpin"),
        "60s",
        with.len(),
        "ms",
        median(with),
        None,
    );
    report.row("  without", "-", without.len(), "ms", median(without), None);
    report.row(
        "  paired ratio, geometric mean",
        "60s",
        with.len(),
        "",
        paired(with, without),
        Some(1.03),
    );
    report.row(
        format!("  the {door} door's own time in it"),
        "60s",
        own.len(),
        "ms",
        median(own),
        None,
    );
    let shares: Vec<f64> = own.iter().zip(with).map(|(own, with)| own / with).collect();
    report.row(
        "  its share of the pull",
        "60s",
        shares.len(),
        "",
        median(&shares),
        Some(0.003),
    );
}

/// Milliseconds of one pull of the large image. A small one before it, in both arms, has every
/// connection made.
fn once(stage: &Stage, way: &Way, guarded: bool) -> f64 {
    stage.lab.restart(way.engine, guarded);
    stage.lab.forget(way.engine);
    stage.pull(way.engine, way.options, &stage.name(0));
    stage.lab.forget(way.engine);
    stage.pull(way.engine, way.options, &stage.large_name())
}

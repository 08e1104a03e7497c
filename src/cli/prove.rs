//! `rootpin prove`.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::TIMEOUT;
use super::output::{Output, table};
use crate::config::{self, DEFAULT_CONFIG};
use crate::control::DaemonClient;
use crate::operate::prove::{DoorState, PathVerdict, ProofReport, ProvenHost};
use crate::problem::Problem;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin prove\n  rootpin prove --list\n  rootpin prove --path containerd/cri-pull --path docker/pull --json\n\n\
    Two images of a few bytes are served on 127.0.0.1, one of them signed by a key that is gone afterwards, and every engine of rootpin.toml is \
    told to bring both in, in every way it has. Nothing is run, and all of it is taken away again. The policy forbids it by prove = false.\n\n\
    exit codes: 0 every path is shut, 1 one is open, 2 it could not be shown, 64 wrong usage";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Prove this path only; may be repeated. --list shows their names
    #[arg(long = "path", value_name = "NAME")]
    paths: Vec<String>,
    /// Leave this path out, for one that the policy opens on purpose; may be repeated
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,
    /// Show the paths that this host has, and prove nothing
    #[arg(long)]
    list: bool,
    /// rootpin.toml, whose engines are proved
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(super) fn run(control: &Path, verb: &Arguments, output: Output) -> Result<u8, Problem> {
    let config = config::load(&verb.config)?;
    let control = super::control_of(&config, control).to_owned();
    super::block_on(async {
        let mut host = ProvenHost::look(&config).await;
        if let Err(unknown) = host.pick(&verb.paths, &verb.except) {
            return Ok(output.misused(unknown));
        }
        if verb.list {
            let names = host.names();
            output.value(&serde_json::json!({ "version": 1, "paths": names }), |_| {
                names.join("\n")
            });
            return Ok(0);
        }
        let mut client = DaemonClient::connect(&control, TIMEOUT).await?;
        let report = host
            .prove(&mut client, interrupted()?, |path| output.progress(path))
            .await?;
        output.value(&report.json(), |_| text(&report));
        for path in report
            .paths
            .iter()
            .filter(|path| path.result == DoorState::Open)
        {
            Output::loudly(&format!("OPEN: {}: {}", path.path, path.note));
        }
        Ok(report.exit_code())
    })
}

/// A signal that asks for the end.
fn interrupted() -> Result<impl Future<Output = ()>, String> {
    let on = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
    let [mut interrupt, mut terminate, mut hangup] = [
        on(SignalKind::interrupt())?,
        on(SignalKind::terminate())?,
        on(SignalKind::hangup())?,
    ];
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn text(report: &ProofReport) -> String {
    let mut rows = vec![
        ["path", "", "unsigned", "signed", "known layers"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(report.paths.iter().map(row));
    let mut lines = vec![table(&rows)];
    let told = report
        .paths
        .iter()
        .filter(|path| !path.note.is_empty() && !path.lets_known_layers_in());
    lines
        .extend(told.map(|path| format!("{}: {}: {}", path.path, path.result.as_str(), path.note)));
    if report.paths.iter().any(PathVerdict::lets_known_layers_in) {
        lines.push(
            "known layers: where they are accepted, nobody is asked for the name: the layers are signed ones, the configuration need not be.\n\
             The resolver, the authorization plugin and the sweep see the name"
                .to_owned(),
        );
    }
    lines.extend(
        report
            .silent
            .iter()
            .map(|(engine, why)| format!("{engine}: does not answer: {why}")),
    );
    lines.extend(
        report
            .unproven
            .iter()
            .map(|what| format!("not proven: {what}")),
    );
    lines.extend(
        report
            .left
            .iter()
            .map(|what| format!("LEFT BEHIND: {what}")),
    );
    lines.extend(
        report
            .cut_short
            .iter()
            .map(|why| format!("cut short: {why}")),
    );
    lines.push(match report.exit_code() {
        0 => "every path is shut".to_owned(),
        1 => "NOT EVERY PATH IS SHUT".to_owned(),
        _ => "could not tell whether every path is shut".to_owned(),
    });
    lines.join("\n")
}

fn row(path: &PathVerdict) -> Vec<String> {
    let cell = |tag: &str| {
        let found = path.images.iter().find(|(canary, ..)| canary.tag() == tag);
        found.map_or_else(String::new, |(_, fate, took)| match took.as_millis() {
            0 => fate.to_string(),
            took => format!("{fate}, {took} ms"),
        })
    };
    let result = if path.result == DoorState::Open {
        "OPEN"
    } else {
        path.result.as_str()
    };
    vec![
        path.path.clone(),
        result.to_owned(),
        cell("unsigned"),
        cell("signed"),
        cell("known"),
    ]
}

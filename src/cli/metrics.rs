//! `rootpin metrics`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::output::Output;
use super::{TIMEOUT, block_on, named_file};
use crate::control::DaemonClient;
use crate::problem::Problem;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin metrics\n  \
    rootpin metrics --textfile /var/lib/prometheus/node-exporter/rootpin.prom\n\n\
    names and alert rules: docs/metrics.md";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write them to this file, for node exporter's textfile collector; if rootpind does not answer,
    /// the file says so
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
}

pub(super) fn run(control: &Path, arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    if let Some(file) = &arguments.textfile {
        named_file::check(file, named_file::METRICS)?;
    }
    let asked = block_on(async {
        let mut client = DaemonClient::connect(control, TIMEOUT).await?;
        client.metrics().await
    });
    let Some(file) = &arguments.textfile else {
        let text = asked?;
        output.value(&json!({ "version": 1, "prometheus": text }), |_| {
            text.clone()
        });
        return Ok(0);
    };
    // A daemon that is dead can serve no metric of it.
    let text = asked
        .as_ref()
        .map_or_else(|_| DOWN.to_owned(), |text| format!("{text}{}", written()));
    named_file::write(file, &text, named_file::METRICS)?;
    asked?;
    output.value(
        &json!({ "version": 1, "written": file.display().to_string() }),
        |_| format!("written to {}", file.display()),
    );
    Ok(0)
}

const DOWN: &str =
    "# HELP rootpin_up 1 where rootpind answered.\n# TYPE rootpin_up gauge\nrootpin_up 0\n";

fn written() -> String {
    let now = Timestamp::now().as_second();
    format!(
        "# HELP rootpin_textfile_seconds When rootpin metrics --textfile wrote this, in seconds since 1970.\n\
         # TYPE rootpin_textfile_seconds gauge\nrootpin_textfile_seconds {now}\n"
    )
}

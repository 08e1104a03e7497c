//! `rootpin metrics`.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;
use tempfile::NamedTempFile;

use super::output::{Output, unwritable};
use super::{TIMEOUT, block_on};
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
    write_textfile(file, &text)?;
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

/// In one step, and readable by all: node exporter is not root, and must not read half of it.
pub(super) fn write_textfile(path: &Path, text: &str) -> Result<(), Problem> {
    let failed = |error: &io::Error| unwritable(path, error);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || {
        let mut fresh = NamedTempFile::with_prefix_in(".rootpin-", folder)?;
        fresh.write_all(text.as_bytes())?;
        let readable = std::fs::Permissions::from_mode(0o644);
        fresh.as_file().set_permissions(readable)?;
        fresh.persist(path)?;
        io::Result::Ok(())
    };
    write().map_err(|error| failed(&error))
}

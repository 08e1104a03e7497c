//! `rootpin support`: one archive for a report of a bug.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::output::{Output, counted};
use super::{TIMEOUT, block_on, fix, named_file};
use crate::config::{self, DEFAULT_CONFIG};
use crate::operate::support::{SupportQuestion, archive, collect};
use crate::problem::Problem;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin support\n  rootpin support --out /root/rootpin.tar --audit-lines 200\n\n\
    It has: versions, rootpin.toml, the policy, status, state, metrics, doctor, the end of audit file and log, and what \
    the engines make of their configurations. Passwords, tokens and private keys are taken out; names of images and \
    hosts are not. Look into it before you send it: tar -tf FILE";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to write it; a file that is there already is left
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many of the audit file's last lines
    #[arg(long, value_name = "N", default_value_t = 1000)]
    audit_lines: usize,
    /// rootpin.toml
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The folder of containerd's image verifiers
    #[arg(long, value_name = "DIR", default_value = fix::VERIFIER, hide_short_help = true)]
    verifier: PathBuf,
}

pub(super) fn run(control: &Path, arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    if arguments.out.as_deref() == Some(Path::new("-")) {
        return Ok(output.misused(Problem::hinted(
            "--out - is the name of no file: the archive is written into one",
            "rootpin support --out FILE",
        )));
    }
    let config = config::load(&arguments.config)?;
    let control = super::control_of(&config, control);
    let tools = fix::tools(&config, &arguments.verifier, None, None)?;
    let question = SupportQuestion {
        config_path: &arguments.config,
        config: &config,
        control,
        tools: &tools,
        audit_lines: arguments.audit_lines,
        time: TIMEOUT,
    };
    let now = Timestamp::now();
    output.progress("asking the daemon and the engines");
    let texts = block_on(async { Ok(collect(&question, now).await) })?;
    let file = arguments.out.clone().unwrap_or_else(|| {
        PathBuf::from(format!(
            "rootpin-support-{}.tar",
            now.strftime("%Y%m%dT%H%M%SZ")
        ))
    });
    named_file::write_new(&file, &archive(&texts, now))?;
    let names: Vec<_> = texts.iter().map(|(name, _)| name).collect();
    let shown = file.display().to_string();
    output.value(
        &json!({ "version": 1, "file": shown, "contents": names }),
        |_| {
            format!(
                "written to {shown}: {}; look into it before you send it: tar -xOf {shown} | less",
                counted(names.len(), "file")
            )
        },
    );
    Ok(0)
}

//! `rootpin install`: has the engines of rootpin.toml ask rootpin.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::output::Output;
use super::{EXIT_USAGE, fix};
use crate::config::{self, DEFAULT_CONFIG};
use crate::operate::doctor::{self, Idle};
use crate::problem::Problem;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin install --dry-run   (shows what would be written)\n  rootpin install\n  \
    rootpin install --engine containerd --yes\n\n\
    exit codes: 0 all of it is in place, 1 something was left and is named, 2 rootpin.toml could not be read";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the daemon's engines are listed
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The name of an engine or a dockerd in that file; may stand several times. None: all
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    /// Show it, and write nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// The folder for rootpin-verifier, where containerd has none of rootpin's own; it must hold
    /// nothing else
    #[arg(long, value_name = "DIR", default_value = fix::VERIFIER)]
    verifier: PathBuf,
    /// containerd's program, of an engine that doesn't run yet
    #[arg(long, value_name = "PROGRAM", default_value = "containerd")]
    containerd: PathBuf,
    /// Its main configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/containerd/config.toml"
    )]
    containerd_config: PathBuf,
    /// The configuration of a dockerd that doesn't run yet
    #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
    docker_config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    let config = config::load(&arguments.config)?;
    let known = |name: &String| {
        config.engines.iter().any(|engine| engine.name == *name)
            || config.dockers.iter().any(|docker| docker.name == *name)
    };
    if let Some(name) = arguments.engine.iter().find(|name| !known(name)) {
        output.error(Problem::hinted(
            format!(
                "{} has no [[engine]] or [[docker]] named {name:?}",
                arguments.config.display()
            ),
            "name one that it has, or add it there",
        ));
        return Ok(EXIT_USAGE);
    }
    let tools = fix::tools(&config, &arguments.verifier)?;
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let main = whole(&arguments.containerd_config);
    let daemon_json = whole(&arguments.docker_config);
    let idle = Idle {
        containerd: &arguments.containerd,
        main: &main,
        daemon_json: &daemon_json,
    };
    let plan = super::block_on(async {
        Ok(doctor::install(
            (&arguments.config, &config),
            &arguments.engine,
            idle,
            &tools,
        )
        .await)
    })?;
    let done = fix::carry_out(
        &plan,
        fix::Consent {
            dry_run: arguments.dry_run,
            yes: arguments.yes,
        },
        "",
        output,
    )?;
    if done.nobody_to_ask("install", output) {
        return Ok(EXIT_USAGE);
    }
    let told = done.json(&plan);
    let failed =
        !plan.left.is_empty() || told.get("failed").is_some_and(serde_json::Value::is_string);
    let value = json!({ "version": 1, "outcome": if failed { "left" } else { "installed" }, "install": told });
    let refused = done.refused();
    output.value(&value, |value| {
        if refused {
            "nothing is written".to_owned()
        } else {
            value
                .get("install")
                .map(fix::text_of)
                .unwrap_or_default()
                .trim_start()
                .to_owned()
        }
    });
    Ok(u8::from(failed || refused))
}

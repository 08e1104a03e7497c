//! `rootpin policy`: check a policy, explain it, and see what it would do before it is shipped.

mod check;
mod lint;
mod simulate;
mod test;

use std::path::{Path, PathBuf};

use check::{check, explain, explain_text};

use super::output::Output;
use super::{EXIT_USAGE, asked, asked_or, image_name, status};
use crate::config::DEFAULT_POLICY;
use crate::problem::Problem;

/// A test compares it with what the loader takes.
const SCHEMA: &str = include_str!("../../../docs/policy.schema.json");

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Load the policy exactly as the daemon does, and show every error
    #[command(after_help = "example: rootpin policy check /etc/rootpin")]
    Check {
        /// The folder of policy.toml
        #[arg(default_value = DEFAULT_POLICY)]
        dir: PathBuf,
    },
    /// Say which rule covers a name, which lost and why, and what evidence it wants
    #[command(after_help = "example: rootpin policy explain docker.io/library/alpine:3.20")]
    Explain {
        /// The image's name
        name: String,
        /// The folder of policy.toml, instead of asking the daemon
        #[arg(long, value_name = "DIR")]
        policy: Option<PathBuf>,
    },
    /// Say what is weak, void or about to end in a policy that loads
    #[command(after_help = lint::EXAMPLES)]
    Lint(lint::Arguments),
    /// Say what another policy would refuse on hosts, by their reports
    #[command(after_help = simulate::SIMULATE_EXAMPLES)]
    Simulate(simulate::SimulateArguments),
    /// Say in which entries two policies differ, and which names are judged otherwise
    #[command(after_help = simulate::DIFF_EXAMPLES)]
    Diff(simulate::DiffArguments),
    /// Judge names by a policy, and compare the answers with those that files expect
    #[command(after_help = test::EXAMPLES)]
    Test(test::Arguments),
    /// Print the JSON Schema of policy files, for editors
    #[command(after_help = "example: rootpin policy schema > policy.schema.json")]
    Schema,
    /// Have the daemon look at the policy now
    #[command(after_help = "example: rootpin policy reload")]
    Reload,
}

pub(super) fn run(control: &Path, verb: Verb, output: Output) -> Result<u8, Problem> {
    match verb {
        Verb::Check { dir } => Ok(check(&dir, output)),
        Verb::Explain { name, policy } => {
            let Some(image) = image_name(&name, output) else {
                return Ok(EXIT_USAGE);
            };
            if let Some(dir) = policy {
                return Ok(explain(&dir, &image, output));
            }
            asked_or(control, "--policy DIR", async |client| {
                let report = client.explain(&name).await?;
                Ok(output.report(&report, explain_text))
            })
        }
        Verb::Lint(arguments) => Ok(lint::run(&arguments, output)),
        Verb::Simulate(arguments) => simulate::simulate(control, &arguments, output),
        Verb::Diff(arguments) => Ok(simulate::diff(&arguments, output)),
        Verb::Test(arguments) => test::run(&arguments, output),
        Verb::Schema => {
            Output::finished((SCHEMA.to_owned(), 0));
            Ok(0)
        }
        Verb::Reload => asked(control, async |client| {
            let report = client.reload().await?;
            Ok(output.report(&report, status::reload_text))
        }),
    }
}

//! `rootpin repo`: make and keep a TUF repository of image names.

mod key;
mod passphrase;

use std::path::PathBuf;

use super::output::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The working folder
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    repo: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make keys, and show those that are here
    #[command(subcommand)]
    Key(key::Verb),
}

pub(super) fn run(arguments: Arguments, output: Output) -> Result<u8, String> {
    let Arguments { repo, verb } = arguments;
    match verb {
        Verb::Key(verb) => key::run(&repo, verb, output).map_err(|error| error.to_string()),
    }
}

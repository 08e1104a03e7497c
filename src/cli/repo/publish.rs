//! `rootpin repo publish`: brings what is in the working folder to its places.

use super::Here;
use super::passphrase::Passphrases;
use super::signing::{SigningOptions, carry_out};
use crate::cli::output::Output;
use crate::publish::{PublishError, RepositoryChange};
use rootpin_policy::MetadataUrl;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One more place, besides those of repository.toml
    place: Option<MetadataUrl>,
    /// Show what would be brought there, and bring nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask before signing, where something needs another signature
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    passphrases: Passphrases,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let mut working = here.open()?;
    working.settings.publish.extend(verb.place);
    if working.settings.publish.is_empty() {
        return Err(PublishError::wrong(
            "there is no place to publish to",
            "give one, or add it to publish in repository.toml",
        ));
    }
    let options = SigningOptions {
        dry_run: verb.dry_run,
        local: false,
        yes: verb.yes,
        passphrases: verb.passphrases,
    };
    let about = ["publish".to_owned()];
    carry_out(
        here,
        &working,
        RepositoryChange::restoring(),
        &about,
        &options,
        output,
    )
    .await
}

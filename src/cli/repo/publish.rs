//! `rootpin repo publish`: brings what is in the working folder to its places.

use super::Here;
use super::act::{self, Act, Options};
use super::passphrase::Passphrases;
use crate::cli::output::Output;
use crate::publish::key::{Signer, SigningError};
use crate::publish::{Change, Draft, Metadata, Plan, PublishError, Unlock};
use rootpin_policy::MetadataUrl;
use rootpin_trust::KeyId;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One more place, besides those of repository.toml
    place: Option<MetadataUrl>,
    /// Show what would be brought there, and bring nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing, where something needs another signature
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    passphrases: Passphrases,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let mut working = here.open()?;
    working.settings.publish.extend(verb.place);
    if working.settings.publish.is_empty() {
        return Err(PublishError::Wrong(
            "there is no place to publish to; hint: give one, or add it to publish in repository.toml".to_owned(),
        ));
    }
    let mut make = |_: &mut Draft| Ok(());
    let act = Act {
        make: &mut make,
        decides: [].into(),
        restores: true,
        about: vec!["publish".to_owned()],
    };
    let options = Options {
        dry_run: verb.dry_run,
        local: false,
        yes: verb.yes,
        passphrases: verb.passphrases,
    };
    act::run(here, &working, act, &options, output).await
}

/// Nothing is changed, and no key is wanted.
pub(super) struct Bring;

impl Change for Bring {
    fn make(&mut self, _draft: &mut Draft) -> Result<(), PublishError> {
        Ok(())
    }

    fn restores(&self) -> bool {
        true
    }

    fn confirm(&mut self, _before: &Metadata, _plan: &Plan) -> Result<bool, PublishError> {
        Ok(true)
    }
}

impl Unlock for Bring {
    fn unlock(&mut self, _id: KeyId) -> Result<&dyn Signer, SigningError> {
        Err(SigningError::Unusable(
            "a new repository that needs another signature".to_owned(),
        ))
    }
}

//! `rootpin repo refresh`: signs anew what would expire, and takes up what waits for the online
//! key.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Here;
use super::signing::{SigningOptions, carry_out};
use crate::cli::output::Output;
use crate::publish::{Document, Draft, PublishError, RepositoryChange};
use rootpin_policy::{Fault, parse_duration};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only if timestamp or snapshot expires within this time, or something waits for their key
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    if_within: Option<SignedDuration>,
    #[command(flatten)]
    options: SigningOptions,
}

fn duration(text: &str) -> Result<SignedDuration, Fault> {
    parse_duration(text)
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let now = Timestamp::now();
    let within = |document: &Document, term: SignedDuration| {
        document
            .expires()
            .is_none_or(|expires| expires.duration_since(now) <= term)
    };
    let change = RepositoryChange::new(|draft: &mut Draft| {
        let online = [
            &draft.next.timestamp.document,
            &draft.next.snapshot.document,
        ];
        draft.renew |= verb
            .if_within
            .is_none_or(|term| online.into_iter().any(|document| within(document, term)));
        for (role, file) in &draft.next.roles {
            let here = draft.next.authority(role).is_some_and(|authority| {
                let here = authority
                    .keys
                    .iter()
                    .filter_map(|key| key.id.filter(|id| working.keyring.signs_with(*id)));
                here.collect::<BTreeSet<_>>().len() >= authority.threshold
            });
            if here
                && within(&file.document, working.settings.term(role) / 3)
                && !draft.next.waiting.contains_key(role)
            {
                draft.edited.insert(role.clone(), file.document.clone());
            }
        }
        Ok(())
    });
    let about = ["refresh".to_owned()];
    carry_out(here, &working, change, &about, &verb.options, output).await
}

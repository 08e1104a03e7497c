//! `rootpin repo approve`: looks at what waits for signatures, and adds one's own; or drops it.

use super::Here;
use super::signing::{SigningOptions, carry_out};
use crate::cli::output::Output;
use crate::publish::{Draft, PublishError, RepositoryChange};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The role that waits; else every one that a key here can sign for
    role: Option<String>,
    /// Drop what waits instead
    #[arg(long, requires = "role")]
    drop: bool,
    #[command(flatten)]
    options: SigningOptions,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let change = RepositoryChange::new(|draft: &mut Draft| {
        let waiting: Vec<String> = draft
            .next
            .waiting
            .keys()
            .filter(|role| verb.role.as_ref().is_none_or(|only| only == *role))
            .cloned()
            .collect();
        if waiting.is_empty() {
            let what = verb.role.as_deref().unwrap_or("nothing");
            let what = if verb.role.is_some() {
                format!("{what} does not wait")
            } else {
                format!("{what} waits")
            };
            return Err(PublishError::wrong(
                format!("{what} for a signature"),
                "rootpin repo status",
            ));
        }
        for role in waiting {
            if verb.drop {
                draft.next.waiting.remove(&role);
            } else {
                draft.approved.insert(role);
            }
        }
        Ok(())
    });
    let about = if verb.drop {
        "drop what waits"
    } else {
        "approve what waits"
    };
    let about = [about.to_owned()];
    carry_out(here, &working, change, &about, &verb.options, output).await
}

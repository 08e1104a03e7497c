//! `rootpin repo approve`: looks at what waits for signatures, and adds one's own; or drops it.

use super::Here;
use super::act::{self, Act, Options};
use crate::cli::output::Output;
use crate::publish::{Draft, PublishError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The role that waits; else every one that a key here can sign for
    role: Option<String>,
    /// Drop what waits instead
    #[arg(long, requires = "role")]
    drop: bool,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let mut make = |draft: &mut Draft| {
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
            return Err(PublishError::Wrong(format!(
                "{what} for a signature; hint: rootpin repo status"
            )));
        }
        for role in waiting {
            if verb.drop {
                draft.next.waiting.remove(&role);
            } else {
                draft.approved.insert(role);
            }
        }
        Ok(())
    };
    let about = vec![
        if verb.drop {
            "drop what waits"
        } else {
            "approve what waits"
        }
        .to_owned(),
    ];
    let act = Act {
        make: &mut make,
        decides: [].into(),
        restores: false,
        about,
    };
    act::run(here, &working, act, &verb.options, output).await
}

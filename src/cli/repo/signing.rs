//! Carries out a change of the repository: prepares it, shows it, asks, signs, publishes, and says
//! how it ended.

use std::io::{self, IsTerminal as _};

use serde_json::{Value, json};

use super::Here;
use super::passphrase::Passphrases;
use super::progress::{quietly, with_progress};
use super::report::{self, plan_json};
use super::term::RootTerm;
use crate::cli::consent;
use crate::cli::output::Output;
use crate::problem::Problem;
use crate::publish::{
    Activity, Draft, OpenKeys, PublishError, Published, RepositoryChange, Todo, Transaction,
    Working,
};

/// The options of every command that signs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SigningOptions {
    /// Show what would be signed, and sign nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep it in the working folder, for `rootpin repo publish`
    #[arg(long)]
    pub(super) local: bool,
    /// Don't ask before signing
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) passphrases: Passphrases,
}

/// Makes a change in a working folder. `about` says first what the change does, and what it leaves
/// out: also where nothing is to be signed.
pub(super) async fn carry_out(
    here: &Here,
    working: &Working,
    mut change: RepositoryChange<'_>,
    about: &[String],
    options: &SigningOptions,
    output: Output,
) -> Result<u8, PublishError> {
    let mut transaction = here.transaction(working, options.local)?;
    let (activity, now) = (transaction.activity.clone(), transaction.now);
    let prepared = with_progress(output, &activity, transaction.prepare(&mut change)).await?;
    let mut shown = json!({ "about": about });
    if prepared.todo != Todo::Nothing {
        shown = plan_json(&prepared.before, &prepared.plan, &working.keyring, about);
    }
    if !output.json {
        output.value(&shown, report::plan_text);
    }
    if prepared.todo != Todo::Nothing {
        if options.dry_run {
            let term = RootTerm::of(prepared.plan.next(), now);
            return Ok(say_shown(here, shown, &transaction.notes, &term, output));
        }
        if prepared.plan.steps().any(|step| !step.keys.is_empty()) {
            quietly(&activity, || ask(options))?;
        }
    }
    let mut keys = open_keys(working, options, &activity);
    let published = transaction.publish(prepared, &mut change, &mut keys);
    let published = with_progress(output, &activity, published).await?;
    Ok(say_published(here, shown, &published, &transaction, output))
}

/// The repository at the first place, merged with the one in the working folder.
pub(super) async fn read_draft(
    transaction: &mut Transaction<'_>,
    output: Output,
) -> Result<Draft, PublishError> {
    let activity = transaction.activity.clone();
    with_progress(output, &activity, transaction.look(&|_| false)).await
}

/// The folder's keys, each unlocked by the passphrase that the options or a person give.
pub(super) fn open_keys<'a>(
    working: &'a Working,
    options: &'a SigningOptions,
    activity: &Activity,
) -> OpenKeys<'a> {
    let activity = activity.clone();
    OpenKeys::of(&working.keyring, move |entry| {
        quietly(&activity, || options.passphrases.of(&entry.name))
    })
}

/// Asks at the terminal whether to sign. Without one nobody is asked: whoever gave the passphrase of the
/// key before agreed by that.
pub(super) fn ask(options: &SigningOptions) -> Result<(), PublishError> {
    if options.yes || !io::stdin().is_terminal() || consent::agreed("sign this?") {
        return Ok(());
    }
    Err(PublishError::Wrong(Problem::new("nothing was signed")))
}

fn say_shown(here: &Here, plan: Value, notes: &[String], term: &RootTerm, output: Output) -> u8 {
    let report = ended(plan, "shown", &[], &[], notes, term);
    here.say(output, &report, |shown| report::ended_text(shown, true));
    term.said(0, &here.repo)
}

fn say_published(
    here: &Here,
    plan: Value,
    published: &Published,
    transaction: &Transaction<'_>,
    output: Output,
) -> u8 {
    let (outcome, metadata, places, failed) = match published {
        Published::Nothing(metadata) => ("unchanged", metadata, &[][..], &[][..]),
        Published::Done {
            metadata,
            published,
            failed,
        } => {
            let outcome = if published.is_empty() {
                "kept"
            } else {
                "published"
            };
            (outcome, metadata, &published[..], &failed[..])
        }
    };
    let places: Vec<_> = places.iter().map(ToString::to_string).collect();
    let term = RootTerm::of(metadata, transaction.now);
    let failures: Vec<_> = failed
        .iter()
        .map(|(url, why)| json!({ "place": url.to_string(), "error": why }))
        .collect();
    let report = ended(plan, outcome, &places, &failures, &transaction.notes, &term);
    let has_places = !transaction.working.settings.publish.is_empty();
    here.say(output, &report, |shown| {
        report::ended_text(shown, has_places)
    });
    term.said(if failed.is_empty() { 0 } else { 2 }, &here.repo)
}

/// The plan as it was shown, with how it ended.
fn ended(
    mut plan: Value,
    outcome: &str,
    published: &[String],
    failed: &[Value],
    notes: &[String],
    term: &RootTerm,
) -> Value {
    let members = [
        ("version", json!(1)),
        ("outcome", json!(outcome)),
        ("published", json!(published)),
        ("failed", json!(failed)),
        ("notes", json!(notes)),
        ("root", term.json()),
    ];
    if let Some(object) = plan.as_object_mut() {
        object.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
    plan
}

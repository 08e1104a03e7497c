//! `rootpin repo take-over`: signs the tags of Notary repositories here, as one change.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Here;
use super::from_notary::{self, ReadRepositories, Selection};
use super::images::check_waiting;
use super::signing::{SigningOptions, carry_out, read_draft};
use crate::cli::output::{Output, counted};
use crate::problem::Problem;
use crate::publish::take_over::{NameDifference, TakeOver};
use crate::publish::{Draft, PublishError, RepositoryChange, Working, taken_out};
use rootpin_trust::image::Repository;

pub(super) const EXAMPLES: &str = "examples:\n  \
    rootpin repo take-over --from notary https://notary.example \\\n    \
        docker.io/acme/app --root-key 30ff0720…\n  \
    rootpin repo take-over --from notary https://notary.example \\\n    \
        --all --policy /etc/rootpin --dry-run";

pub(super) const LONG: &str = "Verify Notary repositories by pinned root keys, and sign their tags here, as one change.\n\n\
    A repository that lets other keys sign (targets/releases, as `docker trust signer add` makes it) gets a role for these keys, which may \
    sign the same tags here. Run it again to take over what was signed, moved or revoked there since; what was signed here by hand stays, and what was \
    revoked here by hand, a signer's role too, stays out: --again takes it over again. \
    If one repository does not verify, or its root is not pinned, nothing is signed, unless --skip-refused is given.\n\n\
    Exit codes: 0 taken over, or nothing is new; 1 some that should verify were left out (--skip-refused), or the time is over (--until); 2 nothing is signed.";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The Notary server that has them
    #[arg(long, num_args = 2, value_names = ["notary", "URL"], required = true)]
    from: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Leave out what does not verify (ends with 1), and what nothing pins
    #[arg(long)]
    skip_refused: bool,
    /// Take over again what was revoked here by hand: a name or a role
    #[arg(long, value_name = "NAME:TAG|ROLE", hide_short_help = true)]
    again: Vec<String>,
    /// Take over nothing after this RFC 3339 time, and end with 1
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    until: Option<Timestamp>,
    #[command(flatten)]
    options: SigningOptions,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let url = from_notary::server_of(&verb.from)?;
    if let Some(until) = verb.until.filter(|until| *until < Timestamp::now()) {
        output.refused(Problem::hinted(
            format!("the time to take over from {url} ended at {until}"),
            "stop the timer that runs this; Notary's tags count no longer",
        ));
        return Ok(1);
    }
    let mut read = from_notary::read(here, &working, url, &verb.selection, output).await?;
    let mut transaction = here.transaction(&working, verb.options.local)?;
    let draft = read_draft(&mut transaction, output).await?;
    let others = read.other_publishers(&draft.next);
    let ReadRepositories {
        mut take_over,
        refused,
        notes,
        ..
    } = read;
    let told: Vec<String> = refused
        .iter()
        .map(|(gun, refusal)| format!("{gun}: {}: {}", refusal.code, refusal.found))
        .collect();
    // Where none could be read at all, something else is wrong than its signatures.
    let is_judged = refused.values().any(|refusal| refusal.code.judged());
    let skips = verb.skip_refused && (is_judged || !take_over.repositories.is_empty());
    if let Some((gun, refusal)) = refused.first_key_value().filter(|_| !skips) {
        let others = match refused.len() {
            1 => String::new(),
            more => format!("; and {} beside it", counted(more - 1, "repository")),
        };
        let what = if refusal.code.judged() {
            "does not verify"
        } else {
            "could not be read"
        };
        let skip = if take_over.repositories.is_empty() {
            ""
        } else {
            "; or take over the rest with --skip-refused"
        };
        return Err(PublishError::wrong(
            format!("{gun} {what}: {}: {}{others}", refusal.code, refusal.found),
            format!("{}{skip}", refusal.hint),
        ));
    }
    if let Some(first) = others.first().filter(|_| !verb.skip_refused) {
        let count = counted(others.len(), "repository");
        return Err(PublishError::wrong(
            format!(
                "nothing pins the root of {count} of this repository's names, the first: {first}"
            ),
            "name their root keys too by --root-key ID; or leave them to other publishers by --skip-refused",
        ));
    }
    take_over.again = again(&verb.again, &draft)?;
    let about = about(
        &take_over,
        &take_over.differences(&draft.next),
        (&notes, &others, &told),
    );
    let change = taking_over(&take_over, &working);
    let code = carry_out(here, &working, change, &about, &verb.options, output).await?;
    Ok(if refused.is_empty() {
        code
    } else {
        code.max(1)
    })
}

/// The names and roles to take over again; each must have been taken out.
fn again(given: &[String], draft: &Draft) -> Result<BTreeSet<String>, PublishError> {
    let taken_out = taken_out::all(&draft.next);
    match given.iter().find(|what| !taken_out.contains(what.as_str())) {
        Some(other) => Err(PublishError::wrong(
            format!("{other} was not taken out here by hand"),
            "rootpin repo compare lists what differs; leave out --again",
        )),
        None => Ok(given.iter().cloned().collect()),
    }
}

/// What the change does, before it is shown name by name.
fn about(
    take_over: &TakeOver,
    differences: &[NameDifference],
    (notes, others, refused): (&[String], &[Repository], &[String]),
) -> Vec<String> {
    let tags: usize = take_over
        .repositories
        .iter()
        .map(|repository| repository.tags.len())
        .sum();
    let mut about = vec![format!(
        "take over {} of {} from {}",
        counted(tags, "tag"),
        counted(take_over.repositories.len(), "repository"),
        take_over.server
    )];
    let kept = differences.iter().filter(|difference| difference.kept);
    about.extend(kept.map(|difference| {
        let notary = difference
            .notary
            .map_or("nothing".to_owned(), |digest| digest.to_string());
        let name = &difference.name;
        if let Some(what) = &difference.taken_out {
            return format!(
                "  stays out: {name} is at Notary {notary}, and {what} was revoked here by hand: --again {what} takes it over again"
            );
        }
        let here = difference.here.as_deref().unwrap_or_default();
        let role = difference.role.as_deref().unwrap_or_default();
        format!("  stays: {name} is signed here as {here} by {role}, and at Notary as {notary}")
    }));
    about.extend(notes.iter().map(|note| format!("  left behind: {note}")));
    about.extend(others.iter().map(not_ours_line));
    about.extend(refused.iter().map(|why| format!("  refused: {why}")));
    about
}

fn not_ours_line(gun: &Repository) -> String {
    format!("  another publisher's: {gun}: nothing pins its root, and nothing of it is signed here")
}

fn taking_over<'a>(take_over: &'a TakeOver, working: &'a Working) -> RepositoryChange<'a> {
    RepositoryChange::new(move |draft: &mut Draft| {
        for role in take_over.roles(&draft.next) {
            check_waiting(draft, &working.keyring, &role)?;
        }
        take_over.edit(draft)
    })
}

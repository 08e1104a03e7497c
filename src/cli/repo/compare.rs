//! `rootpin repo compare`: what differs between this repository and Notary's, while both are kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Here;
use super::from_notary::{self, ReadRepositories, Selection};
use super::report::of_others;
use super::signing::read_draft;
use super::term::RootTerm;
use crate::cli::output::{Output, counted, list, table, text, unjudged_if};
use crate::publish::PublishError;
use crate::publish::take_over::{NameDifference, SignersDifference};
use rootpin_trust::image::Repository;

pub(super) const EXAMPLES: &str = "example: rootpin repo compare --with notary https://notary.example \\\n    \
    docker.io/acme/app --root-key 30ff0720…\n\n\
    exit codes: 0 nothing differs, 1 something does, or a name of this repository has a root there that nothing pins, 2 nothing is known to, and a repository could not be read, 64 wrong usage";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The Notary server to compare with
    #[arg(long, num_args = 2, value_names = ["notary", "URL"], required = true)]
    with: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Read the working folder, not the place
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let url = from_notary::server_of(&verb.with)?;
    let mut read = from_notary::read(here, &working, url, &verb.selection, output).await?;
    let mut transaction = here.transaction(&working, verb.local)?;
    let metadata = read_draft(&mut transaction, output).await?.next;
    let others = read.other_publishers(&metadata);
    let ReadRepositories {
        take_over,
        refused,
        notes,
        ..
    } = read;
    let term = RootTerm::of(&metadata, transaction.now);
    let differences = take_over.differences(&metadata);
    let signers = take_over.signers_differences(&metadata);
    let tags: usize = take_over
        .repositories
        .iter()
        .map(|repository| repository.tags.len())
        .sum();
    let not_read: Vec<Value> = refused
        .iter()
        .map(|(gun, refusal)| {
            json!({ "name": gun.as_str(), "code": refusal.code.as_str(), "found": refusal.found, "hint": refusal.hint })
        })
        .collect();
    let report = json!({
        "version": 1,
        "server": url,
        "repositories": take_over.repositories.len(),
        "tags": tags,
        "differences": differences.iter().map(difference_json).collect::<Vec<_>>(),
        "signers": signers.iter().map(signers_json).collect::<Vec<_>>(),
        "refused": not_read,
        "other_publishers": others.iter().map(Repository::as_str).collect::<Vec<_>>(),
        "notes": notes,
        "root": term.json(),
    });
    // Each of the others has one of this repository's names.
    let is_same = differences.is_empty() && signers.is_empty() && others.is_empty();
    let code = match (is_same, refused.is_empty()) {
        (false, _) => 1,
        (true, true) => 0,
        (true, false) => 2,
    };
    let report = unjudged_if(code, report, || {
        let first = refused.first_key_value();
        first.map_or_else(String::new, |(gun, refusal)| {
            let count = counted(refused.len(), "repository");
            format!(
                "{count} could not be read, the first: {gun}: {}",
                refusal.found
            )
        })
    });
    here.say(output, &report, compared_text);
    Ok(term.said(code, &here.repo))
}

fn difference_json(difference: &NameDifference) -> Value {
    let kind = match (&difference.notary, &difference.here) {
        (Some(_), Some(_)) => "other-digest",
        (Some(_), None) => "only-notary",
        (None, _) => "only-here",
    };
    json!({
        "name": difference.name,
        "kind": kind,
        "notary": difference.notary.map(|digest| digest.to_string()),
        "here": difference.here,
        "role": difference.role,
        "taken_over": !difference.kept,
    })
}

fn signers_json(difference: &SignersDifference) -> Value {
    let keys = |keys: &BTreeMap<String, Option<String>>| -> Vec<Value> {
        let key = |(keyid, holder)| json!({ "key": keyid, "holder": holder });
        keys.iter().map(key).collect()
    };
    json!({
        "role": difference.role,
        "only_notary": keys(&difference.only_notary),
        "only_here": keys(&difference.only_here),
        "paths_at_notary": difference.paths,
    })
}

/// A line for each key that signs at one of the two alone, and for other names.
fn signers_lines(difference: &Value) -> Vec<String> {
    let role = text(difference, "role");
    let keys = |member: &str, place: &str| -> Vec<String> {
        let key = |key: &Value| {
            let short: String = text(key, "key").chars().take(8).collect();
            let name = match text(key, "holder") {
                "" => short,
                holder => format!("{holder} ({short})"),
            };
            format!("{role}: {name} may sign {place} alone")
        };
        list(difference, member).iter().map(key).collect()
    };
    let paths = list(difference, "paths_at_notary");
    let paths: Vec<&str> = paths.iter().filter_map(Value::as_str).collect();
    let paths = (!paths.is_empty()).then(|| {
        format!(
            "{role}: its signers may sign other names here than at Notary: {}",
            paths.join(" ")
        )
    });
    let keys = [keys("only_notary", "at Notary"), keys("only_here", "here")];
    keys.into_iter().flatten().chain(paths).collect()
}

fn compared_text(report: &Value) -> String {
    let report = &of_others(report);
    let mut lines = Vec::new();
    let rows: Vec<Vec<String>> = list(report, "differences")
        .iter()
        .map(|difference| {
            let side = |name: &str| match text(difference, name) {
                "" => "nothing".to_owned(),
                digest => digest.to_owned(),
            };
            vec![
                text(difference, "name").to_owned(),
                format!("notary {}", side("notary")),
                format!("here {}", side("here")),
                text(difference, "role").to_owned(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        lines.push(table(&rows));
    }
    let signers: Vec<String> = list(report, "signers")
        .iter()
        .flat_map(signers_lines)
        .collect();
    let count = |name: &str| {
        let number = report.get(name).and_then(Value::as_u64);
        usize::try_from(number.unwrap_or_default()).unwrap_or(usize::MAX)
    };
    let of = format!(
        "{} of {}",
        counted(count("tags"), "tag"),
        counted(count("repositories"), "repository")
    );
    let unread = list(report, "refused").len() + list(report, "other_publishers").len();
    let found = rows.len() + signers.len();
    lines.extend(signers);
    lines.push(match found {
        0 if unread > 0 && count("repositories") == 0 => {
            format!("nothing was compared with {}", text(report, "server"))
        }
        0 if unread > 0 => format!(
            "no difference in what could be read at {}: {of}",
            text(report, "server")
        ),
        0 => format!("the same here and at {}: {of}", text(report, "server")),
        some => format!(
            "{} here and at {}: of {of}",
            counted(some, "difference"),
            text(report, "server")
        ),
    });
    lines.extend(list(report, "refused").iter().map(|refused| {
        format!(
            "could not be read: {}: {}: {}\nhint: {}",
            text(refused, "name"),
            text(refused, "code"),
            text(refused, "found"),
            text(refused, "hint")
        )
    }));
    let others = list(report, "other_publishers").iter();
    lines.extend(others.filter_map(Value::as_str).map(|gun| {
        format!(
            "another root: {gun}: nothing pins the one that the server shows for this name of this repository: another publisher's, or in place of yours\n\
             hint: if it is yours, name its root key by --root-key ID; else have names in repository.toml leave it out"
        )
    }));
    let notes = list(report, "notes").iter().filter_map(Value::as_str);
    lines.extend(notes.map(|note| format!("note: {note}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_called_the_same_where_nothing_could_be_read() {
        let refused =
            json!([{ "name": "r.example/app", "code": "expired", "found": "f", "hint": "h" }]);
        let text = |repositories: u64, refused: &Value| {
            compared_text(&json!({
                "server": "https://n.example",
                "tags": repositories,
                "repositories": repositories,
                "differences": [],
                "signers": [],
                "refused": refused,
                "notes": [],
            }))
        };
        let nothing = text(0, &refused);
        assert!(nothing.starts_with("nothing was compared with https://n.example\n"));
        let some = text(1, &refused);
        assert!(some.starts_with("no difference in what could be read at"));
        let all = text(1, &json!([]));
        assert_eq!(
            all,
            "the same here and at https://n.example: 1 tag of 1 repository"
        );
    }
}

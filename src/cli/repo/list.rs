//! `rootpin repo list`: what is signed.

use serde_json::{Value, json};

use super::Here;
use super::report::of_others;
use super::signing::read_draft;
use super::term::RootTerm;
use crate::cli::output::{Output, list, table, text};
use crate::publish::{Metadata, PublishError, delegation_path};
use rootpin_policy::Pattern;
use rootpin_trust::image::Repository;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only these names, as a policy writes them
    pattern: Option<Pattern>,
    /// Read the working folder, not the place
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(here: &Here, verb: &Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    let mut transaction = here.transaction(&working, verb.local)?;
    let draft = read_draft(&mut transaction, output).await?;
    let term = RootTerm::of(&draft.next, transaction.now);
    let images: Vec<_> = images(&draft.next)
        .filter(|image| matches(verb.pattern.as_ref(), text(image, "name")))
        .collect();
    here.say(
        output,
        &json!({ "version": 1, "images": images, "root": term.json() }),
        images_text,
    );
    Ok(term.said(0, &here.repo))
}

/// Every name that some role lists, with its digest there and whether that role decides it.
fn images(metadata: &Metadata) -> impl Iterator<Item = Value> {
    let of_role = move |(role, file): (&String, &crate::publish::MetadataFile)| {
        let role = role.clone();
        let targets = file
            .document
            .members("targets")
            .cloned()
            .unwrap_or_default();
        targets.into_iter().map(move |(name, value)| {
            let decides = delegation_path::deciding_role(metadata, &name).as_ref() == Some(&role);
            let digest = value.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
            json!({
                "name": name, "digest": digest.map(|digest| format!("sha256:{digest}")), "length": value.get("length"), "role": role,
                "decides": decides, "about": value.get("custom").and_then(|custom| custom.get("rootpin")),
            })
        })
    };
    metadata.roles.iter().flat_map(of_role)
}

fn matches(pattern: Option<&Pattern>, name: &str) -> bool {
    let repository = name
        .rsplit_once(':')
        .and_then(|(repository, _)| Repository::from_full(repository).ok());
    pattern.is_none_or(|pattern| repository.is_some_and(|repository| pattern.matches(&repository)))
}

fn images_text(report: &Value) -> String {
    let report = &of_others(report);
    let row = |image: &Value| {
        let decides = image.get("decides").and_then(Value::as_bool) == Some(true);
        let note = if decides {
            ""
        } else {
            "not asked: another role decides"
        };
        vec![
            text(image, "name").to_owned(),
            text(image, "digest").to_owned(),
            text(image, "role").to_owned(),
            note.to_owned(),
        ]
    };
    let rows: Vec<_> = list(report, "images").iter().map(row).collect();
    if rows.is_empty() {
        "nothing is signed".to_owned()
    } else {
        table(&rows)
    }
}

//! `rootpin repo clone`: a working folder on another machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Here;
use super::report::of_others;
use super::term::RootTerm;
use crate::cli::given_fingerprint::GivenFingerprint;
use crate::cli::output::{Output, text};
use crate::problem::Problem;
use crate::publish::{Metadata, PublishError, Settings, Working, pinned_root};
use rootpin_policy::MetadataUrl;
use rootpin_trust::image::Digest;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the repository is published
    place: MetadataUrl,
    /// The working folder to make; keys that lie in its keys/ already are taken
    pub(super) dir: PathBuf,
    /// The repository's root file, from the person who keeps it and not from the place
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The root file's SHA-256, learned by another way than the file
    #[arg(long, value_name = "HEX")]
    sha256: String,
    /// The names that are signed here, as a policy writes them
    #[arg(long, required = true, num_args = 1.., value_name = "PATTERN")]
    names: Vec<String>,
}

pub(super) async fn run(here: &Here, verb: Arguments, output: Output) -> Result<u8, PublishError> {
    let root = std::fs::read(&verb.root).map_err(|error| {
        let hint =
            "wanted a root file of it, as its DIR/root.json; whoever keeps it gives it to you";
        PublishError::wrong(
            format!("{}: {error}", verb.root.display()),
            hint.to_string(),
        )
    })?;
    let found = Digest::of(&root).hex();
    let told: Result<GivenFingerprint, _> = verb.sha256.parse();
    if !told.is_ok_and(|told| told.is_of_file(&Digest::of(&root))) {
        let hint = "ask whoever gave you the file; don't go on with this one";
        return Err(PublishError::wrong(
            format!(
                "{} has the SHA-256 {found}, wanted {}",
                verb.root.display(),
                verb.sha256
            ),
            hint.to_string(),
        ));
    }
    let place = here.place(&verb.place)?;
    let pinned = pinned_root(root.clone())?;
    let files = place
        .read(&BTreeMap::new())
        .await
        .map_err(super::unread)?
        .files;
    if files.is_empty() {
        return Err(PublishError::State(Problem::hinted(
            format!("{} has nothing", verb.place),
            "rootpin repo init begins a repository",
        )));
    }
    let metadata = Metadata::read(&files, &pinned, &[], None)?;
    let settings = Settings::text(&verb.names, &[verb.place.to_string()], &[]);
    let mut working = Working::begin(&verb.dir, &settings, Some(&root))?;
    working.pin(root)?;
    working.keep(&metadata)?;
    working.keep_published(&metadata)?;
    working.settle(&settings)?;
    let delegated = metadata
        .delegations()
        .filter_map(|(_, listed)| listed.get("name")?.as_str());
    // Hash bins are not listed by name, and are another tool's to sign.
    let all: BTreeSet<&str> = ["targets"].into_iter().chain(delegated).collect();
    let roles: Vec<_> = all
        .into_iter()
        .filter(|role| super::images::may_sign(&metadata, &working.keyring, role))
        .collect();
    let term = RootTerm::of(&metadata, Timestamp::now());
    let dir = verb.dir.display().to_string();
    let report = json!({ "version": 1, "outcome": "cloned", "dir": dir, "may_sign": roles, "root": term.json() });
    output.value(&report, report_text);
    Ok(term.said(0, &verb.dir))
}

fn report_text(report: &Value) -> String {
    let report = &of_others(report);
    let dir = text(report, "dir");
    let roles: Vec<_> = crate::cli::output::list(report, "may_sign")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if roles.is_empty() {
        return format!(
            "cloned to {dir}; no key in {dir}/keys signs for a role of it yet: rootpin repo --repo {dir} key generate NAME, and have it delegated to"
        );
    }
    format!("cloned to {dir}; its keys sign for {}", roles.join(", "))
}

//! `rootpin policy test`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::check::unloaded;
use crate::cli::output::{Output, counted, unjudged_if};
use crate::config::DEFAULT_POLICY;
use crate::operate::policy_tools::{Tested, test};
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin policy test ./policy           (the files in ./policy/tests)\n  \
    rootpin policy test ./cases --policy ./policy\n\n\
    exit codes: 0 each answer is as expected, 1 one is not, 2 none is, and something can't be read or there is no case;\n\
    docs/policy-tools.md explains the files";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The folder of a policy, with its cases in `tests`; or a folder of cases
    #[arg(default_value = DEFAULT_POLICY)]
    dir: PathBuf,
    /// The folder of policy.toml; else DIR, or the folder that DIR is in
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    let is_policy = |dir: &Path| dir.join("policy.toml").exists();
    let (policy, cases) = match &arguments.policy {
        Some(policy) => (policy.clone(), arguments.dir.clone()),
        None if is_policy(&arguments.dir) => (arguments.dir.clone(), arguments.dir.join("tests")),
        None => (arguments.dir.join(".."), arguments.dir.clone()),
    };
    if !cases.is_dir() {
        return Err(Problem::hinted(
            format!("{} is no folder of cases", cases.display()),
            "name the folder that has the *.toml files with [[case]]: docs/policy-tools.md",
        ));
    }
    let now = Timestamp::now();
    let files = PolicyDir::open(&policy, Owner::RootOrCaller);
    let loaded = match policy_dir::load(&files, now) {
        Ok(loaded) => loaded,
        Err(findings) => return Ok(unloaded(&policy, findings, output)),
    };
    // A case has its evidence and no server: that none answers is no news.
    log::set_max_level(log::LevelFilter::Error);
    super::super::block_on(async {
        let tested = Box::pin(test(loaded, &cases, now)).await;
        let exit = tested.exit_code();
        let value = serde_json::to_value(&tested).map_err(|error| error.to_string())?;
        let why = || {
            let first = tested.unreadable.first();
            first.map_or("there is no case".to_owned(), |first| {
                format!("not read: {first}")
            })
        };
        let value = unjudged_if(exit, value, why);
        output.value(&value, |_| text(&tested));
        Ok(exit)
    })
}

fn text(tested: &Tested) -> String {
    let mut out = String::new();
    for case in tested.cases.iter().filter(|case| !case.passed) {
        let answer = case.code.as_deref().unwrap_or(&case.outcome);
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "{} case {}: {}@{} at {}\n  expected {}\n  found    {answer}{} by {}{}",
            case.file,
            case.number,
            case.name,
            case.digest,
            case.at,
            case.expected,
            if case.let_through && case.outcome != "allowed" {
                ", let through,"
            } else {
                ""
            },
            case.rule.as_deref().unwrap_or("no entry"),
            case.found
                .as_ref()
                .map_or_else(String::new, |found| format!(": {found}")),
        );
    }
    let cases = tested.cases.iter().filter(|case| !case.passed);
    for line in cases.flat_map(|case| &case.without) {
        let _ = writeln!(out, "does not hold: {line}");
    }
    for line in &tested.unreadable {
        let _ = writeln!(out, "not read: {line}");
    }
    let _ = writeln!(
        out,
        "policy {}: {}, {} not as expected",
        tested.policy,
        counted(tested.cases.len(), "case"),
        tested.failed()
    );
    out
}

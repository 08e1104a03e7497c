//! Each `rootpin …` command of README.md and docs is run: here, in a folder of its page's own, in
//! the page's order; or by the test that the list of [`elsewhere`] names, with why.

mod elsewhere;
mod fill;
mod page;
mod story;
mod taken;

use std::collections::BTreeSet;

use elsewhere::ELSEWHERE;
use page::{Typed, pages};
use story::Story;

use crate::documents::{files, is_of_kind, text};

/// Commands whose answer is not what their transcript marks by `[exit N]`, or not 0 where it marks
/// none: the page, what stands in the command, the exit code, and why. The first counts.
const EXITS: &[(&str, &str, i32, &str)] = &[
    (
        "docs/policy-tools.md",
        "--host",
        2,
        "no rootpind and no engine is there to be asked",
    ),
    (
        "docs/policy-tools.md",
        "policy lint",
        1,
        "the sample has a finding",
    ),
    (
        "docs/policy-tools.md",
        "policy diff",
        1,
        "the two policies differ",
    ),
    (
        "docs/policy-tools.md",
        "policy simulate",
        1,
        "a name is newly refused",
    ),
    (
        "docs/policy-tools.md",
        "policy test",
        1,
        "a case is not as expected",
    ),
    (
        "docs/publishing.md",
        "repo --repo trust status",
        0,
        "the sample is of the moment before the refresh above it, and nothing waits any more",
    ),
    (
        "docs/signatures.md",
        "pin add",
        64,
        "without a terminal nobody is asked for the fingerprint",
    ),
    ("", "--older-than", 1, "the reports are older"),
];

/// What is wrong with one command, if something is.
fn fault(
    page: &str,
    typed: &Typed,
    story: &mut Story,
    used: &mut BTreeSet<usize>,
) -> Option<String> {
    let words = fill::filled(typed, story);
    let Some(verb) = fill::verb(&words) else {
        // A mention of a verb, with no more than its name; `taken` looks at these.
        return typed
            .whole
            .then(|| format!("{}: {words:?} is no command", typed.place));
    };
    let of =
        |(at, row): (usize, &elsewhere::Row)| (row.is_of(page, &verb, &typed.text)).then_some(at);
    if let Some(at) = ELSEWHERE.iter().enumerate().find_map(of) {
        used.insert(at);
        return None;
    }
    let marked = typed.exit.unwrap_or(0);
    let of = EXITS
        .iter()
        .find(|(of, part, ..)| (of.is_empty() || *of == page) && typed.text.contains(part));
    let wanted = of.map_or(marked, |(_, _, exit, _)| *exit);
    let ended = story.typed(&words, typed.whole);
    (ended.code != wanted).then(|| {
        format!(
            "{}: {}\n  as {words:?}\n  ended with {} in place of {wanted}: {}{}",
            typed.place, typed.text, ended.code, ended.out, ended.err
        )
    })
}

#[test]
fn each_command_of_the_documents_is_run_here_or_by_a_test_that_is_named() {
    let (mut faults, mut used, mut run) = (Vec::new(), BTreeSet::new(), 0);
    for page in pages() {
        let commands = page::commands(&page, &text(&page));
        let mut story = Story::of(&page);
        for typed in &commands {
            faults.extend(fault(&page, typed, &mut story, &mut used));
        }
        run += story.commands;
    }
    for (at, row) in ELSEWHERE.iter().enumerate() {
        if !used.contains(&at) {
            faults.push(format!("no document has what {row:?} is for"));
        }
    }
    assert!(
        faults.is_empty(),
        "{}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(run > 90, "only {run} commands were run");
}

#[test]
fn each_test_that_runs_commands_of_the_documents_elsewhere_is_there() {
    let sources: String = ["tests", "src"]
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|path| is_of_kind(path, "rs") && !path.starts_with("tests/it/typed"))
        .map(|path| text(&path))
        .collect();
    for row in ELSEWHERE {
        assert!(sources.contains(&format!("fn {}(", row.test)), "{row:?}");
        assert!(row.why.len() > 10, "{row:?}");
    }
}

#[test]
fn a_command_that_fails_and_one_that_is_in_no_list_are_found() {
    let page = "docs/keys.md";
    let mut used = BTreeSet::new();
    let mut found = |text: &str| {
        let commands = page::commands(page, text);
        let mut story = Story::of(page);
        let faults = commands
            .iter()
            .filter_map(|typed| fault(page, typed, &mut story, &mut used));
        (commands.len(), faults.count())
    };
    assert_eq!(found("    rootpin policy check ./missing\n"), (1, 1));
    assert_eq!(found("    rootpin policy chek ./policy\n"), (1, 1));
    assert_eq!(found("    rootpin policy check ./policy\n"), (1, 0));
    assert_eq!(
        found("```console\n$ rootpin pin list\n[exit 1]\n```\n"),
        (1, 1)
    );
    assert_eq!(found("    rootpin status\n"), (1, 0), "it is in the list");
}

//! What `--help` says, verb by verb.

use clap::Command;
use clap::error::ErrorKind;

use crate::world::run;

/// Of a terminal of usual height, less the prompt.
const LINES: usize = 40;
/// Of the verbs that a newcomer types first.
const FIRST: [&str; 4] = [
    "rootpin audit",
    "rootpin install",
    "rootpin pin add",
    "rootpin repo take-over",
];
const LINES_OF_FIRST: usize = 30;

/// Each verb, by the words that lead to it, with what `--help` prints on a terminal of 100 columns.
fn helps() -> Vec<(String, String)> {
    fn below(command: &Command, words: &[&str], found: &mut Vec<(String, String)>) {
        let whole = rootpin::cli::command().term_width(100);
        let asked = words.iter().chain(&["--help"]);
        let help = whole.try_get_matches_from(asked).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp, "{words:?}");
        found.push((words.join(" "), help.to_string()));
        for verb in command.get_subcommands() {
            below(verb, &[words, &[verb.get_name()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    below(&rootpin::cli::command(), &["rootpin"], &mut found);
    found
}

#[test]
fn the_help_of_each_verb_fits_a_screen_and_has_an_example() {
    let helps = helps();
    assert!(helps.len() > 50, "{}", helps.len());
    for (verb, help) in helps {
        let lines = help.lines().count();
        let most = if FIRST.contains(&verb.as_str()) {
            LINES_OF_FIRST
        } else {
            LINES
        };
        assert!(lines <= most, "{verb}: {lines} lines\n{help}");
        let example = help
            .split_once("\nexample")
            .is_some_and(|(_, example)| example.contains(&verb));
        assert!(example, "{verb}: no example of it\n{help}");
    }
}

#[test]
fn no_example_of_a_command_is_wider_than_a_terminal_and_breaks_without_a_backslash() {
    fn below(command: &Command, words: &[&str], wide: &mut Vec<String>) {
        let texts = [command.get_after_help(), command.get_after_long_help()];
        for text in texts.into_iter().flatten().map(ToString::to_string) {
            let mut goes_on = false;
            for line in text.lines() {
                let begins = ["  rootpin ", "example: rootpin "];
                let is_command = goes_on || begins.iter().any(|begin| line.starts_with(begin));
                goes_on = is_command && line.ends_with('\\');
                // What stands in brackets after three spaces is for the reader.
                let indent = line.len() - line.trim_start().len();
                let typed = line.trim_start().split("   ").next().unwrap();
                if is_command && indent + typed.chars().count() > 80 {
                    wide.push(format!("{}: {line}", words.join(" ")));
                }
            }
        }
        for verb in command.get_subcommands() {
            below(verb, &[words, &[verb.get_name()]].concat(), wide);
        }
    }
    let mut wide = Vec::new();
    below(&rootpin::cli::command(), &["rootpin"], &mut wide);
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

#[test]
fn the_verb_help_lists_every_option_of_a_verb_that_is_not_hidden() {
    fn below(command: &Command, words: &[&str], missing: &mut Vec<String>) {
        let mut asked = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let ended = run(asked.arg("help").args(words), b"");
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        let shown = command
            .get_arguments()
            .filter(|option| !option.is_hide_set());
        let names = shown.filter_map(clap::Arg::get_long);
        let names = names.map(|name| format!("--{name}"));
        let absent = names.filter(|name| !ended.out.contains(name.as_str()));
        missing.extend(absent.map(|name| format!("{} {name}", words.join(" "))));
        let verbs = command.get_subcommands();
        for verb in verbs.filter(|verb| verb.get_name() != "help") {
            below(verb, &[words, &[verb.get_name()]].concat(), missing);
        }
    }
    let mut command = rootpin::cli::command();
    command.build();
    let mut missing = Vec::new();
    below(&command, &[], &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_verb_has_its_long_description_in_the_manual() {
    let command = rootpin::cli::command();
    let pin = command.find_subcommand("pin").unwrap();
    let add = pin.find_subcommand("add").unwrap();
    let text = add.get_long_about().unwrap().to_string();
    assert!(text.contains("fingerprint comes from a person"), "{text}");
}

#[test]
fn an_option_that_help_leaves_out_is_in_the_whole_help_and_in_the_manual() {
    let whole = rootpin::cli::command();
    let asked = ["rootpin", "help", "pin", "add"];
    let help = whole.try_get_matches_from(asked).unwrap_err().to_string();
    for option in [
        "--tls-ca",
        "--docker-config",
        "--hosts-dir",
        "--gun",
        "--replace",
        "--recheck",
    ] {
        assert!(help.contains(option), "{option}: {help}");
    }
    assert!(help.contains("targets/releases --match"), "{help}");
}

#[test]
fn what_a_newcomer_is_told_to_type_is_in_the_help_of_its_verb() {
    let helps = helps();
    for (verb, option) in [
        ("rootpin pin add", "--tags-unbound"),
        ("rootpin pin scan", "--hosts-dir <DIR>"),
        ("rootpin repo init", "--hosts-dir <DIR>"),
        ("rootpin repo endorse", "--hosts-dir <DIR>"),
        ("rootpin repo publish", "--hosts-dir <DIR>"),
        ("rootpin repo take-over", "--hosts-dir <DIR>"),
    ] {
        let (_, help) = helps.iter().find(|(name, _)| name == verb).unwrap();
        assert!(help.contains(option), "{verb}: {option}\n{help}");
    }
}

//! The commands in hints, with the places that the user named: another policy folder, state or
//! socket is that of the next command too.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::Value;

use crate::plain_text::shell_word;

/// Options that say where something is, by their ids in clap and as they are typed. Verbs that
/// have one mean the same by it.
const PLACES: [(&str, &str); 6] = [
    ("control", "--control"),
    ("config", "--config"),
    ("policy", "--policy"),
    ("state", "--state"),
    ("docker_config", "--docker-config"),
    ("hosts_dir", "--hosts-dir"),
];
/// Some verbs take these together or not at all.
const TOGETHER: [&str; 4] = ["--policy", "--state", "--docker-config", "--hosts-dir"];
const PROGRAM: &str = "rootpin ";
const HINT: &str = "hint: ";
/// Members of JSON documents that have commands to type.
const MEMBERS: [&str; 5] = ["hint", "change", "error", "told", "trouble"];

static GIVEN: OnceLock<GivenPlaces> = OnceLock::new();

/// The whole command line of the program, for the commands of hints.
static WHOLE: LazyLock<Command> = LazyLock::new(|| {
    let mut whole = super::command();
    whole.build();
    whole
});

/// The places that the user named in this command: options and their values.
#[derive(Debug)]
struct GivenPlaces(Vec<(&'static str, String)>);

/// Notes the places that the user named, for all hints of this process.
pub(super) fn remember(matches: &ArgMatches) {
    let given = GivenPlaces::of(matches);
    if !given.0.is_empty() {
        let _ = GIVEN.set(given);
    }
}

/// This command as it was typed.
pub(super) fn again() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| shell_word(&word.to_string_lossy()));
    std::iter::once("rootpin".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The same with one option more, perhaps with its value, unless the command has it.
pub(super) fn again_with(option: &str) -> String {
    let name = option.split(' ').next().unwrap_or(option);
    if std::env::args_os().any(|word| is_option(&word.to_string_lossy(), name)) {
        again()
    } else {
        format!("{} {option}", again())
    }
}

/// Whether a word is that option, with its value or without.
fn is_option(word: &str, option: &str) -> bool {
    let rest = word.strip_prefix(option);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// Whether the command with which a text begins has that option, with its value or without. What
/// stands in quotes is one word, and ends no command.
pub(super) fn has_option(text: &str, option: &str) -> bool {
    // A quote within quotes, as a shell takes it.
    let text = text.replace(r"'\''", "");
    let mut rest = text.as_str();
    loop {
        rest = rest.trim_start_matches(' ');
        let quoted = rest.strip_prefix('\'');
        let quoted = quoted.and_then(|quoted| quoted.split_once('\''));
        let end = || rest.find([' ', '`', ';', '\n']).unwrap_or(rest.len());
        let (word, after) = quoted.unwrap_or_else(|| rest.split_at(end()));
        if is_option(word, option) || !after.starts_with(' ') {
            return is_option(word, option);
        }
        rest = after;
    }
}

/// A hint, each of its commands with the places that the user named.
pub(super) fn completed(hint: &str) -> Cow<'_, str> {
    match GIVEN.get().filter(|_| hint.contains(PROGRAM)) {
        Some(given) => given.complete(hint).into(),
        None => hint.into(),
    }
}

/// A text for people, its hints completed.
pub(super) fn completed_text(text: &str) -> Cow<'_, str> {
    if GIVEN.get().is_none() || !text.contains(PROGRAM) {
        return text.into();
    }
    let line = |line: &str| match line.split_once(HINT) {
        Some((before, hint)) if before.trim().is_empty() || before.ends_with("; ") => {
            [before, HINT, &completed(hint)].concat()
        }
        _ => line.to_owned(),
    };
    text.split('\n')
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
        .into()
}

/// A JSON document, its hints completed.
pub(super) fn completed_value(value: &Value) -> Cow<'_, Value> {
    if GIVEN.get().is_none() || !has_commands(value) {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    complete_members(&mut value);
    Cow::Owned(value)
}

fn has_commands(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(has_commands),
        Value::Object(members) => members.iter().any(|(name, value)| match value.as_str() {
            Some(text) => MEMBERS.contains(&name.as_str()) && text.contains(PROGRAM),
            None => has_commands(value),
        }),
        _ => false,
    }
}

fn complete_members(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(complete_members),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if MEMBERS.contains(&name.as_str()) => {
                        *text = completed(text).into_owned();
                    }
                    _ => complete_members(value),
                }
            }
        }
        _ => {}
    }
}

impl GivenPlaces {
    fn of(matches: &ArgMatches) -> Self {
        let (mut matches, mut verbs, mut options) = (matches, Vec::new(), Vec::new());
        loop {
            for (id, option) in PLACES {
                let id = match verbs.as_slice() {
                    // Their folder is what others call --policy.
                    ["policy", "check" | "lint"] if id == "policy" => "dir",
                    _ => id,
                };
                let typed = given(matches, id);
                if let Some(typed) =
                    typed.filter(|_| !options.iter().any(|(known, _)| *known == option))
                {
                    options.push((option, typed));
                }
            }
            let Some((verb, inner)) = matches.subcommand() else {
                return Self(options);
            };
            verbs.push(verb);
            matches = inner;
        }
    }

    fn complete(&self, text: &str) -> String {
        let mut parts = split_at_commands(text).into_iter();
        let mut typed = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            typed.push_str(PROGRAM);
            let (words, verb) = named_verb(part);
            let (path, rest) = part.split_at(words);
            typed.push_str(path);
            for word in self.words(path, verb, rest) {
                typed.push(' ');
                typed.push_str(&word);
            }
            typed.push_str(rest);
        }
        typed
    }

    /// What is typed after the verb, so that it looks where this command did.
    fn words(&self, path: &str, verb: &Command, rest: &str) -> Vec<String> {
        if path.is_empty() {
            return Vec::new();
        }
        let command = rest.split(['`', ';', '\n']).next().unwrap_or_default();
        let is_typed = |option: &str| has_option(rest, option);
        let takes = |option: &str| {
            verb.get_arguments().any(|argument| {
                let long = argument
                    .get_long()
                    .is_some_and(|long| option.strip_prefix("--") == Some(long));
                let is_here = !verb.is_subcommand_required_set() || argument.is_global_set();
                long && !argument.is_hide_set() && is_here
            })
        };
        let all = self.0.iter();
        let mut fitting: Vec<&(&str, String)> = all
            .filter(|(option, _)| takes(option) && !is_typed(option))
            .collect();
        if Self::lacks_one(path, command, &fitting) {
            fitting.retain(|(option, _)| !TOGETHER.contains(option));
        }
        let mut words: Vec<String> = fitting
            .iter()
            .flat_map(|(option, value)| [(*option).to_owned(), shell_word(value)])
            .collect();
        let takes_policy = takes("--policy");
        let asks_daemon = takes("--control");
        let is_end = command.is_empty() || command.starts_with([',', ')']);
        if let Some(folder) = self.policy().filter(|_| !asks_daemon) {
            let folder = shell_word(&folder.to_string_lossy());
            if is_policy_folder(verb) && is_end {
                words.push(folder);
            } else if takes_policy
                && !is_typed("--policy")
                && !words.iter().any(|word| word == "--policy")
            {
                words.extend(["--policy".to_owned(), folder]);
            }
        }
        words
    }

    /// Whether the verb wants another of the options that go together.
    fn lacks_one(path: &str, command: &str, options: &[&(&str, String)]) -> bool {
        let given = options
            .iter()
            .flat_map(|(option, value)| [*option, value.as_str()]);
        let typed = ["rootpin"]
            .into_iter()
            .chain(path.split(' '))
            .chain(command.split_whitespace());
        let words: Vec<&str> = typed.chain(given).filter(|word| !word.is_empty()).collect();
        let parsed = WHOLE.clone().try_get_matches_from(words);
        let Some(error) = parsed
            .err()
            .filter(|error| error.kind() == ErrorKind::MissingRequiredArgument)
        else {
            return false;
        };
        let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
            return false;
        };
        missing
            .iter()
            .any(|text| TOGETHER.iter().any(|option| text.starts_with(option)))
    }

    /// The policy folder that the user named, or that the rootpin.toml has which the user named.
    fn policy(&self) -> Option<PathBuf> {
        let of = |wanted: &str| self.0.iter().find(|(option, _)| *option == wanted);
        if let Some((_, folder)) = of("--policy") {
            return Some(folder.into());
        }
        let (_, config) = of("--config")?;
        let loaded = crate::config::load(Path::new(config)).ok()?;
        let beside = || crate::config::beside(Path::new(config));
        Some(loaded.policy.unwrap_or_else(beside))
    }
}

/// The text before the first command, and the text after the program's name for each command. A
/// folder such as `/etc/rootpin` begins no command.
fn split_at_commands(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(PROGRAM) {
        let before = text.get(..at).unwrap_or_default();
        let in_a_word = |letter: char| letter.is_alphanumeric() || "/.-_".contains(letter);
        if !before.ends_with(in_a_word) {
            parts.push(text.get(start..at).unwrap_or_default());
            start = at + PROGRAM.len();
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// How many bytes of the text name a verb, and that verb.
fn named_verb(text: &str) -> (usize, &'static Command) {
    let (mut verb, mut end) = (&*WHOLE, 0);
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start_matches(' ').len();
        let word: &str = rest
            .trim_start_matches(' ')
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
            .next()
            .unwrap_or_default();
        match verb.find_subcommand(word).filter(|_| !word.is_empty()) {
            Some(below) => (verb, end) = (below, end + blank + word.len()),
            None => return (end, verb),
        }
    }
}

fn has(verb: &Command, id: &str) -> bool {
    verb.get_arguments().any(|argument| argument.get_id() == id)
}

/// Whether the verb is told of a policy's folder without an option.
fn is_policy_folder(verb: &Command) -> bool {
    ["check", "lint"].contains(&verb.get_name()) && has(verb, "dir")
}

/// The value of an option, if the user typed it.
fn given(matches: &ArgMatches, id: &str) -> Option<String> {
    let is_typed = matches.try_contains_id(id).is_ok_and(|is_here| is_here)
        && matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut values = is_typed.then(|| matches.get_raw(id))??;
    Some(values.next()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed_after(typed: &str, hint: &str) -> String {
        let program = crate::cli::command();
        let words = ["rootpin"].into_iter().chain(typed.split(' '));
        let matches = program.try_get_matches_from(words).unwrap();
        GivenPlaces::of(&matches).complete(hint)
    }

    #[test]
    fn a_command_gets_the_places_that_it_takes_and_no_others() {
        for (typed, hint, wanted) in [
            (
                "verify x --policy p --state s --hosts-dir h",
                "`rootpin verify y` shows what is there; rootpin pin list",
                "`rootpin verify --policy p --state s --hosts-dir h y` shows what is there; rootpin pin list --policy p",
            ),
            (
                "verify x --policy p --state s",
                "rootpin policy explain x, then rootpin policy check, or `rootpin policy check q`",
                "rootpin policy explain --policy p x, then rootpin policy check p, or `rootpin policy check q`",
            ),
            (
                "status --control c",
                "rootpin verify x; rootpin policy check; rootpin doctor",
                "rootpin verify --control c x; rootpin policy check; rootpin doctor --control c",
            ),
            (
                "repo --hosts-dir h list",
                "rootpin repo list --hosts-dir=h; rootpin repo list",
                "rootpin repo list --hosts-dir=h; rootpin repo list --hosts-dir h",
            ),
            (
                "repo --hosts-dir h list",
                r"rootpin repo '--repo=it'\''s; mine' '--hosts-dir=a b' list; rootpin repo list",
                r"rootpin repo '--repo=it'\''s; mine' '--hosts-dir=a b' list; rootpin repo list --hosts-dir h",
            ),
            // One without the other is no command.
            (
                "pin list --policy p",
                "rootpin verify x; rootpin verify x --state t; rootpin pin diff NAME",
                "rootpin verify x; rootpin verify --policy p x --state t; rootpin pin diff --policy p NAME",
            ),
            (
                "policy lint p",
                "rootpin pin add a --policy q; rootpin pin add a",
                "rootpin pin add a --policy q; rootpin pin add --policy p a",
            ),
            (
                "repo --docker-config d list",
                "rootpin repo publish; rootpin repo --repo f publish",
                "rootpin repo publish --docker-config d; rootpin repo --docker-config d --repo f publish",
            ),
            (
                "status --control c",
                "rootpin asks itself; rootpin's log",
                "rootpin asks itself; rootpin's log",
            ),
            ("pin list", "rootpin pin list", "rootpin pin list"),
        ] {
            assert_eq!(completed_after(typed, hint), wanted, "{typed}");
        }
    }

    #[test]
    fn a_folder_that_ends_like_the_program_begins_no_command_and_a_second_pass_adds_nothing() {
        for folder in ["/etc/rootpin", "my-rootpin", "./rootpin", "a_rootpin"] {
            let typed = format!("verify x --policy {folder} --state s --hosts-dir h");
            let wanted = format!("rootpin pin add --policy {folder} --hosts-dir h ID --from FILE");
            let once = completed_after(&typed, "rootpin pin add ID --from FILE");
            assert_eq!(once, wanted);
            assert_eq!(completed_after(&typed, &once), wanted);
        }
    }

    #[test]
    fn the_policy_of_the_configuration_that_the_user_named_is_the_one_to_check() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("rootpin.toml");
        let (shown, beside) = (config.display(), dir.path().display());
        let hint = "rootpin policy check; rootpin pin list; rootpin doctor";
        for (text, policy) in [
            ("policy = \"/srv/p\"\n", "/srv/p"),
            ("", &beside.to_string()),
        ] {
            std::fs::write(&config, text).unwrap();
            assert_eq!(
                completed_after(&format!("doctor --config {shown}"), hint),
                format!(
                    "rootpin policy check {policy}; rootpin pin list --policy {policy}; rootpin doctor --config {shown}"
                )
            );
        }
    }

    #[test]
    fn only_hints_of_a_text_are_completed() {
        let text = "hint: rootpin status\n+ rootpin status\n  hint: a\nrootpin status; hint: rootpin status";
        assert_eq!(completed_text(text), text);
        let value = serde_json::json!({ "hint": 1, "all": [{ "error": "rootpin status" }] });
        assert!(
            has_commands(&value) && !has_commands(&serde_json::json!({ "name": "rootpin status" }))
        );
    }
}

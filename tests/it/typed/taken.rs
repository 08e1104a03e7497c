//! Each command that a document, an example, a hint or a unit names is one that this version takes,
//! as it is typed there.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::ErrorKind;
use rootpin::cli::{command, daemon_command};

use super::fill::words;
use crate::documents::top;

/// What follows the name where a sentence about the program begins with it.
const PROSE: &[&str] = &[
    "and", "asks", "can", "can't", "decides", "does", "has", "in", "itself", "keeps", "knows",
    "lies", "may", "reads", "root", "takes", "verifies", "warns",
];

/// A command, and where it stands.
struct Typed {
    place: String,
    text: String,
    /// Whether it is to be run as it stands, and not only mentioned.
    whole: bool,
    /// Whether it is a command for certain, and not a sentence about the program.
    command: bool,
}

/// The files below a folder whose names end so.
fn files(below: &str, ends: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![top().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_str().unwrap().ends_with(ends) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<(String, String)> {
    let mut all = files("docs", ".md");
    all.extend(
        [
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "benches/README.md",
        ]
        .map(|name| top().join(name)),
    );
    all.iter()
        .map(|path| {
            (
                path.strip_prefix(top()).unwrap().display().to_string(),
                fs::read_to_string(path).unwrap(),
            )
        })
        .collect()
}

/// Lines that end in a backslash and those that they go on in, as one.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let (rest, more) = line
            .strip_suffix('\\')
            .map_or((line, false), |rest| (rest, true));
        if open {
            lines.last_mut().unwrap().1.push_str(rest.trim_start());
        } else {
            lines.push((number + 1, rest.to_owned()));
        }
        open = more;
    }
    lines
}

/// The lines of a document that are code, and the spans of the others. In a block with a prompt,
/// what has none is output.
fn in_document(name: &str, text: &str) -> Vec<Typed> {
    let mut found = Vec::new();
    let mut fence: Option<String> = None;
    for (number, line) in joined(text) {
        let place = format!("{name}:{number}");
        let trimmed = line.trim_start();
        if let Some(info) = trimmed.strip_prefix("```") {
            fence = fence.is_none().then(|| info.to_owned());
            continue;
        }
        let code = match &fence {
            Some(kind) if kind == "console" => trimmed
                .strip_prefix("$ ")
                .or_else(|| trimmed.strip_prefix("# ")),
            Some(_) => Some(trimmed),
            None if line.starts_with("    ") => Some(trimmed.strip_prefix("$ ").unwrap_or(trimmed)),
            None => None,
        };
        if let Some(code) =
            code.filter(|code| code.starts_with("rootpin ") || code.starts_with("rootpind "))
        {
            found.push(Typed {
                place,
                text: bare(code).to_owned(),
                whole: true,
                command: true,
            });
        } else if fence.is_none() {
            let spans = line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|span| span.starts_with("rootpin "));
            found.extend(spans.map(|span| Typed {
                place: place.clone(),
                text: span.to_owned(),
                whole: false,
                command: true,
            }));
        }
    }
    found
}

/// A command without the word on it, which stands after two blanks or a "#".
fn bare(code: &str) -> &str {
    let code = code.split(" #").next().unwrap().trim_end();
    code.split("  ").next().unwrap()
}

/// What the program itself says: hints, and the examples after a help text.
fn in_source(path: &Path) -> Vec<Typed> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.strip_prefix(top()).unwrap().display().to_string();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut found = Vec::new();
    for (number, mut line) in joined(text) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        // An example that goes on in the next line of the help text.
        while let Some((command, more)) = line.split_once(r"\\\n") {
            line = format!("{} {}", command.trim_end(), more.trim_start());
        }
        for part in line.split("\\n") {
            let mut rest = part;
            while let Some((before, after)) = rest.split_once("rootpin ") {
                rest = after;
                let end = after.find(['"', '`', ';', '\n']).unwrap_or(after.len());
                let command = &after[..end];
                if before.ends_with(|last: char| last.is_alphanumeric() || "-_/\"".contains(last))
                    && !before.ends_with('"')
                {
                    continue;
                }
                // In an example it stands alone on its line.
                let alone =
                    before.ends_with("example: ") || (before == "  " && line.contains("\\n"));
                let whole = alone && !command.contains('{');
                let text = bare(&format!("rootpin {command}")).to_owned();
                let command = whole || before.ends_with(['`', '$']) || before.ends_with(": ");
                found.push(Typed {
                    place: format!("{name}:{number}"),
                    text,
                    whole,
                    command,
                });
            }
        }
    }
    found
}

/// Digests are cut in documents; here they have their length.
fn uncut(word: &str) -> String {
    let Some(start) = word.strip_suffix('…') else {
        return word.to_owned();
    };
    let digits = start.rsplit(':').next().unwrap();
    if digits.is_empty() && start.ends_with("sha256:")
        || !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_hexdigit())
    {
        return format!("{start}{}", "0".repeat(64 - digits.len()));
    }
    start.to_owned()
}

/// The words of a mention that belong to the command, and not to the sentence that it stands in:
/// verbs, flags with their values, and what looks like a name to put in. An error for a verb or a
/// flag that there is not.
fn mentioned(typed: &[String]) -> Result<Vec<String>, String> {
    let whole = command();
    let (mut command, mut taken) = (&whole, vec!["rootpin".to_owned()]);
    let mut words = typed
        .iter()
        .skip(1)
        .map(|word| word.trim_end_matches([',', ')', '…', '.', ':']));
    let flag = |command: &Command, long: &str| {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(long));
        argument
            .or_else(|| {
                whole
                    .get_arguments()
                    .find(|argument| argument.get_long() == Some(long) && argument.is_global_set())
            })
            .cloned()
    };
    while let Some(word) = words.next() {
        if matches!(word, "--help" | "--version") {
            break;
        } else if let Some(long) = word.strip_prefix("--") {
            let argument =
                flag(command, long).ok_or(format!("{} has no --{long}", command.get_name()))?;
            taken.push(word.to_owned());
            if argument.get_action().takes_values() {
                taken.extend(words.next().map(str::to_owned));
            }
        } else if let Some(below) = command.find_subcommand(word) {
            taken.push(word.to_owned());
            command = below;
        } else if taken.len() == 1 {
            return Err(format!("rootpin has no {word}"));
        } else if !word.contains('{') && word.starts_with(char::is_uppercase)
            || word.contains(['/', ':'])
        {
            taken.push(word.to_owned());
        } else if word.starts_with('{') {
            // What stands there is not known here.
        } else if command.has_subcommands() && typed.last().is_some_and(|last| last == word) {
            return Err(format!("{} has no {word}", command.get_name()));
        } else {
            break;
        }
    }
    Ok(taken)
}

/// Why this version does not take a command as it stands.
fn wrong(typed: &Typed) -> Option<String> {
    let words = words(&typed.text);
    if words.first().is_some_and(|word| word == "rootpind") {
        return daemon_command()
            .try_get_matches_from(words)
            .err()
            .map(|error| error.to_string());
    }
    let second = typed
        .text
        .split_whitespace()
        .nth(1)
        .map_or("", |word| word.trim_end_matches([':', ',', '.']));
    if !second.starts_with(|first: char| first.is_ascii_lowercase() || first == '-')
        || !typed.whole && PROSE.contains(&second)
    {
        return None;
    }
    if !typed.command && command().find_subcommand(second).is_none() {
        return None;
    }
    if typed.whole {
        let words = words.iter().map(|word| uncut(word));
        return command()
            .try_get_matches_from(words)
            .err()
            .filter(|error| error.kind() != ErrorKind::DisplayVersion)
            .map(|error| error.to_string());
    }
    // Several verbs in one mention.
    if let Some(at) = words.iter().position(|word| word.contains('|')) {
        let each = |verb: &str| {
            let mut words = words.clone();
            verb.clone_into(&mut words[at]);
            wrong(&Typed {
                place: typed.place.clone(),
                text: words.join(" "),
                whole: false,
                command: true,
            })
        };
        return words[at].split('|').find_map(each);
    }
    let taken = match mentioned(&words) {
        Ok(taken) => taken,
        Err(wrong) => return Some(wrong),
    };
    let parsed = command().try_get_matches_from(taken);
    match parsed.map_err(|error| (error.kind(), error)) {
        Err((
            ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict,
            error,
        )) => Some(error.to_string()),
        _ => None,
    }
}

fn all_taken(typed: &[Typed]) {
    let faults: Vec<_> = typed
        .iter()
        .filter_map(|typed| {
            Some(format!(
                "{}: `{}`: {}",
                typed.place,
                typed.text,
                wrong(typed)?
            ))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        typed.len(),
        faults.join("\n")
    );
}

#[test]
fn each_command_in_the_documents_is_taken_as_it_is_typed() {
    let typed: Vec<_> = documents()
        .iter()
        .flat_map(|(name, text)| in_document(name, text))
        .collect();
    assert!(
        typed.iter().filter(|typed| typed.whole).count() > 30,
        "the documents' commands are not found any more"
    );
    all_taken(&typed);
}

#[test]
fn each_command_in_a_hint_or_an_example_is_taken_as_it_is_typed() {
    let typed: Vec<_> = files("src", ".rs")
        .iter()
        .flat_map(|path| in_source(path))
        .collect();
    assert!(
        typed.len() > 80,
        "the hints' commands are not found any more: {}",
        typed.len()
    );
    assert!(
        typed.iter().filter(|typed| typed.whole).count() > 30,
        "the examples are not found any more"
    );
    all_taken(&typed);
}

#[test]
fn each_command_in_a_unit_is_taken_as_it_is_typed() {
    let mut typed = Vec::new();
    for path in files("packaging/systemd", ".service") {
        let text = fs::read_to_string(&path).unwrap();
        let commands = text.lines().filter_map(|line| {
            line.strip_prefix("Exec")?
                .split_once('=')?
                .1
                .strip_prefix("/usr/bin/")
        });
        typed.extend(commands.map(|text| {
            Typed {
                place: path.display().to_string(),
                // What the administrator's file gives.
                text: text
                    .replace("${UNTIL}", "2027-01-01T00:00:00Z")
                    .replace(" $OPTIONS", " --skip-refused"),
                whole: true,
                command: true,
            }
        }));
    }
    assert!(
        typed.len() > 3,
        "the units' commands are not found any more"
    );
    all_taken(&typed);
}

#[test]
fn a_verb_or_a_flag_that_there_is_not_is_found() {
    let text = "    rootpin polish        makes it shine\n`rootpin audit marge`\n`rootpin state reset --rot ID`\n    rootpin audit --jsn\n";
    let typed = in_document("text", text);
    assert_eq!(typed.len(), 4);
    for typed in typed {
        assert!(wrong(&typed).is_some(), "{}", typed.text);
    }
}

#[test]
fn each_path_and_each_link_in_the_documents_leads_to_something() {
    let mut missing = Vec::new();
    for (name, text) in documents() {
        let folder = top().join(&name).parent().unwrap().to_owned();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|link| !link.contains("://") && !link.is_empty());
        missing.extend(
            links
                .filter(|link| !folder.join(link).exists())
                .map(|link| format!("{name}: {link}")),
        );
        let apart = |letter: char| !(letter.is_ascii_alphanumeric() || "/-._".contains(letter));
        let paths = text
            .split(apart)
            .map(|word| word.trim_end_matches(['.', '/']))
            .filter(|word| {
                ["packaging/", "tests/", "benches/", "docs/", "src/"]
                    .iter()
                    .any(|start| word.starts_with(start))
            });
        missing.extend(
            paths
                .filter(|path| !top().join(path).exists())
                .map(|path| format!("{name}: {path}")),
        );
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn each_toml_in_the_documents_is_toml() {
    for (name, text) in documents() {
        for block in text.split("```toml\n").skip(1) {
            let lines = block
                .split("```")
                .next()
                .unwrap()
                .lines()
                .map(str::trim_start)
                .filter(|line| *line != "…");
            let block = lines.collect::<Vec<_>>().join("\n");
            if let Err(error) = block.parse::<toml::Table>() {
                panic!("{name}: {error}\n{block}");
            }
        }
    }
}

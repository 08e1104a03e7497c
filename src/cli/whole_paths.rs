//! Paths that a person types become whole when they are read, by the folder where they were typed:
//! what is recorded, written into an engine's configuration, or used after this program went into an
//! image's root directory, then means the same place everywhere.

use std::any::TypeId;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser as _, ValueParser};
use clap::{Arg, ArgMatches, Command};

use crate::problem::Problem;

/// Verbs that read and write only here and now what they are given, and show it as it was typed.
const AS_TYPED: [&str; 11] = [
    "audit",
    "bundle",
    "evidence",
    "import",
    "pin",
    "policy",
    "repo",
    "state",
    "support",
    "verify",
    "verify-file",
];
/// A value of this name is a program: without a slash it is looked for on the search path.
const PROGRAM: &str = "PROGRAM";

/// Every path option of the other verbs gives a whole path.
pub(super) fn of_hosts(command: Command) -> Command {
    command.mut_subcommands(|verb| {
        if AS_TYPED.contains(&verb.get_name()) {
            verb
        } else {
            of_verb(verb)
        }
    })
}

fn of_verb(verb: Command) -> Command {
    let whole = |option: Arg| match (is_path(&option), is_program(&option)) {
        (false, _) => option,
        (true, true) => option.value_parser(parser(program)),
        (true, false) => option.value_parser(parser(from_here)),
    };
    verb.mut_args(whole).mut_subcommands(of_verb)
}

fn is_path(option: &Arg) -> bool {
    option.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

fn is_program(option: &Arg) -> bool {
    let names = option.get_value_names().unwrap_or_default();
    names.iter().any(|name| name.as_str() == PROGRAM)
}

fn parser(read: fn(OsString) -> io::Result<PathBuf>) -> ValueParser {
    ValueParser::from(OsStringValueParser::new().try_map(read))
}

/// The kernel gives the working folder without links, so its own parents are where `..` leads.
fn from_here(typed: OsString) -> io::Result<PathBuf> {
    let typed = PathBuf::from(typed);
    if typed.is_absolute() {
        return Ok(typed);
    }
    let mut path = std::env::current_dir()?;
    let mut parts = typed.components().peekable();
    while let Some(part) = parts.next_if(|part| !matches!(part, Component::Normal(_))) {
        if part == Component::ParentDir {
            path.pop();
        }
    }
    path.extend(parts);
    Ok(path)
}

fn program(typed: OsString) -> io::Result<PathBuf> {
    if has_slash(Path::new(&typed)) {
        from_here(typed)
    } else {
        Ok(typed.into())
    }
}

fn has_slash(path: &Path) -> bool {
    path.to_string_lossy().contains('/')
}

/// A path within an image that was typed from here: nobody knows which of the two was meant.
pub(super) fn from_here_in_an_image(matches: &ArgMatches) -> Option<Problem> {
    let ("install", matches) = matches.subcommand()? else {
        return None;
    };
    let is_image = matches
        .try_contains_id("root")
        .is_ok_and(|is_known| is_known);
    let command = super::command();
    let verb = command.find_subcommand("install").filter(|_| is_image)?;
    let in_it =
        |option: &&Arg| is_path(option) && !["root", "control"].contains(&option.get_id().as_str());
    verb.get_arguments().filter(in_it).find_map(|option| {
        let typed = PathBuf::from(matches.get_raw(option.get_id().as_str())?.next()?);
        let is_from_here = typed.is_relative() && (!is_program(option) || has_slash(&typed));
        is_from_here.then(|| {
            let long = option.get_long().unwrap_or_default();
            let typed = typed.display();
            Problem::hinted(
                format!("--{long} {typed} does not begin at the root directory of the image"),
                format!("name it as the host will have it: --{long} /…/{typed}"),
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(command: &Command, verb: &str, found: &mut Vec<(String, Arg)>) {
        for below in command.get_subcommands() {
            let name = format!("{verb} {}", below.get_name());
            let paths = below.get_arguments().filter(|option| is_path(option));
            found.extend(paths.map(|option| (name.clone(), option.clone())));
            options(below, &name, found);
        }
    }

    /// What an option makes of what is typed.
    fn read(option: &Arg, typed: &str) -> PathBuf {
        let own = Arg::new("path").value_parser(option.get_value_parser().clone());
        let matches = Command::new("x").arg(own).get_matches_from(["x", typed]);
        matches.get_one::<PathBuf>("path").unwrap().clone()
    }

    #[test]
    fn every_path_option_of_a_verb_that_records_what_it_is_given_gives_a_whole_path() {
        let here = std::env::current_dir().unwrap();
        let above = here.parent().unwrap();
        let mut all = Vec::new();
        options(&crate::cli::command(), "", &mut all);
        let mut checked = Vec::new();
        for (verb, option) in &all {
            let first = verb.split(' ').nth(1).unwrap();
            if AS_TYPED.contains(&first) {
                continue;
            }
            let name = format!("{verb} --{}", option.get_long().unwrap_or_default());
            for (typed, whole) in [
                ("./img", here.join("img")),
                (".", here.clone()),
                ("./a/../b/", here.join("a/../b")),
                ("..", above.to_owned()),
                ("../../x", above.parent().unwrap().join("x")),
                ("/etc/x", "/etc/x".into()),
            ] {
                let is_word = is_program(option) && !typed.contains('/');
                let wanted = if is_word { typed.into() } else { whole };
                assert_eq!(read(option, typed), wanted, "{name} {typed}");
            }
            let word = read(option, "img");
            let wanted = if is_program(option) {
                "img".into()
            } else {
                here.join("img")
            };
            assert_eq!(word, wanted, "{name}");
            checked.push(name);
        }
        for name in [
            " install --root",
            " install --verifier",
            " install --config",
            " install --containerd",
            " install --containerd-config",
            " install --docker-config",
            " doctor --verifier",
            " doctor --config",
            " doctor --metrics",
            " hosts write --dir",
            " hosts remove --dir",
            " hosts check --config",
            " metrics --textfile",
        ] {
            assert!(
                checked.iter().any(|known| known == name),
                "{name}: {checked:?}"
            );
        }
    }

    #[test]
    fn a_path_within_an_image_begins_at_the_image_s_root_directory() {
        let command = crate::cli::command();
        let told = |option: &str, value: &str| {
            let words = [
                "rootpin",
                "install",
                "--root",
                "img",
                "--run-image-programs",
            ];
            let words = words.into_iter().chain([option, value]);
            let matches = command.clone().try_get_matches_from(words).unwrap();
            from_here_in_an_image(&matches).map(|why| why.to_string())
        };
        for option in [
            "--config",
            "--verifier",
            "--containerd-config",
            "--docker-config",
        ] {
            let why = told(option, "a/b").unwrap();
            assert!(
                why.starts_with(&format!("{option} a/b does not begin")),
                "{why}"
            );
            assert_eq!(told(option, "/a/b"), None);
        }
        assert_eq!(told("--containerd", "containerd"), None);
        assert!(told("--containerd", "bin/containerd").is_some());
        let here = ["rootpin", "install", "--verifier", "v"];
        let matches = command.try_get_matches_from(here).unwrap();
        assert!(from_here_in_an_image(&matches).is_none());
    }
}

//! The command line: what the user typed, and which verb does it.
//!
//! Exit codes: 0 allowed or in order, 1 refused or findings, 2 could not tell, 64 wrong usage.

mod audit;
mod break_glass;
mod bundle;
mod consent;
mod credentials;
mod doctor;
mod evidence;
mod failure;
mod fix;
mod given_fingerprint;
mod help_verb;
mod hosts;
mod import;
mod install;
mod kubernetes;
mod metrics;
mod named_file;
mod new_folder;
mod output;
mod pin;
mod policy;
mod prove;
mod repo;
mod state;
mod status;
mod support;
mod sweep;
mod typed_command;
mod verify;
mod verify_file;
mod whole_paths;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::{Config, DEFAULT_CONFIG, DEFAULT_CONTROL};
use crate::control::DaemonClient;
use crate::plain_text::policy_check;
use crate::problem::Problem;
use help_verb::help_as_option;
use output::Output;
use rootpin_trust::image::ImageRef;

/// Longer than any question that the daemon takes on.
const TIMEOUT: Duration = Duration::from_secs(30);
/// `EX_USAGE` of sysexits.
const EXIT_USAGE: u8 = 64;

#[derive(Debug, Parser)]
#[command(
    name = "rootpin",
    version,
    about = "Pinned roots for container images",
    propagate_version = true,
    disable_help_flag = true
)]
#[command(
    after_help = "examples:\n  rootpin status\n  rootpin verify registry.example/team/app:1.2\n\n\
        exit codes: 0 allowed or in order, 1 refused or findings, 2 could not tell, 64 wrong usage"
)]
struct Arguments {
    #[command(flatten)]
    shared: SharedArguments,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, clap::Args)]
struct SharedArguments {
    /// The daemon's control socket
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_CONTROL, global = true)]
    control: PathBuf,
    /// One JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print help; rootpin help VERB and man rootpin-VERB say all
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// `rootpin verify` without the other verbs. Scripts run it for each image, and the command line of
/// all verbs takes longer to build than the answer takes.
#[derive(Debug, Parser)]
#[command(name = "rootpin", disable_help_flag = true)]
struct VerifyAlone {
    #[command(flatten)]
    shared: SharedArguments,
    #[command(subcommand)]
    verb: VerifyVerb,
}

#[derive(Debug, Subcommand)]
enum VerifyVerb {
    Verify(verify::Arguments),
}

impl From<VerifyAlone> for Arguments {
    fn from(VerifyAlone { shared, verb }: VerifyAlone) -> Self {
        let VerifyVerb::Verify(verb) = verb;
        Self {
            shared,
            verb: Verb::Verify(verb),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what the daemon knows of its policy, its state and its doors
    #[command(after_help = "example: rootpin status")]
    Status,
    /// Judge a name as a pull would be, and say why
    #[command(
        after_help = "examples:\n  rootpin verify docker.io/library/alpine:3.20\n  \
        rootpin verify --policy ./policy --state ./state \\\n    registry.example/app:1@sha256:…\n\n\
        exit codes: 0 allowed, 1 refused, 2 could not judge, 64 wrong usage"
    )]
    Verify(verify::Arguments),
    /// Verify a file, as of a release, by a TUF repository's root file
    #[command(after_help = verify_file::EXAMPLES)]
    VerifyFile(verify_file::Arguments),
    /// Say what this host trusts: images, roots, trust directories, and what is wrong
    #[command(after_help = audit::EXAMPLES)]
    Audit(Box<audit::Arguments>),
    /// Ask the running engines which doors of this host stand open, and close them
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Arguments),
    /// Have the engines of rootpin.toml ask rootpin: write what their configurations lack
    #[command(after_help = install::EXAMPLES)]
    Install(install::Arguments),
    /// Prove on this host that every way in is shut to what nobody signed
    #[command(after_help = prove::EXAMPLES)]
    Prove(prove::Arguments),
    /// Judge every image name on this host's engines again, with what runs from it
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::Arguments),
    /// Check or explain the policy, and see what another one would do
    #[command(subcommand, after_help = "example: rootpin policy check")]
    Policy(policy::Verb),
    /// Propose a policy that says what Docker's, Notary's and other tools' configurations say
    #[command(long_about = import::LONG, after_help = import::EXAMPLES)]
    Import(Box<import::Arguments>),
    /// See, compare and change which root keys are pinned
    #[command(subcommand, after_help = "example: rootpin pin list")]
    Pin(pin::Verb),
    /// Carry a TUF repository's metadata to hosts without a network
    #[command(subcommand, after_help = "example: rootpin bundle import acme.bundle")]
    Bundle(bundle::Verb),
    /// Have engines ask the resolver what a tag is, by their hosts.toml
    #[command(subcommand, after_help = "example: rootpin hosts write docker.io")]
    Hosts(hosts::Verb),
    /// Show or forget what this host has seen
    #[command(subcommand, after_help = "example: rootpin state show")]
    State(state::Verb),
    /// Make and keep a TUF repository of image names
    #[command(
        after_help = "example: rootpin repo --repo ./trust sign registry.example/team/app:1.2"
    )]
    Repo(repo::Arguments),
    /// Ask the API server of this pod's cluster, as the Helm chart does
    #[command(
        subcommand,
        after_help = "example: rootpin kubernetes untaint NODE --taint rootpin/not-ready"
    )]
    Kubernetes(kubernetes::Verb),
    /// Let pass for a while what the policy refuses: an emergency, for all to see
    #[command(after_help = break_glass::EXAMPLES)]
    BreakGlass(break_glass::Arguments),
    /// Write what an auditor asks for into one folder
    #[command(after_help = evidence::EXAMPLES)]
    Evidence(evidence::Arguments),
    /// Collect what a report of a bug needs, without secrets
    #[command(after_help = support::EXAMPLES)]
    Support(support::Arguments),
    /// Print the daemon's counters in Prometheus' text format
    #[command(after_help = metrics::EXAMPLES)]
    Metrics(metrics::Arguments),
}

#[derive(Debug, Parser)]
#[command(
    name = "rootpind",
    version,
    about = "Decides what containerd and Docker may unpack"
)]
struct DaemonArguments {
    /// rootpin.toml, which says how the daemon runs
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// The command line of `rootpin`: its manual pages and completions are made from it.
#[must_use]
pub fn command() -> clap::Command {
    let hide = |command, verb: &&[&'static str]| hide_control(command, verb);
    let command = WITHOUT_DAEMON.iter().fold(Arguments::command(), hide);
    let command = command.mut_subcommand("pin", pin::with_hosts);
    own_first(whole_paths::of_hosts(command))
}

/// A verb's own options stand before those that it shares with others.
fn own_first(command: clap::Command) -> clap::Command {
    const SHARED: usize = 900;
    command
        .mut_args(|argument| {
            if argument.is_global_set() {
                argument.display_order(SHARED)
            } else {
                argument
            }
        })
        .mut_subcommands(own_first)
}

/// The command line of `rootpind`.
#[must_use]
pub fn daemon_command() -> clap::Command {
    DaemonArguments::command()
}

/// Runs `rootpin`. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    output::exit_code(run())
}

fn run() -> u8 {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let given = |at: usize| words.get(at);
    if let Some(at) = words.iter().position(|word| is_empty(word)) {
        let json = words.iter().any(|word| word == "--json");
        return Output { json }.misused(empty_word(at.checked_sub(1).and_then(given), given(at)));
    }
    let parsed = parsed(&words).map(|(arguments, matches)| {
        typed_command::remember(&matches);
        let unclear = whole_paths::from_here_in_an_image(&matches);
        (arguments, unclear)
    });
    let (arguments, unclear) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let output = Output {
        json: arguments.shared.json,
    };
    if let Some(why) = unclear {
        return output.misused(why);
    }
    crate::observe::init_cli_log();
    carry_out(arguments, output).unwrap_or_else(|error| {
        output.error(error);
        2
    })
}

/// What the words say. What is no plain `verify` is for the command line of all verbs, which also
/// has the help and the messages.
fn parsed(words: &[OsString]) -> Result<(Arguments, ArgMatches), clap::Error> {
    let program = || OsString::from("rootpin");
    if words.first().is_some_and(|word| word == "verify") {
        let words = std::iter::once(program()).chain(words.iter().cloned());
        let alone = VerifyAlone::command().try_get_matches_from(words);
        if let Ok(matches) = alone {
            let arguments = VerifyAlone::from_arg_matches(&matches).map_err(formatted)?;
            return Ok((arguments.into(), matches));
        }
    }
    let mut command = command();
    let read = help_as_option(&command, words.to_vec());
    if read != words {
        // The verb `help` also lists the options that `--help` leaves out.
        command = command.mut_arg("help", |help| help.action(ArgAction::HelpLong));
    }
    let matches = command.try_get_matches_from(std::iter::once(program()).chain(read))?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(formatted)?;
    Ok((arguments, matches))
}

fn formatted(error: clap::Error) -> clap::Error {
    error.format(&mut command())
}

fn carry_out(Arguments { shared, verb }: Arguments, output: Output) -> Result<u8, Problem> {
    let control = &shared.control;
    match verb {
        Verb::Status => asked(control, async |client| status::run(client, output).await),
        Verb::Verify(verb) => verify::run(control, verb, output),
        Verb::VerifyFile(verb) => verify_file::run(&verb, output),
        Verb::Policy(verb) => policy::run(control, verb, output),
        Verb::Import(verb) => {
            Ok(import::run(&verb, output).unwrap_or_else(|failure| failure.exit(output)))
        }
        Verb::Pin(verb) => Ok(pin::run(verb, output)),
        Verb::Prove(verb) => prove::run(control, &verb, output),
        Verb::Audit(verb) => audit::run(control, *verb, output),
        Verb::Doctor(verb) => doctor::run(control, &verb, output),
        Verb::Install(verb) => install::run(&verb, output),
        Verb::Sweep(verb) => sweep::run(control, &verb, output),
        Verb::Bundle(verb) => bundle::run(control, verb, output),
        Verb::Hosts(verb) => Ok(hosts::run(verb, output)),
        Verb::State(verb) => state::run(control, verb, output),
        Verb::Kubernetes(verb) => kubernetes::run(&verb, output),
        Verb::Repo(arguments) => repo::run(arguments, output),
        Verb::BreakGlass(verb) => asked(control, async |client| {
            break_glass::run(client, verb, output).await
        }),
        Verb::Evidence(verb) => {
            let done = evidence::run(control, &verb, output);
            Ok(done.unwrap_or_else(|failure| failure.exit(output)))
        }
        Verb::Support(verb) => support::run(control, &verb, output),
        Verb::Metrics(verb) => metrics::run(control, &verb, output),
    }
}

/// Whether a word is nothing, or gives an option nothing: a shell's variable that isn't set. No
/// option means anything by that, and one that is not given means something else.
fn is_empty(word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    word.is_empty()
        || word.starts_with("--")
            && word
                .split_once('=')
                .is_some_and(|(_, value)| value.is_empty())
}

fn empty_word(before: Option<&OsString>, word: Option<&OsString>) -> Problem {
    let option = [word, before]
        .into_iter()
        .flatten()
        .map(|word| word.to_string_lossy())
        .find(|word| word.starts_with('-'));
    let what = option.map_or_else(
        || "an argument is empty".to_owned(),
        |option| format!("{} is given nothing", option.trim_end_matches('=')),
    );
    Problem::hinted(
        what,
        "see that the shell's variable is set, or leave it out",
    )
}

/// The verbs that never ask the daemon. They take `--control` all the same, for scripts that always
/// give it, and don't show it.
const WITHOUT_DAEMON: [&[&str]; 14] = [
    &["verify-file"],
    &["install"],
    &["policy", "check"],
    &["policy", "lint"],
    &["policy", "simulate"],
    &["policy", "diff"],
    &["policy", "test"],
    &["policy", "schema"],
    &["pin"],
    &["import"],
    &["bundle", "export"],
    &["hosts"],
    &["kubernetes"],
    &["repo"],
];

fn hide_control(command: clap::Command, verb: &[&'static str]) -> clap::Command {
    let Some((first, below)) = verb.split_first() else {
        let hidden = clap::Arg::new("control")
            .long("control")
            .value_parser(clap::value_parser!(PathBuf))
            .global(true)
            .hide(true);
        return command.arg(hidden);
    };
    command.mut_subcommand(first, |command| hide_control(command, below))
}

/// Runs `rootpind`. Returns the exit code.
#[must_use]
pub fn daemon_main() -> u8 {
    match DaemonArguments::try_parse() {
        Ok(arguments) => crate::daemon::run(&crate::daemon::Options {
            config: arguments.config,
        }),
        Err(error) => usage(&error),
    }
}

/// Help and version are no mistakes; everything else is.
fn usage(error: &clap::Error) -> u8 {
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    if !error.use_stderr() {
        output::note_lost(&printed);
    }
    let is_option = |word: &OsString| word != "--";
    let mut options = std::env::args_os().take_while(is_option);
    if error.use_stderr() && options.any(|word| word == "--json") {
        Output::misused_document(&mistake_of(&error.to_string()));
    }
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let command = std::env::args().skip(1).fold(command(), |command, word| {
            let below = command.find_subcommand(&word).cloned();
            below.unwrap_or(command)
        });
        command
            .get_after_help()
            .into_iter()
            .for_each(|example| Output::example(&example.to_string()));
    }
    output::exit_code(if error.use_stderr() { EXIT_USAGE } else { 0 })
}

/// What is wrong with a command line, in one line: the first paragraph of what clap prints, whose
/// further lines name the arguments.
fn mistake_of(printed: &str) -> String {
    let mut lines = printed.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let arguments: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    [first, &arguments.join(", ")]
        .join(" ")
        .trim_end()
        .to_owned()
}

/// A policy has errors, and which command shows them.
fn policy_fails(errors: &[rootpin_policy::Diagnostic], dir: &std::path::Path) -> Problem {
    Problem::hinted(
        format!(
            "the policy in {} has {}",
            dir.display(),
            output::counted(errors.len(), "error")
        ),
        policy_check(dir),
    )
}

/// The socket of the daemon that this configuration starts, unless --control names another.
fn control_of<'a>(config: &'a Config, typed: &'a std::path::Path) -> &'a std::path::Path {
    if typed == std::path::Path::new(DEFAULT_CONTROL) {
        &config.control
    } else {
        typed
    }
}

/// The image's name that the user typed; if it is none, that is said, and why.
fn image_name(typed: &str, output: Output) -> Option<ImageRef> {
    typed
        .parse()
        .map_err(|error| {
            let hint = "wanted NAME[:TAG][@sha256:…]";
            output.misused(Problem::hinted(format!("{error}"), hint))
        })
        .ok()
}

/// The same for what can be done without a daemon too.
fn asked_or(
    control: &std::path::Path,
    without: &str,
    work: impl AsyncFnOnce(&mut DaemonClient) -> Result<u8, Problem>,
) -> Result<u8, Problem> {
    block_on(async {
        let client = DaemonClient::connect(control, TIMEOUT).await;
        let mut client =
            client.map_err(|error| error.so(&format!("without a daemon: {without}")))?;
        work(&mut client).await
    })
}

/// Runs something that talks to the daemon.
fn asked(
    control: &std::path::Path,
    work: impl AsyncFnOnce(&mut DaemonClient) -> Result<u8, Problem>,
) -> Result<u8, Problem> {
    block_on(async {
        let mut client = DaemonClient::connect(control, TIMEOUT).await?;
        work(&mut client).await
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_before_a_verb_is_the_same_as_the_option_behind_it() {
        let command = super::command();
        let of = |line: &str| {
            let words = line.split(' ').map(std::ffi::OsString::from).collect();
            let words = super::help_as_option(&command, words);
            let words = words.iter().map(|word| word.to_str().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        for (line, wanted) in [
            ("help", "--help"),
            ("help install", "install --help"),
            ("help pin add", "pin add --help"),
            ("pin help add", "pin add --help"),
            ("--json help install", "--json install --help"),
            ("pin help", "pin --help"),
            // No verb of its own, and what is an image's name.
            ("verify help", "verify help"),
            ("install --root help", "install --root help"),
            ("help help", "help help"),
        ] {
            assert_eq!(of(line), wanted, "{line}");
        }
    }

    #[test]
    fn the_policy_is_where_the_commands_that_are_told_look_for_it() {
        assert_eq!(rootpin_policy::DEFAULT_DIR, crate::config::DEFAULT_POLICY);
    }

    #[test]
    fn the_mistake_in_a_command_line_is_one_line_that_names_the_arguments() {
        for (typed, wanted) in [
            (
                "pin revoke",
                "the following required arguments were not provided: --reason <TEXT>, <KEY|DIGEST>",
            ),
            (
                "audit --online --host h merge",
                "the subcommand 'merge' cannot be used with: --online, --host <NAME>",
            ),
            ("verify a b", "unexpected argument 'b' found"),
        ] {
            let words = ["rootpin"].into_iter().chain(typed.split(' '));
            let error = super::command().try_get_matches_from(words).unwrap_err();
            assert_eq!(super::mistake_of(&error.to_string()), wanted, "{typed}");
        }
    }

    /// The names of the options of a short help, in their order, without those under a heading.
    fn options(help: &str) -> Vec<&str> {
        let list = help.split_once("\nOptions:\n").map_or("", |(_, list)| list);
        let list = list.split("\n\n").next().unwrap_or_default();
        let names = list.lines().filter_map(|line| line.split("--").nth(1));
        names
            .filter_map(|name| name.split([' ', '\n']).next())
            .collect()
    }

    #[test]
    fn verify_read_alone_means_what_it_means_among_all_verbs() {
        let words = |typed: &str| typed.split(' ').map(OsString::from).collect::<Vec<_>>();
        let among_all = |typed: &str| {
            let all = ["rootpin".into()].into_iter().chain(words(typed));
            let matches = super::command().try_get_matches_from(all)?;
            Arguments::from_arg_matches(&matches)
        };
        let mut is_alone = Vec::new();
        for typed in [
            "verify a.example/b:1",
            "verify a.example/b:1 --json --control ./c",
            "verify --policy p --state s --at 2030-01-01T00:00:00Z --anew a.example/b",
            "verify --hosts-dir h --docker-config d --policy p --state s verify",
            "verify",
            "verify a b",
            "verify --policy p a",
            "verify --help",
            "verify --version",
            "--json verify a",
            "--control verify status",
            "status",
        ] {
            let (read, whole) = (super::parsed(&words(typed)), among_all(typed));
            match (&read, &whole) {
                (Ok((read, _)), Ok(whole)) => {
                    assert_eq!(format!("{read:?}"), format!("{whole:?}"), "{typed}");
                }
                (Err(read), Err(whole)) => {
                    assert_eq!(read.to_string(), whole.to_string(), "{typed}");
                }
                _ => panic!("{typed}: {read:?} {whole:?}"),
            }
            let alone = ["rootpin".into()].into_iter().chain(words(typed));
            is_alone.extend(super::VerifyAlone::try_parse_from(alone).map(|_| typed));
        }
        assert_eq!(is_alone.len(), 5, "{is_alone:?}");
    }

    fn leaves(command: clap::Command, found: &mut Vec<clap::Command>) {
        let below: Vec<_> = command.get_subcommands().cloned().collect();
        if below.is_empty() {
            found.push(command);
        }
        for one in below {
            leaves(one, found);
        }
    }

    #[test]
    fn the_help_of_a_verb_lists_its_own_options_before_those_that_verbs_share() {
        let mut command = super::command();
        command.build();
        let mut verbs = Vec::new();
        leaves(command, &mut verbs);
        let shared = ["control", "json", "docker-config", "config", "repo"];
        for mut verb in verbs {
            let help = verb.render_help().to_string();
            let options = options(&help);
            let is_shared = |name: &&str| {
                let global = verb
                    .get_arguments()
                    .any(|argument| argument.get_long() == Some(name) && argument.is_global_set());
                shared.contains(name) && global
            };
            let first = options.iter().position(is_shared);
            let rest = options.iter().skip(first.unwrap_or(options.len()));
            let own: Vec<_> = rest
                .filter(|name| {
                    let argument = verb
                        .get_arguments()
                        .find(|argument| argument.get_long() == Some(name));
                    argument.is_some_and(|argument| !argument.is_global_set())
                        && !["help", "version"].contains(name)
                })
                .collect();
            assert!(own.is_empty(), "{}: {own:?}\n{help}", verb.get_name());
        }
    }
}

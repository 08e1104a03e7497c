//! `rootpin repo`: make and keep a TUF repository of image names.

mod approve;
mod clone;
mod compare;
mod delegate;
mod from_notary;
mod images;
mod init;
mod key;
mod list;
pub(super) mod passphrase;
mod progress;
mod proposal;
mod publish;
mod refresh;
mod report;
mod rotate;
mod signing;
mod status;
mod take_over;
mod term;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::output::{Output, shell_word, unreadable, unwritable};
use super::typed_command::{again, again_with, has_option};
use crate::problem::Problem;
use crate::publish::key::SigningError;
use crate::publish::place::{PlaceError, PublishPlace};
use crate::publish::{
    Activity, OpenKeys, PublishError, Published, RepositoryChange, Transaction, Working,
};
use crate::sources::Credentials;
use rootpin_policy::MetadataUrl;
use rootpin_trust::Code;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The working folder
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    repo: PathBuf,
    #[command(flatten)]
    credentials: super::credentials::CredentialArguments,
    /// Folder of hosts.toml files, by which registries are reached
    #[arg(long, value_name = "DIR", global = true)]
    hosts_dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a repository: its keys, its first root, and a working folder that holds them
    #[command(
        after_help = "example: rootpin repo init ./trust --names 'registry.example/**' \\\n    \
            --publish oci://registry.example/trust"
    )]
    Init(init::Arguments),
    /// Make keys, and show those that are here
    #[command(subcommand, after_help = "example: rootpin repo key list")]
    Key(key::Verb),
    /// Sign the digest that an image's name has now
    #[command(
        after_help = "examples:\n  rootpin repo sign registry.example/team/app:1.2\n  \
        rootpin repo sign registry.example/team/app:1.2 \\\n    --digest sha256:… --length 1234 --dry-run\n  \
        rootpin repo sign registry.example/tool/tool.tar.xz:1.2 --file ./tool.tar.xz"
    )]
    Sign(images::Sign),
    /// Sign the digest of an image that others build
    #[command(
        after_help = "examples:\n  rootpin repo endorse docker.io/library/alpine:3.20\n  \
        rootpin repo endorse registry.example/mirror/alpine:3.20 \\\n    --from docker.io/library/alpine:3.20\n  \
        rootpin repo endorse --list upstream.txt --update --dry-run\n\n\
        exit codes: 0 signed, or nothing is new, 1 a tag of the list moved or can't be endorsed now, 2 nothing is signed, 64 wrong usage"
    )]
    Endorse(images::Endorse),
    /// Take a name back: hosts refuse it as soon as they see the new metadata
    #[command(after_help = "example: rootpin repo revoke registry.example/team/app:1.2")]
    Revoke(images::Revoke),
    /// Verify Notary repositories by pinned root keys, and sign their tags here
    #[command(long_about = take_over::LONG, after_help = take_over::EXAMPLES)]
    TakeOver(take_over::Arguments),
    /// Say which tags of Notary repositories differ here
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::Arguments),
    /// Show what is signed, and by which role
    #[command(
        after_help = "examples:\n  rootpin repo list\n  rootpin repo list 'registry.example/team/**'"
    )]
    List(list::Arguments),
    /// Let others sign for some of the names
    #[command(subcommand, after_help = "example: rootpin repo delegate list")]
    Delegate(delegate::Verb),
    /// Give a role other keys, or renew the root, by a new root that its holders sign
    #[command(
        after_help = "examples:\n  rootpin repo rotate online\n  rootpin repo rotate root --key new.pub --propose root.json\n  \
        rootpin repo rotate root --sign root.json --key-file root-2.pem\n  rootpin repo rotate root --finish root.json"
    )]
    Rotate(rotate::Arguments),
    /// Sign timestamp and snapshot anew before they expire, and take up what waits for their key
    #[command(after_help = "example: rootpin repo refresh --if-within 1d \\\n    \
            --passphrase-file /etc/rootpin/online.passphrase")]
    Refresh(refresh::Arguments),
    /// Bring what is in the working folder to its places, or to one more
    #[command(after_help = "example: rootpin repo publish file:///srv/trust")]
    Publish(publish::Arguments),
    /// Look at what waits for signatures, and add yours
    #[command(
        after_help = "examples:\n  rootpin repo approve --dry-run\n  rootpin repo approve team-a"
    )]
    Approve(approve::Arguments),
    /// Make a working folder on another machine
    #[command(
        after_help = "example: rootpin repo clone oci://registry.example/trust ./trust \\\n    \
            --root root.json --sha256 HEX --names 'registry.example/**'"
    )]
    Clone(clone::Arguments),
    /// Show what expires when, who may sign what, what waits, and what is not published
    #[command(after_help = "example: rootpin repo status --json")]
    Status(status::Arguments),
}

pub(super) fn run(arguments: Arguments, output: Output) -> Result<u8, Problem> {
    let Arguments {
        repo,
        credentials,
        hosts_dir,
        verb,
    } = arguments;
    let usual = std::env::home_dir().map(|home| home.join(".docker"));
    let credentials = credentials.credentials(usual)?;
    let credentials = Arc::new(credentials.with_hosts(hosts_dir));
    // What is made elsewhere is worked with there.
    let folder = match &verb {
        Verb::Init(init::Arguments { dir: Some(dir), .. }) => dir.clone(),
        Verb::Clone(verb) => verb.dir.clone(),
        _ => repo.clone(),
    };
    let here = Here { repo, credentials };
    super::block_on(async {
        let done = match verb {
            Verb::Init(verb) => init::run(&here, verb, output).await,
            Verb::Key(verb) => key::run(&here, verb, output).map_err(PublishError::from),
            Verb::Sign(verb) => images::sign(&here, verb, output).await,
            Verb::Endorse(verb) => images::endorse(&here, verb, output).await,
            Verb::Delegate(verb) => delegate::run(&here, verb, output).await,
            Verb::Rotate(verb) => rotate::run(&here, verb, output).await,
            Verb::Refresh(verb) => refresh::run(&here, verb, output).await,
            Verb::Publish(verb) => publish::run(&here, verb, output).await,
            Verb::Approve(verb) => approve::run(&here, verb, output).await,
            Verb::Clone(verb) => clone::run(&here, verb, output).await,
            Verb::TakeOver(verb) => take_over::run(&here, verb, output).await,
            Verb::Compare(verb) => compare::run(&here, verb, output).await,
            Verb::Revoke(verb) => images::revoke(&here, verb, output).await,
            Verb::List(verb) => list::run(&here, &verb, output).await,
            Verb::Status(verb) => status::run(&here, &verb, output).await,
        };
        done.map_err(|error| hint_in_folder(advised(&error), &folder))
    })
}

/// An error with the hint that fits a publisher.
fn advised(error: &PublishError) -> Problem {
    let problem = error.problem();
    let hint = match error {
        PublishError::Refused(refusal) if refusal.code == Code::Rollback => {
            "the place shows an older state than was seen here, or another history; if it was restored from a backup, empty it (of a registry the \
                    tags rootpin-… too) and fill it again where the newest state is: rootpin repo publish"
        }
        PublishError::Refused(refusal) if refusal.unpinned_root => {
            "the place has another repository, or one that was begun anew; if that is right, clone it to another folder with a root file \
                    of its own: rootpin repo clone PLACE DIR --root FILE --sha256 HEX --names PATTERN"
        }
        PublishError::Place(PlaceError::Folder(_, error))
            if error.kind() == ErrorKind::PermissionDenied =>
        {
            "the user who publishes must be able to read and write there; then the same command again, or after init: rootpin repo publish"
        }
        PublishError::File(path, error)
        | PublishError::Signing(SigningError::File(path, error)) => {
            return file_error(Path::new(path), error);
        }
        _ => return problem,
    };
    Problem::hinted(problem.what, hint)
}

/// Why a place can't be read before anything is made: there is nothing to publish, so what helps is
/// this command once more.
fn unread(error: PlaceError) -> PublishError {
    const PUBLISH: &str = "rootpin repo publish";
    const AFTER_INIT: &str = "the same command again, or after init: rootpin repo publish";
    const BY_HOSTS: &str = "rootpin repo --hosts-dir DIR publish";
    // What else is wrong with a place is mended by whoever has the repository.
    if !matches!(error, PlaceError::Folder(..) | PlaceError::Registry(_)) {
        return PublishError::Place(error);
    }
    let problem = advised(&PublishError::Place(error));
    let hint = problem.hint.map(|hint| {
        hint.replace(AFTER_INIT, PUBLISH)
            .replace(BY_HOSTS, &again_with("--hosts-dir DIR"))
            .replace(PUBLISH, &again())
    });
    PublishError::State(Problem { hint, ..problem })
}

/// A draft of tempfile's is named where a file is written.
fn file_error(path: &Path, error: &io::Error) -> Problem {
    if error.get_ref().is_some() {
        unwritable(path, error)
    } else {
        unreadable(path, error)
    }
}

/// Adds the `--repo` of this command to the commands of the hint.
fn hint_in_folder(problem: Problem, repo: &Path) -> Problem {
    let hint = problem.hint.map(|hint| in_folder(&hint, repo));
    Problem { hint, ..problem }
}

/// A text with its commands as they are typed where this one was: with the same `--repo`.
fn in_folder(text: &str, repo: &Path) -> String {
    const COMMAND: &str = "rootpin repo ";
    if repo == Path::new(".") {
        return text.to_owned();
    }
    let folder = shell_word(&repo.to_string_lossy());
    let mut parts = text.split(COMMAND);
    let mut typed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // These work without the folder, or make another one.
        let elsewhere = ["init", "clone", "rotate root --sign"];
        typed.push_str(COMMAND);
        let is_typed = has_option(part, "--repo");
        if !is_typed && !elsewhere.iter().any(|verb| part.starts_with(verb)) {
            typed.extend(["--repo ", &folder, " "]);
        }
        typed.push_str(part);
    }
    typed
}

/// Where a verb works, and with which credentials.
struct Here {
    repo: PathBuf,
    credentials: Arc<Credentials>,
}

impl Here {
    /// Says what came of a verb; the commands in it work in this folder.
    fn say(&self, output: Output, report: &Value, text: impl FnOnce(&Value) -> String) {
        output.value(report, |report| in_folder(&text(report), &self.repo));
    }

    fn open(&self) -> Result<Working, PublishError> {
        Working::open(&self.repo)
    }

    fn place(&self, url: &MetadataUrl) -> Result<PublishPlace, PublishError> {
        Ok(PublishPlace::of(url, &self.credentials)?)
    }

    /// A change of a working folder, published to its places unless it is to stay here.
    fn transaction<'a>(
        &self,
        working: &'a Working,
        local: bool,
    ) -> Result<Transaction<'a>, PublishError> {
        let urls = if local {
            &[][..]
        } else {
            &working.settings.publish[..]
        };
        let places = urls
            .iter()
            .map(|url| Ok((url.clone(), self.place(url)?)))
            .collect::<Result<_, PublishError>>()?;
        Ok(Transaction {
            working,
            places,
            now: Timestamp::now(),
            notes: Vec::new(),
            activity: Activity::default(),
        })
    }
}

/// Brings what is in the folder to its places.
async fn publish_all(
    here: &Here,
    working: &Working,
    local: bool,
    output: Output,
) -> Result<Vec<String>, PublishError> {
    let mut transaction = here.transaction(working, local)?;
    if transaction.places.is_empty() {
        return Ok(Vec::new());
    }
    let activity = transaction.activity.clone();
    let work = async {
        let mut change = RepositoryChange::restoring();
        let prepared = transaction.prepare(&mut change).await?;
        transaction
            .publish(prepared, &mut change, &mut OpenKeys::none())
            .await
    };
    match progress::with_progress(output, &activity, work).await? {
        Published::Nothing(_) => Ok(Vec::new()),
        Published::Done {
            published, failed, ..
        } if failed.is_empty() => Ok(published.iter().map(ToString::to_string).collect()),
        Published::Done { failed, .. } => {
            let failed: Vec<_> = failed
                .iter()
                .map(|(place, why)| format!("{place}: {why}"))
                .collect();
            Err(PublishError::State(Problem::hinted(
                format!("not published everywhere: {}", failed.join("; ")),
                "rootpin repo publish",
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_nobody_may_read_before_anything_is_made_wants_the_same_command_again() {
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let error = unread(PlaceError::Folder("/srv/trust".to_owned(), denied));
        let hint = error.problem().hint.unwrap();
        let who = "the user who publishes must be able to read and write there";
        assert_eq!(hint, format!("{who}; then {}", again()));
    }

    #[test]
    fn a_place_that_is_to_be_filled_again_is_filled_by_a_publisher_and_by_no_init_or_clone() {
        let strange = || PlaceError::Strange("/srv/trust".to_owned(), "no layers".to_owned());
        let hint = unread(strange()).problem().hint.unwrap();
        assert!(hint.ends_with("`rootpin repo publish`"), "{hint}");
        assert_eq!(Some(hint), strange().problem().hint);
    }

    #[test]
    fn a_hints_command_works_in_the_folder_where_this_one_did() {
        for (hint, typed) in [
            (
                "rootpin repo list shows what is",
                "rootpin repo --repo 'my trust' list shows what is",
            ),
            (
                "raise that, then rootpin repo publish",
                "raise that, then rootpin repo --repo 'my trust' publish",
            ),
            (
                "rootpin repo clone PLACE DIR --root FILE",
                "rootpin repo clone PLACE DIR --root FILE",
            ),
            (
                "rootpin repo rotate root --sign FILE",
                "rootpin repo rotate root --sign FILE",
            ),
            ("rootpin repo init, or clone", "rootpin repo init, or clone"),
            (
                "rootpin repo --docker-config d --repo=x list; rootpin repo list",
                "rootpin repo --docker-config d --repo=x list; rootpin repo --repo 'my trust' list",
            ),
            (
                r"rootpin repo '--repo=it'\''s; mine' list",
                r"rootpin repo '--repo=it'\''s; mine' list",
            ),
        ] {
            let problem = Problem::hinted("rootpin repo list failed", hint);
            assert_eq!(
                hint_in_folder(problem.clone(), Path::new("my trust")),
                Problem::hinted("rootpin repo list failed", typed)
            );
            assert_eq!(hint_in_folder(problem.clone(), Path::new(".")), problem);
        }
    }
}

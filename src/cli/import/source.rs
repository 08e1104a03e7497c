//! The files that are read, by their format: where each tool has them, and what lies beside them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::super::failure::Failure;
use super::super::output::unreadable;
use super::super::pin::material;
use crate::operate::import::{
    LeftBehind, MAX_FILE, NotaryConfig, Proposal, RegistriesText, ServerChoice, TrustDirectory,
    containers_policy, docker_daemon, notary_config, notation_trust_policy,
};
use crate::problem::Problem;

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SourceFormat {
    /// All that this host has
    Auto,
    /// ~/.docker/trust
    DockerTrustDir,
    /// ~/.notary/config.json
    NotaryConfig,
    /// content-trust in /etc/docker/daemon.json (Mirantis)
    DockerDaemon,
    /// /etc/containers/policy.json
    ContainersPolicy,
    /// trustpolicy.json of notation, and its trust stores
    NotationTrustpolicy,
}

use SourceFormat as Format;

/// What a person says about the sources.
pub(super) struct Options {
    /// The Notary servers.
    pub(super) servers: ServerChoice,
    /// Whether a signature that gives no tag may count.
    pub(super) tags_unbound: bool,
}

const ALL: [Format; 5] = [
    Format::DockerDaemon,
    Format::NotaryConfig,
    Format::DockerTrustDir,
    Format::ContainersPolicy,
    Format::NotationTrustpolicy,
];

/// What was read.
#[derive(Default)]
pub(super) struct Sources {
    /// Each with its file.
    pub(super) proposals: Vec<(String, Proposal)>,
    /// `registries.conf` and its drop-ins, as podman, skopeo and CRI-O read them.
    pub(super) registries: Vec<RegistriesText>,
}

/// Reads the source that was named, or all that are here; what a person pinned comes before what a
/// client saw first.
pub(super) fn read(
    format: Format,
    path: Option<&Path>,
    options: &Options,
) -> Result<Sources, Failure> {
    let mut sources = Sources::default();
    let named = |format| {
        let path = path.map(Path::to_owned).or_else(|| usual(format));
        path.ok_or_else(|| {
            Failure::Usage(Problem::hinted(
                "this user has no home folder to look in",
                "name the file or folder",
            ))
        })
    };
    match (format, path) {
        (Format::Auto, Some(path)) => {
            let format = guessed(path)?;
            one(&mut sources, format, path, options)?;
        }
        (Format::Auto, None) => {
            let here = ALL
                .iter()
                .filter_map(|format| Some((*format, usual(*format)?)));
            // A publisher's trust directory may have keys alone.
            let is_here = |(format, path): &(Format, PathBuf)| match format {
                Format::DockerTrustDir => may_be_there(&path.join("tuf")),
                _ => may_be_there(path),
            };
            let here: Vec<_> = here.filter(is_here).collect();
            if here.is_empty() {
                return Err(Failure::Unknown(Problem::hinted(
                    "this host has none of the files that are known",
                    "name one: rootpin import --from docker-trust-dir DIR --out proposal",
                )));
            }
            for (format, path) in &here {
                if matches!(format, Format::NotationTrustpolicy) {
                    check_one_trust_policy(path)?;
                }
                one(&mut sources, *format, path, options)?;
            }
        }
        (format, _) => {
            let file = named(format)?;
            if matches!(format, Format::NotationTrustpolicy) && path.is_none() {
                check_one_trust_policy(&file)?;
            }
            one(&mut sources, format, &file, options)?;
        }
    }
    Ok(sources)
}

/// What a file or folder is, by its name.
fn guessed(path: &Path) -> Result<Format, Failure> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name {
        _ if path.join("tuf").is_dir() => Ok(Format::DockerTrustDir),
        _ if path.is_dir() => Err(Failure::Usage(Problem::hinted(
            format!(
                "{} is no trust directory: there is no tuf in it",
                path.display()
            ),
            "name the file: daemon.json, policy.json, trustpolicy.json, or Notary's config.json",
        ))),
        Some("daemon.json") => Ok(Format::DockerDaemon),
        Some("policy.json") => Ok(Format::ContainersPolicy),
        Some(name) if name.starts_with("trustpolicy") => Ok(Format::NotationTrustpolicy),
        Some("config.json") => Ok(Format::NotaryConfig),
        _ => Err(Failure::Usage(Problem::hinted(
            format!("what {} is, its name does not tell", path.display()),
            "say it by --from",
        ))),
    }
}

/// Where its tool has it.
fn usual(format: Format) -> Option<PathBuf> {
    let home = || std::env::home_dir();
    match format {
        Format::Auto => None,
        Format::DockerTrustDir => Some(docker_folder()?.join("trust")),
        Format::NotaryConfig => Some(home()?.join(".notary/config.json")),
        Format::DockerDaemon => Some("/etc/docker/daemon.json".into()),
        Format::ContainersPolicy => {
            let own = users_containers().map(|folder| folder.join("policy.json"));
            let own = own.filter(|file| may_be_there(file));
            Some(own.unwrap_or_else(|| Path::new(SYSTEM_CONTAINERS).join("policy.json")))
        }
        Format::NotationTrustpolicy => {
            let named = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
            let named = named.map(PathBuf::from);
            let folder = named
                .or_else(|| Some(home()?.join(".config")))?
                .join("notation");
            let [newer, older] = TRUST_POLICIES.map(|name| folder.join(name));
            Some(if may_be_there(&newer) { newer } else { older })
        }
    }
}

/// Where podman, skopeo and CRI-O have the files of the whole host.
const SYSTEM_CONTAINERS: &str = "/etc/containers";
/// The names of notation's trust policy: from notation 2 on, and before.
const TRUST_POLICIES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];

/// Where podman and skopeo look before, root's too.
fn users_containers() -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".config/containers"))
}

/// notation 1 reads the one name alone, and later ones the other first: where both are there, nobody
/// can tell which of them counts.
fn check_one_trust_policy(path: &Path) -> Result<(), Failure> {
    let [newer, older] = TRUST_POLICIES.map(|name| path.with_file_name(name));
    if may_be_there(&newer) && may_be_there(&older) {
        return Err(Failure::Unknown(Problem::hinted(
            format!(
                "{} and {} are both here, and which one counts is a matter of notation's version",
                newer.display(),
                older.display()
            ),
            "name the one that yours reads: rootpin import --from notation-trustpolicy FILE --out proposal",
        )));
    }
    Ok(())
}

fn docker_folder() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    let usual = || Some(std::env::home_dir()?.join(".docker"));
    named.map(PathBuf::from).or_else(usual)
}

fn one(
    sources: &mut Sources,
    format: Format,
    path: &Path,
    options: &Options,
) -> Result<(), Failure> {
    let choice = &options.servers;
    let file = path.display().to_string();
    let malformed = |why: Problem| Failure::Unknown(why.about(&file));
    let unread = FirstFailure::default();
    let beside = path.parent().unwrap_or(Path::new("."));
    let proposal = match format {
        Format::Auto | Format::DockerTrustDir => {
            let trust = trust_directory(path)?;
            let tls = path.parent().map(|folder| folder.join("tls"));
            trust.proposal(&file, |gun| {
                with_tls(choice, gun.host(), tls.as_deref(), &unread)
            })
        }
        Format::DockerDaemon => {
            let trust = docker_folder().map(|folder| folder.join("trust"));
            let trust = cached(trust.as_deref())?;
            docker_daemon(&file, &text(path)?, choice, &trust).map_err(malformed)?
        }
        Format::NotaryConfig => from_notary(&file, path, choice)?,
        Format::ContainersPolicy => {
            let read = |name: &str| bytes_of(&beside.join(name), &unread);
            let mut proposal = containers_policy(&file, &text(path)?, &read, options.tags_unbound)
                .map_err(malformed)?;
            let read = registries(&mut proposal, path)?;
            sources.registries.extend(read);
            proposal
        }
        Format::NotationTrustpolicy => {
            let about = fs::symlink_metadata(path);
            if about.is_ok_and(|about| !about.is_file()) {
                return Err(malformed(Problem::new(
                    "it is no plain file itself, so notation refuses it, and every image",
                )));
            }
            let stores = beside.join("truststore/x509/ca");
            let store = |name: &str| trust_store(&stores.join(name), &unread);
            notation_trust_policy(&file, &text(path)?, &store).map_err(malformed)?
        }
    };
    if let Some(failure) = unread.0.into_inner() {
        return Err(failure);
    }
    sources.proposals.push((file, proposal));
    Ok(())
}

/// The first file or folder that is there and could not be read: what it says would be lost.
#[derive(Default)]
struct FirstFailure(RefCell<Option<Failure>>);

impl FirstFailure {
    fn keep(&self, failure: Failure) -> Problem {
        let why = said(&failure);
        self.0.borrow_mut().get_or_insert(failure);
        why
    }
}

/// Whether nothing is there. What can't be told is read, and fails.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn may_be_there(path: &Path) -> bool {
    !fs::metadata(path).is_err_and(|error| is_missing(&error))
}

/// A trust directory, which may be missing or have no repositories.
fn cached(folder: Option<&Path>) -> Result<TrustDirectory, Failure> {
    match folder.filter(|folder| may_be_there(&folder.join("tuf"))) {
        Some(folder) => trust_directory(folder),
        None => Ok(TrustDirectory::default()),
    }
}

/// The pins of Notary's configuration, then what its client saw first.
fn from_notary(file: &str, path: &Path, choice: &ServerChoice) -> Result<Proposal, Failure> {
    let config =
        NotaryConfig::read(&text(path)?).map_err(|why| Failure::Unknown(why.about(file)))?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let at = |name: &str| match name.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
        None => beside.join(name),
    };
    let folder = at(config.trust_dir.as_deref().unwrap_or("~/.notary"));
    let trust = cached(Some(&folder))?;
    let ca = config
        .root_ca
        .as_deref()
        .map(|name| material::file(&at(name)));
    let servers = ServerChoice {
        server: choice.server.clone().or_else(|| config.server.clone()),
        tls_ca: match choice.tls_ca.clone() {
            Some(given) => Some(given),
            None => ca.transpose()?,
        },
    };
    let mut proposal = notary_config(file, &config, &servers, &trust);
    let first = folder.display().to_string();
    proposal.merge(trust.proposal(&first, |_| servers.clone()), &first);
    Ok(proposal)
}

/// Docker's client has the certificates of a server's TLS in a folder of the server's name.
fn with_tls(
    choice: &ServerChoice,
    host: &str,
    tls: Option<&Path>,
    unread: &FirstFailure,
) -> ServerChoice {
    let server = choice.of(host);
    let name = server
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let ca = tls
        .zip(name)
        .map(|(tls, name)| tls.join(name).join("ca.crt"))
        .filter(|file| may_be_there(file));
    let read = |file: PathBuf| {
        let bytes = material::file(&file);
        bytes.map_err(|failure| unread.keep(failure)).ok()
    };
    ServerChoice {
        server: choice.server.clone(),
        tls_ca: choice.tls_ca.clone().or_else(|| ca.and_then(read)),
    }
}

/// `registries.conf` and its drop-ins, in the order in which they are read. Beside the tools' own
/// `policy.json` that is the user's file before the host's, and the drop-ins of both.
fn registries(proposal: &mut Proposal, policy: &Path) -> Result<Vec<RegistriesText>, Failure> {
    let beside = policy.parent().unwrap_or(Path::new("."));
    let (system, own) = (Path::new(SYSTEM_CONTAINERS), users_containers());
    let own = own.filter(|own| beside == system || beside == own.as_path());
    let (main, folders) = match &own {
        Some(own) if may_be_there(&own.join("registries.conf")) => {
            (own.as_path(), vec![system, own])
        }
        Some(own) => (system, vec![system, own]),
        None => (beside, vec![beside]),
    };
    if own.as_deref() == Some(beside) && may_be_there(&system.join("policy.json")) {
        proposal.left_behind.push(LeftBehind {
            file: system.join("policy.json").display().to_string(),
            what: "all of it".to_owned(),
            why: format!(
                "podman and skopeo read {} in its place, as this user",
                policy.display()
            ),
        });
    }
    let mut paths = vec![(main.join("registries.conf"), false)];
    for folder in folders {
        paths.extend(drop_ins(proposal, &folder.join("registries.conf.d"))?);
    }
    let mut texts = Vec::new();
    for (path, drop_in) in paths {
        if may_be_there(&path) {
            texts.push(RegistriesText {
                file: path.display().to_string(),
                bytes: text(&path)?,
                drop_in,
            });
        }
    }
    Ok(texts)
}

/// The drop-ins of a folder. Links to folders are not followed there, and neither are they here.
fn drop_ins(proposal: &mut Proposal, folder: &Path) -> Result<Vec<(PathBuf, bool)>, Failure> {
    let failed = |path: &Path, error: &io::Error| Failure::Unknown(unreadable(path, error));
    let mut drop_ins = Vec::new();
    match fs::symlink_metadata(folder) {
        Ok(about) if about.is_dir() => {
            for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
                let entry = entry.map_err(|error| failed(folder, &error))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|error| failed(&path, &error))?;
                let is_meant = entry.file_name().as_encoded_bytes().ends_with(b".conf");
                if is_meant && !kind.is_dir() {
                    drop_ins.push((path, true));
                }
            }
            drop_ins.sort();
        }
        Ok(_) => {
            let file = folder.display().to_string();
            proposal.left_behind.push(LeftBehind {
                file,
                what: "all of it".to_owned(),
                why: "it is no folder itself, so its tools read nothing in it".to_owned(),
            });
        }
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(failed(folder, &error)),
    }
    Ok(drop_ins)
}

/// The files of a trust store. notation refuses links and folders in it.
fn trust_store(folder: &Path, unread: &FirstFailure) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let failed = |error: io::Error| {
        if is_missing(&error) {
            Problem::new(error.to_string())
        } else {
            unread.keep(Failure::Unknown(unreadable(folder, &error)))
        }
    };
    let about = fs::symlink_metadata(folder).map_err(failed)?;
    if !about.is_dir() {
        return Err(Problem::new("it is no folder itself"));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return Err(Problem::new(format!("{name} is no plain file")));
        }
        files.push((name, bytes_of(&entry.path(), unread)?));
    }
    files.sort();
    Ok(files)
}

/// A file that a configuration names; it may be missing.
fn bytes_of(path: &Path, unread: &FirstFailure) -> Result<Vec<u8>, Problem> {
    text(path).map_err(|failure| {
        if may_be_there(path) {
            unread.keep(failure)
        } else {
            said(&failure)
        }
    })
}

/// What happened, without a hint, which would be for another command.
fn said(failure: &Failure) -> Problem {
    match failure {
        Failure::Usage(problem) | Failure::Refused(problem) | Failure::Unknown(problem) => {
            Problem::new(problem.what.clone())
        }
    }
}

fn trust_directory(path: &Path) -> Result<TrustDirectory, Failure> {
    TrustDirectory::read(path).map_err(|error| no_trust_directory(path, &error.to_string()))
}

fn no_trust_directory(path: &Path, why: &str) -> Failure {
    Failure::Unknown(Problem::hinted(
        format!("{}: {why}", path.display()),
        "wanted a folder such as ~/.docker/trust, with tuf/NAME/metadata/root.json in it",
    ))
}

fn text(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = material::file(path)?;
    if bytes.len() > MAX_FILE {
        return Err(Failure::Unknown(
            format!("{} is larger than {MAX_FILE} bytes", path.display()).into(),
        ));
    }
    Ok(bytes)
}

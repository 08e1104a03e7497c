//! One containerd: version and plugins by its API, its configuration by its process, its verifier's
//! folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::PluginsRequest;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::version_client::VersionClient;

use super::super::check::PROGRAM;
use super::super::config_files::{ConfigFiles, Pattern, at, is_ours};
use super::super::facts::{ContainerdFacts, EngineConfig, PluginFacts, ProgramFolder, Writable};
use super::super::process::Process;
use super::super::program::{self, Program, ProgramFailure};
use super::super::runnable::{Hindrance, hindrance};
use super::super::version::{VERIFIER, Version};
use crate::config::Engine;
use crate::engines;
use crate::observe::plain;
use crate::operate::leftover::is_leftover;
use crate::trusted_path::{Owner, check_way};

/// Where containerd looks where its command line says nothing.
const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";
/// More than any plugin list.
const MAX_PLUGINS: usize = 1000;
/// More entries than this are shown as so many.
const MAX_ENTRIES: usize = 100;
/// By how much the start of a process may be told wrong.
const SLACK: Duration = Duration::from_millis(100);

/// All that is to be known of a containerd that answers.
pub(in super::super) async fn containerd(
    engine: &Engine,
    process: &Process,
) -> Result<ContainerdFacts, String> {
    let client =
        engines::ContainerdClient::at(&engine.containerd).map_err(|error| error.to_string())?;
    let said =
        |status: tonic::Status| format!("{}: {}", engine.containerd.display(), status.message());
    let version = super::in_time("version", async {
        VersionClient::new(client.channel())
            .version(())
            .await
            .map_err(said)
    })
    .await?;
    let version = version.into_inner().version;
    let version = Version::parse(&version)
        .ok_or_else(|| format!("it says that its version is {version:?}"))?;
    let request = PluginsRequest {
        filters: Vec::new(),
    };
    let asked = super::in_time("plugins", async {
        IntrospectionClient::new(client.channel())
            .plugins(request)
            .await
            .map_err(said)
    });
    let listed = asked.await?.into_inner().plugins;
    if listed.len() > MAX_PLUGINS {
        return Err(format!("it lists more than {MAX_PLUGINS} plugins"));
    }
    let plugins = listed.into_iter().map(|mut plugin| PluginFacts {
        address: plugin.exports.remove("address"),
        error: plugin
            .init_err
            .map(|error| error.message)
            .filter(|message| !message.contains("skip plugin")),
        kind: plugin.r#type,
        id: plugin.id,
    });
    let config = configuration(process, &engine.containerd).await;
    let (config, refused) = apart(config);
    let mut facts = ContainerdFacts {
        engine: engine.clone(),
        version,
        plugins: plugins.collect(),
        runs: true,
        config,
        refused,
        verifier: None,
    };
    if version >= VERIFIER {
        facts.verifier = facts.config.as_ref().ok().and_then(folder);
    }
    Ok(facts)
}

/// A configuration, or why none is known; and apart from that why containerd would not start with
/// it.
pub(super) fn apart(
    config: Result<EngineConfig, ProgramFailure>,
) -> (Result<EngineConfig, String>, Option<String>) {
    let refused = match &config {
        Ok(config) => config.refused.clone(),
        Err(ProgramFailure::Refused(why)) => Some(why.clone()),
        Err(ProgramFailure::Unknown(_)) => None,
    };
    (config.map_err(String::from), refused)
}

async fn configuration(process: &Process, socket: &Path) -> Result<EngineConfig, ProgramFailure> {
    if process.name != "containerd" {
        let Process { pid, name, .. } = process;
        let why = format!(
            "process {pid}, which listens there, is {}, and not containerd: its configuration is not known",
            plain(name)
        );
        return Err(ProgramFailure::Unknown(why));
    }
    let main = main_of(process);
    // It may see other files than we do: in a container, or in a mount namespace of its own.
    let seen = PathBuf::from(format!("/proc/{}/root{}", process.pid, main.display()));
    let place = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    if place(&main) != place(&seen) {
        return Err(ProgramFailure::Unknown(format!(
            "{} is another file for containerd than for this program",
            main.display()
        )));
    }
    let mut config = read(Program::of(process)?, &main).await?;
    let clock = process.started().map(|started| Clock {
        started: started + SLACK,
        socket: changed_at(socket),
        now: SystemTime::now(),
    });
    config.changed = clock.and_then(|clock| changed_since(&config.files, &clock));
    Ok(config)
}

/// The main file of a containerd that runs.
fn main_of(process: &Process) -> PathBuf {
    process
        .option(&["config", "c"])
        .map_or_else(|| DEFAULT_CONFIG.into(), |given| process.path(&given))
}

/// What a containerd makes of that main file, and the files. Without a main file it reads none.
pub(super) async fn read(program: Program, main: &Path) -> Result<EngineConfig, ProgramFailure> {
    let files = if main.exists() {
        ConfigFiles::read(main, &BTreeMap::new())
    } else {
        Ok(ConfigFiles::default())
    };
    let dumped = match &files {
        Ok(files) if program.is_confined() => program.dump_copy(files, |_| true).await,
        _ => program.dump(main).await,
    };
    let (files, effective, refused) = match (files, dumped) {
        (Ok(files), Ok(effective)) => (files, effective, None),
        (Err(why), Ok(_)) => return Err(ProgramFailure::Unknown(why)),
        // A drop-in of ours may be at fault, by an engine that was changed under it: then the rest
        // is in force once that is mended.
        (Ok(files), Err(ProgramFailure::Refused(why)))
            if files.files.iter().any(|file| is_ours(&file.path)) =>
        {
            let folder = program::private_folder()?;
            let without = files.copy(folder.path(), |path| !is_ours(path))?;
            let effective = program
                .dump(&without)
                .await
                .map_err(|_| ProgramFailure::Refused(why.clone()))?;
            (files, effective, Some(why))
        }
        (_, Err(failure)) => return Err(failure),
    };
    let stray = stray(main, &files);
    Ok(EngineConfig {
        effective,
        refused,
        files,
        changed: None,
        main: main.to_owned(),
        stray,
        program,
    })
}

/// The times by which one tells whether a file changed after an engine had started.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// By the present clock.
    started: SystemTime,
    /// By the clock of then: when the engine made its socket.
    socket: Option<SystemTime>,
    now: SystemTime,
}

/// A file, or a folder of drop-ins, that changed since. The change of an entry counts, as that of
/// bytes does: a drop-in that was moved there keeps its old time.
fn changed_since(files: &ConfigFiles, clock: &Clock) -> Option<PathBuf> {
    let folders = files.patterns.iter().filter_map(Pattern::one_folder);
    let all = files
        .files
        .iter()
        .map(|file| file.path.as_path())
        .chain(folders);
    let changed = |path: &&Path| changed_at(path).is_some_and(|time| clock.is_after(time));
    all.into_iter().find(changed).map(Path::to_owned)
}

impl Clock {
    /// Where both times lie in the future, the clock was set back since, and only they can be
    /// compared with each other.
    fn is_after(&self, changed: SystemTime) -> bool {
        let then = self
            .socket
            .filter(|socket| *socket > self.now && changed > self.now);
        changed > then.unwrap_or(self.started)
    }
}

/// When the file, or what is known of it, changed last.
fn changed_at(path: &Path) -> Option<SystemTime> {
    let found = fs::metadata(path).ok()?;
    let (seconds, nanos) = (
        u64::try_from(found.ctime()).ok()?,
        u32::try_from(found.ctime_nsec()).ok()?,
    );
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Drop-ins of rootpin in the usual folder, where that is not imported.
fn stray(main: &Path, files: &ConfigFiles) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new("/")).join("conf.d");
    let entries = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .take(MAX_ENTRIES);
    let ours = entries
        .map(|entry| entry.path())
        .filter(|path| is_ours(path));
    ours.filter(|path| !files.files.iter().any(|file| file.path == *path))
        .collect()
}

/// The verifier's folder, and who can change it.
pub(super) fn folder(config: &EngineConfig) -> Option<ProgramFolder> {
    let path: PathBuf = at(
        &config.effective,
        &[
            "plugins",
            "io.containerd.image-verifier.v1.bindir",
            "bin_dir",
        ],
    )?
    .as_str()?
    .into();
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(ProgramFolder {
                path,
                ..ProgramFolder::default()
            });
        }
        found => found
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .take(MAX_ENTRIES),
    };
    let mut entries: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    entries.sort();
    let all = std::iter::once(path.clone()).chain(entries.iter().map(|entry| path.join(entry)));
    let writable = all.into_iter().find_map(|path| {
        check_way(&path, Owner::Root).err().map(|fault| Writable {
            why: fault.message,
            hint: fault.hint,
            own: at_fault(&path),
        })
    });
    Some(ProgramFolder {
        hindrance: hindrance_in(&path, &entries),
        path,
        entries: Some(entries),
        writable,
    })
}

/// Why one of the programs can't be run: rootpin's first.
fn hindrance_in(folder: &Path, entries: &[String]) -> Option<Hindrance> {
    let is_present = entries.iter().any(|name| name == PROGRAM);
    let own = is_present.then(|| hindrance(&folder.join(PROGRAM)));
    let mut others = entries
        .iter()
        .filter(|name| *name != PROGRAM && !is_leftover(name));
    own.flatten().or_else(|| {
        others.find_map(|name| {
            let path = folder.join(name);
            let found = hindrance(&path)?;
            let away = format!(
                "mkdir -p '{0}.others' && mv '{1}' '{0}.others/'",
                folder.display(),
                path.display()
            );
            Some(Hindrance {
                hint: found.hint.or(Some(away)),
                ..found
            })
        })
    })
}

/// The path itself, where it is its own mode or owner that is wrong, and not something above it.
fn at_fault(path: &Path) -> Option<PathBuf> {
    let found = fs::symlink_metadata(path).ok()?;
    let wrong = !found.is_symlink() && (found.uid() != 0 || found.mode() & 0o022 != 0);
    let above = path
        .parent()
        .is_some_and(|folder| check_way(folder, Owner::Root).is_ok());
    (wrong && above).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_beside_the_verifier_that_can_not_be_run_is_named_and_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let found = || {
            let names = [".rootpin-Ab3dE9", "other", PROGRAM].map(str::to_owned);
            hindrance_in(folder.path(), &names)
        };
        put(PROGRAM, 0o755);
        put("other", 0o755);
        put(".rootpin-Ab3dE9", 0o600);
        assert_eq!(found(), None);
        put("other", 0o644);
        let other = found().unwrap();
        assert!(other.why.contains("/other has mode 0644"), "{other:?}");
        assert!(other.hint.unwrap().contains("other' '"));
        put(PROGRAM, 0o644);
        let own = found().unwrap();
        assert!(own.why.contains("/rootpin-verifier has mode 0644") && own.hint.is_none());
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_change_of_what_was_written_before_the_start() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // It started at 1000 by its socket; the clock was set back by 500 at 1100, and it is 610
        // now.
        let back = Clock {
            started: at(500),
            socket: Some(at(1000)),
            now: at(610),
        };
        assert!(!back.is_after(at(990)), "written before the start");
        assert!(
            back.is_after(at(1050)),
            "written after the start, before the clock was set"
        );
        assert!(back.is_after(at(605)), "written after the clock was set");
        assert!(!back.is_after(at(400)));
        let steady = Clock {
            started: at(1000),
            socket: Some(at(1000)),
            now: at(1100),
        };
        assert!(steady.is_after(at(1001)) && !steady.is_after(at(999)));
        // At boot the clock stood at 1970, and was then set right.
        let boot = Clock {
            started: at(9000),
            socket: Some(at(10)),
            now: at(9100),
        };
        assert!(!boot.is_after(at(8000)) && boot.is_after(at(9050)));
    }
}

//! An engine's own program, run once for an answer: what it makes of a configuration, or which
//! version it is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::facts::Process;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A configuration with every default is a hundredth of it.
const MAX_OUTPUT: u64 = 4 << 20;
/// The last of what it complains of.
const MAX_COMPLAINT: u64 = 64 << 10;
/// Longer than an environment that systemd makes.
const MAX_ENVIRONMENT: usize = 1 << 20;
/// What would make a program believe that it is a service and has to say so.
const SERVICE: [&str; 5] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
];

/// A program, and how it is called: k3s and others are several programs in one file, and know by
/// their name which one they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    file: PathBuf,
    name: Option<OsString>,
    /// None: this program's own.
    environment: Option<Vec<(OsString, OsString)>>,
}

/// Why nothing can be told of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The engine would not start with it.
    Refused(String),
    /// It can't be asked.
    Unknown(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unknown(why)
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(why) | Failure::Unknown(why) => why,
        }
    }
}

impl Program {
    /// A program in a file or on the search path.
    #[must_use]
    pub fn file(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            name: None,
            environment: None,
        }
    }

    /// The program of a process, with that process' name and environment.
    ///
    /// # Errors
    /// It runs as another user than root or the one who asks. The program is run as whoever runs
    /// this one.
    pub(super) fn of(process: &Process) -> Result<Self, String> {
        let own = rustix::process::geteuid().as_raw();
        if process.uid != 0 && process.uid != own {
            return Err(format!(
                "process {} belongs to user {}: its program is not run",
                process.pid, process.uid
            ));
        }
        let folder = PathBuf::from(format!("/proc/{}", process.pid));
        let environment = fs::read(folder.join("environ"))
            .ok()
            .filter(|bytes| bytes.len() <= MAX_ENVIRONMENT);
        Ok(Self {
            file: folder.join("exe"),
            name: process.words.first().map(OsString::from),
            environment: environment.map(|bytes| variables(&bytes)),
        })
    }

    /// The configuration in force by that main file, as `containerd --config FILE config dump`
    /// prints it.
    ///
    /// # Errors
    /// The program can't be run, or refuses the configuration; then with the last line of what it
    /// says.
    pub(super) async fn dump(&self, config: &Path) -> Result<toml::Table, Failure> {
        // 1.7 dumps nothing where there is no main file.
        let verb = if config.exists() { "dump" } else { "default" };
        let arguments = [
            OsString::from("--config"),
            config.into(),
            "config".into(),
            verb.into(),
        ];
        let text = self.run(&arguments).await?;
        let text = text.map_err(|why| {
            Failure::Refused(format!(
                "containerd refuses its configuration, and would not start with it: {why}"
            ))
        })?;
        text.parse()
            .map_err(|error| Failure::Unknown(format!("containerd config dump: {error}")))
    }

    /// What it prints for `--version`.
    ///
    /// # Errors
    /// The program can't be run, or fails.
    pub(super) async fn version(&self) -> Result<String, String> {
        self.run(&["--version".into()]).await?
    }

    /// Its output, or within that its complaint. No shell.
    pub(super) async fn run(
        &self,
        arguments: &[OsString],
    ) -> Result<Result<String, String>, String> {
        let shown = self.name.as_ref().map_or_else(
            || self.file.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let failed = |error: io::Error| format!("{shown}: {error}");
        let mut command = Command::new(&self.file);
        if let Some(name) = &self.name {
            command.arg0(name);
        }
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        for name in SERVICE {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let run = async {
            let mut child = command.spawn().map_err(failed)?;
            let (mut text, mut complaint) = (String::new(), Vec::new());
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let read = async {
                if let Some(out) = out {
                    out.take(MAX_OUTPUT).read_to_string(&mut text).await?;
                }
                io::Result::Ok(())
            };
            let complain = async {
                if let Some(err) = err {
                    err.take(MAX_COMPLAINT).read_to_end(&mut complaint).await?;
                }
                io::Result::Ok(())
            };
            let (read, complained) = tokio::join!(read, complain);
            read.and(complained).map_err(failed)?;
            let status = child.wait().await.map_err(failed)?;
            let complaint = String::from_utf8_lossy(&complaint);
            let last = complaint
                .lines()
                .rev()
                .find(|line| !line.is_empty())
                .unwrap_or("it says nothing");
            Ok(if status.success() {
                Ok(text)
            } else {
                Err(last.to_owned())
            })
        };
        tokio::time::timeout(PATIENCE, run)
            .await
            .unwrap_or_else(|_| Err(format!("{shown}: no answer within {PATIENCE:?}")))
    }
}

fn variables(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair
            .iter()
            .position(|byte| *byte == b'=')
            .filter(|at| *at > 0)?;
        let (name, value) = pair.split_at_checked(at)?;
        Some((
            OsString::from_vec(name.to_vec()),
            OsString::from_vec(value.get(1..)?.to_vec()),
        ))
    });
    pairs.collect()
}

/// Whether the file is a program that this user can run.
pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(text: &str) -> (tempfile::TempDir, Program) {
        let folder = tempfile::tempdir().unwrap();
        let (draft, file) = (
            folder.path().join("draft"),
            folder.path().join("containerd"),
        );
        fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        // Copied by another process: what this one has open for writing, a test beside may hand to
        // a child, and then it can't be run.
        assert!(
            std::process::Command::new("cp")
                .args([&draft, &file])
                .status()
                .unwrap()
                .success()
        );
        (folder, Program::file(&file))
    }

    #[tokio::test]
    async fn a_program_that_refuses_is_quoted_and_one_that_prints_no_toml_is_named() {
        let (_folder, refuses) = script("echo first >&2; echo 'the reason' >&2; exit 1");
        let why = refuses.dump(Path::new("/")).await.unwrap_err();
        assert_eq!(
            why,
            Failure::Refused(
                "containerd refuses its configuration, and would not start with it: the reason"
                    .to_owned()
            )
        );
        let (_folder, prints) = script("echo 'a ='");
        assert!(
            String::from(prints.dump(Path::new("/x")).await.unwrap_err())
                .starts_with("containerd config dump: ")
        );
        let (_folder, echoes) = script("echo \"words = '$*'\"");
        assert_eq!(
            echoes.dump(Path::new("/")).await.unwrap()["words"].as_str(),
            Some("--config / config dump")
        );
        assert_eq!(
            echoes.dump(Path::new("/none")).await.unwrap()["words"].as_str(),
            Some("--config /none config default")
        );
    }

    #[tokio::test]
    async fn a_program_that_is_several_is_called_by_the_name_and_with_the_environment_of_its_process()
     {
        let mut child = std::process::Command::new("/bin/sh");
        std::os::unix::process::CommandExt::arg0(&mut child, "containerd");
        let mut child = child
            .args(["-c", "read x"])
            .env("MARK", "its own")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let words = ["containerd", "-c", "read x"].map(str::to_owned).to_vec();
        let uid = rustix::process::geteuid().as_raw();
        let process = Process {
            pid: child.id(),
            name: "containerd".to_owned(),
            uid,
            words,
            contained: false,
        };
        // The kernel shows another program's environment until it has begun.
        let said = loop {
            let said = Program::of(&process)
                .unwrap()
                .run(&["-c".into(), "echo $0 $MARK $NOTIFY_SOCKET".into()])
                .await
                .unwrap();
            if said.as_ref().is_ok_and(|said| said.contains("its own")) {
                break said;
            }
        };
        assert_eq!(said.as_deref(), Ok("containerd its own\n"));
        drop(child.stdin.take());
        child.wait().unwrap();
        let others = Process {
            uid: uid.wrapping_add(7),
            ..process
        };
        assert!(
            Program::of(&others)
                .unwrap_err()
                .contains("its program is not run")
        );
    }

    #[test]
    fn an_environment_is_read_as_the_kernel_keeps_it() {
        let read = variables(b"A=1\0B=x=y\0=odd\0plain\0C=\0");
        assert_eq!(
            read,
            [("A", "1"), ("B", "x=y"), ("C", "")].map(|(name, value)| (name.into(), value.into()))
        );
    }
}

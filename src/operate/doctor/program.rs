//! An engine's own program, run once for an answer: what it makes of a configuration, or which
//! version it is.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::config_files::ConfigFiles;
use super::probe;
use super::process::Process;
use crate::problem::Problem;
use crate::trusted_path::{Owner, check_way};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A configuration with every default is a hundredth of it.
const MAX_OUTPUT: u64 = 4 << 20;
/// The last of what it complains of.
const MAX_COMPLAINT: u64 = 64 << 10;
/// Longer than an environment that systemd makes.
const MAX_ENVIRONMENT: usize = 1 << 20;
/// Group and others may not write.
const WRITABLE: u32 = 0o022;
/// The user of what may do nothing.
const NOBODY: u32 = 65_534;
/// What to do where the program may not be run.
const DENIED: &str = "run this as root, or name a program that this user may run";
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
#[derive(Debug, Clone)]
pub struct Program {
    file: Executable,
    name: Option<OsString>,
    /// None: this program's own.
    environment: Option<Vec<(OsString, OsString)>>,
    /// It is of an image, and is run as a user that may do nothing.
    confined: bool,
}

#[derive(Debug, Clone)]
enum Executable {
    At(PathBuf),
    /// A process's: kept open, since its number may be another process's by the time it is run.
    Open(Arc<File>),
}

/// Why nothing can be told of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProgramFailure {
    /// The engine would not start with it.
    Refused(String),
    /// It can't be asked.
    Unknown(String),
}

impl From<String> for ProgramFailure {
    fn from(why: String) -> Self {
        Self::Unknown(why)
    }
}

impl From<ProgramFailure> for String {
    fn from(failure: ProgramFailure) -> Self {
        match failure {
            ProgramFailure::Refused(why) | ProgramFailure::Unknown(why) => why,
        }
    }
}

impl Program {
    /// A program in a file or on the search path. In a file, it is run only if nobody else than root
    /// and the one who asks can change it.
    #[must_use]
    pub fn file(file: &Path) -> Self {
        Self {
            file: Executable::At(file.to_owned()),
            name: None,
            environment: None,
            confined: false,
        }
    }

    /// A program of an image that is this program's root directory: run as nobody, without the
    /// environment, and without a way to more rights.
    #[must_use]
    pub fn of_image(file: &Path) -> Self {
        Self {
            environment: Some(Vec::new()),
            confined: true,
            ..Self::file(file)
        }
    }

    /// The same of files that are not there, or not alone: by a copy of those that are wanted.
    ///
    /// # Errors
    /// As of [`dump`](Self::dump); or they can't be copied.
    pub(super) async fn dump_copy(
        &self,
        files: &ConfigFiles,
        wanted: impl Fn(&Path) -> bool,
    ) -> Result<toml::Table, ProgramFailure> {
        let folder = private_folder()?;
        let main = files.copy(folder.path(), wanted)?;
        self.show(folder.path())
            .map_err(|error| format!("a copy for the image's containerd: {error}"))?;
        self.dump(&main).await
    }

    /// Lets the program read a folder of copies.
    fn show(&self, folder: &Path) -> io::Result<()> {
        if !self.confined {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
        }
        chown(folder, Some(NOBODY), Some(NOBODY))
    }

    /// Whether it reads copies only: what it may not read it would call wrong.
    pub(super) fn is_confined(&self) -> bool {
        self.confined
    }

    /// The program of a process, with that process' name and environment.
    ///
    /// # Errors
    /// It runs as another user than root or the one who asks, or others can change its program. The
    /// program is run as whoever runs this one.
    pub(super) fn of(process: &Process) -> Result<Self, String> {
        let pid = process.pid;
        let not_run = |why: &dyn Display| format!("process {pid} {why}: its program is not run");
        if !process.is_ours() {
            return Err(not_run(&format_args!("belongs to user {}", process.uid)));
        }
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let exe = folder.join("exe");
        let open = rustix::fs::open(&exe, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let open = File::from(open.map_err(|error| not_run(&error))?);
        let about = open.metadata().map_err(|error| not_run(&error))?;
        let ours = [0, rustix::process::geteuid().as_raw()].contains(&about.uid());
        if !ours || about.mode() & (probe::SET_ID | WRITABLE) != 0 {
            return Err(not_run(
                &"is of a file that others can change or that has a set-user-ID bit",
            ));
        }
        let environment = fs::read(folder.join("environ"))
            .ok()
            .filter(|bytes| bytes.len() <= MAX_ENVIRONMENT);
        // All of it is of this one process, and it still runs that program.
        let same = fs::metadata(&exe)
            .is_ok_and(|now| (now.dev(), now.ino()) == (about.dev(), about.ino()));
        if !same || probe::process(pid).as_ref() != Some(process) {
            return Err(not_run(&"changed meanwhile"));
        }
        Ok(Self {
            file: Executable::Open(Arc::new(open)),
            name: process.words.first().map(OsString::from),
            environment: environment.map(|bytes| variables(&bytes)),
            confined: false,
        })
    }

    /// The configuration in force by that main file, as `containerd --config FILE config dump`
    /// prints it.
    ///
    /// # Errors
    /// The program can't be run, or refuses the configuration; then with the last line of what it
    /// says.
    pub(super) async fn dump(&self, config: &Path) -> Result<toml::Table, ProgramFailure> {
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
            ProgramFailure::Refused(format!(
                "containerd refuses its configuration, and would not start with it: {why}"
            ))
        })?;
        text.parse()
            .map_err(|error| ProgramFailure::Unknown(format!("containerd config dump: {error}")))
    }

    /// What it prints for `--version`.
    ///
    /// # Errors
    /// The program can't be run, or fails. Of a program that this user may not run, with a hint.
    pub(super) async fn version(&self) -> Result<String, Problem> {
        let answer = self.answer(&["--version".into()]).await?;
        answer.map_err(Problem::new)
    }

    /// Its output, or within that its complaint. No shell.
    pub(super) async fn run(
        &self,
        arguments: &[OsString],
    ) -> Result<Result<String, String>, String> {
        let answer = self.answer(arguments).await;
        answer.map_err(|problem| problem.what)
    }

    async fn answer(&self, arguments: &[OsString]) -> Result<Result<String, String>, Problem> {
        let file = match &self.file {
            Executable::At(file) => file.clone(),
            Executable::Open(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
        };
        let shown = self.name.as_ref().map_or_else(
            || file.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        if let Executable::At(file) = &self.file
            && !self.confined
            && file.components().count() > 1
        {
            check_way(file, Owner::RootOrCaller)
                .map_err(|fault| Problem::new(format!("{shown} is not run: {}", fault.message)))?;
        }
        let failed = |error: io::Error| {
            let what = format!("{shown}: {error}");
            if error.kind() == io::ErrorKind::PermissionDenied {
                Problem::hinted(what, DENIED)
            } else {
                Problem::new(what)
            }
        };
        let mut command = Command::new(&file);
        if let Some(name) = &self.name {
            command.arg0(name);
        }
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        if self.confined {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        for name in SERVICE {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .stdin(if self.confined {
                // An image has no /dev/null.
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let run = async {
            let mut child = command.spawn().map_err(failed)?;
            drop(child.stdin.take());
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
            .unwrap_or_else(|_| {
                let what = format!("{shown}: no answer within {PATIENCE:?}");
                Err(Problem::new(what))
            })
    }
}

/// A folder for copies of configurations: they may have secrets in them, and nobody else may read
/// it.
pub(super) fn private_folder() -> Result<TempDir, String> {
    tempfile::Builder::new()
        .prefix("rootpin-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| format!("a folder for a copy: {error}"))
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

/// Whether a program of rootpin's is not there yet, or is there as another release's. A script is
/// somebody's own way to call it, and a link to a program of that name is a package's, which brings
/// it: both stay.
///
/// # Errors
/// It is another link. A copy would take the place of the program that it leads to.
pub(super) fn is_to_be_copied(own: &Path, to: &Path) -> Result<bool, Problem> {
    if let Ok(about) = fs::symlink_metadata(to).map(|about| (about.is_symlink(), about.uid()))
        && about.0
    {
        let end = fs::canonicalize(to).ok();
        let ours = [0, rustix::process::geteuid().as_raw()].contains(&about.1);
        let by_name = |end: &PathBuf| end.file_name() == own.file_name();
        if ours && is_program(to) && (end.as_ref().is_some_and(by_name) || is_same(own, to)) {
            return Ok(false);
        }
        let to = to.display();
        let end = end.map_or_else(|| "nothing".to_owned(), |end| end.display().to_string());
        return Err(Problem::hinted(
            format!(
                "{to} is a link of user {} to {end}, which is not {}",
                about.1,
                own.display()
            ),
            format!("look who made it; then: rm '{to}', and run this again"),
        ));
    }
    if !is_program(to) {
        return Ok(true);
    }
    let (Ok(own), Ok(present)) = (fs::read(own), fs::read(to)) else {
        return Ok(false);
    };
    Ok(own != present && !present.starts_with(b"#!"))
}

/// Whether both have the same bytes.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whether the file is a program that this user can run.
pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
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
            ProgramFailure::Refused(
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
        // The kernel shows another program, or parts of two, until it has begun.
        let (process, program) = (0..1_000_000)
            .filter_map(|_| probe::process(child.id()))
            .filter(|process| process.words == ["containerd", "-c", "read x"])
            .find_map(|process| Some((process.clone(), Program::of(&process).ok()?)))
            .unwrap();
        let others = Process {
            uid: process.uid.wrapping_add(7),
            ..process.clone()
        };
        assert!(
            Program::of(&others)
                .unwrap_err()
                .ends_with("belongs to user 7: its program is not run")
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Program::of(&process).is_err());
        // The process has ended, and its number may be another's: what was looked at is run.
        let said = program
            .run(&["-c".into(), "echo $0 $MARK $NOTIFY_SOCKET".into()])
            .await
            .unwrap();
        assert_eq!(said.as_deref(), Ok("containerd its own\n"));
    }

    #[test]
    fn a_program_that_others_can_change_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("containerd");
        let copied = std::process::Command::new("cp")
            .args(["/bin/sleep".as_ref(), file.as_path()])
            .status();
        assert!(copied.unwrap().success());
        for mode in [0o775, 0o757] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let mut child = std::process::Command::new(&file).arg("60").spawn().unwrap();
            let refused = (0..1_000_000)
                .filter_map(|_| probe::process(child.id()))
                .filter_map(|process| Program::of(&process).err())
                .any(|why| why.contains("others can change"));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(refused, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn only_a_program_that_may_not_be_run_is_to_be_run_as_root() {
        let (folder, program) = script("true");
        let file = folder.path().join("containerd");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let denied = program.version().await.unwrap_err();
        assert_eq!(denied.hint.as_deref(), Some(DENIED), "{denied}");
        let (_folder, fails) = script("echo 'the reason' >&2; exit 1");
        let failed = fails.version().await.unwrap_err();
        assert_eq!(failed, Problem::new("the reason"));
    }

    #[tokio::test]
    async fn a_program_that_others_can_change_or_put_there_is_not_run_by_its_path_either() {
        let (folder, program) = script("touch \"$0.ran\"");
        let ran = folder.path().join("containerd.ran");
        let file = folder.path().join("containerd");
        let modes = |path: &Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (path, mode, then) in [(&*file, 0o757, 0o755), (folder.path(), 0o777, 0o700)] {
            modes(path, mode);
            let why = program.version().await.unwrap_err().to_string();
            assert!(
                why.contains("is not run: ") && why.contains("written by"),
                "{why}"
            );
            modes(path, then);
        }
        // By a link that is another's: where it leads to is that user's choice.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        if std::os::unix::fs::lchown(&link, Some(NOBODY), None).is_ok() {
            let why = Program::file(&link)
                .version()
                .await
                .unwrap_err()
                .to_string();
            assert!(why.contains("belongs to the user 65534"), "{why}");
        }
        assert!(!ran.exists());
        assert!(program.version().await.is_ok() && ran.exists());
    }

    #[test]
    fn an_environment_is_read_as_the_kernel_keeps_it() {
        let read = variables(b"A=1\0B=x=y\0=odd\0plain\0C=\0");
        assert_eq!(
            read,
            [("A", "1"), ("B", "x=y"), ("C", "")].map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn a_copy_of_another_release_is_copied_anew_and_the_same_one_or_a_script_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            file
        };
        let (own, other) = (program("own", "new"), program("other", "old"));
        let script = program("script", "#!/bin/sh\n");
        let is_to_be = |own: &Path, to: &Path| is_to_be_copied(own, to).unwrap();
        assert!(is_to_be(&own, Path::new("/nonexistent")));
        assert!(is_to_be(&own, &other));
        assert!(!is_to_be(&own, &own));
        assert!(!is_to_be(&own, &script));
        // There is nothing to copy from.
        assert!(!is_to_be(Path::new("/nonexistent"), &other));
    }

    #[test]
    fn a_link_stays_that_leads_to_a_program_of_that_name_and_another_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            file
        };
        let own = program("own/rootpin-verifier", "new");
        let link = folder.path().join("link");
        let lead = |to: &Path| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(to, &link).unwrap();
            is_to_be_copied(&own, &link)
        };
        for known in [
            program("package/rootpin-verifier", "old"),
            program("copy", "new"),
            own.clone(),
        ] {
            assert_eq!(lead(&known), Ok(false), "{}", known.display());
        }
        for (other, named) in [
            (program("true", "old"), "true"),
            (program("script", "#!/bin/sh\n"), "script"),
            ("/nonexistent/rootpin-verifier".into(), "nothing"),
        ] {
            let why = lead(&other).unwrap_err().to_string();
            assert!(
                why.contains(named) && why.contains("hint: look who made it"),
                "{why}"
            );
        }
        // Somebody else's, who may have it lead elsewhere.
        if lead(&own).is_ok() && std::os::unix::fs::lchown(&link, Some(NOBODY), None).is_ok() {
            let why = is_to_be_copied(&own, &link).unwrap_err().to_string();
            assert!(why.contains("of user 65534"), "{why}");
        }
    }

    #[test]
    fn copies_of_configurations_lie_where_nobody_else_reads() {
        let folder = private_folder().unwrap();
        let mode = folder.path().metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
}

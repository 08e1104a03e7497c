//! Processes that are engines: by their sockets, and by their names in /proc.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::net::UnixStream;

use super::super::process::{Process, options};

/// Programs that bring images in. A podman without its service is over as soon as its command is.
const ENGINES: [&str; 5] = ["buildkitd", "containerd", "crio", "dockerd", "podman"];
/// Longer than any command line that is worth showing.
const MAX_WORDS: u64 = 16 << 10;
/// The kernel counts a process's start in these (`USER_HZ`, the same on every architecture).
const TICKS: f64 = 100.0;
/// The bits by which a program has another user or group than whoever starts it.
pub(in super::super) const SET_ID: u32 = 0o6000;

/// Who listens on a socket, as the kernel knows it. Under socket activation that is systemd.
pub(in super::super) async fn listener(socket: &Path) -> Result<Process, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", socket.display());
    let stream = super::in_time("connect", async {
        UnixStream::connect(socket)
            .await
            .map_err(|error| failed(&error))
    })
    .await?;
    let credentials = stream.peer_cred().map_err(|error| failed(&error))?;
    let pid = credentials
        .pid()
        .and_then(|pid| u32::try_from(pid).ok())
        .ok_or_else(|| failed(&"the kernel doesn't say who listens"))?;
    process(pid).ok_or_else(|| failed(&format!("process {pid}, which listens there, is gone")))
}

/// Every engine that runs on this host, in containers too. What one of them starts to do its work
/// for it is no other engine.
pub(in super::super) fn engines() -> Vec<Process> {
    let entries = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let is_engine = |process: &&Process| {
        let service = process
            .words
            .windows(2)
            .any(|words| words == ["system", "service"]);
        // A process that has ended and is not yet taken note of has no words.
        let lives = !process.words.is_empty();
        // A command such as `containerd config dump` doesn't listen.
        let command = process.name == "containerd"
            && process
                .words
                .iter()
                .skip(1)
                .any(|word| word == "config" || word == "--version");
        if process.name == "podman" {
            service
        } else {
            ENGINES.contains(&process.name.as_str()) && lives && !command
        }
    };
    numbers
        .into_iter()
        .filter_map(process)
        .filter(|process| is_engine(&process))
        .collect()
}

/// The names of all processes of root's on this host itself.
pub(crate) fn process_names() -> Vec<String> {
    let entries = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(process)
        .filter(|process| process.is_ours() && !process.contained)
        .map(|process| process.name)
        .collect()
}

/// The dockerd whose socket that is. systemd may listen in its place: then the only one that root
/// runs on this host.
pub(in super::super) async fn dockerd_at(socket: &Path) -> Option<Process> {
    let process = listener(socket).await.ok()?;
    if process.name == "dockerd" {
        return Some(process);
    }
    only_dockerd()
}

/// The only dockerd that root runs on this host itself.
pub(in super::super) fn only_dockerd() -> Option<Process> {
    let mut all = engines()
        .into_iter()
        .filter(|process| process.name == "dockerd" && !process.contained && process.is_ours());
    all.next().filter(|_| all.next().is_none())
}

/// What /proc says of a process; none if it is gone, or its program has a set-user-ID or
/// set-group-ID bit: no engine's has, and whoever starts such a program chooses its name, its
/// arguments and its environment.
pub(in super::super) fn process(pid: u32) -> Option<Process> {
    // A handle of the process: what is read through it is never of a later one of that number.
    let handle = File::open(format!("/proc/{pid}")).ok()?;
    let folder = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
    let name = fs::read(folder.join("comm")).ok()?;
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    if fs::metadata(folder.join("exe")).is_ok_and(|program| program.mode() & SET_ID != 0) {
        return None;
    }
    let uid = user(&fs::read_to_string(folder.join("status")).ok()?)?;
    let mut bytes = Vec::new();
    File::open(folder.join("cmdline"))
        .ok()?
        .take(MAX_WORDS)
        .read_to_end(&mut bytes)
        .ok()?;
    let words = words(&bytes);
    let place = |path: PathBuf| {
        fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    let contained = place(folder.join("root")).is_some_and(|root| Some(root) != place("/".into()));
    Some(Process {
        pid,
        name,
        uid,
        words,
        contained,
    })
}

/// The words of a command line as /proc has it. One may be empty, and counts.
fn words(bytes: &[u8]) -> Vec<String> {
    let whole = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if whole.iter().all(|byte| *byte == 0) {
        return Vec::new();
    }
    let words = whole.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The user of a process by its `status`; of several, as a set-user-ID program has, one that is not
/// root (proc(5), `status`: real, effective, saved, file-system).
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let all: Vec<u32> = line
        .split_ascii_whitespace()
        .map(|uid| uid.parse().ok())
        .collect::<Option<_>>()?;
    all.iter()
        .find(|uid| **uid != 0)
        .or_else(|| all.first())
        .copied()
}

impl Process {
    /// Whether it is root's, or of the user who asks. What a stranger runs is never believed.
    pub(in super::super) fn is_ours(&self) -> bool {
        [0, rustix::process::geteuid().as_raw()].contains(&self.uid)
    }

    /// The value of an option on its command line, in the ways in which Go's programs take it.
    pub(in super::super) fn option(&self, names: &[&str]) -> Option<String> {
        self.options(names).pop()
    }

    /// Every value of an option that may be given more than once.
    pub(in super::super) fn options(&self, names: &[&str]) -> Vec<String> {
        options(&self.words, names)
    }

    /// A path from its command line, from where the process stands.
    pub(in super::super) fn path(&self, given: &str) -> PathBuf {
        let here = fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap_or_else(|_| "/".into());
        here.join(given)
    }

    /// When it started. Exact to some hundredths of a second.
    pub(in super::super) fn started(&self) -> Option<SystemTime> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name, in brackets, may hold anything (proc_pid_stat(5): starttime is the 22nd field).
        let (_, after) = stat.rsplit_once(')')?;
        let ticks: f64 = after.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let up: f64 = fs::read_to_string("/proc/uptime")
            .ok()?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()?;
        SystemTime::now().checked_sub(Duration::try_from_secs_f64(up - ticks / TICKS).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn an_empty_word_of_a_command_line_stays_one() {
        for (bytes, wanted) in [
            (
                &b"containerd\0\0--config\0/a\0"[..],
                &["containerd", "", "--config", "/a"][..],
            ),
            (b"containerd\0-c\0\0", &["containerd", "-c", ""]),
            (b"containerd", &["containerd"]),
            (b"", &[]),
            (b"\0\0", &[]),
        ] {
            assert_eq!(words(bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn options_are_found_however_they_are_written() {
        let process = |words: &[&str]| Process {
            pid: 1,
            name: "containerd".to_owned(),
            uid: 0,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            contained: false,
        };
        for words in [
            &["x", "--config", "/a"][..],
            &["x", "-c", "/a"],
            &["x", "--config=/a"],
            &["x", "-l", "debug", "-c=/a"],
            // The last counts, as with all programs of Go.
            &["x", "--config=/b", "-c", "/a"],
        ] {
            assert_eq!(
                process(words).option(&["config", "c"]).as_deref(),
                Some("/a"),
                "{words:?}"
            );
        }
        assert_eq!(process(&["config", "c"]).option(&["config", "c"]), None);
    }

    #[test]
    fn a_process_has_started_before_now_and_not_long_ago() {
        let own = process(std::process::id()).unwrap();
        let age = SystemTime::now()
            .duration_since(own.started().unwrap())
            .unwrap_or_default();
        assert!(age < Duration::from_secs(600), "{age:?}");
        assert!(!own.contained);
    }

    /// Waits for a child's program: until it has begun, the kernel shows none of its words.
    fn has_begun(pid: u32, program: &Path) -> bool {
        let words = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (0..1_000_000).any(|_| words().starts_with(program.as_os_str().as_bytes()))
    }

    #[test]
    fn whoever_starts_a_set_user_id_program_by_an_engines_name_has_made_no_engine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dockerd");
        let copied = std::process::Command::new("cp")
            .args(["/bin/sleep".as_ref(), file.as_path()])
            .status();
        assert!(copied.unwrap().success());
        for (mode, found) in [(0o755, true), (0o4755, false), (0o2755, false)] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let mut child = std::process::Command::new(&file).arg("60").spawn().unwrap();
            let pid = child.id();
            assert!(has_begun(pid, &file), "{mode:o}");
            let listed = engines().iter().any(|process| process.pid == pid);
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(listed, found, "{mode:o}");
        }
    }

    #[test]
    fn a_process_that_is_root_for_somebody_is_somebodys() {
        let user = |uids: &str| user(&format!("Name:\tx\nUid:\t{uids}\nGid:\t0\n"));
        assert_eq!(user("0\t0\t0\t0"), Some(0));
        assert_eq!(user("1000\t0\t0\t0"), Some(1000));
        assert_eq!(user("0\t0\t1000\t0"), Some(1000));
        assert_eq!(user("7\t7\t7\t7"), Some(7));
        assert_eq!(user("x"), None);
    }

    #[tokio::test]
    async fn a_strangers_dockerd_is_not_taken_for_the_one_that_systemd_listens_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, socket) = (folder.path().join("dockerd"), folder.path().join("socket"));
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let copied = std::process::Command::new("cp")
            .args(["/bin/sleep".as_ref(), file.as_path()])
            .status();
        assert!(copied.unwrap().success());
        // This process stands for systemd.
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let mut child = std::process::Command::new(&file)
            .arg("60")
            .uid(65534)
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(has_begun(pid, &file));
        let listed = engines().iter().any(|process| process.pid == pid);
        let found = dockerd_at(&socket).await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed);
        assert!(found.is_none_or(|process| process.pid != pid));
    }
}

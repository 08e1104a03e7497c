//! Processes that are engines: by their sockets, and by their names in /proc.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::net::UnixStream;

use super::super::facts::Process;

/// Programs that bring images in. A podman without its service is over as soon as its command is.
const ENGINES: [&str; 5] = ["buildkitd", "containerd", "crio", "dockerd", "podman"];
/// Longer than any command line that is worth showing.
const MAX_WORDS: u64 = 16 << 10;
/// The kernel counts a process's start in these (`USER_HZ`, the same on every architecture).
const TICKS: f64 = 100.0;

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
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found: BTreeMap<u32, Process> = numbers
        .filter_map(|pid| Some((pid, process(pid)?)))
        .collect();
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
    found
        .into_values()
        .filter(|process| is_engine(&process))
        .collect()
}

/// What /proc says of a process; none if it is gone.
fn process(pid: u32) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let name = fs::read_to_string(folder.join("comm"))
        .ok()?
        .trim_end()
        .to_owned();
    let uid = fs::metadata(&folder).ok()?.uid();
    let mut bytes = Vec::new();
    File::open(folder.join("cmdline"))
        .ok()?
        .take(MAX_WORDS)
        .read_to_end(&mut bytes)
        .ok()?;
    let words = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned());
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
        words: words.collect(),
        contained,
    })
}

impl Process {
    /// The value of an option on its command line, in the ways in which Go's programs take it.
    pub(in super::super) fn option(&self, names: &[&str]) -> Option<String> {
        self.options(names).into_iter().next()
    }

    /// Every value of an option that may be given more than once.
    pub(in super::super) fn options(&self, names: &[&str]) -> Vec<String> {
        let mut words = self.words.iter().skip(1);
        let mut found = Vec::new();
        while let Some(word) = words.next() {
            let bare = word.trim_start_matches('-');
            if bare.len() == word.len() {
                continue;
            }
            match bare.split_once('=') {
                Some((name, value)) if names.contains(&name) => found.push(value.to_owned()),
                None if names.contains(&bare) => found.extend(words.next().cloned()),
                _ => {}
            }
        }
        found
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
    use super::*;

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
}

//! Finds and runs a program that knows credentials: somebody else's, so it gets a deadline, a cap on
//! what it says, and is killed with all it started.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

/// No answer is longer.
const MOST_BYTES: u64 = 64 << 10;

/// Where programs are when no `PATH` says so.
const NO_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's credential helper of that name in the directories of `search_path`, or of `PATH`. A name
/// is one plain word, and a directory that is not absolute is passed over: it is wherever somebody
/// happens to be.
#[must_use]
pub fn find_helper(name: &str, search_path: Option<OsString>) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let path = search_path
        .or_else(|| env::var_os("PATH"))
        .unwrap_or_else(|| NO_PATH.into());
    let candidates = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(format!("docker-credential-{name}")));
    candidates.into_iter().find(|file| file.is_file())
}

/// Runs it with that on its standard input. Returns how it ended and what it wrote to its standard
/// output; what it writes to its standard error is nobody's, for it may be a secret.
///
/// # Errors
/// It can't be started, or does not end in time. The text names it `shown`.
pub async fn run(
    mut command: Command,
    shown: &str,
    input: &[u8],
    limit: Instant,
) -> Result<(ExitStatus, Vec<u8>), String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let mut group = Group(
        child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw),
    );
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input may still answer.
            let _ = stdin.write_all(input).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MOST_BYTES).read_to_end(&mut said).await?;
        }
        let status = child.wait().await?;
        Ok::<_, std::io::Error>((status, said))
    };
    let ended = timeout_at(limit, talk)
        .await
        .map_err(|_| format!("{shown} did not answer in time"))?
        .map_err(|error| format!("{shown}: {error}"))?;
    group.0 = None;
    Ok(ended)
}

/// A process group that is killed unless its leader has ended by itself: also when the question is
/// given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

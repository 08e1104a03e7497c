//! Runs a program that knows credentials: somebody else's, so it gets a deadline, a cap on what it
//! says, and is killed with all it started.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

/// No answer is longer.
const MOST_BYTES: u64 = 64 << 10;

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

//! What containerd makes of its files: its own program is asked, as `containerd --config FILE config dump`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::super::facts::Process;

/// A configuration with every default is a hundredth of it.
const MAX_DUMP: u64 = 4 << 20;
/// The last of what it complains of.
const MAX_COMPLAINT: u64 = 64 << 10;

/// The effective configuration of that process, as its own program tells it. No shell, no argument but the file.
///
/// The program is run as whoever runs this one, so it must be one that runs as that user, or as root, already.
pub(super) async fn dump(process: &Process, config: &Path) -> Result<toml::Table, String> {
    let own = std::fs::metadata("/proc/self").map_or(u32::MAX, |found| found.uid());
    if process.uid != 0 && process.uid != own {
        return Err(format!("process {} belongs to user {}: its program is not run", process.pid, process.uid));
    }
    let mut command = Command::new(format!("/proc/{}/exe", process.pid));
    command.arg("--config").arg(config).args(["config", "dump"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    super::in_time("containerd config dump", async {
        let mut child = command.spawn().map_err(|error| format!("containerd config dump: {error}"))?;
        let (mut text, mut complaint) = (String::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let read = async {
            if let Some(out) = out {
                out.take(MAX_DUMP).read_to_string(&mut text).await?;
            }
            std::io::Result::Ok(())
        };
        let complain = async {
            if let Some(err) = err {
                err.take(MAX_COMPLAINT).read_to_end(&mut complaint).await?;
            }
            std::io::Result::Ok(())
        };
        let (read, complained) = tokio::join!(read, complain);
        read.and(complained).map_err(|error| format!("containerd config dump: {error}"))?;
        let status = child.wait().await.map_err(|error| format!("containerd config dump: {error}"))?;
        if !status.success() {
            let complaint = String::from_utf8_lossy(&complaint);
            let last = complaint.lines().rev().find(|line| !line.is_empty()).unwrap_or("it says nothing");
            return Err(format!("containerd refuses its configuration, and would not start with it: {last}"));
        }
        text.parse().map_err(|error| format!("containerd config dump: {error}"))
    })
    .await
}

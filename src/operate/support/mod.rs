//! What a report of a bug needs, in one archive: versions, configurations, policy, status, doctor,
//! the end of audit file and log. Every text in it is bounded, and goes through [`redact`].

mod comments;
#[cfg(test)]
mod fuzz;
mod redact;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::config::{self, Config};
use crate::control::DaemonClient;
use crate::control::wire::StateRequest;
use crate::operate::doctor::{self, Tools};
use crate::problem::Problem;
use comments::without_comments;
use redact::redacted;

/// The most of one text, before the rest is cut.
const MAX_TEXT: usize = 2 << 20;
/// The most fragments of a policy.
const MAX_FRAGMENTS: usize = 100;
/// For the journal to answer.
const JOURNAL: Duration = Duration::from_secs(10);
/// The last lines of the log.
const LOG_LINES: &str = "500";

/// What to look at.
#[derive(Debug)]
pub(crate) struct SupportQuestion<'a> {
    /// rootpin.toml.
    pub(crate) config_path: &'a Path,
    /// What it says.
    pub(crate) config: &'a Config,
    /// The daemon's socket.
    pub(crate) control: &'a Path,
    /// For the doctor.
    pub(crate) tools: &'a Tools,
    /// How many of the audit file's last lines.
    pub(crate) audit_lines: usize,
    /// How long the daemon may take.
    pub(crate) time: Duration,
}

/// The texts, by the names of their files, without secrets.
pub(crate) async fn collect(
    question: &SupportQuestion<'_>,
    now: Timestamp,
) -> Vec<(String, String)> {
    let mut texts = vec![("about.txt".to_owned(), about(now))];
    let mut add = |name: &str, text: String| texts.push((name.to_owned(), text));
    add(
        "rootpin.toml",
        without_comments(&file(question.config_path)),
    );
    add("environment-names.txt", names_of_variables());
    let dir = policy_dir(question);
    for (name, path) in policy_files(&dir) {
        add(&name, without_comments(&file(&path)));
    }
    for (name, text) in of_daemon(question).await {
        add(name, text);
    }
    let daemon = DaemonClient::connect(question.control, question.time).await;
    let found = doctor::examine(
        question.config_path,
        question.config,
        question.tools,
        daemon,
    )
    .await;
    add("doctor.json", pretty(&found.report.json()));
    for facts in &found.containerds {
        let name = format!("engines/{}.containerd.toml", plain_name(&facts.engine.name));
        add(
            &name,
            match &facts.config {
                Ok(config) => config.effective.to_string(),
                Err(why) => format!("not known: {why}"),
            },
        );
    }
    if !question.config.dockers.is_empty() {
        add(
            "engines/daemon.json",
            file(Path::new("/etc/docker/daemon.json")),
        );
    }
    if let Some(path) = &question.config.audit_log {
        add("audit-end.jsonl", last_lines(path, question.audit_lines));
    }
    add("log-end.txt", journal().await);
    let clean = |(name, text): (String, String)| (name, redacted(&cut(text)));
    texts.into_iter().map(clean).collect()
}

/// The archive.
#[must_use]
pub(crate) fn archive(texts: &[(String, String)], now: Timestamp) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in texts {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(text.len()).unwrap_or_default());
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        // A Vec takes all bytes, and the names are short.
        let name = format!("rootpin-support/{name}");
        let _ = builder.append_data(&mut header, name, text.as_bytes());
    }
    builder.into_inner().unwrap_or_default()
}

fn about(now: Timestamp) -> String {
    let kernel = rustix::system::uname();
    let of = |path: &str| fs::read_to_string(path).unwrap_or_default();
    format!(
        "rootpin {}\ntime {now:.0}\nkernel {} {} {}\nuptime {}\n{}",
        env!("CARGO_PKG_VERSION"),
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy(),
        of("/proc/uptime").trim(),
        of("/etc/os-release")
    )
}

/// The text of a file; a pipe or a device in its place is not read.
fn file(path: &Path) -> String {
    let read = || {
        if !fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("not a plain file"));
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX) + 1;
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("not read: {}: {error}", path.display()))
}

/// The variables of the packaged unit, whose values may have a proxy's password.
fn names_of_variables() -> String {
    let text = file(Path::new("/etc/rootpin/environment"));
    let names = text.lines().filter_map(|line| line.split_once('='));
    let names: Vec<_> = names.map(|(name, _)| name).collect();
    names.join("\n") + "\n"
}

fn policy_dir(question: &SupportQuestion<'_>) -> PathBuf {
    let own = question.config.policy.clone();
    own.unwrap_or_else(|| config::beside(question.config_path))
}

fn policy_files(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut files = vec![("policy/policy.toml".to_owned(), dir.join("policy.toml"))];
    let entries = fs::read_dir(dir.join("policy.d")).into_iter().flatten();
    let mut fragments: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    fragments.sort();
    files.extend(fragments.into_iter().take(MAX_FRAGMENTS).map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (
            format!("policy/policy.d/{}", plain_name(&name)),
            path.clone(),
        )
    }));
    files
}

async fn of_daemon(question: &SupportQuestion<'_>) -> Vec<(&'static str, String)> {
    let mut client = match DaemonClient::connect(question.control, question.time).await {
        Ok(client) => client,
        Err(why) => return vec![("status.json", format!("rootpind does not answer: {why}"))],
    };
    let said =
        |answer: Result<String, Problem>| answer.unwrap_or_else(|why| format!("not known: {why}"));
    let status = client.status().await.map(|report| report.json);
    let state = client.state(StateRequest::default()).await;
    let state = state.map(|report| report.json);
    vec![
        ("status.json", said(status)),
        ("state.json", said(state)),
        ("metrics.txt", said(client.metrics().await)),
    ]
}

/// The end of a file, in whole lines.
fn last_lines(path: &Path, lines: usize) -> String {
    let read = || {
        if !fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("not a plain file"));
        }
        let mut file = File::open(path)?;
        let most = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
        let begin = file.metadata()?.len().saturating_sub(most);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = if begin > 0 {
            text.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            &text
        };
        let all: Vec<_> = whole.lines().collect();
        let skip = all.len().saturating_sub(lines);
        let last: Vec<_> = all.into_iter().skip(skip).collect();
        let end = if last.is_empty() { "" } else { "\n" };
        Ok(last.join("\n") + end)
    };
    read().unwrap_or_else(|error| format!("not read: {}: {error}", path.display()))
}

async fn journal() -> String {
    let mut command = tokio::process::Command::new("journalctl");
    command
        .args([
            "-u",
            "rootpind",
            "-n",
            LOG_LINES,
            "--no-pager",
            "-o",
            "short-iso",
        ])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(JOURNAL, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Err(error)) => format!("not read: journalctl: {error}"),
        Err(_) => format!("not read: journalctl took longer than {JOURNAL:?}"),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A name that is a file's in this folder, whatever it was.
fn plain_name(name: &str) -> String {
    let plain = |sign: char| {
        if sign.is_ascii_alphanumeric() || "-_.".contains(sign) {
            sign
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(64).map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str("\n[cut]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_audit_file_is_whole_lines_and_nothing_of_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for (text, wanted) in [
            ("", ""),
            ("{\"a\":1}\n", "{\"a\":1}\n"),
            ("1\n2\n3\n", "2\n3\n"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(last_lines(&path, 2), wanted);
        }
    }
}

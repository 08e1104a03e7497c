//! Docker's credential helpers: `docker-credential-NAME get`, the server's address on stdin, JSON
//! on stdout.
//!
//! One that is late goes on, and its answer serves the next question.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::credentials::{Credential, Secret, program};

/// Helpers that hang must not pile up.
static AT_ONCE: Semaphore = Semaphore::const_new(4);
/// An answer for which nobody waited any more serves the next question, if that comes soon.
const KEPT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

/// What a helper answered, and when.
type Answered = (Result<Option<Credential>, String>, Instant);
/// By a helper's name and the server that it is asked for, the answer that comes.
type PendingHelpers = HashMap<(String, String), watch::Receiver<Option<Answered>>>;

/// The helpers that are being asked. One that takes longer than a question goes on, and its answer
/// serves the next question.
#[derive(Debug)]
pub(super) struct Helpers {
    pub(super) timeout: Duration,
    pub(super) search_path: Option<OsString>,
    asked: Mutex<PendingHelpers>,
}

impl Helpers {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            search_path: None,
            asked: Mutex::default(),
        }
    }

    /// Asks the helper of that name for a server. `Ok(None)`: it knows nothing of it. An error says
    /// what went wrong, never what was said.
    pub(super) async fn get(
        &self,
        name: &str,
        server: &str,
        config: Option<&Path>,
        deadline: Instant,
    ) -> Result<Option<Credential>, String> {
        let key = (name.to_owned(), server.to_owned());
        let mut answer = self.begin(&key, config);
        // Half of the time is left for asking without credentials.
        let now = Instant::now();
        let limit = now + deadline.saturating_duration_since(now) / 2;
        let shown = format!("docker-credential-{}", super::escaped(name));
        let late =
            |_| format!("{shown} did not answer in time; its answer serves the next question");
        let answered = timeout_at(limit, answer.wait_for(Option::is_some))
            .await
            .map_err(late)?;
        let answered = answered
            .map_err(|_| format!("{shown} was given up"))?
            .clone();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        answered.map_or(Ok(None), |(answer, _)| answer)
    }

    /// The answer that comes or has come; else the helper is asked.
    fn begin(
        &self,
        key: &(String, String),
        config: Option<&Path>,
    ) -> watch::Receiver<Option<Answered>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, answer| {
            answer
                .borrow()
                .as_ref()
                .is_none_or(|(_, at)| at.elapsed() < KEPT)
        });
        if let Some(answer) = asked.get(key) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        let ((name, server), config, search_path) = (
            key.clone(),
            config.map(Path::to_owned),
            self.search_path.clone(),
        );
        let limit = Instant::now() + self.timeout;
        tokio::spawn(async move {
            let answer = get(&name, &server, config.as_deref(), search_path, limit).await;
            // Kept until somebody asks, or too long.
            let _ = sender.send(Some((answer, Instant::now())));
        });
        asked.insert(key.clone(), answer.clone());
        answer
    }
}

async fn get(
    name: &str,
    server: &str,
    config: Option<&Path>,
    search_path: Option<OsString>,
    limit: Instant,
) -> Result<Option<Credential>, String> {
    let shown = format!("docker-credential-{}", super::escaped(name));
    let program =
        program::find_helper(name, search_path).ok_or_else(|| format!("{shown} is not on PATH"))?;
    let late = |_| format!("{shown} did not answer in time");
    let permit = timeout_at(limit, AT_ONCE.acquire()).await.map_err(late)?;
    let mut command = Command::new(program);
    command.arg("get");
    if let Some(config) = config {
        command.env("DOCKER_CONFIG", config);
    }
    let (status, said) = program::run(command, &shown, server.as_bytes(), limit).await?;
    drop(permit);
    if !status.success() {
        // The protocol's own words for "none", on stdout (docker-credential-helpers,
        // credentials/error.go).
        let none = String::from_utf8_lossy(&said).contains("credentials not found");
        return if none {
            Ok(None)
        } else {
            Err(format!("{shown} failed ({status})"))
        };
    }
    let answer: HelperOutput = serde_json::from_slice(&said)
        .map_err(|_| format!("{shown} gave no credential that is understood"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credential::IdentityToken(Secret(answer.secret)),
        user => Credential::password(user, &answer.secret),
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn helper(script: &str) -> (tempfile::TempDir, OsString) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker-credential-test");
        fs::write(
            &file,
            format!("#!/bin/sh\ncd {}\n{script}\n", folder.path().display()),
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().as_os_str().to_owned();
        (folder, path)
    }

    async fn ask(script: &str, deadline: Duration) -> Result<Option<Credential>, String> {
        let (_folder, path) = helper(script);
        // A freshly written program is "busy" while another test's fork still holds it open for
        // writing.
        loop {
            let answer = get(
                "test",
                "r.example",
                Some(Path::new("/etc/docker-config")),
                Some(path.clone()),
                Instant::now() + deadline,
            )
            .await;
            if !matches!(&answer, Err(error) if error.contains("busy")) {
                return answer;
            }
        }
    }

    const LONG: Duration = Duration::from_secs(6);

    #[tokio::test]
    async fn a_helper_is_asked_for_the_server_and_its_answer_is_taken() {
        let script = r#"[ "$1" = get ] && [ "$(cat)" = r.example ] && [ "$DOCKER_CONFIG" = /etc/docker-config ] && echo '{"ServerURL":"r.example","Username":"u","Secret":"p"}'"#;
        assert_eq!(
            ask(script, LONG).await,
            Ok(Some(Credential::password("u", "p")))
        );
        let script = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(
            ask(script, LONG).await,
            Ok(Some(Credential::IdentityToken(Secret("t".into()))))
        );
    }

    #[tokio::test]
    async fn a_helper_that_knows_nothing_is_no_failure_and_one_that_fails_is_not_quoted() {
        assert_eq!(
            ask(
                "echo credentials not found in native keychain; exit 1",
                LONG
            )
            .await,
            Ok(None)
        );
        for script in [
            "echo hunter2; exit 3",
            "echo hunter2",
            "echo '{\"Username\":\"hunter2\"}'",
            "yes hunter2",
        ] {
            let error = ask(script, LONG).await.unwrap_err();
            assert!(
                error.starts_with("docker-credential-test ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_helper_that_hangs_does_not_hold_up_the_question() {
        let answer = ask("sleep 600", Duration::from_millis(60)).await;
        assert!(answer.unwrap_err().contains("in time"));
    }

    #[tokio::test]
    async fn the_answer_of_a_slow_helper_serves_the_next_question_and_is_asked_for_once() {
        let (folder, path) = helper(
            "cat >/dev/null; echo asked >> log; while ! [ -e go ]; do sleep 0.01; done; echo '{\"Username\":\"u\",\"Secret\":\"s\"}'",
        );
        let helpers = Helpers {
            search_path: Some(path),
            ..Helpers::new(LONG)
        };
        let ask = async |time: Duration| {
            helpers
                .get("test", "r.example", None, Instant::now() + time)
                .await
        };
        let mut first = ask(Duration::from_millis(100)).await;
        // Another test's fork may still hold the fresh program open.
        while first.as_ref().is_err_and(|error| error.contains("busy")) {
            first = ask(Duration::from_millis(100)).await;
        }
        assert!(first.unwrap_err().contains("serves the next question"));
        fs::write(folder.path().join("go"), "").unwrap();
        assert_eq!(ask(LONG).await, Ok(Some(Credential::password("u", "s"))));
        assert_eq!(
            fs::read_to_string(folder.path().join("log")).unwrap(),
            "asked\n"
        );
        assert!(ask(LONG).await.is_ok(), "what was handed on is not kept");
        assert_eq!(
            fs::read_to_string(folder.path().join("log")).unwrap(),
            "asked\nasked\n"
        );
    }

    #[tokio::test]
    async fn a_helper_that_takes_longer_than_it_may_is_given_up() {
        let (_folder, path) = helper("sleep 600");
        let helpers = Helpers {
            search_path: Some(path),
            ..Helpers::new(Duration::from_millis(60))
        };
        let error = helpers
            .get("test", "r.example", None, Instant::now() + LONG)
            .await
            .unwrap_err();
        assert!(
            error.contains("did not answer in time") || error.contains("busy"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_helper_that_is_given_up_is_killed_with_what_it_started() {
        let (folder, path) = helper("sleep 600 & echo $! $$ > pids.new; mv pids.new pids; wait");
        let pids = async {
            loop {
                if let Ok(pids) = fs::read_to_string(folder.path().join("pids")) {
                    break pids;
                }
                tokio::task::yield_now().await;
            }
        };
        let asked = async {
            while get(
                "test",
                "r.example",
                None,
                Some(path.clone()),
                Instant::now() + LONG,
            )
            .await
            .is_err_and(|error| error.contains("busy"))
            {}
        };
        let pids = tokio::select! { pids = pids => pids, () = asked => panic!("it hangs") };
        for pid in pids.split_whitespace() {
            // Killed at once, but the kernel may take a moment, and nobody may have reaped it.
            let gone = || {
                fs::read_to_string(format!("/proc/{pid}/stat"))
                    .map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
            };
            let end = std::time::Instant::now() + Duration::from_secs(5);
            while !gone() && std::time::Instant::now() < end {
                tokio::task::yield_now().await;
            }
            assert!(gone(), "{pid} lives");
        }
    }

    #[tokio::test]
    async fn a_helper_s_name_leads_nowhere_but_to_path() {
        for name in ["../../bin/sh", "", "a b", "a/b", "no-such-helper"] {
            let answer = get(
                name,
                "r.example",
                None,
                Some("/usr/bin:relative".into()),
                Instant::now() + LONG,
            )
            .await;
            assert!(answer.unwrap_err().contains("not on PATH"), "{name}");
        }
    }
}

//! The asking side of the control socket.

use std::path::Path;
use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::answer::{MAX_MESSAGE, in_time, said};
use super::proof::ProofCall;
use super::wire::control_client::ControlClient;
use super::wire::{
    BreakGlassRequest, CredentialsRequest, CredentialsResponse, DecideRequest, DecideResponse,
    Empty, ExplainRequest, ImportRequest, Report, StateRequest, SurveyRequest, SweepRequest,
};
use crate::plain_text::shell_word;
use crate::problem::Problem;

/// A connection to the daemon.
#[derive(Debug)]
pub struct DaemonClient {
    inner: ControlClient<Channel>,
    time: Duration,
}

impl DaemonClient {
    /// Connects; the time-out is that of each later answer as well.
    ///
    /// # Errors
    /// Says which socket, and what to do.
    pub async fn connect(socket: &Path, timeout: Duration) -> Result<Self, Problem> {
        let unreachable = |why: &(dyn std::error::Error + 'static)| {
            let hint = match deepest_io(why).map(std::io::Error::kind) {
                Some(std::io::ErrorKind::PermissionDenied) => {
                    "run as root: the daemon answers nobody else".to_owned()
                }
                _ => running_hint(socket),
            };
            let why = deepest(why);
            let what = format!("the daemon does not answer at {}: {why}", socket.display());
            Problem::hinted(what, hint)
        };
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| unreachable(&error))?;
        let endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unreachable(&error))?;
        Ok(Self {
            inner: ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            time: timeout,
        })
    }

    /// May this name be pulled as this digest?
    ///
    /// # Errors
    /// What is wrong with the question is told apart from a daemon that doesn't answer.
    pub async fn decide(
        &mut self,
        door: &str,
        name: &str,
        digest: &str,
    ) -> Result<DecideResponse, Problem> {
        let request = DecideRequest {
            door: door.to_owned(),
            name: name.to_owned(),
            digest: digest.to_owned(),
            anew: false,
        };
        answered(self.time, self.inner.decide(request)).await
    }

    /// The same for people, with all signatures beside the image; `anew`: also where those that are
    /// cached are enough.
    ///
    /// # Errors
    /// As [`DaemonClient::decide`].
    pub async fn verify(&mut self, name: &str, anew: bool) -> Result<DecideResponse, Problem> {
        let request = DecideRequest {
            door: "verify".to_owned(),
            name: name.to_owned(),
            digest: String::new(),
            anew,
        };
        answered(self.time, self.inner.decide(request)).await
    }

    /// May this image, or this server, have this host's credentials?
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn credentials(
        &mut self,
        request: CredentialsRequest,
    ) -> Result<CredentialsResponse, Problem> {
        answered(self.time, self.inner.credentials(request)).await
    }

    /// Which rule covers a name?
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn explain(&mut self, name: &str) -> Result<Report, Problem> {
        let request = ExplainRequest {
            name: name.to_owned(),
        };
        answered(self.time, self.inner.explain(request)).await
    }

    /// Doors, policy, engines.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn status(&mut self) -> Result<Report, Problem> {
        answered(self.time, self.inner.status(Empty {})).await
    }

    /// Look at the policy now.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn reload(&mut self) -> Result<Report, Problem> {
        answered(self.time, self.inner.reload(Empty {})).await
    }

    /// What this host has seen, or the explicit way to forget some of it.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn state(&mut self, request: StateRequest) -> Result<Report, Problem> {
        answered(self.time, self.inner.state(request)).await
    }

    /// What policy, state and cache say of what is here already.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub(crate) async fn survey(&mut self, request: SurveyRequest) -> Result<Report, Problem> {
        answered(self.time, self.inner.survey(request)).await
    }

    /// Judges every name on this host's engines again. `dry_run`: removes nothing.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn sweep(&mut self, dry_run: bool) -> Result<Report, Problem> {
        answered(self.time, self.inner.sweep(SweepRequest { dry_run })).await
    }

    /// Takes up a bundle, whose parts come one by one.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn import(
        &mut self,
        parts: impl tokio_stream::Stream<Item = ImportRequest> + Send + 'static,
    ) -> Result<Report, Problem> {
        answered(self.time, self.inner.import(parts)).await
    }

    /// Begins a proof, whose images and metadata are served on that port of 127.0.0.1, signed under
    /// this root.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn prove(&mut self, port: u16, root: &[u8]) -> Result<ProofCall, Problem> {
        ProofCall::begin(&mut self.inner, self.time, port, root).await
    }

    /// Break-glass: begins or ends it, or says whether it is in force.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub(crate) async fn break_glass(
        &mut self,
        request: BreakGlassRequest,
    ) -> Result<Report, Problem> {
        answered(self.time, self.inner.break_glass(request)).await
    }

    /// Prometheus text.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub async fn metrics(&mut self) -> Result<String, Problem> {
        answered(self.time, self.inner.metrics(Empty {}))
            .await
            .map(|answer| answer.text)
    }
}

/// systemd makes the socket's folder. A rootpind that was started by hand waits for it.
fn running_hint(socket: &Path) -> String {
    let is_missing =
        |folder: &&Path| !folder.as_os_str().is_empty() && matches!(folder.try_exists(), Ok(false));
    let folder = socket.parent().filter(is_missing);
    let asked = "is rootpind running? see `systemctl status rootpind`";
    folder.map_or_else(
        || asked.to_owned(),
        |folder| {
            let word = shell_word(&folder.to_string_lossy());
            format!(
                "{asked}; one that was started by hand waits for the folder {word}: `mkdir -p {word}`"
            )
        },
    )
}

/// A whole answer in time: the channel's own time-out ends where the answer begins.
async fn answered<T>(
    time: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Problem> {
    in_time(time, async {
        call.await
            .map(tonic::Response::into_inner)
            .map_err(|status| said(&status))
    })
    .await
}

/// The cause that a person can act on: "no such file", "permission denied", "connection refused".
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn deepest_io<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|error| error.downcast_ref::<std::io::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_whose_folder_is_missing_is_answered_with_the_command_that_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let hint = async |path: &Path| {
            let connected = DaemonClient::connect(path, Duration::from_secs(1)).await;
            connected.unwrap_err().hint.unwrap()
        };
        let folder = dir.path().join("run");
        let missing = hint(&folder.join("control.sock")).await;
        let made = format!("`mkdir -p {}`", folder.display());
        assert!(missing.ends_with(&made), "{missing}");
        assert!(missing.starts_with("is rootpind running?"), "{missing}");
        std::fs::create_dir(&folder).unwrap();
        let away = hint(&folder.join("control.sock")).await;
        assert_eq!(away, running_hint(Path::new("no.sock")));
        assert!(!away.contains("mkdir"), "{away}");
    }
}

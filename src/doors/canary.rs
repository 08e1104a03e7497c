//! The self-check of a gate: a question about a layer that does not exist, which only that gate can
//! answer as it does. By way of containerd it proves that containerd asks the gate, by the gate's
//! own socket that the gate answers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::PoisonError;

use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::{ApplyRequest, ApplyResponse};
use containerd_client::types;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};

use super::gate::{EngineGates, MISPLACED, canary_text};
use crate::decide::Door;
use crate::engines::containerd::within;
use crate::nonce;
use crate::observe::Unproven;
use rootpin_trust::image::Digest;

impl EngineGates {
    /// Asks containerd to apply a layer that does not exist: only our own refusal, with its digest,
    /// proves that the gate is asked.
    ///
    /// # Errors
    /// What came back instead, or that nothing did.
    pub(crate) async fn canary(&self) -> Result<(), Unproven> {
        let asked = LayerCanary::new(self).map_err(|error| Unproven::Silent(error.to_string()))?;
        let answer = self.ask_containerd(&asked).await;
        match answer {
            Err(status) if status.message().contains(&canary_text(&asked.digest)) => Ok(()),
            // A connection that breaks is our own client's word, not containerd's: it is being
            // restarted.
            Err(status)
                if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
                    || std::error::Error::source(&status).is_some() =>
            {
                Err(Unproven::Silent(format!(
                    "containerd does not answer: {}",
                    status.message()
                )))
            }
            Err(status) => Err(Unproven::Passed(format!(
                "another answer came: {:?} {}",
                status.code(),
                status.message()
            ))),
            Ok(_) => Err(Unproven::Passed(
                "containerd says that it applied a layer that does not exist".to_owned(),
            )),
        }
    }

    async fn ask_containerd(
        &self,
        asked: &LayerCanary<'_>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let request = asked.request()?;
        let call = async {
            DiffClient::new(self.containerd.channel())
                .apply(request)
                .await
        };
        tokio::time::timeout(self.decider.deadline(), call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
    }

    /// Asks one of these gates by its own socket, as an engine does.
    ///
    /// # Errors
    /// No answer, or not that of this gate.
    pub(crate) async fn ask_by_socket(&self, door: Door, socket: &Path) -> Result<(), String> {
        let asked = LayerCanary::new(self).map_err(|error| error.to_string())?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| error.to_string())?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let request = asked
            .request()
            .map_err(|status| status.message().to_owned())?;
        let wanted = if door == Door::Gate {
            canary_text(&asked.digest)
        } else {
            MISPLACED.to_owned()
        };
        match DiffClient::new(channel).apply(request).await {
            Err(status) if status.message().contains(&wanted) => Ok(()),
            Err(status) => Err(format!(
                "another answer came: {:?} {}",
                status.code(),
                status.message()
            )),
            Ok(_) => Err("a layer that does not exist was applied".to_owned()),
        }
    }

    /// Whether a layer is that of a self-check which runs.
    pub(super) fn is_canary(&self, digest: &Digest) -> bool {
        self.canaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(digest)
    }
}

/// A layer that does not exist, for as long as it is asked about.
struct LayerCanary<'a> {
    engine: &'a EngineGates,
    digest: Digest,
}

impl<'a> LayerCanary<'a> {
    fn new(engine: &'a EngineGates) -> std::io::Result<Self> {
        let digest = Digest::of(nonce::random_hex()?.as_bytes());
        engine
            .canaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(digest);
        Ok(Self { engine, digest })
    }

    fn request(&self) -> Result<Request<ApplyRequest>, Status> {
        let descriptor = types::Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            digest: self.digest.to_string(),
            size: 1,
            annotations: HashMap::new(),
        };
        within(
            "rootpin-selftest",
            ApplyRequest {
                diff: Some(descriptor),
                ..ApplyRequest::default()
            },
        )
    }
}

impl Drop for LayerCanary<'_> {
    fn drop(&mut self) {
        self.engine
            .canaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|known| *known != self.digest);
    }
}

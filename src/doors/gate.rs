//! The gates: diff plugins of containerd that judge a layer before it is unpacked.
//!
//! *Gate*: first in the diff-service. Allowed is Unimplemented, and containerd asks its next
//! differ. *Applying gate*: the only differ of an `unpack_config`, so it has the layer applied
//! itself, by containerd's own Diff service.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::{ApplyRequest, ApplyResponse, DiffRequest, DiffResponse};
use containerd_client::types;
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::claims::{self, LayerQuestion, LayerUnknown};
use super::fail_closed::ProcessMark;
use super::socket;
use super::store_index::{self, StoreIndex};
use crate::decide::{Decider, Decision, Door, NamespaceView, Unpack, Verdict, too_slow};
use crate::engines::containerd::{ContainerdClient, header, within};
use crate::nonce;
use crate::observe::Observer;
use rootpin_trust::image::{Descriptor, Digest, Repository};
use rootpin_trust::{self, Refusal};

mod by_hints;
mod names;

use names::LookedUpNames;

/// Generated from `proto/`; the messages are containerd-client's.
mod wire {
    #![allow(
        clippy::all,
        clippy::as_conversions,
        clippy::pedantic,
        missing_docs,
        unreachable_pub
    )]
    tonic::include_proto!("containerd.services.diff.v1");
}

/// What CRI's decryption keys are labelled with: one payload for each of containerd's decoders.
const DECODER: &str = "io.containerd.ocicrypt.decoder.v1.";
/// The payload by which a gate knows the call that its own applying gate made.
const PASS: &str = "io.rootpin.pass";
/// What an applying gate says to a call that only containerd's diff-service can have sent it.
pub(super) const MISPLACED: &str =
    "the applying gate was asked by itself: name it in unpack_config only, never in diff-service";

/// What both gates of one engine share.
#[derive(Debug)]
pub(crate) struct EngineGates {
    /// The engine's name in rootpin.toml.
    pub name: String,
    /// Its containerd.
    pub containerd: ContainerdClient,
    index: StoreIndex,
    pub(super) decider: Arc<Decider>,
    observer: Arc<Observer>,
    mark: ProcessMark,
    /// Layers that the applying gate has judged and is having applied, by nonce.
    passes: Mutex<HashMap<String, Digest>>,
    /// How many of them there are.
    unpacks: watch::Sender<usize>,
    /// Digests that the self-check is asking about: always refused.
    pub(super) canaries: Mutex<Vec<Digest>>,
}

/// One socket's service.
#[derive(Debug, Clone)]
struct Gate {
    engine: Arc<EngineGates>,
    door: Door,
}

impl EngineGates {
    /// The gates of one engine.
    ///
    /// # Errors
    /// The socket's path cannot be an address, or the system gives no random bytes.
    pub(crate) fn new(
        config: &crate::config::Engine,
        decider: Arc<Decider>,
        observer: Arc<Observer>,
    ) -> Result<Self, String> {
        let containerd =
            ContainerdClient::at(&config.containerd).map_err(|error| error.to_string())?;
        let mark = ProcessMark::new().map_err(|error| error.to_string())?;
        Ok(Self {
            name: config.name.clone(),
            containerd,
            index: StoreIndex::default(),
            decider,
            observer,
            mark,
            passes: Mutex::default(),
            unpacks: watch::Sender::default(),
            canaries: Mutex::default(),
        })
    }

    /// Answers on a listener until told to stop.
    ///
    /// # Errors
    /// The listener's.
    pub(crate) async fn serve(
        self: Arc<Self>,
        door: Door,
        listener: crate::sockets::KeptSocket,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let mark = self.mark.clone();
        let gate = wire::diff_server::DiffServer::new(Gate { engine: self, door });
        let routes = tonic::service::Routes::new(gate).prepare();
        Server::builder()
            .layer(tower::layer::layer_fn(move |inner| mark.guard(inner)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(socket::connections(listener), stop)
            .await
    }

    /// Follows containerd's events, for ever, so that few questions need a listing.
    pub(crate) async fn follow(self: Arc<Self>) {
        store_index::follow(&self.containerd, &self.index).await;
    }

    /// Waits until containerd unpacks nothing that the applying gate gave it.
    pub(crate) async fn until_unpacked(&self) {
        let _ = self
            .unpacks
            .subscribe()
            .wait_for(|running| *running == 0)
            .await;
    }

    /// The addresses of containerd's differs that are proxies.
    ///
    /// # Errors
    /// containerd's own; or it does not answer.
    pub(crate) async fn differs(&self) -> Result<Vec<String>, Status> {
        let call = self.containerd.differ_addresses();
        tokio::time::timeout(self.decider.deadline(), call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
    }

    /// The repositories of the policy's registries that labels name.
    pub(super) fn repositories<'a>(
        &self,
        sources: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<Repository> {
        claims::repositories(
            &LookedUpNames {
                decider: &self.decider,
            },
            sources,
        )
    }
}

#[tonic::async_trait]
impl wire::diff_server::Diff for Gate {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let begun = Instant::now();
        let layer = layer_of(message.diff.as_ref()).map_err(told)?;
        if self.engine.is_canary(&layer.digest) {
            return Err(match self.door {
                Door::Gate => Status::failed_precondition(canary_text(&layer.digest)),
                _ => refuse(MISPLACED),
            });
        }
        if let Some(pass) = message.payloads.get(PASS) {
            return self.passed(&layer, &pass.value);
        }
        let deadline = self.engine.decider.deadline();
        let (verdict, namespace) =
            match tokio::time::timeout(deadline, self.judge(&metadata, &message, &layer, begun))
                .await
            {
                Ok(judged) => judged,
                Err(_) => (self.unjudged(&layer, too_slow(deadline), begun), None),
            };
        self.engine.observer.observe(&verdict);
        match (&verdict.decision, self.door) {
            (Decision::Deny(_), _) => Err(Status::failed_precondition(verdict.reason())),
            (Decision::Allow(_) | Decision::LetThrough(..), Door::Apply) => {
                self.apply_by_containerd(&metadata, message, layer.digest, namespace)
                    .await
            }
            (Decision::Allow(_) | Decision::LetThrough(..), _) => {
                Err(self.engine.mark.fall_through())
            }
        }
    }

    /// Making a layer (commit, build) is not ours: the next differ does it.
    async fn diff(&self, _: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        Err(self.engine.mark.fall_through())
    }
}

impl Gate {
    /// The verdict, and the one namespace that is meant, if it is one.
    async fn judge(
        &self,
        metadata: &MetadataMap,
        message: &ApplyRequest,
        layer: &Descriptor,
        begun: Instant,
    ) -> (Verdict, Option<String>) {
        if decrypts(message, layer) {
            return (self.unjudged(layer, decrypted(), begun), None);
        }
        let namespaces = match self.namespaces(metadata, &layer.digest).await {
            Ok(namespaces) => namespaces,
            Err(status) => return (self.unjudged(layer, unknown(&status.into()), begun), None),
        };
        if let [only] = namespaces.as_slice()
            && let Some(verdict) = self.by_hints(only, message, layer, begun).await
        {
            return (verdict, Some(only.clone()));
        }
        let places = match self.gather(namespaces, message, layer).await {
            Ok(places) => places,
            Err(why) => return (self.unjudged(layer, unknown(&why), begun), None),
        };
        let namespace = match places.as_slice() {
            [only] => Some(only.namespace.clone()),
            _ => None,
        };
        let unpack = Unpack {
            door: self.door,
            engine: self.engine.name.clone(),
            layer: layer.clone(),
            places,
            begun,
        };
        let verdict = self.engine.decider.unpack(&unpack, Timestamp::now()).await;
        (verdict, namespace)
    }

    fn unjudged(&self, layer: &Descriptor, refusal: Refusal, begun: Instant) -> Verdict {
        self.engine.decider.unjudged_layer(
            self.door,
            &self.engine.name,
            layer.digest,
            refusal,
            begun,
        )
    }

    async fn gather(
        &self,
        namespaces: Vec<String>,
        message: &ApplyRequest,
        layer: &Descriptor,
    ) -> Result<Vec<NamespaceView>, LayerUnknown> {
        let names = LookedUpNames {
            decider: &self.engine.decider,
        };
        let mut places = Vec::new();
        for namespace in namespaces {
            let question = self.layer_question(&names, &namespace, message, layer);
            places.push(question.gather().await?);
        }
        Ok(places)
    }

    fn layer_question<'a>(
        &'a self,
        names: &'a LookedUpNames<'_>,
        namespace: &'a str,
        message: &'a ApplyRequest,
        layer: &'a Descriptor,
    ) -> LayerQuestion<'a> {
        static NONE: LazyLock<HashMap<String, String>> = LazyLock::new(HashMap::new);
        let annotations = message.diff.as_ref().map(|diff| &diff.annotations);
        LayerQuestion {
            containerd: &self.engine.containerd,
            names,
            index: &self.engine.index,
            namespace,
            layer,
            annotations: annotations.unwrap_or(&NONE),
            share: self.engine.decider.deadline() / 8,
        }
    }

    /// The caller's namespace. containerd 1.7 leaves it out: then the one of the caller's lease,
    /// or, where there is none either, all that hold the layer. For a lease that is nowhere, an
    /// applying gate does not guess where to unpack.
    async fn namespaces(
        &self,
        metadata: &MetadataMap,
        layer: &Digest,
    ) -> Result<Vec<String>, Status> {
        if let Some(namespace) = header(metadata, "containerd-namespace") {
            return Ok(vec![namespace.to_owned()]);
        }
        let lease = header(metadata, "containerd-lease");
        let found = match lease {
            Some(lease) => self.engine.containerd.namespaces_of_lease(lease).await?,
            None => Vec::new(),
        };
        match (found.is_empty(), self.door) {
            (false, _) => Ok(found),
            (true, Door::Apply) if lease.is_some() => Err(Status::not_found(format!(
                "the caller's namespace is not known, nor one that has its lease {lease:?}"
            ))),
            (true, _) => self.engine.containerd.namespaces_of_blob(layer).await,
        }
    }

    /// A call that carries a pass: our own applying gate has judged the layer and asked containerd,
    /// which asks the gate first.
    fn passed(&self, layer: &Descriptor, pass: &[u8]) -> Result<Response<ApplyResponse>, Status> {
        let pass = String::from_utf8_lossy(pass);
        let known = self
            .engine
            .passes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(pass.as_ref())
            .copied();
        match (self.door, known) {
            (Door::Gate, Some(judged)) if judged == layer.digest => {
                Err(self.engine.mark.fall_through())
            }
            (Door::Apply, Some(_)) => Err(refuse(MISPLACED)),
            _ => Err(refuse("a pass that this gate did not give")),
        }
    }

    /// Hands the judged layer to containerd's own differs, in the caller's namespace and under the
    /// caller's lease.
    async fn apply_by_containerd(
        &self,
        metadata: &MetadataMap,
        mut message: ApplyRequest,
        layer: Digest,
        namespace: Option<String>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let namespace = namespace.ok_or_else(|| {
            refuse("the caller's namespace is not known, and its lease is of none or of several: containerd 1.7 tells a lease only")
        })?;
        let secret = nonce::random_hex().map_err(|error| refuse(&error.to_string()))?;
        let pass = Pass::new(&self.engine, secret, layer);
        let payload = prost_types::Any {
            type_url: PASS.to_owned(),
            value: pass.secret.clone().into_bytes(),
        };
        message.payloads.insert(PASS.to_owned(), payload);
        let mut request = within(&namespace, message)?;
        if let Some(lease) = metadata.get("containerd-lease") {
            request
                .metadata_mut()
                .insert("containerd-lease", lease.clone());
        }
        let begun = Instant::now();
        let answer = DiffClient::new(self.engine.containerd.channel())
            .apply(request)
            .await;
        log::debug!("containerd applied {layer} in {:?}", begun.elapsed());
        drop(pass);
        match answer {
            Ok(response) => Ok(Response::new(response.into_inner())),
            // What these two mean from a differ is not what they mean from us; said with whose
            // words they are.
            Err(status)
                if matches!(
                    status.code(),
                    tonic::Code::Unimplemented | tonic::Code::AlreadyExists
                ) =>
            {
                Err(refuse(&format!(
                    "the layer is allowed, but containerd's own differs answered {:?}: {}",
                    status.code(),
                    status.message()
                )))
            }
            Err(status) => Err(status),
        }
    }
}

/// A nonce that holds for one nested call.
struct Pass<'a> {
    engine: &'a EngineGates,
    secret: String,
}

impl<'a> Pass<'a> {
    fn new(engine: &'a EngineGates, secret: String, layer: Digest) -> Self {
        engine
            .passes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(secret.clone(), layer);
        engine
            .unpacks
            .send_modify(|running| *running = running.saturating_add(1));
        Self { engine, secret }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.engine
            .passes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.secret);
        self.engine
            .unpacks
            .send_modify(|running| *running = running.saturating_sub(1));
    }
}

/// Tells of a question that is none: there is no layer to give a verdict on.
fn told(refusal: Status) -> Status {
    log::warn!("{}", refusal.message().escape_debug());
    refusal
}

fn layer_of(diff: Option<&types::Descriptor>) -> Result<Descriptor, Status> {
    let diff = diff.ok_or_else(|| refuse("no layer in the request"))?;
    let digest = diff
        .digest
        .parse()
        .map_err(|error| refuse(&format!("layer: {error}")))?;
    let size = u64::try_from(diff.size).map_err(|_| refuse("layer of a negative size"))?;
    Ok(Descriptor {
        media_type: diff.media_type.clone(),
        digest,
        size,
    })
}

fn refuse(why: &str) -> Status {
    Status::failed_precondition(format!("rootpin: refused: {why}"))
}

fn unknown(why: &LayerUnknown) -> Refusal {
    match why {
        LayerUnknown::Containerd(status) => Refusal::new(
            rootpin_trust::Code::SourceUnreachable,
            format!(
                "containerd's answer {:?}: {:?}",
                status.code(),
                status.message()
            ),
            "what containerd knows of the layer",
            "the engine's `containerd` socket in rootpin.toml must be that of the containerd that asks",
        ),
        LayerUnknown::Contradicted(manifest) => Refusal::new(
            rootpin_trust::Code::Malformed,
            format!(
                "manifest {manifest}, which the layer's annotation names and which doesn't list the layer"
            ),
            "a strict manifest that lists the layer by media type, digest and size",
            "the annotation is forged, or the manifest is none that rootpin reads: have the publisher push the image anew",
        ),
    }
}

/// Whether unpacking makes other bytes of the layer than those that are signed. CRI of containerd
/// 1.7 sends its decryption keys with every layer; containerd hands them to nobody where the media
/// type isn't that of an encrypted layer.
fn decrypts(message: &ApplyRequest, layer: &Descriptor) -> bool {
    layer.media_type.contains("+encrypted")
        || message
            .payloads
            .keys()
            .any(|tool| !tool.starts_with(DECODER))
}

fn decrypted() -> Refusal {
    Refusal::new(
        rootpin_trust::Code::Malformed,
        "a layer that is to be decrypted while it is unpacked",
        "a layer whose bytes are the signed ones",
        "encrypted images are not supported: what is signed is not what would be unpacked",
    )
}

/// The refusal of a self-check's layer, by which the self-check knows its gate.
pub(super) fn canary_text(digest: &Digest) -> String {
    format!("rootpin: the self-check's layer {digest} is refused")
}

//! One connection to NRI: register, be configured, be told what runs, and answer for each
//! container.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::Code;

use super::RunDoor;
use super::question::Moment;
use super::running::Running;
use super::wire::ttrpc::{Request, Response, Status};
use super::wire::{
    ConfigureRequest, ConfigureResponse, Container, ContainerRequest, Event, PodSandbox,
    RegisterPluginRequest, StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use crate::decide::Decision;
use crate::engines::ttrpc_mux::{Line, Message, MessageKind, TtrpcMux};
use crate::problem::Problem;

const RUNTIME: &str = "nri.pkg.api.v1alpha1.Runtime";
const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";
/// `required_plugins` of containerd's default validator names it.
const NAME: &str = "rootpin";
/// Before all other plugins: what they would change of a refused container is not asked for.
const INDEX: &str = "00";
/// What containerd is to ask about. Not for sandboxes: containerd 2.1 leaves one that is refused
/// running, and forgets it.
const EVENTS: [Event; 2] = [Event::CreateContainer, Event::StartContainer];
/// From the connection until all that runs is told: containerd serves one plugin after the other,
/// each within 7 s.
const BEGINNING: Duration = Duration::from_secs(30);
/// containerd's own, where it doesn't tell: `plugin_request_timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// We were told to stop.
    Stopped,
    /// Otherwise: why, and whether it ever was whole.
    Lost { why: String, was_connected: bool },
}

/// An error as ttRPC has them.
type Refused = (Code, String);

/// What is known of one connection.
struct NriSession<'a> {
    door: &'a Arc<RunDoor>,
    /// How long an answer may take.
    time: Duration,
    running: Running,
    connected: bool,
}

impl RunDoor {
    /// Connects, and answers until the connection ends.
    pub(super) async fn session(
        self: &Arc<Self>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Ended {
        let mut session = NriSession {
            door: self,
            time: answer_time(REQUEST_TIMEOUT),
            running: Running::default(),
            connected: false,
        };
        match session.run(stop).await {
            Ok(()) => Ended::Stopped,
            Err(why) => Ended::Lost {
                why,
                was_connected: session.connected,
            },
        }
    }
}

/// An answer that comes later than containerd waits is none, and the container is made: the rest is
/// for the way.
fn answer_time(request_timeout: Duration) -> Duration {
    request_timeout * 3 / 4
}

impl NriSession<'_> {
    async fn run(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) -> Result<(), String> {
        let until = Instant::now() + BEGINNING;
        let stream = UnixStream::connect(&self.door.socket)
            .await
            .map_err(|error| error.to_string())?;
        let mut trunk = TtrpcMux::new(stream);
        let register = RegisterPluginRequest {
            plugin_name: NAME.to_owned(),
            plugin_idx: INDEX.to_owned(),
        };
        let (service, method, payload) = (
            RUNTIME.to_owned(),
            "RegisterPlugin".to_owned(),
            register.encode_to_vec(),
        );
        let request = Request {
            service,
            method,
            payload,
            timeout_nano: 0,
        };
        let broken = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "containerd ended the connection".to_owned(),
            _ => error.to_string(),
        };
        trunk
            .send(
                Line::Runtime,
                MessageKind::Request,
                1,
                &request.encode_to_vec(),
            )
            .await
            .map_err(broken)?;
        loop {
            let Message {
                line,
                kind,
                stream,
                body,
            } = tokio::select! {
                biased;
                message = trunk.next() => message.map_err(broken)?,
                () = &mut *stop => return Ok(()),
                () = tokio::time::sleep_until(until), if !self.connected => {
                    return Err(format!("containerd has not taken the plugin up within {BEGINNING:?}"));
                }
            };
            match (line, kind) {
                (Line::Runtime, MessageKind::Response) => registered(&body)?,
                (Line::Plugin, MessageKind::Request) => {
                    let answer = match self.answer(&body).await {
                        Ok(payload) => Response {
                            status: None,
                            payload,
                        },
                        Err((code, message)) => Response {
                            status: Some(Status {
                                code: code.into(),
                                message,
                            }),
                            payload: Vec::new(),
                        },
                    };
                    trunk
                        .send(
                            Line::Plugin,
                            MessageKind::Response,
                            stream,
                            &answer.encode_to_vec(),
                        )
                        .await
                        .map_err(broken)?;
                    self.take_up();
                }
                _ => {
                    return Err(format!(
                        "a {kind:?} on the connection {line:?}, which is not NRI"
                    ));
                }
            }
        }
    }

    /// The answer to one call. What can't be read is refused: containerd makes no container then.
    async fn answer(&mut self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let Request {
            service,
            method,
            payload,
            ..
        } = decode(body)?;
        match (service.as_str(), method.as_str()) {
            (PLUGIN, "Configure") => Ok(self.configure(&decode(&payload)?).encode_to_vec()),
            (PLUGIN, "Synchronize") => {
                let SynchronizeRequest {
                    pods,
                    containers,
                    more,
                } = decode(&payload)?;
                self.running.add(pods, containers, more)?;
                Ok(SynchronizeResponse { more }.encode_to_vec())
            }
            (PLUGIN, "CreateContainer") => {
                let ContainerRequest { pod, container } = decode(&payload)?;
                self.may_run(Moment::Create, pod, container).await
            }
            // From NRI 0.12 on by itself; before, as a change of state.
            (PLUGIN, "StartContainer") => {
                let ContainerRequest { pod, container } = decode(&payload)?;
                self.may_run(Moment::Start, pod, container).await
            }
            (PLUGIN, "StateChange") => {
                let StateChangeEvent {
                    event,
                    pod,
                    container,
                } = decode(&payload)?;
                match Event::try_from(event) {
                    Ok(Event::StartContainer) => self.may_run(Moment::Start, pod, container).await,
                    _ => Ok(Vec::new()),
                }
            }
            (PLUGIN, "Shutdown") => Ok(Vec::new()),
            // containerd tries the older call then.
            _ => Err((
                Code::Unimplemented,
                "rootpin: this plugin has no such method".to_owned(),
            )),
        }
    }

    fn configure(&mut self, told: &ConfigureRequest) -> ConfigureResponse {
        let (name, version) = (
            told.runtime_name.escape_debug(),
            told.runtime_version.escape_debug(),
        );
        log::info!(
            "engine {}: NRI of {name} {version} asks rootpin",
            self.door.gates.name
        );
        if let Some(timeout) = u64::try_from(told.request_timeout)
            .ok()
            .filter(|timeout| *timeout > 0)
        {
            self.time =
                answer_time(Duration::from_millis(timeout)).min(self.door.decider.deadline());
        }
        // api/event.go: bit n-1 stands for event n.
        let events = EVENTS
            .iter()
            .map(|event| 1 << (i32::from(*event) - 1))
            .sum();
        ConfigureResponse { events }
    }

    /// The answer for one container: nothing to be changed, or no. With the first question about
    /// it, its pod's sandbox is judged as well.
    async fn may_run(
        &self,
        moment: Moment,
        pod: Option<PodSandbox>,
        container: Option<Container>,
    ) -> Result<Vec<u8>, Refused> {
        let until = Instant::now() + self.time;
        let (pod, container) = (pod.unwrap_or_default(), container.unwrap_or_default());
        let own = (moment, container.id.clone(), container.image.clone());
        let mut questions = vec![own];
        if moment == Moment::Create {
            questions.insert(0, (Moment::Sandbox, pod.id.clone(), None));
            let volumes = super::volumes::of(&container).into_iter();
            questions.extend(volumes.map(|(key, image)| (Moment::Volume, key, Some(image))));
        }
        for (moment, id, image) in questions {
            let door = Arc::clone(self.door);
            let time = until.saturating_duration_since(Instant::now());
            // In a task of its own: a fault of ours refuses one container, and doesn't end the
            // door.
            let judged =
                tokio::spawn(async move { door.verdict(moment, &id, image.as_ref(), time).await })
                    .await;
            let judged = judged.map_err(|fault| {
                log::error!(
                    "engine {}: while a container was judged: {fault}",
                    self.door.gates.name
                );
                (
                    Code::FailedPrecondition,
                    Problem::hinted(
                        "rootpin: could not judge a container: a fault in rootpin",
                        "see its log, and report it",
                    )
                    .to_string(),
                )
            })?;
            let Some(verdict) = judged else { continue };
            let admitted = matches!(verdict.decision, Decision::Allow(_));
            // An admitted sandbox is not told anew with each of its containers.
            if moment != Moment::Sandbox || !admitted {
                self.door.observer.observe(&verdict);
            }
            match &verdict.decision {
                Decision::Allow(_) | Decision::LetThrough(..) => {}
                Decision::Deny(_) => {
                    let (engine, who) =
                        (&self.door.gates.name, super::running::who(&pod, &container));
                    log::info!(
                        "engine {engine}: {who} may not {}",
                        if moment == Moment::Start {
                            "run"
                        } else {
                            "be made"
                        }
                    );
                    return Err((Code::FailedPrecondition, verdict.reason()));
                }
            }
        }
        Ok(Vec::new())
    }

    /// Once all that runs is told, and that is answered, containerd asks.
    fn take_up(&mut self) {
        if !self.connected && self.running.is_whole() {
            self.connected = true;
            self.door.shut(0);
            self.running.look_through(self.door);
        }
    }
}

/// containerd's answer to our one request.
fn registered(body: &[u8]) -> Result<(), String> {
    let response: Response = decode(body).map_err(|(_, why)| why)?;
    match response.status.filter(|status| status.code != 0) {
        Some(status) => Err(format!(
            "containerd does not take the plugin: {}",
            status.message.escape_debug()
        )),
        None => Ok(()),
    }
}

fn decode<T: prost::Message + Default>(bytes: &[u8]) -> Result<T, Refused> {
    T::decode(bytes).map_err(|error| {
        (
            Code::FailedPrecondition,
            format!("rootpin: refused: a question that can't be read: {error}"),
        )
    })
}

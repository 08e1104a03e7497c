//! Judges the containers that ran before the door was asked, and reports them.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tonic::Code;

use super::RunDoor;
use super::images::ImageSearch;
use super::proved::SearchDepth;
use super::question::Moment;
use super::wire::{Container, ContainerState, PodSandbox};

/// A node has some hundreds of pods.
const MAX_RUNNING: usize = 100_000;
/// More lines say no more.
const MAX_TOLD: usize = 100;

/// The pods and containers that containerd tells of when a plugin connects, in one message or
/// several.
#[derive(Debug, Default)]
pub(super) struct Running {
    pods: Vec<PodSandbox>,
    containers: Vec<Container>,
    whole: bool,
    look: Option<JoinHandle<()>>,
}

impl Running {
    /// Takes a part.
    ///
    /// # Errors
    /// There are more than any node has.
    pub(super) fn add(
        &mut self,
        pods: Vec<PodSandbox>,
        containers: Vec<Container>,
        more: bool,
    ) -> Result<(), (Code, String)> {
        if self.pods.len() + self.containers.len() + pods.len() + containers.len() > MAX_RUNNING {
            return Err((
                Code::ResourceExhausted,
                format!("rootpin: more than {MAX_RUNNING} pods and containers"),
            ));
        }
        self.pods.extend(pods);
        self.containers.extend(containers);
        self.whole = !more;
        Ok(())
    }

    /// Whether the last part has come.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Judges all of them, beside the questions that come in now. Nothing is stopped: NRI's answer
    /// is waited for.
    pub(super) fn look_through(&mut self, door: &Arc<RunDoor>) {
        let (pods, containers) = (
            std::mem::take(&mut self.pods),
            std::mem::take(&mut self.containers),
        );
        self.look = Some(tokio::spawn(look_through(
            Arc::clone(door),
            pods,
            containers,
        )));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(look) = &self.look {
            look.abort();
        }
    }
}

async fn look_through(door: Arc<RunDoor>, pods: Vec<PodSandbox>, containers: Vec<Container>) {
    let stopped = |container: &Container| container.state() == ContainerState::ContainerStopped;
    let sandboxes = pods.into_iter().map(|pod| {
        (
            Moment::Sandbox,
            pod.id.clone(),
            None,
            who(&pod, &Container::default()),
        )
    });
    let containers = containers
        .into_iter()
        .filter(|container| !stopped(container));
    let containers = containers.flat_map(|container| {
        let who = who(&PodSandbox::default(), &container);
        let volumes = super::volumes::of(&container).into_iter();
        let of_who = format!("an image volume of {who}");
        let volumes =
            volumes.map(move |(key, image)| (Moment::Volume, key, Some(image), of_who.clone()));
        let own = (Moment::Start, container.id, container.image, who);
        std::iter::once(own).chain(volumes)
    });
    let engine = &door.gates.name;
    // A failure is one of the questions', and told there.
    let search = ImageSearch {
        engine: &door.gates,
        proved: &door.proved,
        look: SearchDepth::Everywhere,
    };
    let _ = tokio::time::timeout(door.decider.deadline(), search.warm()).await;
    let (mut seen, mut refused) = (0_usize, 0_usize);
    for (moment, id, image, who) in sandboxes.chain(containers) {
        let Some(verdict) = door
            .verdict(moment, &id, image.as_ref(), door.decider.deadline())
            .await
        else {
            continue;
        };
        seen += 1;
        let Some(_) = verdict.decision.denial() else {
            continue;
        };
        refused += 1;
        if refused <= MAX_TOLD {
            log::warn!("engine {engine}: {who} is there already and may not run: {verdict}");
        }
    }
    log::info!(
        "engine {engine}: containers that are there already: {seen}; that may not run: {refused}"
    );
    door.shut(refused);
}

/// A container in words; what pods say of themselves is escaped.
pub(super) fn who(pod: &PodSandbox, container: &Container) -> String {
    let name = format!("{}/{}", pod.namespace, pod.name);
    let pod_name = if pod.id.is_empty() {
        String::new()
    } else {
        format!(" of pod {name:?}")
    };
    match container.id.as_str() {
        "" => format!("the sandbox {:?}{pod_name}", pod.id),
        id => format!("the container {:?} {id:?}{pod_name}", container.name),
    }
}

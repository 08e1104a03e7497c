//! The calls of a sweep to an engine: list its images and containers, remove a name.

use std::sync::Arc;
use std::time::Duration;

use super::pending::Pending;
use super::swept_image::{
    EngineImages, LookUpError, Removal, RunningContainer, SweptImage, SweptName,
};
use super::{in_containerd, in_docker};
use crate::decide::ImageName;
use crate::engines::{ContainerdClient, DockerdClient};
use rootpin_trust::image::Digest;

/// An engine that does not answer must not keep us from the next question.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine whose images are swept.
#[derive(Debug)]
pub(super) enum SweptEngine {
    /// One containerd, and the dockerds that may run containers in it.
    Containerd(Arc<ContainerdClient>, Vec<DockerdClient>),
    /// A dockerd, and whether some containerd is swept, too.
    Docker(DockerdClient, bool),
}

impl SweptEngine {
    /// Every image that the engine has.
    pub(super) async fn held(&self, engine: &str) -> Result<EngineImages, String> {
        bounded(async {
            match self {
                Self::Containerd(containerd, _) => in_containerd::held(containerd, engine).await,
                Self::Docker(docker, beside_containerd) => {
                    in_docker::held(docker, engine, *beside_containerd).await
                }
            }
        })
        .await
    }

    /// Every container that runs.
    pub(super) async fn running(&self) -> Result<Vec<RunningContainer>, String> {
        bounded(async {
            match self {
                Self::Containerd(containerd, dockers) => {
                    in_containerd::running(containerd, dockers).await
                }
                Self::Docker(docker, _) => in_docker::running(docker).await,
            }
        })
        .await
    }

    /// Looks up what an image is made of; and where it came from, if that is wanted too.
    pub(super) async fn look_up(
        &self,
        image: &mut SweptImage,
        sources: bool,
    ) -> Result<(), LookUpError> {
        match self {
            Self::Containerd(containerd, _) => {
                bounded(in_containerd::look_up(containerd, image, sources)).await
            }
            // All that is known of it stands in the list.
            Self::Docker(..) => Ok(()),
        }
    }

    /// Whether the name still stands for that.
    pub(super) async fn stands(&self, namespace: &str, named: &ImageName) -> Result<bool, String> {
        match self {
            Self::Containerd(containerd, _) => {
                bounded(in_containerd::stands(containerd, namespace, named)).await
            }
            Self::Docker(docker, _) => in_docker::stands(docker, named).await,
        }
    }

    /// Takes a name away, if it still stands for those bytes. `last` of several: wait for what is
    /// no longer held to go.
    pub(super) async fn remove(
        &self,
        namespace: &str,
        named: &ImageName,
        last: bool,
    ) -> Result<Removal, String> {
        if matches!(self, Self::Docker(..)) && named.name.is_none() {
            return Ok(Removal::Refused(
                "it has no name that dockerd could untag".to_owned(),
            ));
        }
        if !self.stands(namespace, named).await? {
            return Ok(Removal::Changed);
        }
        match self {
            Self::Containerd(containerd, _) => {
                bounded(in_containerd::remove(containerd, namespace, named, last)).await
            }
            Self::Docker(docker, _) => in_docker::remove(docker, named).await,
        }
    }

    /// Follows what the engine tells of its images, until it stops.
    pub(super) async fn follow(
        &self,
        pending: &Arc<Pending>,
        connected: impl FnOnce(),
    ) -> Result<(), String> {
        match self {
            Self::Containerd(containerd, _) => {
                in_containerd::follow(containerd, pending, connected).await
            }
            Self::Docker(docker, _) => in_docker::follow(docker, pending, connected).await,
        }
    }
}

impl RunningContainer {
    /// Whether it runs from that name; or from its bytes, where those have no other name that is
    /// admitted.
    pub(super) fn is_of(&self, target: &SweptName) -> bool {
        let bytes = target.image.resident.bytes.as_ref();
        let part = |digest| {
            digest == target.named.digest
                || bytes.is_some_and(|bytes| bytes.contents.contains(&digest))
        };
        let by_bytes = !target.admitted_elsewhere && self.digest.is_some_and(part);
        self.namespace == target.image.resident.namespace
            && (self.image == target.named.record || by_bytes)
    }

    /// Whether it may: one that says nothing may run from any image of its namespace.
    pub(super) fn may_be_of(&self, target: &SweptName) -> bool {
        let silent = self.digest.is_none()
            && (self.image.is_empty() || self.image.parse::<Digest>().is_ok());
        self.is_of(target) || (silent && self.namespace == target.image.resident.namespace)
    }
}

async fn bounded<T, E: From<String>>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}").into()))
}

//! From a container's ID to a verdict.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::container_origin::{self, ContainerOrigin, OriginUnknown, StatedImage};
use super::images::ImageSearch;
use super::proved::SearchDepth;
use super::wire::Image;
use super::{NAMESPACE, RunDoor};
use crate::decide::{Decision, Run, Verdict};
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, Refusal};

/// When containerd asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The container's snapshot is there, and no record of it yet.
    Create,
    /// Nothing of the image has run yet.
    Start,
    /// An image is mounted into the container, by a snapshot of its own.
    Volume,
    /// A pod's sandbox: made of the pause image, unless its runtime makes it by itself.
    Sandbox,
}

impl RunDoor {
    /// The verdict on a container, within that time. None where there is nothing to be judged, or
    /// not yet.
    pub(super) async fn verdict(
        &self,
        moment: Moment,
        id: &str,
        image: Option<&Image>,
        time: Duration,
    ) -> Option<Verdict> {
        let begun = Instant::now();
        let judged = tokio::time::timeout(time, self.judge((moment, id, image), begun, time)).await;
        judged.unwrap_or_else(|_| Some(self.unjudged(too_slow(time), begun)))
    }

    async fn judge(
        &self,
        (moment, id, image): (Moment, &str, Option<&Image>),
        begun: Instant,
        time: Duration,
    ) -> Option<Verdict> {
        let containerd = &self.gates.containerd;
        let made = match moment {
            Moment::Create | Moment::Volume => container_origin::by_snapshot(containerd, id)
                .await
                .map(Some),
            Moment::Start | Moment::Sandbox => container_origin::by_record(containerd, id).await,
        };
        let made = match made {
            Ok(Some(made)) => made,
            Ok(None) if moment == Moment::Sandbox => return None,
            Ok(None) => {
                return Some(self.unjudged(
                    unknown(&OriginUnknown::Odd(format!("no record of container {id}"))),
                    begun,
                ));
            }
            Err(why) => return Some(self.unjudged(unknown(&why), begun)),
        };
        let stated = StatedImage::read(image).and_then(|image| made.stated(image));
        let made = match stated {
            Ok(made) => made,
            Err(why) => return Some(self.unjudged(unknown(&why), begun)),
        };
        // A yes needs one name, and a no all of them.
        let near = self
            .judge_made(moment, &made, SearchDepth::Near, begun, time)
            .await;
        match near {
            Some(verdict) if !matches!(verdict.decision, Decision::Allow(_)) => {
                self.judge_made(moment, &made, SearchDepth::Everywhere, begun, time)
                    .await
            }
            near => near,
        }
    }

    async fn judge_made(
        &self,
        moment: Moment,
        made: &ContainerOrigin,
        look: SearchDepth,
        begun: Instant,
        time: Duration,
    ) -> Option<Verdict> {
        let search = ImageSearch {
            engine: &self.gates,
            proved: &self.proved,
            look,
        };
        let images = match search.images(made).await {
            Ok(images) => images,
            Err(status) => return Some(self.unjudged(unknown(&status.into()), begun)),
        };
        if images.place.chains.is_empty() {
            return Some(self.unjudged(gone(made.config, made.chain), begun));
        }
        let (engine, bytes) = (self.gates.name.clone(), made.config.unwrap_or(made.chain));
        // Then there is time for the cache when they don't answer.
        let run = Run {
            engine,
            bytes,
            place: images.place,
            begun,
            sources_until: begun + time * 2 / 3,
        };
        let verdict = self.decider.run(&run, Timestamp::now()).await;
        // One of several images may be made a container of. Which one is known when it is to be
        // started.
        let decided =
            moment != Moment::Create || !images.ambiguous || !verdict.decision.lets_through();
        decided.then_some(verdict)
    }

    fn unjudged(&self, refusal: Refusal, begun: Instant) -> Verdict {
        self.decider.unjudged_run(&self.gates.name, refusal, begun)
    }
}

fn too_slow(time: Duration) -> Refusal {
    Refusal::new(
        Code::OverLimit,
        format!("no decision within {time:?}"),
        "one within three quarters of containerd's plugin_request_timeout, after which it would go on unasked",
        "a trust server, containerd or the state's disk is slow: see `rootpin status` and the log, or raise plugin_request_timeout in containerd's section for NRI",
    )
}

fn unknown(why: &OriginUnknown) -> Refusal {
    match why {
        OriginUnknown::Containerd(status) => Refusal::new(
            Code::SourceUnreachable,
            format!(
                "containerd's answer {:?}: {:?}",
                status.code(),
                status.message()
            ),
            "what containerd knows of the container",
            "`containerd` and `nri` of an engine in rootpin.toml must be sockets of the same containerd",
        ),
        OriginUnknown::Odd(what) => Refusal::new(
            Code::Malformed,
            what.clone(),
            "a container that stands on an image's own snapshot, as CRI makes them",
            "what made the container is not known to rootpin (a snapshotter's slow_chown, a restored checkpoint): see docs/runtime.md",
        ),
    }
}

fn gone(config: Option<Digest>, chain: Digest) -> Refusal {
    let configured = config
        .map(|config| format!("configuration {config} and "))
        .unwrap_or_default();
    Refusal::new(
        Code::NotLocal,
        format!(
            "no image in namespace {NAMESPACE} with {configured}layers that unpack to {chain}, which the container stands on"
        ),
        "an image record of what the container is made of",
        "the image was removed: pull it again by its signed name",
    )
}

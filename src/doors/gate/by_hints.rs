//! The short way to a yes: what an earlier listing of the namespace hinted at, asked for anew. It
//! ends in a yes that the whole listing would give too, or in nothing.

use std::collections::HashMap;
use std::time::Instant;

use containerd_client::services::v1::ApplyRequest;
use jiff::Timestamp;

use super::{Gate, LookedUpNames};
use crate::decide::{Unpack, Verdict};
use crate::doors::claims;
use rootpin_trust::image::Descriptor;

impl Gate {
    pub(super) async fn by_hints(
        &self,
        namespace: &str,
        message: &ApplyRequest,
        layer: &Descriptor,
        begun: Instant,
    ) -> Option<Verdict> {
        let engine = &self.engine;
        let none = HashMap::new();
        let annotations = message.diff.as_ref().map(|diff| &diff.annotations);
        let names = LookedUpNames {
            decider: &engine.decider,
        };
        let place = claims::gather_by_hints(
            &engine.containerd,
            &names,
            &engine.hints,
            namespace,
            layer,
            annotations.unwrap_or(&none),
        )
        .await?;
        let unpack = Unpack {
            door: self.door,
            engine: engine.name.clone(),
            layer: layer.clone(),
            places: vec![place],
            begun,
        };
        let now = Timestamp::now();
        // A source that keeps this waiting must leave the listing its time.
        let share = engine.decider.deadline() / 8;
        let verdict = engine.decider.unpack_by_part(&unpack, now);
        tokio::time::timeout(share, verdict).await.ok().flatten()
    }
}

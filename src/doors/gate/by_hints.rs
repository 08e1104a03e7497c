//! The short way to a yes: what the index of the namespace hints at, asked for anew. It
//! ends in a yes that the whole listing would give too, or in nothing.

use std::time::Instant;

use containerd_client::services::v1::ApplyRequest;
use jiff::Timestamp;

use super::{Gate, LookedUpNames};
use crate::decide::{Unpack, Verdict};
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
        let names = LookedUpNames {
            decider: &engine.decider,
        };
        let question = self.layer_question(&names, namespace, message, layer);
        // containerd or a source that keeps this waiting must leave the listing its time.
        let share = question.share;
        let hinted = tokio::time::timeout(share, question.gather_by_hints());
        let place = hinted.await.ok().flatten()?;
        let unpack = Unpack {
            door: self.door,
            engine: engine.name.clone(),
            layer: layer.clone(),
            places: vec![place],
            begun,
        };
        let now = Timestamp::now();
        let verdict = engine.decider.unpack_by_part(&unpack, now);
        tokio::time::timeout(share, verdict).await.ok().flatten()
    }
}

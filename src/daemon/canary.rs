//! Each gate proves over and over that its engine asks it.

use std::sync::Arc;
use std::time::Duration;

use crate::doors::EngineGates;
use crate::observe::{self, Observer, StatusBoard, Unproven};

/// How often each gate proves that it is asked.
const CANARY: Duration = Duration::from_secs(60);
/// Until one comes back right, while containerd may be starting.
const CANARY_UNPROVEN: Duration = Duration::from_secs(1);

/// Proves over and over that containerd asks the gate.
pub(super) async fn prove(
    gates: Arc<EngineGates>,
    apply: String,
    status: Arc<StatusBoard>,
    observer: Arc<Observer>,
) {
    let mut last = Ok(());
    let mut demands = status.checked_on_demand(&gates.name);
    loop {
        let demand = demands.begin();
        let (result, differs) = tokio::join!(gates.canary(), gates.differs());
        // Its words differ each time, as each proof is of other bytes.
        if let Err(Unproven::Passed(why)) = &result
            && !matches!(last, Err(Unproven::Passed(_)))
        {
            log::error!(
                "engine {}: containerd does not ask the gate: {why}",
                gates.name
            );
        }
        last.clone_from(&result);
        let label = format!("engine=\"{}\"", observe::label_value(&gates.name));
        observer.metrics().set(
            "rootpin_canary_ok",
            label,
            f64::from(u8::from(result.is_ok())),
        );
        status.applier(
            &gates.name,
            differs
                .map(|known| known.contains(&apply))
                .map_err(|error| error.message().to_owned()),
        );
        status.canary(&gates.name, demand, result);
        let pause = if last.is_ok() {
            CANARY
        } else {
            CANARY_UNPROVEN
        };
        demands.demanded_within(pause).await;
    }
}

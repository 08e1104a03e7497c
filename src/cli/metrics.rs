//! `rootpin metrics`.

use serde_json::json;

use super::output::Output;
use crate::control::DaemonClient;
use crate::problem::Problem;

pub(super) async fn run(client: &mut DaemonClient, output: Output) -> Result<u8, Problem> {
    let text = client.metrics().await?;
    output.value(&json!({ "version": 1, "prometheus": text }), |_| {
        text.clone()
    });
    Ok(0)
}

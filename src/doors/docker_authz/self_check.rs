//! Proof that dockerd asks the plugin: a call of the daemon's own to dockerd, which must be shown
//! to the plugin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::AuthzPlugin;
use crate::engines::dockerd::{GRPC_BYPASS, GRPC_CALL, GRPC_GATED, PastPlugins};
use crate::nonce;
use crate::observe;
use crate::observe::{StatusBoard, Unproven};
use crate::problem::Problem;

/// How often it is proved.
const EVERY: Duration = Duration::from_secs(60);
/// Until it is, while dockerd may be starting.
const UNPROVEN: Duration = Duration::from_secs(1);

/// The call that is under way, and whether the plugin was shown it.
#[derive(Debug, Default)]
pub(super) struct SelfCheck(Mutex<Option<(String, bool)>>);

impl SelfCheck {
    /// The plugin was shown this call.
    pub(super) fn shown(&self, uri: &str) {
        if let Some((_, shown)) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .filter(|(known, _)| known == uri)
        {
            *shown = true;
        }
    }

    fn begin(&self, uri: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((uri.to_owned(), false));
    }

    fn end(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .is_some_and(|(_, shown)| shown)
    }
}

impl AuthzPlugin {
    /// Proves over and over that dockerd asks the plugin.
    pub(crate) async fn prove(self: Arc<Self>, status: Arc<StatusBoard>) {
        let mut last = Ok(());
        let mut demands = status.checked_on_demand(&self.name);
        loop {
            let demand = demands.begin();
            let result = self.canary().await;
            if result != last {
                match &result {
                    Err(Unproven::Passed(why)) => log::error!(
                        "docker {}: dockerd does not ask the plugin: {why}",
                        self.name
                    ),
                    Err(Unproven::Bypassed(why)) => log::error!("docker {}: {why}", self.name),
                    Err(Unproven::Accepted(why)) => log::warn!("docker {}: {why}", self.name),
                    Ok(()) | Err(Unproven::Silent(_)) => {}
                }
            }
            last.clone_from(&result);
            let label = format!("engine=\"{}\"", observe::label_value(&self.name));
            let is_bypassed = matches!(result, Err(Unproven::Bypassed(_) | Unproven::Accepted(_)));
            let is_ok = matches!(result, Ok(()) | Err(Unproven::Accepted(_)));
            for (metric, is) in [
                ("rootpin_canary_ok", is_ok),
                ("rootpin_authz_bypassed", is_bypassed),
            ] {
                let value = f64::from(u8::from(is));
                self.observer.metrics().set(metric, label.clone(), value);
            }
            status.canary(&self.name, demand, result);
            // What is bypassed is so until somebody changes dockerd.
            let settled = is_ok || is_bypassed;
            let pause = if settled { EVERY } else { UNPROVEN };
            demands.demanded_within(pause).await;
        }
    }

    /// Asks dockerd whether it is there.
    ///
    /// # Errors
    /// It says so and has not shown the question to the plugin, or it says nothing.
    async fn canary(&self) -> Result<(), Unproven> {
        let secret = nonce::random_hex().map_err(|error| Unproven::Silent(error.to_string()))?;
        let uri = format!("/_ping?rootpin={secret}");
        self.self_check.begin(&uri);
        let answer = self.docker.get(&uri).await;
        match (self.self_check.end(), answer) {
            (true, _) => self.is_not_bypassed().await,
            (false, Ok(_)) => Err(Unproven::Passed(
                Problem::hinted(
                    "it answered and did not ask",
                    "put the plugin's name into \"authorization-plugins\" of daemon.json",
                )
                .to_string(),
            )),
            (false, Err(why)) => Err(Unproven::Silent(format!("dockerd does not answer: {why}"))),
        }
    }

    /// A plugin proves nothing where dockerd does on another road what the plugin would refuse.
    async fn is_not_bypassed(&self) -> Result<(), Unproven> {
        self.self_check.begin(GRPC_CALL);
        let answered = self.docker.answers_grpc().await;
        let past = match (self.self_check.end(), answered) {
            (true, _) | (false, Ok(false)) => Ok(PastPlugins::Nothing),
            (false, Ok(true)) => self.docker.past_plugins(&self.gated).await,
            (false, Err(why)) => Err(why),
        };
        let see = "hint: see docker-authz-bypass in rootpin doctor";
        match past {
            Ok(PastPlugins::Nothing) => Ok(()),
            Ok(PastPlugins::Gated) => Err(Unproven::Accepted(format!(
                "{GRPC_BYPASS}: {GRPC_GATED}; {see}"
            ))),
            Ok(PastPlugins::Open) if self.accept_grpc => Err(Unproven::Accepted(format!(
                "{GRPC_BYPASS}; accepted by `accept-grpc` of rootpin.toml; {see}"
            ))),
            Ok(PastPlugins::Open) => Err(Unproven::Bypassed(format!("{GRPC_BYPASS}; {see}"))),
            Err(why) => Err(Unproven::Silent(format!("dockerd does not answer: {why}"))),
        }
    }
}

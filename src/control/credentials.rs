//! Gives this host's credentials to those that may have them, from the kubelet's providers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use tonic::Status;

use super::wire::credentials_response::Pair;
use super::wire::{CredentialsRequest, CredentialsResponse};
use super::{ControlService, unreadable};
use crate::credentials::{Credential, path, place};
use crate::decide::{Decision, Door, Verdict, too_slow};
use crate::observe::{CredentialAsker, CredentialOutcome};
use rootpin_trust::image::ImageRef;

/// No answer holds longer: the policy may be another one then.
const MAX_LIFE: Duration = Duration::from_secs(300);

impl ControlService {
    pub(super) async fn credentials_for(
        &self,
        request: &CredentialsRequest,
    ) -> Result<CredentialsResponse, Status> {
        match (request.image.as_str(), request.server.as_str()) {
            (image, "") if !image.is_empty() => {
                let answer = self.for_image(image).await;
                self.count(CredentialAsker::Kubelet, &answer);
                answer
            }
            ("", server) if !server.is_empty() => {
                let answer = Ok(self.for_server(server));
                self.count(CredentialAsker::Docker, &answer);
                answer
            }
            _ => Err(Status::invalid_argument("wanted an image or a server")),
        }
    }

    fn count(&self, asker: CredentialAsker, answer: &Result<CredentialsResponse, Status>) {
        let outcome = match answer {
            Ok(answer) if answer.given => CredentialOutcome::Given,
            Ok(_) => CredentialOutcome::Withheld,
            Err(_) => CredentialOutcome::Failed,
        };
        self.observer.credentials(asker, outcome);
    }

    async fn for_image(&self, image: &str) -> Result<CredentialsResponse, Status> {
        let begun = Instant::now();
        let deadline = self.decider.deadline();
        let unjudged = |name, refusal| {
            self.decider
                .unjudged_pull(Door::Credentials, name, refusal, begun)
        };
        let name = as_named(image);
        let verdict = match &name {
            Err(why) => unjudged(None, unreadable(why)),
            Ok(name) => {
                let judged = self.decider.credentials(name, Timestamp::now());
                tokio::time::timeout(deadline, judged)
                    .await
                    .unwrap_or_else(|_| unjudged(Some(name.clone()), too_slow(deadline)))
            }
        };
        self.observer.observe(&verdict);
        let (Ok(name), true) = (name, verdict.decision.lets_through()) else {
            return Ok(withheld(verdict.reason()));
        };
        let (host, repository) = (name.repository.host(), name.repository.path());
        let credentials = self.sources.credentials();
        if let Some(why) = credentials.withholds(host, repository) {
            self.withheld(CredentialAsker::Kubelet, host, repository, &why);
            return Ok(withheld(why));
        }
        let Some(kubelet) = credentials.kubelet() else {
            let why = "[credentials] of rootpin.toml names no kubelet-config";
            return Err(Status::failed_precondition(why));
        };
        // The kubelet waits for a minute, so the providers have a deadline of their own.
        let image = format!("{host}/{repository}");
        let until = tokio::time::Instant::now() + deadline * 2;
        let given = kubelet
            .given(&image, until)
            .await
            .map_err(Status::unavailable)?;
        let life = given.life.min(holds(&verdict)).min(MAX_LIFE);
        let pair = |(key, credential)| match credential {
            Credential::Password { user, password } => Some((
                key,
                Pair {
                    username: user,
                    password: password.0.clone(),
                },
            )),
            Credential::IdentityToken(_) => None,
        };
        let auth: HashMap<_, _> = given.auth.into_iter().filter_map(pair).collect();
        Ok(CredentialsResponse {
            given: true,
            reason: String::new(),
            // That there is none is not to be kept.
            seconds: if auth.is_empty() { 0 } else { life.as_secs() },
            auth,
        })
    }

    fn for_server(&self, key: &str) -> CredentialsResponse {
        let (host, path) = (place(key), path(key));
        let why = match self.decider.policy() {
            Err(refusal) => Some(refusal.to_string()),
            Ok(_) => self.sources.credentials().withholds_key(key),
        };
        match why {
            Some(why) => {
                self.withheld(CredentialAsker::Docker, &host, path, &why);
                withheld(why)
            }
            None => CredentialsResponse {
                given: true,
                ..CredentialsResponse::default()
            },
        }
    }

    /// Records what nobody got.
    fn withheld(&self, asker: CredentialAsker, host: &str, path: &str, why: &str) {
        let shown = crate::observe::plain(&format!("{host} {path}"));
        log::info!("credentials withheld from {}: {why}", shown.trim());
        self.observer.event(json!({
            "event": "credentials-withheld",
            "asker": asker.as_str(),
            "server": host,
            "path": path,
            "why": why,
        }));
    }
}

/// How long an admission holds.
fn holds(verdict: &Verdict) -> Duration {
    match &verdict.decision {
        Decision::Allow(admission) => {
            let left = admission.valid_until.duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or_default()
        }
        Decision::LetThrough(..) | Decision::Deny(_) => MAX_LIFE,
    }
}

fn withheld(why: String) -> CredentialsResponse {
    CredentialsResponse {
        reason: why,
        ..CredentialsResponse::default()
    }
}

/// The name as it was said: without a tag where none was said.
fn as_named(image: &str) -> Result<ImageRef, String> {
    let name: ImageRef = image.parse().map_err(|error| format!("{error}"))?;
    let last = image.rsplit('/').next().unwrap_or_default();
    Ok(if last.contains([':', '@']) {
        name
    } else {
        ImageRef { tag: None, ..name }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_not_taken_for_its_latest_tag() {
        for (image, shown) in [
            ("docker.io/library/nginx", None),
            ("127.0.0.1:5000/team/app", None),
            ("127.0.0.1:5000/team/app:latest", Some("latest")),
            ("nginx", None),
        ] {
            let name = as_named(image).unwrap();
            assert_eq!(
                name.tag.as_ref().map(rootpin_trust::image::Tag::as_str),
                shown,
                "{image}"
            );
        }
        assert!(as_named("Upper/x").is_err());
    }
}

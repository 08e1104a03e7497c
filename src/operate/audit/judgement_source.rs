//! Asks for each judgement: the running daemon, or a policy and a state that no daemon has open.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::control::DaemonClient;
use crate::control::wire::SurveyRequest;
use crate::control::wire::survey_request::Image;
use crate::decide::survey::{Survey, SurveyQuestion, survey};
use crate::decide::{Decider, policy_refused};
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;
use crate::sources::{Credentials, Sources};
use crate::state::Store;
use rootpin_trust::image::{Digest, ImageRef};

/// Who judges.
#[derive(Debug)]
pub enum JudgementSource {
    /// The daemon, over its control socket.
    Daemon(DaemonClient),
    /// This process.
    Files(Box<Decider>),
}

/// For one question decided here; and how long to wait for another process that has the state open.
const DEADLINE: Duration = Duration::from_secs(20);
/// Images in one question to the daemon.
const BATCH: usize = 500;
/// The same where sources are asked, which takes time.
const ONLINE_BATCH: usize = 10;

impl JudgementSource {
    /// Judges by the policy in that folder and the state in that one, which must be there already.
    ///
    /// # Errors
    /// One line: there is no state, or it can't be used.
    pub fn files(
        policy: &Path,
        state: &Path,
        credentials: Credentials,
        online: bool,
    ) -> Result<Self, Problem> {
        let empty = std::fs::read_dir(state)
            .map_err(|error| format!("{}: {error}", state.display()))?
            .next()
            .is_none();
        if empty {
            return Err(Problem::hinted(
                format!("{} holds no state", state.display()),
                "name the folder that rootpin.toml calls `state`",
            ));
        }
        let loaded = policy_dir::load(
            &PolicyDir::open(policy, Owner::RootOrCaller),
            Timestamp::now(),
        );
        let in_force = loaded
            .map(Arc::new)
            .map_err(|errors| policy_refused(&errors, policy));
        let store = Store::open_waiting(state, Instant::now() + DEADLINE).map_err(|error| {
            let refusal = error.refusal();
            Problem::hinted(refusal.found.clone(), refusal.hint.clone())
        })?;
        let sources = if online {
            Sources::new(Arc::new(credentials))
        } else {
            Sources::silent()
        };
        let decider = Decider::new(
            in_force,
            Arc::new(Sources::silent()),
            Arc::new(store),
            DEADLINE,
            false,
        );
        Ok(Self::Files(Box::new(decider.onlooker(Arc::new(sources)))))
    }

    /// `daemon` or `files`
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Daemon(_) => "daemon",
            Self::Files(_) => "files",
        }
    }

    /// Asks. What is asked in several parts is told as one.
    ///
    /// # Errors
    /// One line: the daemon does not answer.
    pub(super) async fn survey(
        &mut self,
        asked: &SurveyQuestion,
        online: bool,
        now: Timestamp,
    ) -> Result<Survey, Problem> {
        match self {
            Self::Files(decider) => Ok(survey(decider, asked, now).await),
            Self::Daemon(client) => {
                let repositories = asked.repositories.iter().map(ToString::to_string).collect();
                let first = SurveyRequest {
                    images: Vec::new(),
                    repositories,
                    roots: asked.roots,
                    online,
                };
                let mut whole = ask(client, first).await?;
                // Of what an image is made of, what is not revoked changes no answer.
                let revoked = whole.revoked_digests.iter();
                let revoked: HashSet<Digest> =
                    revoked.filter_map(|text| text.parse().ok()).collect();
                let image = |(name, digest): &(ImageRef, Digest)| {
                    let parts = asked.parts.get(digest).into_iter().flatten();
                    let parts = parts.filter(|part| revoked.contains(part));
                    Image {
                        name: name.to_string(),
                        digest: digest.to_string(),
                        parts: parts.map(ToString::to_string).collect(),
                    }
                };
                let images: Vec<Image> = asked.images.iter().map(image).collect();
                for batch in images.chunks(if online { ONLINE_BATCH } else { BATCH }) {
                    let part = ask(
                        client,
                        SurveyRequest {
                            images: batch.to_vec(),
                            online,
                            ..SurveyRequest::default()
                        },
                    )
                    .await?;
                    if part.policy.as_ref().map(|policy| &policy.hash)
                        != whole.policy.as_ref().map(|policy| &policy.hash)
                    {
                        return Err(Problem::hinted(
                            "the policy changed while the host was looked at",
                            "run the audit again",
                        ));
                    }
                    whole.images.extend(part.images);
                }
                Ok(whole)
            }
        }
    }
}

async fn ask(client: &mut DaemonClient, request: SurveyRequest) -> Result<Survey, Problem> {
    let (images, repositories) = (request.images.len(), request.repositories.len());
    let report = client.survey(request).await?;
    let survey: Survey = serde_json::from_str(&report.json).map_err(|error| {
        Problem::hinted(
            format!("the daemon's answer is not understood: {error}"),
            "rootpin and rootpind must be of one version",
        )
    })?;
    if survey.images.len() != images || survey.repositories.len() != repositories {
        return Err(Problem::hinted(
            "the daemon's answer is to another question",
            "rootpin and rootpind must be of one version",
        ));
    }
    Ok(survey)
}

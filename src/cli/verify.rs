//! `rootpin verify`: asks the daemon, or judges with a policy and a state of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::output::{Output, text};
use crate::control::{Unresolved, add_signatures, digest_of};
use crate::decide::{Decider, Door, Pull, SignatureDisplay, policy_refused};
use crate::observe;
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;
use crate::sources::{Credentials, Sources};
use crate::state::Store;
use rootpin_trust::image::ImageRef;

/// For one question decided here; the daemon has its own.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `NAME[:TAG][@DIGEST]`; without a digest the registry is asked what the tag is now, and
    /// nothing else
    name: String,
    /// Decide here, by the policy in this folder, without a daemon
    #[arg(long, value_name = "DIR", requires = "state")]
    policy: Option<PathBuf>,
    /// The folder of floors and cached metadata; made if it is new
    #[arg(long, value_name = "DIR", requires = "policy")]
    state: Option<PathBuf>,
    /// Judge as of this RFC 3339 time; floors are read and none written
    #[arg(long, value_name = "TIME", requires = "policy")]
    at: Option<Timestamp>,
    /// Ask the registry for all signatures beside the image, also where those that are cached are
    /// enough
    #[arg(long)]
    anew: bool,
    #[command(flatten)]
    credentials: super::credentials::CredentialArguments,
    /// Folder of containerd's hosts.toml files, by which registries are reached
    #[arg(long, value_name = "DIR", requires = "policy")]
    hosts_dir: Option<PathBuf>,
}

pub(super) fn run(control: &Path, arguments: Arguments, output: Output) -> Result<u8, Problem> {
    let Some(name) = super::image_name(&arguments.name, output) else {
        return Ok(super::EXIT_USAGE);
    };
    let (Some(policy), Some(state)) = (arguments.policy, arguments.state) else {
        return super::asked_or(control, "--policy DIR --state DIR", async |client| {
            let answer = client.verify(&arguments.name, arguments.anew).await?;
            let value = serde_json::from_str(&answer.json)
                .map_err(|error| format!("the daemon's answer is not understood: {error}"))?;
            output.value(&value, judgement_text);
            Ok(u8::try_from(answer.exit_code).unwrap_or(2))
        });
    };
    let credentials = arguments
        .credentials
        .credentials(None)?
        .with_hosts(arguments.hosts_dir);
    super::block_on(decide(
        &name,
        &policy,
        &state,
        (arguments.at, arguments.anew),
        credentials,
        output,
    ))
}

async fn decide(
    name: &ImageRef,
    policy: &Path,
    state: &Path,
    (at, anew): (Option<Timestamp>, bool),
    credentials: Credentials,
    output: Output,
) -> Result<u8, Problem> {
    // The policy is read and the registry asked while the state is opened, which waits for the
    // disk.
    let dir = state.to_owned();
    let open = move || {
        Store::open_for_one_answer(&dir, Instant::now() + DEADLINE)
            .unwrap_or_else(|error| Store::broken(&dir, &error))
    };
    let opening = tokio::task::spawn_blocking(open);
    let files = PolicyDir::open(policy, Owner::RootOrCaller);
    // As of another time the clock has nothing to say.
    let (loaded, earliest) = if let Some(at) = at {
        (policy_dir::load(&files, at), None)
    } else {
        let (loaded, earliest) = files.load(Timestamp::now());
        (loaded, Some(earliest))
    };
    let in_force = loaded
        .map(Arc::new)
        .map_err(|errors| policy_refused(&errors, policy));
    // The registry is asked before the decider is made.
    if let Ok(policy) = &in_force {
        credentials.obey(Arc::clone(policy));
    }
    let sources = Arc::new(Sources::new(Arc::new(credentials)));
    let now = at.unwrap_or_else(Timestamp::now);
    let resolved = digest_of(&sources, &in_force, (name, ""), now, DEADLINE).await;
    let store = opening.await.map_err(|error| error.to_string())?;
    let decider = Decider::new(
        in_force,
        Arc::clone(&sources),
        Arc::new(store),
        DEADLINE,
        at.is_none(),
    );
    if let Some(earliest) = earliest {
        decider.set_earliest(earliest.at, &earliest.why);
    }
    let display = SignatureDisplay {
        anew,
        ..SignatureDisplay::default()
    };
    let verdict = match resolved {
        // Whoever had the state open until now has made contact since `now`, and the clock did not
        // go back for that.
        Ok(digest) => {
            let pull = Pull {
                door: Door::Verify,
                name: name.clone(),
                digest,
            };
            let now = at.unwrap_or_else(Timestamp::now);
            let replies = Some(&display.replies);
            decider.pull_remembering(&pull, now, replies).await
        }
        Err(Unresolved::Argument(why)) => return Err(why.into()),
        Err(Unresolved::Uncovered) => {
            let now = at.unwrap_or_else(Timestamp::now);
            decider.without_digest(Door::Verify, name, now).await
        }
        Err(Unresolved::Refusal(refusal)) => {
            decider.unjudged_pull(Door::Verify, Some(name.clone()), refusal, Instant::now())
        }
    };
    let mut judgement = observe::judgement(&verdict);
    add_signatures(&mut judgement, &decider, &verdict, &display).await;
    output.value(&judgement, judgement_text);
    Arc::clone(decider.store()).abandon();
    Ok(verdict.decision.exit_code())
}

pub(super) fn judgement_text(value: &Value) -> String {
    let mut subject = text(value, "name").to_owned();
    if let Some(digest) = value
        .get("digest")
        .and_then(Value::as_str)
        .filter(|digest| !subject.ends_with(digest))
    {
        subject = format!("{subject}@{digest}");
    }
    let roots: Vec<_> = super::output::list(value, "roots")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let rule = value.get("rule").and_then(Value::as_str).unwrap_or("none");
    let by = if roots.is_empty() {
        String::new()
    } else {
        format!(", roots: {}", roots.join(", "))
    };
    let signatures = signatures_text(value);
    match value.get("outcome").and_then(Value::as_str) {
        Some("allowed") => format!("allowed: {subject}\n  rule: {rule}{by}{signatures}"),
        outcome => {
            let word = if outcome == Some("refused") {
                "refused"
            } else {
                "could not judge"
            };
            let line = |name: &str| text(value, name).to_owned();
            format!(
                "{word}: {subject}\n  code: {}\n  rule: {rule}{by}\n  found: {}\n  wanted: {}{}{signatures}\nhint: {}",
                line("code"),
                line("found"),
                line("wanted"),
                through_text(value),
                line("hint")
            )
        }
    }
}

/// A line about a no that stops nothing.
fn through_text(value: &Value) -> &'static str {
    match value.get("let_through_by").and_then(Value::as_str) {
        Some("audit") => {
            "\n  let through: an engine goes on all the same, by audit mode or the rule's audit-until"
        }
        Some(_) => {
            "\n  let through: an engine goes on all the same, by break-glass; `rootpin status` shows its end"
        }
        None => "",
    }
}

/// A line for each signature beside the image, and for each root what its signatures bind.
fn signatures_text(value: &Value) -> String {
    let mut lines = Vec::new();
    for root in super::output::list(value, "signatures") {
        let found = super::output::list(root, "found");
        let (id, binds) = (text(root, "root"), text(root, "binds"));
        let source = match root["cached"].as_bool() {
            Some(true) => ", of the cache; --anew asks the registry for all",
            _ => "",
        };
        let count = found.len();
        lines.push(format!("  signatures for {id} ({binds}): {count}{source}"));
        for one in found {
            let format = text(one, "format");
            let by = match (one["key"].as_str(), one["claimed_key"].as_str()) {
                (Some(key), _) => format!(" by {key}"),
                (None, Some(key)) => format!(" that names {key}"),
                (None, None) => String::new(),
            };
            // Whatever text a pinned key signed.
            let tag = one["tag"]
                .as_str()
                .map_or(String::new(), |tag| format!(", tag {}", tag.escape_debug()));
            let word = match one["why_not"].as_str() {
                None => "counts".to_owned(),
                Some(why) => format!("does not count: {why}"),
            };
            let of = one["manifest"]
                .as_str()
                .map_or(String::new(), |manifest| format!(" of {manifest}"));
            lines.push(format!("    {format}{of}{by}{tag}: {word}"));
        }
        if let Some(error) = root["error"].as_str() {
            lines.push(format!("    not all could be looked at: {error}"));
        }
    }
    lines.iter().map(|line| ["\n", line].concat()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_signed_tag_writes_no_line_of_its_own() {
        let found = json!([{ "format": "sigstore-bundle", "key": "k", "tag": "v1\nallowed: all" }]);
        let value =
            json!({ "signatures": [{ "root": "builder", "binds": "tag", "found": found }] });
        let text = signatures_text(&value);
        assert!(text.contains("tag v1\\nallowed: all: counts"), "{text}");
        assert!(text.lines().all(|line| !line.starts_with("allowed")));
    }
}

//! Why a name is judged as it is: everything in the policy that speaks of it, in the order in which
//! it counts.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Mode, Policy, Rule};
use rootpin_trust::image::ImageRef;

/// What the policy says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The name.
    pub name: ImageRef,
    /// What happens on a "no".
    pub mode: Mode,
    /// Every entry that speaks of the name: the one that decides first, then those that it goes
    /// before.
    pub steps: Vec<Step>,
    /// What it takes for an image of that name to be let through.
    pub needs: Vec<String>,
}

/// One entry of the policy that speaks of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The entry and where it stands: `[[rule]] match = "…" (FILE:LINE)`.
    pub entry: String,
    /// Whether it decides.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It decides, as far as those before it don't.
    Applies,
    /// Another goes before it.
    Loses,
}

impl Explanation {
    /// As `--json` shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| json!({ "entry": step.entry, "outcome": step.outcome.to_string(), "why": step.why }));
        json!({
            "version": 1,
            "name": self.name.to_string(),
            "mode": self.mode.as_str(),
            "steps": steps.collect::<Vec<_>>(),
            "needs": self.needs,
        })
    }
}

/// Says what speaks of a name in the policy, at that time.
#[must_use]
pub fn explain(policy: &Policy, name: &ImageRef, now: Timestamp) -> Explanation {
    let rule = policy.rule_for(&name.repository);
    let mode = policy.mode_for(&name.repository);
    let mut explanation = Explanation {
        name: name.clone(),
        mode,
        steps: Vec::new(),
        needs: Vec::new(),
    };
    explain_digest(policy, &mut explanation);
    let bound = explain_image(policy, &mut explanation);
    explain_exempts(policy, now, bound, &mut explanation);
    explain_rules(policy, rule, bound, &mut explanation);
    if explanation.needs.is_empty() {
        let hosts = Vec::from_iter(policy.hosts()).join(", ");
        let known = if hosts.is_empty() {
            "the policy names no registry".to_owned()
        } else {
            format!("the policy names {hosts}")
        };
        explanation.needs.push(format!(
            "a [[rule]] whose match covers {}: there is none, so it is refused ({known})",
            name.repository
        ));
    }
    explanation
}

fn explain_digest(policy: &Policy, explanation: &mut Explanation) {
    if let Some((digest, reason)) = explanation
        .name
        .digest
        .and_then(|digest| Some((digest, policy.revoked_digest(&digest)?)))
    {
        explanation.steps.push(Step {
            entry: format!("[[revoked]] digest = \"{digest}\""),
            outcome: Outcome::Applies,
            why: format!("revoked: {reason}"),
        });
        explanation
            .needs
            .push("another image: this digest is revoked, whatever else says yes".to_owned());
    }
}

/// Whether the name is bound, so that nothing below is asked.
fn explain_image(policy: &Policy, explanation: &mut Explanation) -> bool {
    let name = &explanation.name;
    let by_digest = || {
        name.tag
            .is_none()
            .then(|| policy.image_with_digest(&name.repository, name.digest.as_ref()?))
            .flatten()
    };
    let Some(image) = policy
        .images_for(&name.repository, name.tag.as_ref())
        .or_else(by_digest)
    else {
        return false;
    };
    let digests: Vec<String> = image.digests.iter().map(ToString::to_string).collect();
    let entry = format!(
        "[[image]] name = \"{}:{}\" ({}:{})",
        image.repository, image.tag, image.location.file, image.location.line
    );
    let why =
        "the policy binds the name to its digests: no exemption, no rule and no server is asked"
            .to_owned();
    explanation.steps.push(Step {
        entry,
        outcome: Outcome::Applies,
        why,
    });
    explanation
        .needs
        .push(format!("the digest {}", digests.join(" or ")));
    true
}

fn explain_exempts(policy: &Policy, now: Timestamp, bound: bool, explanation: &mut Explanation) {
    for exempt in policy.exempts_for(&explanation.name.repository) {
        let named = exempt.digests.as_ref();
        let other_bytes = named
            .zip(explanation.name.digest.as_ref())
            .is_some_and(|(digests, digest)| !digests.contains(digest));
        let (outcome, why) = if bound {
            (Outcome::Loses, "the name is bound by [[image]]".to_owned())
        } else if exempt.is_over(now) {
            (Outcome::Loses, format!("it was over at {}", exempt.until))
        } else if other_bytes {
            (Outcome::Loses, "it is for other digests".to_owned())
        } else {
            (
                Outcome::Applies,
                format!("until {}: {}", exempt.until, exempt.reason),
            )
        };
        if outcome == Outcome::Applies {
            let digests = named.map(|digests| {
                digests
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" or ")
            });
            let need = digests.map_or("nothing: the name is exempt".to_owned(), |digests| {
                format!("the digest {digests}, which is exempt")
            });
            explanation
                .needs
                .push(format!("{need} until {}", exempt.until));
        }
        explanation.steps.push(Step {
            entry: exempt.to_string(),
            outcome,
            why,
        });
    }
}

fn explain_rules(
    policy: &Policy,
    winner: Option<&Rule>,
    bound: bool,
    explanation: &mut Explanation,
) {
    let Some(winner) = winner else { return };
    if bound {
        explanation.steps.push(Step {
            entry: winner.to_string(),
            outcome: Outcome::Loses,
            why: "the name is bound by [[image]]".to_owned(),
        });
    } else {
        let why = if winner.pattern.is_exact() {
            "it is the exact name"
        } else {
            "of the rules that match it has the longest part before a wildcard"
        };
        explanation.steps.push(Step {
            entry: winner.to_string(),
            outcome: Outcome::Applies,
            why: why.to_owned(),
        });
        explanation.needs.push(evidence(winner, &explanation.name));
    }
    let mut losers: Vec<&Rule> = policy
        .rules
        .iter()
        .filter(|rule| *rule != winner && rule.pattern.matches(&explanation.name.repository))
        .collect();
    losers.sort_by_key(|rule| std::cmp::Reverse(rule.pattern.specificity()));
    for rule in losers {
        let why = format!("{} is more specific", winner.pattern);
        explanation.steps.push(Step {
            entry: rule.to_string(),
            outcome: Outcome::Loses,
            why,
        });
    }
}

/// What a rule asks for, in words.
fn evidence(rule: &Rule, name: &ImageRef) -> String {
    let roots: Vec<String> = rule.roots.iter().map(ToString::to_string).collect();
    let who = match (rule.quorum, rule.roots.len()) {
        (1, 1) => roots.join(""),
        (quorum, _) => format!("{quorum} of {}", roots.join("; ")),
    };
    let Some(signed) = rule.signed_name(&name.repository) else {
        return format!(
            "a statement that cannot exist: signed-as gives no name in full form for {}",
            name.repository
        );
    };
    let what = name
        .tag
        .as_ref()
        .map_or("some tag".to_owned(), |tag| format!("the tag {tag}"));
    let digest = name
        .digest
        .map_or("the digest that is pulled".to_owned(), |digest| {
            digest.to_string()
        });
    format!("a statement signed under {who} that {what} of {signed} is {digest}")
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Applies => "applies",
            Self::Loses => "loses",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\nmode: {}", self.name, self.mode)?;
        for step in &self.steps {
            write!(
                formatter,
                "\n{}: {}: {}",
                step.outcome, step.entry, step.why
            )?;
        }
        for need in &self.needs {
            write!(formatter, "\nneeds: {need}")?;
        }
        Ok(())
    }
}

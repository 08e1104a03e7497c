//! Why a name is judged as it is: everything in the policy that speaks of it, in the order in which
//! it counts.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::judge::{Entry, EntryKind, Lookup, Why, entries};
use super::{Mode, Policy, Rule};
use rootpin_trust::image::{Digest, ImageRef};

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

/// Says what speaks of a name in the policy, at that time: the judge's own list of entries, before
/// any bytes are known.
#[must_use]
pub fn explain(policy: &Policy, name: &ImageRef, now: Timestamp) -> Explanation {
    let lookup = Lookup {
        name,
        bytes: None,
        from_registry: true,
        now,
        clock: None,
    };
    let all = entries(policy, lookup);
    let mut needs: Vec<String> = all.iter().filter_map(|entry| need(entry, name)).collect();
    if needs.is_empty() {
        needs.push(no_entry(policy, name));
    }
    let step = |entry: &Entry<'_>| Step {
        entry: entry.kind.to_string(),
        outcome: if entry.applies() {
            Outcome::Applies
        } else {
            Outcome::Loses
        },
        why: entry.to_string(),
    };
    Explanation {
        name: name.clone(),
        mode: policy.mode_for(&name.repository),
        steps: all.iter().map(step).collect(),
        needs,
    }
}

/// What it takes for an entry that applies to say yes.
fn need(entry: &Entry<'_>, name: &ImageRef) -> Option<String> {
    let any_of = |digests: &BTreeSet<Digest>| {
        let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
        digests.join(" or ")
    };
    match (&entry.why, entry.kind) {
        (Why::Applies, EntryKind::Revoked(..)) => {
            Some("another image: this digest is revoked, whatever else says yes".to_owned())
        }
        (Why::Applies, EntryKind::Image(image)) => {
            Some(format!("the digest {}", any_of(&image.digests)))
        }
        (Why::Applies, EntryKind::Exempt(exempt)) => Some(match &exempt.digests {
            None => format!("nothing: the name is exempt until {}", exempt.until),
            Some(digests) => format!(
                "the digest {}, which is exempt until {}",
                any_of(digests),
                exempt.until
            ),
        }),
        (Why::Applies, EntryKind::Rule(rule)) => Some(evidence(rule, name)),
        _ => None,
    }
}

fn no_entry(policy: &Policy, name: &ImageRef) -> String {
    let hosts = Vec::from_iter(policy.hosts()).join(", ");
    let known = if hosts.is_empty() {
        "the policy names no registry".to_owned()
    } else {
        format!("the policy names {hosts}")
    };
    format!(
        "a [[rule]] whose match covers {}: there is none, so it is refused ({known})",
        name.repository
    )
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

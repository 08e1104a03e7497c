//! What ends soon: exemptions, trials of rules, audit mode, roots. Status, log and metrics say so 14,
//! 3 and 1 days before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::decide::Decider;
use crate::plain_text::{days_left, time_left};
use crate::problem::Problem;

/// How many days before, the last one first.
const DAYS: [i64; 3] = [1, 3, 14];
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ending {
    /// In words, as `the exemption of registry.example/app`.
    pub(super) what: String,
    /// When.
    pub(super) at: Timestamp,
    /// What happens then, and what to do.
    pub(super) hint: &'static str,
}

impl Ending {
    /// How many whole days are left, rounded up, where it ends within 14.
    pub(super) fn days(&self, now: Timestamp) -> Option<i64> {
        let left = self.at.duration_since(now);
        let most = DAYS.iter().max().copied().unwrap_or_default();
        let days = days_left(left);
        (left > SignedDuration::ZERO && days <= most).then_some(days)
    }

    /// The warning that is due: of which of the days.
    fn due(&self, now: Timestamp) -> Option<i64> {
        let days = self.days(now)?;
        DAYS.into_iter().find(|before| days <= *before)
    }

    fn told(&self, now: Timestamp) -> Option<String> {
        self.days(now)?;
        let left = time_left(self.at.duration_since(now));
        let what = format!("{} ends in {left}, at {:.0}", self.what, self.at);
        Some(Problem::hinted(what, self.hint).to_string())
    }
}

/// All that the policy in force and its roots let end.
pub(super) fn endings(decider: &Decider) -> Vec<Ending> {
    let mut all = Vec::new();
    if let Ok(policy) = decider.policy() {
        let exempt = policy.exempts().iter().map(|exempt| Ending {
            what: format!("the exemption of {}", exempt.pattern),
            at: exempt.until,
            hint: "have the image signed, or renew `until`",
        });
        all.extend(exempt);
        let trials = policy.rules.iter().filter_map(|rule| {
            Some(Ending {
                what: format!("the trial of the rule for {}", rule.pattern),
                at: rule.audit_until?,
                hint: "it enforces then: see what it would refuse with rootpin sweep --dry-run",
            })
        });
        all.extend(trials);
        all.extend(policy.audit_until.map(|at| Ending {
            what: "audit mode".to_owned(),
            at,
            hint: "the policy enforces then: see what it would refuse with rootpin sweep --dry-run",
        }));
    }
    all.extend(decider.root_expiries().into_iter().map(|known| Ending {
        what: format!("root {}", known.root),
        at: known.at,
        hint: "its publisher must renew it",
    }));
    all.sort_by_key(|ending| ending.at);
    all
}

/// What status shows: all that ends within 14 days, the first first.
pub(super) fn shown(decider: &Decider, now: Timestamp) -> Vec<Value> {
    let shown = |ending: &Ending| {
        let told = ending.told(now)?;
        Some(
            json!({ "what": ending.what, "ends": ending.at.to_string(), "days": ending.days(now), "told": told }),
        )
    };
    endings(decider).iter().filter_map(shown).collect()
}

/// Which warnings were given, so that each is given once.
#[derive(Debug, Default)]
pub(super) struct Warned(BTreeMap<(String, Timestamp), i64>);

impl Warned {
    /// The warnings that are new now.
    pub(super) fn news(&mut self, endings: &[Ending], now: Timestamp) -> Vec<String> {
        let known = |(what, at): &(String, Timestamp)| {
            let is = |ending: &Ending| ending.what == *what && ending.at == *at;
            endings.iter().any(is)
        };
        self.0.retain(|key, _| known(key));
        let mut news = Vec::new();
        for ending in endings {
            let Some(due) = ending.due(now) else { continue };
            let last = self.0.insert((ending.what.clone(), ending.at), due);
            if last.is_none_or(|last| due < last) {
                news.extend(ending.told(now));
            }
        }
        news
    }
}

/// Says in the log what ends soon.
pub(crate) async fn warn_ahead(decider: Arc<Decider>) {
    let mut warned = Warned::default();
    loop {
        for news in warned.news(&endings(&decider), Timestamp::now()) {
            log::warn!("{news}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_fourteen_three_and_one_days_before() {
        let end: Timestamp = "2030-02-01T00:00:00Z".parse().unwrap();
        let ending = [Ending {
            what: "the exemption of r.example/a".to_owned(),
            at: end,
            hint: "renew it",
        }];
        let mut warned = Warned::default();
        let mut given = Vec::new();
        // Every hour of the last 20 days, and of one day after.
        for hour in 0..21 * 24_i64 {
            let now = end - SignedDuration::from_hours(20 * 24 - hour);
            given.extend(warned.news(&ending, now).iter().map(|_| hour));
        }
        assert_eq!(given, [144, 408, 456]);
        let at = |days: i64| end - SignedDuration::from_hours(days * 24);
        assert_eq!(
            Warned::default().news(&ending, at(2)),
            [
                "the exemption of r.example/a ends in 2 days, at 2030-02-01T00:00:00Z; hint: renew it"
            ]
        );
        assert!(Warned::default().news(&ending, at(15)).is_empty());
        assert!(Warned::default().news(&ending, at(0)).is_empty());
        let renewed = [Ending {
            at: end + SignedDuration::from_hours(24),
            ..ending[0].clone()
        }];
        assert_eq!(
            warned.news(&renewed, at(0)).len(),
            1,
            "another end is another warning"
        );
    }
}

//! Break-glass: begun and ended by root, ended by time, by the policy, and never by a restart. The
//! judge gets it as one more input.

use std::sync::{Arc, PoisonError, RwLock};

use crate::problem::Problem;
use jiff::{SignedDuration, Timestamp};
use rootpin_policy::{BreakGlass, NoBreakGlass, Pattern};

use super::Decider;
use crate::state::{GlassFile, GlassRecord, GlassStanding, HostTime};

const NOT_PERMITTED: &str = "the policy in force does not permit it";

/// The longest reason, in characters.
const MAX_REASON: usize = 500;
/// How often the time that was seen is written down.
const SEEN: SignedDuration = SignedDuration::from_mins(1);

/// The place for it. All who judge on this host share it.
#[derive(Debug, Default)]
pub(super) struct GlassSlot(RwLock<Option<InForceGlass>>);

#[derive(Debug)]
struct InForceGlass {
    record: GlassRecord,
    glass: Arc<BreakGlass>,
    written: Timestamp,
}

/// What root asks for.
#[derive(Debug, Clone)]
pub struct GlassRequest {
    /// Why.
    pub reason: String,
    /// For how long.
    pub lasts: SignedDuration,
    /// The only names that it is for.
    pub pattern: Option<Pattern>,
}

/// One that has ended.
#[derive(Debug)]
pub(crate) struct EndedGlass {
    pub(crate) glass: Arc<BreakGlass>,
    pub(crate) why: String,
    /// Why its file is still there, so that a restart would bring it back.
    pub(crate) trouble: Option<Problem>,
}

impl Decider {
    /// Begins it, in place of one that is in force, which it returns. It is in its file, and
    /// `is_recorded`, before any question is judged by it.
    ///
    /// # Errors
    /// The policy forbids it, or it can't be kept or recorded. One line.
    pub fn begin_break_glass(
        &self,
        request: GlassRequest,
        time: &HostTime,
        is_recorded: impl FnOnce(&BreakGlass) -> bool,
    ) -> Result<Option<Arc<BreakGlass>>, Problem> {
        let policy = self.policy().map_err(|refusal| refusal.to_string())?;
        if let Some(why) = self.clock_trouble(time.wall) {
            let hint = "set the host's clock first: the end of break-glass could not be seen";
            return Err(Problem::hinted(why, hint));
        }
        let reason = request.reason.trim().to_owned();
        if reason.is_empty() || reason.chars().count() > MAX_REASON {
            return Err(Problem::hinted(
                format!("a reason needs 1 to {MAX_REASON} characters"),
                "--reason 'INC-1234: the trust server is down'",
            ));
        }
        let until = time.wall.checked_add(request.lasts);
        let glass = Arc::new(BreakGlass {
            reason: reason.clone(),
            pattern: request.pattern.clone(),
            begun: time.wall,
            until: until.map_err(|_| "no such time")?,
        });
        match glass.forbidden_by(&policy) {
            None => {}
            Some(NoBreakGlass::Forbidden) => {
                return Err(Problem::hinted(
                    "the policy has break-glass = \"forbidden\"",
                    "what must run goes into the policy, as [[image]] or [[exempt]]",
                ));
            }
            Some(NoBreakGlass::TooLong(most)) => {
                return Err(Problem::hinted(
                    format!("the policy lets break-glass last {most:#} at most"),
                    "a shorter --for, or [limits] max-break-glass in the policy",
                ));
            }
        }
        let pattern = request.pattern.map(|pattern| pattern.to_string());
        let record =
            GlassRecord::new(reason, pattern, request.lasts, time).ok_or("no such time")?;
        let mut slot = self.glass.0.write().unwrap_or_else(PoisonError::into_inner);
        let file = self.glass_file();
        file.write(&record)
            .map_err(|error| format!("{}: {error}", file.path().display()))?;
        if !is_recorded(&glass) {
            // The one before it ends too: its file is gone.
            *slot = None;
            file.remove()
                .map_err(|error| format!("{}: {error}", file.path().display()))?;
            return Err(Problem::hinted(
                "the audit file can't be written, and break-glass is never without a record",
                "make room for audit-log of rootpin.toml, see rootpin status",
            ));
        }
        let earlier = slot.replace(InForceGlass {
            record,
            glass,
            written: time.wall,
        });
        drop(slot);
        self.changes.send_replace(());
        Ok(earlier.map(|earlier| earlier.glass))
    }

    /// Takes up what an earlier run of the daemon left in force.
    pub(crate) fn recall_break_glass(&self) -> Option<Arc<BreakGlass>> {
        let file = self.glass_file();
        let record = match file.read() {
            Ok(record) => record?,
            Err(error) => {
                log::error!(
                    "{}: {error}: no break-glass is in force",
                    file.path().display()
                );
                return None;
            }
        };
        let pattern = record.pattern.as_deref().map(str::parse).transpose();
        let Ok(pattern) = pattern else {
            log::error!(
                "{}: no such pattern: no break-glass is in force",
                file.path().display()
            );
            return None;
        };
        let glass = Arc::new(BreakGlass {
            reason: record.reason.clone(),
            pattern,
            begun: record.begun(),
            until: record.until(),
        });
        let mut slot = self.glass.0.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(InForceGlass {
            record,
            glass: Arc::clone(&glass),
            written: Timestamp::MIN,
        });
        Some(glass)
    }

    /// Break-glass, and why it is not in force, if it isn't.
    pub(crate) fn break_glass_standing(
        &self,
        time: &HostTime,
    ) -> Option<(Arc<BreakGlass>, Option<&'static str>)> {
        let slot = self.glass.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = slot.as_ref()?;
        let by_policy = || match self.policy() {
            Ok(policy) => known.glass.forbidden_by(&policy).map(|_| NOT_PERMITTED),
            Err(_) => Some("no policy is in force"),
        };
        let why_not = match known.record.standing(time) {
            GlassStanding::Over(why) => Some(why),
            GlassStanding::ClockBehind => Some("the clock is behind"),
            GlassStanding::InForce => by_policy(),
        };
        Some((Arc::clone(&known.glass), why_not))
    }

    /// Break-glass, if it is in force now.
    #[must_use]
    pub fn break_glass(&self, now: Timestamp) -> Option<Arc<BreakGlass>> {
        // Without any, the kernel is not asked which boot this is.
        let slot = self.glass.0.read();
        slot.unwrap_or_else(PoisonError::into_inner).as_ref()?;
        let (glass, why_not) = self.break_glass_standing(&HostTime::at(now))?;
        why_not.is_none().then_some(glass)
    }

    /// Ends it.
    pub(crate) fn end_break_glass(&self, why: &str) -> Option<EndedGlass> {
        let mut slot = self.glass.0.write().unwrap_or_else(PoisonError::into_inner);
        self.end_in(&mut slot, why)
    }

    fn end_in(&self, slot: &mut Option<InForceGlass>, why: &str) -> Option<EndedGlass> {
        let ended = slot.take()?;
        let file = self.glass_file();
        let trouble = file.remove().err().map(|error| {
            let path = file.path().display();
            let what = format!("{path}: {error}; a restart would bring break-glass back");
            Problem::hinted(what, format!("rm {path}"))
        });
        self.changes.send_replace(());
        Some(EndedGlass {
            glass: ended.glass,
            why: why.to_owned(),
            trouble,
        })
    }

    /// Ends it where time or the policy has, and writes down which time was seen.
    pub(crate) fn tick_break_glass(&self, time: &HostTime) -> Option<EndedGlass> {
        let mut slot = self.glass.0.write().unwrap_or_else(PoisonError::into_inner);
        let in_force = slot.as_mut()?;
        let forbidden = self
            .policy()
            .ok()
            .and_then(|policy| in_force.glass.forbidden_by(&policy));
        let why = match (in_force.record.standing(time), forbidden) {
            (GlassStanding::Over(why), _) => Some(why),
            (_, Some(_)) => Some(NOT_PERMITTED),
            (GlassStanding::InForce | GlassStanding::ClockBehind, None) => None,
        };
        if let Some(why) = why {
            return self.end_in(&mut slot, why);
        }
        let seen = in_force.record.seen_at(time);
        let due = time.wall.duration_since(in_force.written) >= SEEN;
        if due && seen != in_force.record {
            in_force.written = time.wall;
            if let Err(error) = self.glass_file().write(&seen) {
                log::warn!("break-glass: the time that was seen can't be kept: {error}");
            }
        }
        in_force.record = seen;
        None
    }

    fn glass_file(&self) -> GlassFile {
        GlassFile::beside(self.store.directory())
    }
}

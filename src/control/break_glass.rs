//! `BreakGlass`: root begins and ends it, and everybody sees it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use super::answer::failed;
use super::wire::BreakGlassRequest;
use super::{ControlService, prove};
use crate::decide::{Decider, EndedGlass, GlassRequest};
use crate::observe::{Observer, plain};
use crate::problem::Problem;
use crate::state::HostTime;
use rootpin_policy::BreakGlass;

/// How often it is looked at whether it has ended.
const LOOK: Duration = Duration::from_secs(1);

impl ControlService {
    /// The object of `rootpin break-glass --json`, and the exit code: 1 while it is in force.
    pub(super) fn break_glass(
        &self,
        request: Request<BreakGlassRequest>,
    ) -> Result<(Value, u32), Status> {
        let peer = request
            .extensions()
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred)
            .map(|peer| (peer.uid(), peer.pid()));
        let asked = request.into_inner();
        let time = HostTime::at(Timestamp::now());
        let mut replaced = None;
        if asked.end {
            let pid = prove::root_only(peer, "end break-glass")?;
            if let Some(ended) = self.decider.end_break_glass("root ended it") {
                tell_end(&self.observer, &ended, pid);
                if let Some(trouble) = ended.trouble {
                    return Err(failed(&trouble));
                }
            }
        } else if !asked.reason.is_empty() || asked.seconds > 0 || !asked.pattern.is_empty() {
            let pid = prove::root_only(peer, "break the glass")?;
            replaced = self
                .begin(asked, &time, pid)
                .map_err(|problem| failed(&problem))?;
        }
        let known = shown(&self.decider, &time);
        let exit = u32::from(is_in_force(&known));
        let mut report = json!({ "version": 1, "break_glass": known });
        if let (Some(members), Some(glass)) = (report.as_object_mut(), replaced) {
            members.insert("replaced".to_owned(), json!(words(&glass)));
        }
        Ok((report, exit))
    }

    fn begin(
        &self,
        asked: BreakGlassRequest,
        time: &HostTime,
        pid: Option<i32>,
    ) -> Result<Option<Arc<BreakGlass>>, Problem> {
        let lasts = i64::try_from(asked.seconds).map_err(|_| "no such time")?;
        let pattern = Some(asked.pattern).filter(|pattern| !pattern.is_empty());
        let pattern = pattern.map(|pattern| pattern.parse()).transpose();
        let pattern = pattern
            .map_err(|fault: rootpin_policy::Fault| Problem::hinted(fault.message, fault.hint))?;
        let request = GlassRequest {
            reason: asked.reason,
            lasts: SignedDuration::from_secs(lasts),
            pattern,
        };
        let earlier = self.decider.begin_break_glass(request, time, |glass| {
            log::warn!("BREAK-GLASS begins: {}", words(glass));
            let user = ("user", json!(pid.and_then(login)));
            self.observer
                .event(event("break-glass-begin", glass, pid, Some(user)))
        })?;
        if let Some(glass) = &earlier {
            let ended = EndedGlass {
                glass: Arc::clone(glass),
                why: "another one was begun in its place".to_owned(),
                trouble: None,
            };
            tell_end(&self.observer, &ended, pid);
        }
        Ok(earlier)
    }
}

/// Takes up what an earlier run left in force, and ends it when its time is over or the policy does
/// not permit it.
pub(crate) async fn watch_break_glass(decider: Arc<Decider>, observer: Arc<Observer>) {
    loop {
        let time = HostTime::at(Timestamp::now());
        if let Some(ended) = decider.tick_break_glass(&time) {
            tell_end(&observer, &ended, None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The same at the daemon's start, before the first question.
pub(crate) fn recall_break_glass(decider: &Decider, observer: &Observer) {
    if let Some(glass) = decider.recall_break_glass() {
        log::warn!("BREAK-GLASS goes on after a restart: {}", words(&glass));
        observer.event(event("break-glass-recall", &glass, None, None));
    }
}

fn tell_end(observer: &Observer, ended: &EndedGlass, pid: Option<i32>) {
    log::warn!("break-glass is over: {}", ended.why);
    if let Some(trouble) = &ended.trouble {
        log::error!("{trouble}");
    }
    let why = ("why", json!(ended.why));
    observer.event(event("break-glass-end", &ended.glass, pid, Some(why)));
}

fn event(name: &str, glass: &BreakGlass, pid: Option<i32>, more: Option<(&str, Value)>) -> Value {
    let mut record = json!({
        "event": name,
        "reason": glass.reason,
        "match": glass.pattern.as_ref().map(ToString::to_string),
        "begun": glass.begun.to_string(),
        "until": glass.until.to_string(),
        "pid": pid,
    });
    if let (Some(members), Some((name, value))) = (record.as_object_mut(), more) {
        members.insert(name.to_owned(), value);
    }
    record
}

/// Whether what is shown is in force.
pub(super) fn is_in_force(shown: &Value) -> bool {
    shown.get("in_force") == Some(&Value::Bool(true))
}

/// The user that logged in before becoming root (`loginuid`, kernel's audit).
fn login(pid: i32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|user| *user != u32::MAX)
}

fn words(glass: &BreakGlass) -> String {
    let what = glass.pattern.as_ref().map_or_else(
        || "all images pass".to_owned(),
        |pattern| format!("images of {pattern} pass"),
    );
    let reason = plain(&glass.reason);
    format!(
        "{what} until {:.0}, except revoked ones: {reason}",
        glass.until
    )
}

/// Break-glass as status and others show it; `null` where there is none.
pub(super) fn shown(decider: &Decider, time: &HostTime) -> Value {
    let Some((glass, why_not)) = decider.break_glass_standing(time) else {
        return Value::Null;
    };
    let told = match why_not {
        None => words(&glass),
        Some(why) => format!("not in force: {why}"),
    };
    json!({
        "in_force": why_not.is_none(),
        "reason": glass.reason,
        "match": glass.pattern.as_ref().map(ToString::to_string),
        "begun": glass.begun.to_string(),
        "until": glass.until.to_string(),
        "told": told,
    })
}

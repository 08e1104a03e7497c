//! Reports what a host trusts: resident images, pinned roots, trust directories; and compares the
//! reports of a fleet.
//!
//! Reads only. Nothing here lets an image through: every verdict is the decider's, and no floor is
//! written for it.

mod check;
mod drift;
mod extract;
mod findings;
mod fleet;
pub(super) mod folder;
#[cfg(test)]
mod fuzz;
mod host;
mod html_page;
mod images;
mod judgement_source;
mod kept_report;
mod merge;
mod page;
mod places;
mod reading;
mod report;
mod repository;
mod trust_directory;
mod trust_graph;
mod views;

pub use check::SOON;
pub use drift::Drift;
pub use findings::{AuditFinding, FindingCode, FindingSeverity, Untold};
pub use fleet::{Fleet, FleetHost, Majority};
pub use host::{AuditScope, look, look_at};
pub use html_page::BEGIN as PAGE_BEGIN;
pub use images::{EngineKind, EngineSocket};
pub use judgement_source::JudgementSource;
pub(crate) use kept_report::is_ahead;
pub use merge::{Expected, Merge, Unreadable};
pub use page::{fleet_page, host_page};
pub use places::{TrustPlace, homes};
pub use reading::Reports;
pub use report::HostReport;

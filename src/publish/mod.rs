//! The signing side: what a host that publishes statements holds and does. Nothing that verifies
//! stands on it.
//!
//! ```text
//! place ─read─▶ Metadata (verified as on every host) ─▶ Draft (three-way merge, then what a verb changes)
//!                                                         │
//! place ◀─write─ Metadata (verified again) ◀─sign─ Plan (who signs what) ◀┘
//! ```

mod ceremony;
pub mod changes;
mod document;
mod draft;
mod encryption;
mod error;
pub mod key;
pub mod key_file;
pub mod keyring;
mod metadata;
mod one_off;
mod paths;
pub mod place;
mod plan;
pub mod private_file;
mod public_key;
pub mod root;
mod settings;
pub mod token;
mod transaction;
pub mod way;
mod working;

pub use ceremony::Proposal;
pub use document::{Document, material};
pub use draft::Draft;
pub use error::PublishError;
pub use metadata::{Authority, File, Metadata, RoleKey};
pub use one_off::OneOff;
pub use paths::delegated_paths;
pub use plan::{Missing, Plan, Step, Unlock};
pub use public_key::key_object;
pub use settings::Settings;
pub use transaction::{Change, Doing, Outcome, Transaction};
pub use working::{Working, pinned_root};

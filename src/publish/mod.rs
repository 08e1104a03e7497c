//! Signs a TUF repository of image names and publishes it. Nothing that verifies depends on it.
//!
//! ```text
//! place ─read─▶ Metadata (verified as on every host) ─▶ Draft (three-way merge, then the change)
//!                                                         │
//! place ◀─write─ Metadata (verified again) ◀─sign─ Plan (who signs what) ◀┘
//! ```

mod canonical_json;
mod ceremony;
pub mod changes;
pub mod delegation_path;
mod document;
mod draft;
mod encryption;
mod error;
#[cfg(test)]
mod fuzz;
pub mod key;
pub mod key_file;
pub mod keyring;
mod metadata;
mod one_off;
mod open_keys;
mod paths;
pub mod place;
mod plan;
pub mod private_file;
mod public_key;
mod role_key;
pub mod root;
mod settings;
pub mod take_over;
pub mod taken_out;
pub mod token;
mod transaction;
pub mod upstream_list;
mod working;

pub use canonical_json::material;
pub use ceremony::RootProposal;
pub use document::Document;
pub use draft::Draft;
pub use error::PublishError;
pub use metadata::{Authority, Metadata, MetadataFile};
pub use one_off::OneOff;
pub use open_keys::OpenKeys;
pub use paths::delegated_paths;
pub use plan::{FileToSign, Missing, SigningPlan};
pub use public_key::key_object;
pub(crate) use public_key::to_pem;
pub use role_key::RoleKey;
pub use settings::Settings;
pub use transaction::{Activity, Prepared, Published, RepositoryChange, Todo, Transaction};
pub use working::{Working, pinned_root};

/// The four top-level roles.
pub(crate) const ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

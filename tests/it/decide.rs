//! The decision, asked as the doors ask it: policies in memory, trust servers on loopback, and a
//! real state.

mod behind;
mod broken_answers;
mod formats;
mod gate;
mod imported_signatures;
mod kept;
mod many_tags;
pub(crate) mod mode;
mod names;
mod offline;
mod one_voice;
mod past;
mod precedence;
mod quorum;
mod resolve;
mod revoked_at_hand;
mod revoked_names;
mod setup;
mod signature_lists;
mod signatures;
mod signed_by_command;
mod signed_manifests;
mod signed_otherwise;
mod slow_lists;
mod unread_signatures;
mod without_network;
mod without_referrers;

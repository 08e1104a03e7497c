//! The Notary v1 workflow.

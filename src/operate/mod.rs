//! The verbs by which a person runs a host: audit, doctor and proof.

pub mod audit;
pub mod doctor;
pub mod prove;

//! Attacks, past and possible, each under its name.

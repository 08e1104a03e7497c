//! rootpin: a trust plugin for containerd and Docker. It lets an image be unpacked only when a root
//! that the host pins has signed "this name and tag are these bytes".
//!
//! ```text
//! containerd · dockerd                                    registry · Notary server
//!       │ native request                                         │ bytes (capped, hashed)
//!    doors ──question──▶ decide ───need──▶ evidence ──▶ sources ─┘
//!       ▲                  │  ▲ │             │ answers (untrusted)
//!       │                  │  │ └── judge: Ask(need) or Done(judgement)      rootpin-policy
//!       │                  │  └──── Verified<Collection> ◀── pins, floors, now, budget   rootpin-trust
//!       │                  ├─ state: raise floors, record the admission: all or nothing, and only now
//!       └──── decision ◀───┴─▶ observe (log line · metric · audit record)
//! ```
//!
//! The part to audit is
//! `crates/rootpin-trust`, `crates/rootpin-policy`, `src/evidence` and `src/decide`. The two crates
//! have no input or output, no clock and no async, and their Cargo.toml keeps them so:
//! `rootpin-trust` verifies signed metadata, and `rootpin-policy` judges by what the host demands.
//! `evidence` fetches metadata, drives its verification and writes floors; `decide` drives the
//! judge and keeps what a verdict rests on. Dependencies go one way: `bin → cli → operate, daemon →
//! doors → engines, control → decide → evidence → sources, state`, and a test keeps it so.
//! `publish` signs. It verifies by `rootpin-trust` as every host does, and no door depends on it.
//! docs/code-structure.md walks through the code.

#![forbid(unsafe_code)]

pub mod canary;
pub mod cli;
pub mod config;
pub mod control;
pub mod credentials;
pub mod daemon;
pub mod decide;
pub mod doors;
pub mod engines;
pub(crate) mod evidence;
#[cfg(test)]
mod fuzzing;
pub(crate) mod hosts_toml;
pub mod nonce;
pub mod observe;
pub mod operate;
pub(crate) mod plain_file;
pub(crate) mod plain_text;
pub mod policy_dir;
pub mod problem;
pub mod publish;
pub mod sockets;
pub mod sources;
pub(crate) mod spelling;
pub mod state;
pub mod trusted_path;

//! rootpin: a trust plugin for containerd and Docker. It lets an image be unpacked only when a root
//! that the host pins has signed "this name and tag are these bytes".
//!
//! ```text
//! containerd · dockerd                                    registry · Notary server
//!       │ native request                                         │ bytes (capped, hashed)
//!    hooks ──question──▶ decide ──────────────────▶ sources ─────┘
//!       ▲                  │  ▲                        │ answers (untrusted)
//!       │                  │  └─ Verified<Collection> ── trust ◀─ (pins, floors, now, budget)
//!       │                  ├─ does it name this image and this digest?  ─▶ admission
//!       │                  ├─ state: raise floors, record the admission: all or nothing, and only now
//!       └──── decision ◀───┴─▶ observe (log line · metric · audit record)
//! ```
//!
//! Dependencies go one way: `bin → cli → audit, daemon → hooks, control → decide → sources, state →
//! policy → trust → image → json`, and a test keeps it so. Policy stands above trust because it has
//! to know what a key is (a pinned file, a canonical ID), while trust needs nothing of the policy
//! but the pins that it is given. `json`, `image`, `trust` and `policy` are pure: no input or
//! output, no clock. They, and `decide`, are the part to audit. `publish` is the other side, which
//! signs: it verifies by `trust` as every host does, and no verifier stands on it.

#![forbid(unsafe_code)]

pub mod audit;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decide;
pub mod doctor;
pub mod hooks;
pub mod hosts_dir;
pub mod image;
pub mod json;
pub mod nonce;
pub mod observe;
pub mod policy;
pub mod policy_dir;
pub mod prove;
pub mod publish;
pub mod sockets;
pub mod sources;
pub mod spelling;
pub mod state;
pub mod trust;
pub mod trusted_path;

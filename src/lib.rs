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
//! What judges is two crates without input or output, without a clock and without async, kept so by
//! their Cargo.toml: `rootpin-trust` verifies signed metadata, and `rootpin-policy` reads what the
//! host demands. They, and `decide`, are the part to audit. Here dependencies go one way too: `bin
//! → cli → audit, daemon → hooks, control → decide → sources, state`, and a test keeps it so.
//! `publish` is the other side, which signs: it verifies by `rootpin-trust` as every host does, and
//! no verifier stands on it.

#![forbid(unsafe_code)]

pub mod audit;
pub mod canary;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decide;
pub mod doctor;
pub mod hooks;
pub mod hosts_dir;
pub mod nonce;
pub mod observe;
pub mod policy_dir;
pub mod prove;
pub mod publish;
pub mod sockets;
pub mod sources;
pub mod state;
pub mod trusted_path;

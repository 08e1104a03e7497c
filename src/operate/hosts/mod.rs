//! Checks and closes `hosts.toml` files: in a closed one the resolver alone says which digest a tag
//! is.
//!
//! An engine asks every host of the file that may both pull and resolve, in turn, until one
//! answers. A closed file therefore has the resolver as the only such host. It also names the
//! registry itself without `resolve`: an engine gives a registry that is not named every capability
//! (containerd, `core/remotes/docker/config/hosts.go` and `resolver.go`).

mod close;
mod finding;

pub(crate) use close::close;
pub(crate) use finding::{HostsCode, HostsFinding, check_folder, mirrored, without_host_table};

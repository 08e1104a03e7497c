//! This host's credentials for registries: where they come from, and who may be given them.
//!
//! They stay in memory. No log, no audit record, no core dump and no file of rootpin's has them.

#[cfg(test)]
mod fuzz;
mod given;
mod glob;
mod kubelet;
mod kubelet_config;
pub mod program;
mod settings;
mod withheld;

use std::fmt;

use zeroize::Zeroize;

pub use given::{Gate, servers, withholds_key};
pub use kubelet::{Given, Kubelet};
pub use kubelet_config::{
    API_VERSIONS, OWN_PROVIDER, Provider, go_duration, read as read_kubelet_config,
};
pub use settings::{Kind, Settings};
pub use withheld::withheld;

/// Something secret, which no log and no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

/// What opens a server to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An `OAuth` refresh token, for the token service only.
    IdentityToken(Secret),
}

impl Credential {
    /// User and password.
    #[must_use]
    pub fn password(user: &str, password: &str) -> Self {
        Self::Password {
            user: user.to_owned(),
            password: Secret(password.to_owned()),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// The host (and port) that a key of config.json or a server's address means, in one spelling;
/// Docker Hub and its Notary have many.
#[must_use]
pub fn place(key: &str) -> String {
    let lower = key.trim().to_ascii_lowercase();
    let bare = lower.split_once("://").map_or(&*lower, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    let host = host.strip_suffix(":443").unwrap_or(host);
    match host {
        "index.docker.io"
        | "registry-1.docker.io"
        | "registry.hub.docker.com"
        | "notary.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// The path of a key of config.json, where it is for repositories below that path only. Podman and
/// Skopeo write such keys (containers-auth.json(5)). An address with a scheme, or of an API's
/// version, is the host's.
#[must_use]
pub fn path(key: &str) -> &str {
    let path = key
        .trim()
        .split_once('/')
        .map_or("", |(_, path)| path.trim_matches('/'));
    if key.contains("://") || matches!(path.split('/').next(), Some("" | "v1" | "v2")) {
        return "";
    }
    path
}

/// Keeps this process and the programs that it runs from being written to disk when they crash.
///
/// # Errors
/// The kernel refuses.
pub fn forbid_core_dumps() -> Result<(), String> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // For the programs that it runs; systemd may have done so already, and forbid it then.
    let _ = setrlimit(Resource::Core, none);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("core dumps can't be forbidden: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_alike_of_docker_hub_is_another_place() {
        for (key, wanted) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("docker.io.evil.example", "docker.io.evil.example"),
            (
                "https://index.docker.io.evil.example/v1/",
                "index.docker.io.evil.example",
            ),
            ("index.docker.io:8443", "index.docker.io:8443"),
            (
                "https://docker.io@evil.example/v1/",
                "docker.io@evil.example",
            ),
            ("https://docker.io\u{2024}evil", "docker.io\u{2024}evil"),
            ("xdocker.io", "xdocker.io"),
        ] {
            assert_eq!(place(key), wanted, "{key}");
        }
    }

    #[test]
    fn a_path_is_a_key_s_only_where_it_is_no_api_s() {
        for (key, wanted) in [
            ("r.example/team/app", "team/app"),
            ("r.example/v1/", ""),
            ("https://r.example/v2/x", ""),
            ("https://r.example/team", ""),
            ("r.example", ""),
        ] {
            assert_eq!(path(key), wanted, "{key}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Credential::password("u", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

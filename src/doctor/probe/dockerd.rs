//! One dockerd: `GET /info` and `GET /version`, and the command line that it was started with.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::facts::{Docker, Process};
use super::super::version::Version;
use crate::config::Dockerd;
use crate::hooks;

/// Where dockerd looks where its command line says nothing.
const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// Where it finds the system's containerd (cmd/dockerd: `systemContainerdRunning`).
const SYSTEM_CONTAINERD: &str = "/run/containerd/containerd.sock";

/// What is taken from `GET /info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    driver_status: Option<Vec<(String, String)>>,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    containerd: Option<Address>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    server_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Plugins {
    #[serde(default)]
    authorization: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    #[serde(default)]
    address: String,
}

/// All that is to be known of a dockerd that answers. `process` is its own, where that is known.
pub(in super::super) async fn dockerd(docker: &Dockerd, process: Option<&Process>) -> Result<Docker, String> {
    let body = hooks::Docker::at(&docker.socket, super::PATIENCE).get("/info").await?;
    read(&body, docker, process)
}

fn read(body: &[u8], docker: &Dockerd, process: Option<&Process>) -> Result<Docker, String> {
    let info: Info = serde_json::from_slice(body).map_err(|error| format!("GET /info: {error}"))?;
    let version = Version::parse(&info.server_version).ok_or_else(|| format!("it says that its version is {:?}", info.server_version))?;
    let option = |names: &[&str]| process.and_then(|process| process.option(names));
    // daemon/containerd/service.go: `DriverStatus` says which kind of driver it is.
    let status = info.driver_status.unwrap_or_default();
    let containerd_store = status.iter().any(|(key, value)| key == "driver-type" && value.starts_with("io.containerd.snapshotter"));
    let told = info.containerd.map(|containerd| containerd.address).filter(|address| !address.is_empty());
    // Before 27 it doesn't tell.
    let containerd = told.or_else(|| option(&["containerd"])).or_else(|| process.map(|_| SYSTEM_CONTAINERD.to_owned()));
    let config = option(&["config-file"]).map_or_else(|| PathBuf::from(DEFAULT_CONFIG), PathBuf::from);
    Ok(Docker {
        docker: docker.clone(),
        version,
        containerd_store,
        driver: info.driver,
        containerd: containerd.map(PathBuf::from),
        authorization: info.plugins.authorization.unwrap_or_default(),
        warnings: info.warnings.unwrap_or_default(),
        config,
        authorization_by_flag: option(&["authorization-plugin", "authorization-plugins"]).is_some(),
    })
}

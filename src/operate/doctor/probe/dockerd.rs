//! One dockerd: `GET /info` and `GET /version`, and the command line that it was started with.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::super::config_files;
use super::super::facts::{DockerFacts, Process};
use super::super::version::Version;
use crate::config::Dockerd;
use crate::engines;

/// Where dockerd looks where its command line says nothing.
const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// Where it finds the system's containerd (cmd/dockerd: `systemContainerdRunning`).
const SYSTEM_CONTAINERD: &str = "/run/containerd/containerd.sock";

/// What is taken from `GET /info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerInfo {
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
    #[serde(default)]
    registry_config: Option<Registries>,
    #[serde(default)]
    swarm: Option<Swarm>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Registries {
    #[serde(default)]
    mirrors: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Swarm {
    #[serde(default)]
    local_node_state: String,
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

/// All that is to be known of a dockerd that answers, and its process where it can be told from
/// others.
pub(in super::super) async fn docker(
    docker: &Dockerd,
) -> Result<(DockerFacts, Option<Process>), String> {
    let api = engines::DockerdClient::at(&docker.socket, super::PATIENCE);
    // systemd may start it for this question, so its process is looked for afterwards.
    let body = api.get("/info").await?;
    let process = super::dockerd_at(&docker.socket).await;
    let facts = DockerFacts {
        answers_grpc: api.answers_grpc().await.ok(),
        ..read(&body, docker, process.as_ref())?
    };
    Ok((facts, process))
}

fn read(body: &[u8], docker: &Dockerd, process: Option<&Process>) -> Result<DockerFacts, String> {
    let info: DockerInfo =
        serde_json::from_slice(body).map_err(|error| format!("GET /info: {error}"))?;
    let version = Version::parse(&info.server_version)
        .ok_or_else(|| format!("it says that its version is {:?}", info.server_version))?;
    let option = |names: &[&str]| process.and_then(|process| process.option(names));
    // daemon/containerd/service.go: `DriverStatus` says which kind of driver it is.
    let status = info.driver_status.unwrap_or_default();
    let containerd_store = status
        .iter()
        .any(|(key, value)| key == "driver-type" && value.starts_with("io.containerd.snapshotter"));
    let told = info
        .containerd
        .map(|containerd| containerd.address)
        .filter(|address| !address.is_empty());
    // Before 27 it doesn't tell.
    let containerd = told
        .or_else(|| option(&["containerd"]))
        .or_else(|| process.map(|_| SYSTEM_CONTAINERD.to_owned()));
    let config = process
        .and_then(|process| Some(process.path(&process.option(&["config-file"])?)))
        .unwrap_or_else(|| DEFAULT_CONFIG.into());
    let mut features = features(&config_files::read(&config).unwrap_or_default());
    features.extend(process.map(features_by_flag).unwrap_or_default());
    let swarm = info
        .swarm
        .map(|swarm| swarm.local_node_state)
        .unwrap_or_default();
    Ok(DockerFacts {
        docker: docker.clone(),
        version,
        containerd_store,
        driver: info.driver,
        containerd: containerd.map(PathBuf::from),
        authorization: info.plugins.authorization.unwrap_or_default(),
        warnings: info.warnings.unwrap_or_default(),
        config,
        authorization_by_flag: option(&["authorization-plugin", "authorization-plugins"]).is_some(),
        answers_grpc: None,
        mirrors: info
            .registry_config
            .and_then(|registries| registries.mirrors)
            .unwrap_or_default(),
        features,
        in_swarm: !["", "inactive"].contains(&swarm.as_str()),
    })
}

fn features(daemon_json: &str) -> Vec<String> {
    let config: Value = serde_json::from_str(daemon_json).unwrap_or_default();
    let features = config.get("features").and_then(Value::as_object);
    features
        .into_iter()
        .flatten()
        .filter(|(_, on)| **on == Value::Bool(true))
        .map(|(name, _)| name.clone())
        .collect()
}

/// `--feature NAME`, or `--feature NAME=true`.
fn features_by_flag(process: &Process) -> Vec<String> {
    let given = process.options(&["feature"]).into_iter();
    let on = |given: String| {
        given
            .split_once('=')
            .map_or(Some(given.clone()), |(name, on)| {
                (on == "true").then(|| name.to_owned())
            })
    };
    given.filter_map(on).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_pull_off_a_door_is_read_of_info_and_of_the_configuration() {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            &config,
            r#"{"features": {"embedded-containerd": true, "cdi": false}}"#,
        )
        .unwrap();
        let words = [
            "dockerd",
            "--config-file",
            config.path().to_str().unwrap(),
            "--feature",
            "containerd-migration",
            "--feature=x=false",
        ];
        let words = words.map(str::to_owned).to_vec();
        let process = Process {
            pid: 1,
            name: "dockerd".to_owned(),
            uid: 0,
            words,
            contained: false,
        };
        let docker = Dockerd {
            name: "main".to_owned(),
            socket: "/run/docker.sock".into(),
            authz: None,
        };
        let body = r#"{"ServerVersion": "29.7.2", "RegistryConfig": {"Mirrors": ["https://m.example/"]}, "Swarm": {"LocalNodeState": "pending"}}"#;
        let facts = read(body.as_bytes(), &docker, Some(&process)).unwrap();
        assert_eq!(
            facts.features,
            ["embedded-containerd", "containerd-migration"]
        );
        assert_eq!(
            (facts.mirrors, facts.in_swarm),
            (vec!["https://m.example/".to_owned()], true)
        );
        let plain = br#"{"ServerVersion": "26.1.5", "RegistryConfig": {"Mirrors": null}, "Swarm": {"LocalNodeState": "inactive"}}"#;
        let facts = read(plain, &docker, None).unwrap();
        assert_eq!((facts.mirrors, facts.in_swarm), (Vec::new(), false));
    }
}

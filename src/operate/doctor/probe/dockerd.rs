//! One dockerd: `GET /info` and `GET /version`, and the command line that it was started with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::config_files;
use super::super::facts::{DockerFacts, SwarmRole};
use super::super::process::Process;
use super::super::version::Version;
use crate::config::Dockerd;
use crate::engines;

/// Where dockerd looks where its command line says nothing.
const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// The flag that names authorization plugins, by both of its names.
pub(crate) const AUTHORIZATION: [&str; 2] = ["authorization-plugin", "authorization-plugins"];
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

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Swarm {
    #[serde(default)]
    local_node_state: String,
    #[serde(default)]
    control_available: bool,
}

impl Swarm {
    fn role(&self) -> Option<SwarmRole> {
        let role = if self.control_available {
            SwarmRole::Manager
        } else {
            SwarmRole::Worker
        };
        (!["", "inactive"].contains(&self.local_node_state.as_str())).then_some(role)
    }
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
    let containerd_store = engines::is_containerd_store(&info.driver_status.unwrap_or_default());
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
    let features_by_flag = process.map(features_by_flag).unwrap_or_default();
    features.extend(features_by_flag.iter().cloned());
    let swarm = info.swarm.unwrap_or_default();
    Ok(DockerFacts {
        docker: docker.clone(),
        version,
        containerd_store,
        driver: info.driver,
        containerd: containerd.map(PathBuf::from),
        authorization: info.plugins.authorization.unwrap_or_default(),
        warnings: info.warnings.unwrap_or_default(),
        config,
        authorization_by_flag: option(&AUTHORIZATION).is_some(),
        answers_grpc: None,
        mirrors: info
            .registry_config
            .and_then(|registries| registries.mirrors)
            .unwrap_or_default(),
        features,
        features_by_flag,
        swarm: swarm.role(),
    })
}

fn features(daemon_json: &str) -> Vec<String> {
    let text = daemon_json.strip_prefix('\u{feff}').unwrap_or(daemon_json);
    let Features(features) = serde_json::from_str(text).unwrap_or_default();
    features
        .into_iter()
        .filter(|(_, on)| *on == Value::Bool(true))
        .map(|(name, _)| name)
        .collect()
}

/// The `features` of a daemon.json. Where the key stands twice dockerd takes both, as Go reads into
/// a map.
#[derive(Debug, Default)]
struct Features(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FeaturesVisitor)
    }
}

struct FeaturesVisitor;

impl<'de> Visitor<'de> for FeaturesVisitor {
    type Value = Features;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Features, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(key) = members.next_key::<String>()? {
            if key == "features" {
                let more = members.next_value::<Option<BTreeMap<String, Value>>>()?;
                match more {
                    Some(more) => all.extend(more),
                    // Go empties a map for null.
                    None => all.clear(),
                }
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Features(all))
    }
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
    fn features_are_seen_as_dockerd_reads_them() {
        for (text, on) in [
            (r#"{"features": {"a": true, "b": false}}"#, &["a"][..]),
            ("\u{feff}{\"features\": {\"a\": true}}", &["a"]),
            (
                r#"{"features": {"a": true}, "debug": true, "features": {"b": true}}"#,
                &["a", "b"],
            ),
            (
                r#"{"features": {"a": true}, "features": {"a": false}}"#,
                &[],
            ),
            (r#"{"features": null}"#, &[]),
            ("", &[]),
        ] {
            assert_eq!(features(text), on, "{text}");
        }
    }

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
            accept_grpc: false,
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
            (facts.mirrors, facts.swarm),
            (
                vec!["https://m.example/".to_owned()],
                Some(SwarmRole::Worker)
            )
        );
        let manager = br#"{"ServerVersion": "28.5.2", "Swarm": {"LocalNodeState": "active", "ControlAvailable": true}}"#;
        let role = read(manager, &docker, None).unwrap().swarm;
        assert_eq!(role, Some(SwarmRole::Manager));
        let plain = br#"{"ServerVersion": "26.1.5", "RegistryConfig": {"Mirrors": null}, "Swarm": {"LocalNodeState": "inactive"}}"#;
        let facts = read(plain, &docker, None).unwrap();
        assert_eq!((facts.mirrors, facts.swarm), (Vec::new(), None));
    }
}

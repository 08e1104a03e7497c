//! The lab's dockerds with the authorization plugin, and their clients.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, run};

/// One dockerd of `lab.sh`.
pub(crate) struct Dockerd {
    pub(crate) name: &'static str,
    client: PathBuf,
    socket: PathBuf,
    /// Where it looks for its plugin: one folder for all dockerds of a machine.
    plugin: PathBuf,
}

/// Both versions, with the containerd store and the classic one.
pub(crate) const ALL: [&str; 4] = [
    "dockerd26",
    "dockerd28",
    "dockerd26-overlay2",
    "dockerd28-overlay2",
];

impl Dockerd {
    pub(crate) fn new(lab: &Lab, name: &'static str) -> Self {
        let bin = match &name[..9] {
            "dockerd26" => "LAB_BIN17",
            "dockerd29" => "LAB_BIN23",
            _ => "LAB_BIN2",
        };
        let port = lab.var("LAB_REGISTRY").rsplit(':').next().unwrap();
        let socket = lab
            .var(&format!("LAB_{}", name.to_uppercase().replace('-', "_")))
            .trim_start_matches("unix://")
            .into();
        fs::create_dir_all("/run/docker/plugins").unwrap();
        let plugin = format!("/run/docker/plugins/rootpin-lab-{port}-{name}.sock").into();
        Self {
            name,
            client: lab.path(bin).join("docker"),
            socket,
            plugin,
        }
    }

    /// Its part of rootpin.toml.
    pub(crate) fn config(&self) -> String {
        format!(
            "[[docker]]\nname = \"{}\"\nsocket = {:?}\nauthz = {:?}\n",
            self.name, self.socket, self.plugin
        )
    }

    /// Starts it anew, with the plugin, which must be there.
    pub(crate) fn start(&self, lab: &Lab) {
        self.start_with(lab, &[]);
    }

    /// The same, with settings for the lab.
    pub(crate) fn start_with(&self, lab: &Lab, settings: &[(&str, &str)]) {
        lab.script(&["stop", self.name]);
        let arguments = format!(
            "--authorization-plugin={}",
            self.plugin.file_stem().unwrap().to_str().unwrap()
        );
        lab.script_with(
            &["start", self.name],
            &[settings, &[("LAB_DOCKERD_ARGS", &arguments)]].concat(),
        );
    }

    /// Its client's words, as success or failure. A containerd that missed the gate a moment ago
    /// may wait up to three seconds before it looks again.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let mut command = Command::new(&self.client);
            command
                .args(arguments)
                .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
                .env("DOCKER_BUILDKIT", "0");
            let output = command.output().unwrap();
            let words = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            match output.status.success() {
                true => return Ok(words.trim().to_owned()),
                false if words.contains("connection error: desc") && Instant::now() < end => {}
                false => return Err(words),
            }
        }
    }

    /// Whether it has an image under that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.docker(&["image", "inspect", name]).is_ok()
    }

    /// Takes every container and image from it.
    pub(crate) fn cool(&self) {
        for (list, remove) in [
            (vec!["ps", "-aq"], vec!["rm", "-f"]),
            (vec!["images", "-aq"], vec!["rmi", "-f"]),
        ] {
            let ids = self.docker(&list).unwrap();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                // An image of which several names were listed is gone with the first.
                let _ = self.docker(&[remove, ids].concat());
            }
        }
    }

    /// Sends bytes as they are. The status and the whole answer.
    pub(crate) fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // An answer may come, and the connection end, before the last byte is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no answer: {text}"));
        (status, text)
    }

    pub(crate) fn version(&self) -> String {
        self.docker(&["version", "--format", "{{.Server.Version}}"])
            .unwrap()
    }

    /// What the plugin recorded of it.
    pub(crate) fn is_of(&self, record: &Value) -> bool {
        record["engine"] == self.name && record["door"] == "authz"
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let _ = run(Command::new("rm").arg("-f").arg(&self.plugin));
    }
}

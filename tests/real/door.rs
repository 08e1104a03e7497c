//! The engines' own clients, each a way for an image to come in.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use tonic::transport::Channel;

use crate::image::Image;
use crate::lab::{Lab, write};
use crate::{cold, cri};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `ctr images pull`, containerd 2.1: transfer service, asks the verifier.
    Ctr2,
    /// CRI of containerd 2.1: transfer service, asks the verifier.
    Cri2,
    /// `docker pull`, docker 28 with the containerd store: asks the gate, gives the name.
    Docker28,
    /// CRI of containerd 1.7 with snapshot annotations: asks the gate, gives the name.
    Cri17,
    /// `ctr images pull`, containerd 1.7: asks the gate, has written the image record.
    Local17,
    /// `ctr images pull --local`, containerd 2.1: asks the gate, has written the image record.
    Local2,
    /// `ctr images import`, containerd 2.1: asks the applying gate.
    Import2,
}

impl Door {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ctr2,
        Self::Cri2,
        Self::Docker28,
        Self::Cri17,
        Self::Local17,
        Self::Local2,
        Self::Import2,
    ];

    /// The engine's name in rootpin.toml.
    pub(crate) fn engine(self) -> &'static str {
        match self {
            Self::Cri17 | Self::Local17 => "containerd17",
            Self::Ctr2 | Self::Cri2 | Self::Docker28 | Self::Local2 | Self::Import2 => {
                "containerd2"
            }
        }
    }

    /// The door's name in audit records.
    pub(crate) fn asks(self) -> &'static str {
        match self {
            Self::Ctr2 | Self::Cri2 => "verifier",
            Self::Docker28 | Self::Cri17 | Self::Local17 | Self::Local2 => "gate",
            Self::Import2 => "apply",
        }
    }

    /// Doors of one column know equally much of the name: the verifier all of it, the gate a hint
    /// or a record, the applying gate less.
    pub(crate) fn column(self) -> usize {
        match self {
            Self::Ctr2 | Self::Cri2 => 0,
            Self::Docker28 | Self::Cri17 => 1,
            Self::Local17 | Self::Local2 => 2,
            Self::Import2 => 3,
        }
    }

    fn socket(self, lab: &Lab) -> std::path::PathBuf {
        lab.path(if self.engine() == "containerd17" {
            "LAB_CONTAINERD17"
        } else {
            "LAB_CONTAINERD2"
        })
    }

    fn channel(self, lab: &Lab) -> Channel {
        lab.runtime
            .block_on(containerd_client::connect(self.socket(lab)))
            .unwrap()
    }

    /// Empties the engine's stores.
    pub(crate) fn cool(self, lab: &Lab) {
        let channel = self.channel(lab);
        lab.runtime.block_on(cold::forget(&channel));
    }

    /// How many layers the engine has unpacked.
    pub(crate) fn unpacked(self, lab: &Lab) -> usize {
        let channel = self.channel(lab);
        lab.runtime.block_on(cold::unpacked(&channel))
    }

    /// As `bring`, for a daemon that runs: an engine that missed it a moment ago may wait up to
    /// three seconds before it looks again.
    pub(crate) fn bring_when_connected(
        self,
        lab: &Lab,
        name: &str,
        image: &Image,
    ) -> Result<String, String> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.bring(lab, name, image) {
                Err(words) if words.contains("connection error: desc") && Instant::now() < end => {
                    self.cool(lab);
                }
                result => return result,
            }
        }
    }

    /// Brings `name` in, which in the registry points at `image`: the client's words, as success or
    /// failure.
    pub(crate) fn bring(self, lab: &Lab, name: &str, image: &Image) -> Result<String, String> {
        let mut ctr = Command::new(
            lab.path(if self.engine() == "containerd17" {
                "LAB_BIN17"
            } else {
                "LAB_BIN2"
            })
            .join("ctr"),
        );
        ctr.arg("-a").arg(self.socket(lab)).arg("images");
        match self {
            Self::Cri2 | Self::Cri17 => {
                let channel = self.channel(lab);
                lab.runtime.block_on(cri::pull_image(channel, name))
            }
            Self::Ctr2 | Self::Local17 => words(ctr.args(["pull", "--plain-http", name])),
            Self::Local2 => words(ctr.args(["pull", "--local", "--plain-http", name])),
            Self::Docker28 => {
                let mut docker = Command::new(lab.path("LAB_BIN2").join("docker"));
                words(
                    docker
                        .args(["pull", name])
                        .env("DOCKER_HOST", lab.var("LAB_DOCKERD28")),
                )
            }
            Self::Import2 => {
                let archive = lab.root.join("import.tar");
                write(&archive, image.archive(name));
                words(ctr.arg("import").arg(archive))
            }
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ctr2 => "ctr 2.1",
            Self::Cri2 => "CRI 2.1",
            Self::Docker28 => "docker 28",
            Self::Cri17 => "CRI 1.7",
            Self::Local17 => "ctr 1.7",
            Self::Local2 => "ctr 2.1 --local",
            Self::Import2 => "ctr 2.1 import",
        })
    }
}

/// What a client says, as success or failure.
pub(crate) fn words(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    if output.status.success() {
        Ok(words)
    } else {
        Err(words)
    }
}

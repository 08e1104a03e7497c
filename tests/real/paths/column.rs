//! The engines and their clients, and what an operator does with each.

use std::process::Command;

use containerd_client::services::v1::GetImageRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use tonic::Code;
use tonic::transport::Channel;

use super::until;
use crate::cold::within;
use crate::cri;
use crate::door::words;
use crate::image::{Blob, Image};
use crate::lab::{Lab, run, write};

const POD: &str = "paths";

/// What a client said, as success or failure.
pub(crate) type Said = Result<String, String>;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// An engine's containerd, by `ctr`.
    Ctr(Containerd),
    /// An engine's containerd, by the kubelet's interface; names that are written past it are
    /// written by `ctr`.
    Cri(Containerd),
    /// A dockerd, by `docker`.
    Docker(Docker),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Containerd {
    V17,
    V21,
    /// Only with `ROOTPIN_ENGINES`, as docker 29.
    V23,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Docker {
    V26,
    V28,
    /// With the authorization plugin.
    V28Plugin,
    /// With the store that is Docker's own, and the plugin.
    V26Classic,
    V28Classic,
    V29,
    V29Plugin,
    V29Classic,
}

impl Column {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 14] = [
        Self::Ctr(Containerd::V23),
        Self::Cri(Containerd::V23),
        Self::Ctr(Containerd::V21),
        Self::Cri(Containerd::V21),
        Self::Ctr(Containerd::V17),
        Self::Cri(Containerd::V17),
        Self::Docker(Docker::V29),
        Self::Docker(Docker::V29Plugin),
        Self::Docker(Docker::V29Classic),
        Self::Docker(Docker::V28),
        Self::Docker(Docker::V28Plugin),
        Self::Docker(Docker::V28Classic),
        Self::Docker(Docker::V26),
        Self::Docker(Docker::V26Classic),
    ];

    /// Those whose engines are at hand.
    pub(crate) fn at_hand(lab: &Lab) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|column| lab.has_engines() || !column.is_unpackaged())
            .collect()
    }

    /// Whether Debian does not package its engine.
    pub(crate) fn is_unpackaged(self) -> bool {
        match self {
            Self::Ctr(containerd) | Self::Cri(containerd) => containerd == Containerd::V23,
            Self::Docker(docker) => docker.is_unpackaged(),
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ctr(Containerd::V23) => "`ctr` 2.3",
            Self::Cri(Containerd::V23) => "CRI 2.3",
            Self::Docker(Docker::V29) => "docker 29 containerd store",
            Self::Docker(Docker::V29Plugin) => "docker 29 containerd store, plugin",
            Self::Docker(Docker::V29Classic) => "docker 29 overlay2, plugin",
            Self::Ctr(Containerd::V21) => "`ctr` 2.1",
            Self::Cri(Containerd::V21) => "CRI 2.1",
            Self::Ctr(Containerd::V17) => "`ctr` 1.7",
            Self::Cri(Containerd::V17) => "CRI 1.7",
            Self::Docker(Docker::V28) => "docker 28 containerd store",
            Self::Docker(Docker::V28Plugin) => "docker 28 containerd store, plugin",
            Self::Docker(Docker::V28Classic) => "docker 28 overlay2, plugin",
            Self::Docker(Docker::V26) => "docker 26 containerd store",
            Self::Docker(Docker::V26Classic) => "docker 26 overlay2, plugin",
        }
    }

    /// Part of the names of its images: no two columns share one, or a layer.
    pub(crate) fn slug(self) -> String {
        format!("{self:?}")
            .to_lowercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "")
    }

    pub(crate) fn pull(self, lab: &Lab, name: &str) -> Said {
        match self {
            Self::Ctr(_) => words(self.ctr(lab).args(["images", "pull", "--plain-http", name])),
            Self::Cri(containerd) => lab
                .runtime
                .block_on(cri::pull_image(containerd.channel(lab), name)),
            Self::Docker(docker) => words(docker.client(lab).args(["pull", name])),
        }
    }

    /// Has `new` stand for what `old` stands for.
    pub(crate) fn tag(self, lab: &Lab, old: &str, new: &str) -> Said {
        match self {
            Self::Ctr(_) | Self::Cri(_) => {
                words(self.ctr(lab).args(["images", "tag", "--force", old, new]))
            }
            Self::Docker(docker) => words(docker.client(lab).args(["tag", old, new])),
        }
    }

    /// Brings in an archive that gives the image this name: `ctr images import`, `docker load`.
    pub(crate) fn load(self, lab: &Lab, image: &Image, name: &str) -> Said {
        let archive = lab.root.join("paths/archive.tar");
        write(&archive, image.archive(name));
        match self {
            Self::Ctr(_) | Self::Cri(_) => {
                words(self.ctr(lab).args(["images", "import"]).arg(archive))
            }
            Self::Docker(docker) => {
                words(docker.client(lab).args(["load", "--input"]).arg(archive))
            }
        }
    }

    /// What the name stands for in the engine: a digest, and with Docker's classic store an image's
    /// ID.
    pub(crate) fn stands_for(self, lab: &Lab, name: &str) -> Option<String> {
        match self {
            Self::Ctr(containerd) | Self::Cri(containerd) => {
                let get = within(
                    self.namespace(),
                    GetImageRequest {
                        name: name.to_owned(),
                    },
                );
                let found = lab
                    .runtime
                    .block_on(ImagesClient::new(containerd.channel(lab)).get(get));
                match found {
                    Ok(found) => found
                        .into_inner()
                        .image
                        .and_then(|image| image.target)
                        .map(|target| target.digest),
                    Err(status) if status.code() == Code::NotFound => None,
                    Err(status) => panic!("{status}"),
                }
            }
            Self::Docker(docker) => {
                let found = words(
                    docker
                        .client(lab)
                        .args(["image", "inspect", "--format", "{{.Id}}", name]),
                );
                found.map(|id| id.trim().to_owned()).ok()
            }
        }
    }

    /// What `stands_for` is to tell of that image.
    pub(crate) fn identity(self, image: &Image) -> String {
        match self {
            Self::Docker(docker) if docker.is_classic() => image.id(),
            _ => image.digest(),
        }
    }

    /// Whether what the name stands for has all layers of the image below its own.
    pub(crate) fn is_built_on(self, lab: &Lab, name: &str, base: &Image) -> bool {
        let Self::Docker(docker) = self else {
            return false;
        };
        let layers = words(docker.client(lab).args([
            "image",
            "inspect",
            "--format",
            "{{range .RootFS.Layers}}{{.}} {{end}}",
            name,
        ]))
        .unwrap();
        let base: Vec<_> = base.layers().iter().map(Blob::digest).collect();
        layers.starts_with(&base.join(" "))
    }

    /// Makes a container of what the name stands for; a pod is run as well.
    pub(crate) fn create(self, lab: &Lab, name: &str) -> Said {
        match self {
            Self::Ctr(_) => {
                let created = words(self.ctr(lab).args(["containers", "create", name, "paths"]));
                created.inspect(|_| drop(run(self.ctr(lab).args(["containers", "rm", "paths"]))))
            }
            Self::Cri(containerd) => containerd.run_pod(lab, name),
            Self::Docker(docker) => docker.create(lab, name),
        }
    }

    pub(crate) fn docker(self) -> Option<Docker> {
        match self {
            Self::Ctr(_) | Self::Cri(_) => None,
            Self::Docker(docker) => Some(docker),
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Ctr(_) => "default",
            Self::Cri(_) => "k8s.io",
            Self::Docker(_) => "moby",
        }
    }

    fn ctr(self, lab: &Lab) -> Command {
        let (Self::Ctr(containerd) | Self::Cri(containerd)) = self else {
            panic!("{self:?} has no ctr")
        };
        let mut ctr = Command::new(lab.path(containerd.bin()).join("ctr"));
        ctr.args(["-a", lab.var(containerd.socket()), "-n", self.namespace()]);
        ctr
    }
}

impl Containerd {
    /// As a kubelet does: what the pod asks for by name is told, and the image is called by its ID.
    fn run_pod(self, lab: &Lab, name: &str) -> Said {
        let channel = self.channel(lab);
        // CRI hears of names that are written past it.
        let id = until(|| lab.runtime.block_on(cri::image_id(channel.clone(), name)))
            .ok_or("CRI doesn't know the image")?;
        lab.runtime.block_on(async {
            let pod = cri::run_pod(channel.clone(), POD).await?;
            let mut ran = cri::create_container(channel.clone(), POD, &pod, &id, name).await;
            if let Ok(container) = &ran {
                ran = cri::start_container(channel.clone(), container)
                    .await
                    .map(|()| container.clone());
            }
            cri::remove_pod(channel, &pod).await?;
            ran
        })
    }

    fn bin(self) -> &'static str {
        match self {
            Self::V17 => "LAB_BIN17",
            Self::V21 => "LAB_BIN2",
            Self::V23 => "LAB_BIN23",
        }
    }

    fn socket(self) -> &'static str {
        match self {
            Self::V17 => "LAB_CONTAINERD17",
            Self::V21 => "LAB_CONTAINERD2",
            Self::V23 => "LAB_CONTAINERD23",
        }
    }

    fn channel(self, lab: &Lab) -> Channel {
        lab.runtime
            .block_on(containerd_client::connect(lab.path(self.socket())))
            .unwrap()
    }
}

impl Docker {
    const ALL: [Self; 8] = [
        Self::V26,
        Self::V28,
        Self::V28Plugin,
        Self::V26Classic,
        Self::V28Classic,
        Self::V29,
        Self::V29Plugin,
        Self::V29Classic,
    ];

    /// Those that are at hand.
    pub(crate) fn at_hand(lab: &Lab) -> impl Iterator<Item = Self> {
        let all = lab.has_engines();
        Self::ALL
            .into_iter()
            .filter(move |docker| all || !docker.is_unpackaged())
    }

    fn is_unpackaged(self) -> bool {
        matches!(self, Self::V29 | Self::V29Plugin | Self::V29Classic)
    }

    /// The service's name in the lab.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::V26 => "dockerd26",
            Self::V28 => "dockerd28",
            Self::V28Plugin => "dockerd28-plugin",
            Self::V26Classic => "dockerd26-overlay2",
            Self::V28Classic => "dockerd28-overlay2",
            Self::V29 => "dockerd29",
            Self::V29Plugin => "dockerd29-plugin",
            Self::V29Classic => "dockerd29-overlay2",
        }
    }

    pub(crate) fn has_plugin(self) -> bool {
        !matches!(self, Self::V26 | Self::V28 | Self::V29)
    }

    fn is_classic(self) -> bool {
        matches!(self, Self::V26Classic | Self::V28Classic | Self::V29Classic)
    }

    /// Whether it answers gRPC on its socket.
    pub(crate) fn answers_grpc(self) -> bool {
        matches!(self, Self::V29 | Self::V29Plugin | Self::V29Classic)
    }

    /// The URL of its socket.
    pub(crate) fn host(self, lab: &Lab) -> String {
        lab.var(&format!(
            "LAB_{}",
            self.service().to_uppercase().replace('-', "_")
        ))
        .to_owned()
    }

    pub(crate) fn client(self, lab: &Lab) -> Command {
        let bin = match self {
            Self::V26 | Self::V26Classic => "LAB_BIN17",
            Self::V28 | Self::V28Plugin | Self::V28Classic => "LAB_BIN2",
            Self::V29 | Self::V29Plugin | Self::V29Classic => "LAB_BIN23",
        };
        let mut docker = Command::new(lab.path(bin).join("docker"));
        docker
            .env("DOCKER_HOST", self.host(lab))
            .env("DOCKER_CONFIG", lab.root.join("paths/docker"));
        docker
    }

    /// The new container's ID.
    pub(crate) fn create(self, lab: &Lab, name: &str) -> Said {
        let created = words(self.client(lab).args([
            "create",
            "--pull",
            "never",
            "--network",
            "none",
            name,
            "/wait",
        ]));
        created.map(|id| id.trim().to_owned())
    }
}

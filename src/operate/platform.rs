//! Where each platform keeps its engine's configuration, what of it survives the platform's own
//! writing, and which commands put it in force. A table: nothing here reads or writes anything.

mod detect;
mod entries;
#[cfg(test)]
mod fuzz;

use std::path::{Path, PathBuf};

pub(crate) use detect::{HostSigns, detect};
pub(crate) use entries::{Entries, SHIPPED, same_socket, with_entries};

/// A kind of host, as `--platform` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Platform {
    pub(crate) name: &'static str,
    /// containerd's main file.
    pub(crate) main: &'static str,
    /// How a drop-in becomes part of that file, for good.
    pub(crate) inclusion: Inclusion,
    /// containerd's socket.
    pub(crate) socket: &'static str,
    /// containerd's program: the first that is there.
    pub(crate) programs: &'static [&'static str],
    /// The version of the configuration that the platform writes, where it writes one.
    pub(crate) version: Option<i64>,
    /// Its folder of hosts.toml files.
    pub(crate) certs: &'static str,
    /// The folder for rootpin-verifier, where the usual one can't be written or run from.
    pub(crate) verifier: Option<&'static str>,
    /// What puts a new configuration in force.
    pub(crate) restart: &'static str,
    /// What the platform undoes by itself, and when.
    pub(crate) undoes: Option<&'static str>,
    /// Where its kubelet's credential providers are configured.
    pub(crate) kubelet: Option<Kubelet>,
    /// Whether its dockerd is a door too.
    pub(crate) docker: bool,
    /// Paths of which one shows that a host is of this kind.
    signs: &'static [&'static str],
    /// Names of processes that run on no other kind of host.
    processes: &'static [&'static str],
}

/// How a drop-in becomes part of the main file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inclusion {
    /// The main file is the administrator's: it imports a folder, or one line makes it do so.
    Imports,
    /// The platform writes the main file, and has it import the files of this folder.
    Folder(&'static str),
    /// The same, from some release on; before it, from this template beside the main file.
    FolderOrTemplate(&'static str, &'static str),
    /// The platform makes the main file from this template, which is there and is edited.
    Template(&'static str),
    /// nodeadm writes the main file at each boot, and merges what a `NodeConfig` says.
    NodeConfig(&'static str),
}

/// How a kubelet is told of its credential providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kubelet {
    /// Its `CredentialProviderConfig`, where nothing else is said: the first that is there.
    pub(crate) configs: &'static [&'static str],
    /// The folder of the programs.
    pub(crate) programs: &'static str,
    /// How its flags are set so that they stay.
    pub(crate) flags: KubeletFlags,
    /// What puts them in force.
    pub(crate) restart: &'static str,
}

/// Where a kubelet's flags are set so that they stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KubeletFlags {
    /// `spec.kubelet.flags` of a `NodeConfig`.
    NodeConfig(&'static str),
    /// Two keys of a file in k3s' and RKE2's folder of configurations.
    ServerConfig(&'static str),
    /// `KUBELET_EXTRA_ARGS` in the one of these files that the kubelet reads.
    ExtraArguments(&'static [&'static str]),
    /// The platform sets them itself and takes none: its file is changed in place.
    InPlace,
}

pub(crate) const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// containerd's main file, unless it is told of another.
pub(crate) const MAIN: &str = "/etc/containerd/config.toml";
const CERTS: &str = "/etc/containerd/certs.d";
const PROGRAMS: &[&str] = &["/usr/bin/containerd", "/usr/local/bin/containerd"];
const NODE_CONFIG: &str = "/etc/eks/nodeadm.d/rootpin.yaml";
const K3S: &str = "/run/k3s/containerd/containerd.sock";

/// A host whose containerd is the system's, for the rows below to differ from.
const SYSTEM: Platform = Platform {
    name: "containerd",
    main: MAIN,
    inclusion: Inclusion::Imports,
    socket: CONTAINERD,
    programs: PROGRAMS,
    version: None,
    certs: CERTS,
    verifier: None,
    restart: "systemctl restart containerd",
    undoes: None,
    kubelet: None,
    docker: false,
    signs: &[MAIN, "/usr/bin/containerd", "/usr/local/bin/containerd"],
    processes: &[],
};

/// Every kind, those first that are recognised by more than a containerd.
pub(crate) const PLATFORMS: [Platform; 11] = [
    // k3s-io/k3s, pkg/agent/containerd and pkg/agent/templates.
    Platform {
        name: "k3s",
        main: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        inclusion: Inclusion::FolderOrTemplate(
            "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d",
            "config-v3.toml.tmpl",
        ),
        socket: K3S,
        programs: &["/var/lib/rancher/k3s/data/current/bin/containerd"],
        version: Some(3),
        certs: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
        restart: "systemctl restart k3s, or k3s-agent",
        kubelet: Some(Kubelet {
            configs: &["/var/lib/rancher/credentialprovider/config.yaml"],
            programs: "/var/lib/rancher/credentialprovider/bin",
            flags: KubeletFlags::ServerConfig("/etc/rancher/k3s/config.yaml.d/rootpin.yaml"),
            restart: "systemctl restart k3s, or k3s-agent",
        }),
        signs: &[
            "/var/lib/rancher/k3s/agent",
            "/etc/systemd/system/k3s.service",
            "/etc/systemd/system/k3s-agent.service",
            "/usr/local/bin/k3s",
        ],
        processes: &["k3s-server", "k3s-agent"],
        ..SYSTEM
    },
    // rancher/rke2-docs, docs/advanced.md; the code is k3s'.
    Platform {
        name: "rke2",
        main: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        inclusion: Inclusion::FolderOrTemplate(
            "/var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.d",
            "config-v3.toml.tmpl",
        ),
        socket: K3S,
        programs: &["/var/lib/rancher/rke2/bin/containerd"],
        version: Some(3),
        certs: "/var/lib/rancher/rke2/agent/etc/containerd/certs.d",
        restart: "systemctl restart rke2-server, or rke2-agent",
        kubelet: Some(Kubelet {
            configs: &["/var/lib/rancher/credentialprovider/config.yaml"],
            programs: "/var/lib/rancher/credentialprovider/bin",
            flags: KubeletFlags::ServerConfig("/etc/rancher/rke2/config.yaml.d/rootpin.yaml"),
            restart: "systemctl restart rke2-server, or rke2-agent",
        }),
        signs: &[
            "/var/lib/rancher/rke2/agent",
            "/usr/local/bin/rke2",
            "/usr/bin/rke2",
            "/opt/rke2/bin/rke2",
        ],
        processes: &["rke2"],
        ..SYSTEM
    },
    // k0sproject/k0s, pkg/component/worker/containerd/configurer.go: it takes version 3 alone, and
    // no section of the CRI of version 2.
    Platform {
        name: "k0s",
        main: "/etc/k0s/containerd.toml",
        inclusion: Inclusion::Folder("/etc/k0s/containerd.d"),
        socket: "/run/k0s/containerd.sock",
        programs: &["/var/lib/k0s/bin/containerd"],
        version: Some(3),
        certs: "/etc/k0s/containerd/certs.d",
        restart: "systemctl restart k0sworker, or k0scontroller",
        signs: &[
            "/etc/k0s/containerd.toml",
            "/var/lib/k0s",
            "/usr/local/bin/k0s",
            "/usr/bin/k0s",
        ],
        processes: &["k0s"],
        ..SYSTEM
    },
    // canonical/microk8s, microk8s-resources/wrappers/run-containerd-with-args.
    Platform {
        name: "microk8s",
        main: "/var/snap/microk8s/current/args/containerd.toml",
        inclusion: Inclusion::Template("containerd-template.toml"),
        socket: "/var/snap/microk8s/common/run/containerd.sock",
        programs: &["/snap/microk8s/current/bin/containerd"],
        certs: "/var/snap/microk8s/current/args/certs.d",
        restart: "snap restart microk8s.daemon-containerd",
        signs: &["/var/snap/microk8s/current"],
        ..SYSTEM
    },
    // kubernetes-sigs/kind, images/base/files/etc/containerd/config.toml.
    Platform {
        name: "kind",
        programs: &["/usr/local/bin/containerd"],
        signs: &["/kind"],
        ..SYSTEM
    },
    // awslabs/amazon-eks-ami, nodeadm/internal/containerd and nodeadm/internal/kubelet.
    Platform {
        name: "eks",
        inclusion: Inclusion::NodeConfig(NODE_CONFIG),
        version: Some(3),
        kubelet: Some(Kubelet {
            configs: &["/etc/eks/image-credential-provider/config.json"],
            programs: "/etc/eks/image-credential-provider",
            flags: KubeletFlags::NodeConfig("/etc/eks/nodeadm.d/rootpin-credentials.yaml"),
            restart: "boot the node anew",
        }),
        signs: &["/etc/eks", "/usr/bin/nodeadm"],
        ..SYSTEM
    },
    // Azure/AgentBaker.
    Platform {
        name: "aks",
        kubelet: Some(Kubelet {
            configs: &["/var/lib/kubelet/credential-provider-config.yaml"],
            programs: "/var/lib/kubelet/credential-provider",
            flags: KubeletFlags::InPlace,
            restart: "systemctl restart kubelet",
        }),
        signs: &["/opt/azure/containers", "/etc/kubernetes/azure.json"],
        ..SYSTEM
    },
    // kubernetes/kubernetes, cluster/gce/gci/configure-helper.sh: of Container-Optimized OS only
    // this folder is both writable and allowed to run programs.
    Platform {
        name: "gke",
        verifier: Some("/home/kubernetes/bin/rootpin/verifier"),
        undoes: Some(
            "Container-Optimized OS brings back its own /etc at each boot: run this at each boot, before the node takes pods",
        ),
        kubelet: Some(Kubelet {
            configs: &["/etc/srv/kubernetes/cri_auth_config.yaml"],
            programs: "/home/kubernetes/bin",
            flags: KubeletFlags::InPlace,
            restart: "systemctl restart kubelet",
        }),
        signs: &["/home/kubernetes", "/etc/srv/kubernetes"],
        ..SYSTEM
    },
    Platform {
        name: "kubeadm",
        kubelet: Some(Kubelet {
            configs: &[],
            programs: "",
            flags: KubeletFlags::ExtraArguments(&[
                "/etc/default/kubelet",
                "/etc/sysconfig/kubelet",
            ]),
            restart: "systemctl restart kubelet",
        }),
        signs: &["/var/lib/kubelet/kubeadm-flags.env", "/usr/bin/kubeadm"],
        ..SYSTEM
    },
    Platform {
        name: "docker",
        restart: "systemctl restart containerd docker",
        docker: true,
        signs: &[
            "/usr/bin/dockerd",
            "/etc/docker/daemon.json",
            "/var/snap/docker/current",
        ],
        processes: &["dockerd"],
        ..SYSTEM
    },
    SYSTEM,
];

/// dockerd's configuration, unless it is told of another.
pub(crate) const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// dockerd's socket.
pub(crate) const DOCKER: &str = "/run/docker.sock";

/// What restarts the engine at that socket, where a platform's engine is there.
pub(crate) fn restart_of(socket: &Path) -> Option<&'static str> {
    if same_socket(socket, Path::new(CONTAINERD)) {
        return Some(SYSTEM.restart);
    }
    if same_socket(socket, Path::new(DOCKER)) {
        return Some("systemctl restart docker");
    }
    Platform::of_socket(socket).map(|platform| platform.restart)
}

impl Platform {
    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        PLATFORMS.iter().find(|platform| platform.name == name)
    }

    /// The one whose containerd listens there, and no other's: of several the one that is on this
    /// host.
    pub(crate) fn of_socket(socket: &Path) -> Option<&'static Self> {
        let is_here = |platform: &&Self| {
            let mut paths = platform.programs.iter().chain([&platform.main]);
            paths.any(|path| Path::new(path).exists())
        };
        PLATFORMS
            .iter()
            .filter(|platform| {
                platform.socket != CONTAINERD && Path::new(platform.socket) == socket
            })
            .find(is_here)
    }

    /// The template beside the main file.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        Path::new(self.main).with_file_name(name)
    }
}

//! Which kind of host this is: by what is on its disk, and by what runs.

use std::path::Path;

use super::{PLATFORMS, Platform};
use crate::problem::Problem;

/// What is known of a host.
pub(crate) struct HostSigns<'a> {
    /// Whether something is at that path.
    pub(crate) exists: &'a dyn Fn(&Path) -> bool,
    /// The names of the processes that run; of an image none does.
    pub(crate) processes: &'a [String],
}

/// The kind of a host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    pub(crate) platform: &'static Platform,
    /// What else there are signs of, and is another engine.
    pub(crate) also: Vec<&'static str>,
}

/// Finds it. A process says more than a file, which may be left over.
///
/// # Errors
/// There are no signs of any, or of two that exclude each other.
pub(crate) fn detect(signs: &HostSigns<'_>) -> Result<Detected, Problem> {
    let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name).collect();
    let hint = format!("name it: --platform {}", names.join("|"));
    let runs = |platform: &&Platform| {
        let is_there = |name: &&str| signs.processes.iter().any(|process| process == name);
        platform.processes.iter().any(is_there)
    };
    let there = |platform: &&Platform| {
        platform
            .signs
            .iter()
            .any(|sign| (signs.exists)(Path::new(sign)))
    };
    let running: Vec<_> = PLATFORMS
        .iter()
        .filter(|platform| is_special(platform) && runs(platform))
        .collect();
    let found: Vec<_> = PLATFORMS.iter().filter(there).collect();
    let special: Vec<_> = if running.is_empty() {
        let special = |platform: &&'static Platform| is_special(platform);
        found.iter().copied().filter(special).collect()
    } else {
        running
    };
    let platform = match (&special[..], found.last()) {
        ([one], _) => one,
        ([], Some(_)) => {
            general(&found).ok_or_else(|| Problem::hinted("no engine was found", &hint))?
        }
        ([], None) => return Err(Problem::hinted("no engine was found", hint)),
        (several, _) => {
            let names: Vec<_> = several.iter().map(|platform| platform.name).collect();
            let what = format!("this host may be any of these: {}", names.join(", "));
            return Err(Problem::hinted(what, hint));
        }
    };
    // One that shares the socket is the same engine.
    let others = found
        .iter()
        .filter(|other| other.socket != platform.socket || other.docker && !platform.docker)
        .filter(|other| !is_special(other))
        .map(|other| other.name);
    let mut also: Vec<_> = others.collect();
    // dockerd's row has the system's containerd in it, and so has kubeadm's.
    if also.len() > 1 {
        also.retain(|name| *name != "containerd" && *name != "kubeadm");
    }
    Ok(Detected { platform, also })
}

/// Of kubeadm, docker and containerd the first, in this order.
fn general(found: &[&'static Platform]) -> Option<&'static Platform> {
    found.iter().copied().find(|platform| !is_special(platform))
}

/// Whether a host of that kind has nothing else that unpacks images, as a rule.
fn is_special(platform: &Platform) -> bool {
    !["kubeadm", "docker", "containerd"].contains(&platform.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        paths: &[&str],
        processes: &[&str],
    ) -> Result<(&'static str, Vec<&'static str>), String> {
        let processes: Vec<String> = processes.iter().map(|name| (*name).to_owned()).collect();
        let signs = HostSigns {
            exists: &|path| paths.iter().any(|known| Path::new(known) == path),
            processes: &processes,
        };
        detect(&signs)
            .map(|detected| (detected.platform.name, detected.also))
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn each_kind_of_host_is_known_by_its_files() {
        let main = "/etc/containerd/config.toml";
        for (paths, name) in [
            (&["/var/lib/rancher/k3s/agent"][..], "k3s"),
            (&["/var/lib/rancher/rke2/agent"], "rke2"),
            (&["/etc/k0s/containerd.toml"], "k0s"),
            (&["/var/snap/microk8s/current"], "microk8s"),
            (&["/kind", main], "kind"),
            (&["/etc/eks", main, "/usr/bin/containerd"], "eks"),
            (&["/opt/azure/containers", main], "aks"),
            (&["/home/kubernetes", main], "gke"),
            (&["/usr/bin/kubeadm", main], "kubeadm"),
            (&["/usr/bin/dockerd", main, "/usr/bin/containerd"], "docker"),
            (&["/var/snap/docker/current"], "docker"),
            (&[main], "containerd"),
            (&["/usr/bin/containerd"], "containerd"),
        ] {
            assert_eq!(found(paths, &[]), Ok((name, Vec::new())), "{paths:?}");
        }
    }

    #[test]
    fn two_kinds_at_once_are_a_question_for_a_person_unless_one_of_them_runs() {
        let both = ["/var/lib/rancher/k3s/agent", "/etc/k0s/containerd.toml"];
        let why = found(&both, &[]).unwrap_err();
        assert!(
            why.starts_with(
                "this host may be any of these: k3s, k0s; hint: name it: --platform k3s|"
            ),
            "{why}"
        );
        assert_eq!(found(&both, &["k0s"]), Ok(("k0s", Vec::new())));
    }

    #[test]
    fn another_engine_beside_the_platform_s_is_named() {
        let k3s = "/var/lib/rancher/k3s/agent";
        assert_eq!(
            found(&[k3s, "/usr/bin/dockerd", "/usr/bin/containerd"], &[]),
            Ok(("k3s", vec!["docker"]))
        );
        assert_eq!(
            found(&[k3s, "/usr/bin/containerd"], &[]),
            Ok(("k3s", vec!["containerd"]))
        );
        assert_eq!(
            found(&["/usr/bin/dockerd", "/usr/bin/kubeadm"], &["dockerd"]),
            Ok(("kubeadm", vec!["docker"]))
        );
    }

    #[test]
    fn a_host_without_an_engine_is_no_platform() {
        assert!(
            found(&[], &["sshd"])
                .unwrap_err()
                .starts_with("no engine was found; hint: ")
        );
    }
}

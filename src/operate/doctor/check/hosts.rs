//! `hosts.toml`, by which engines find the resolver: whether each registry's leads to it, and to
//! nobody else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::super::code::Code;
use super::super::facts::{ContainerdFacts, DockerFacts};
use super::super::hole::Hole;
use super::super::version::Version;
use crate::config::DEFAULT_CONFIG;
use crate::hosts_toml::{Certificates, DEFAULT, DOCKER_HUB, RegistryFolder, registries};
use crate::operate::hosts::{HostsCode, check_folder, close, mirrored, without_host_table};
use crate::plain_text::shell_word;

/// dockerd with images in containerd reads them from this version on, there and nowhere else.
const DOCKERD: (Version, &str) = (Version(28, 0, 0), "/etc/docker/certs.d");

/// What an engine's files must be like.
#[derive(Debug)]
pub(in super::super) struct ResolverAddress<'a> {
    /// Where it listens.
    pub(in super::super) at: SocketAddr,
    /// The registries that the policy names.
    pub(in super::super) registries: BTreeSet<&'a str>,
    /// The rootpin.toml that says so.
    pub(in super::super) config: &'a Path,
}

impl ResolverAddress<'_> {
    /// The command that closes the files of registries in a folder, as it is typed.
    fn write(&self, dir: &Path, registries: &str) -> String {
        let dir = shell_word(&dir.to_string_lossy());
        let config = if self.config == Path::new(DEFAULT_CONFIG) {
            String::new()
        } else {
            format!("--config {} ", shell_word(&self.config.to_string_lossy()))
        };
        format!("rootpin hosts write {config}--dir {dir} {registries}")
    }
}

/// Of CRI, which alone among a containerd's clients has one folder that is known.
pub(in super::super) fn cri(facts: &ContainerdFacts, resolver: &ResolverAddress<'_>) -> Vec<Hole> {
    let Some(cri) = facts.cri() else {
        return Vec::new();
    };
    let paths = cri
        .get("registry.config_path")
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    if paths.is_empty() {
        let plugin = cri.path("registry").get(1).copied().unwrap_or_default();
        let (file, section) = match &facts.config {
            Ok(config) => (config.main.display().to_string(), config.section(plugin)),
            Err(_) => ("containerd's main file".to_owned(), plugin),
        };
        let change = format!(
            "# in {file}\n[plugins.'{section}'.registry]\n  config_path = \"/etc/containerd/certs.d\""
        );
        return vec![
            Hole::new(
                Code::HostsOpen,
                &facts.engine.name,
                "CRI has no config_path, so it reads no hosts.toml",
            )
            .change(change),
        ];
    }
    if paths.contains(':') && facts.version >= Version(2, 1, 0) {
        return Vec::new(); // It reads none of them, which has a code of its own.
    }
    let folders: Vec<PathBuf> = paths.split(':').map(PathBuf::from).collect();
    open(
        &facts.engine.name,
        &folders,
        resolver,
        facts.version < Version(2, 0, 0),
    )
}

pub(in super::super) fn dockerd(facts: &DockerFacts, resolver: &ResolverAddress<'_>) -> Vec<Hole> {
    let (since, folder) = DOCKERD;
    if !facts.containerd_store || facts.version < since {
        return Vec::new();
    }
    let mut holes = open(&facts.docker.name, &[folder.into()], resolver, false);
    holes.extend(mirrors(
        &facts.docker.name,
        Path::new(folder),
        &facts.mirrors,
        resolver,
    ));
    holes
}

/// dockerd's own mirrors of Docker Hub.
fn mirrors(
    docker: &str,
    folder: &Path,
    mirrors: &[String],
    resolver: &ResolverAddress<'_>,
) -> Option<Hole> {
    let place = RegistryFolder::of(folder, DOCKER_HUB).ok()??;
    let found = mirrored(&place, mirrors, "").ok()??;
    let hole = Hole::new(
        Code::HostsOpen,
        docker,
        format!(
            "{DOCKER_HUB} in {}: {}",
            place.file().display(),
            found.found
        ),
    );
    Some(hole.change(resolver.write(folder, DOCKER_HUB)))
}

/// `old`: a containerd before 2.0 reads them.
fn open(engine: &str, folders: &[PathBuf], resolver: &ResolverAddress<'_>, old: bool) -> Vec<Hole> {
    let here = folders
        .iter()
        .flat_map(|folder| registries(folder).unwrap_or_default());
    let all: BTreeSet<String> = here
        .chain(
            resolver
                .registries
                .iter()
                .map(|&registry| registry.to_owned()),
        )
        .collect();
    let shown = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let (mut holes, mut missing) = (Vec::new(), Vec::new());
    for registry in all {
        let place = first(folders, &registry);
        let found = place.and_then(|place| {
            let mut found = check_folder(place.as_ref(), &registry, resolver.at, "")?;
            if let Some(place) = place.as_ref().filter(|_| old) {
                found.extend(without_host_table(place, &registry, "")?);
            }
            Ok((found, place))
        });
        match found {
            Ok((found, _)) if found.is_empty() => {}
            Ok((found, _)) if found.iter().any(|hole| hole.code == HostsCode::NoFile) => {
                missing.push(registry);
            }
            Ok((found, place)) => {
                let file = place
                    .as_ref()
                    .map(|place| place.file().display().to_string())
                    .unwrap_or_default();
                let command = place.and_then(|place| command(&place, &registry, resolver));
                // No command of rootpin's changes a mode.
                let (by_hand, by_command): (Vec<_>, Vec<_>) = found
                    .iter()
                    .partition(|hole| hole.code == HostsCode::Writable);
                let mut change: Vec<_> = match &command {
                    Some(command) if !by_command.is_empty() => vec![command.as_str()],
                    _ => by_command.iter().map(|hole| hole.hint.as_str()).collect(),
                };
                change.extend(by_hand.iter().map(|hole| hole.hint.as_str()));
                let what: Vec<_> = found.iter().map(|hole| hole.found.as_str()).collect();
                let hole = Hole::new(
                    Code::HostsOpen,
                    engine,
                    format!("{registry} in {file}: {}", what.join("; ")),
                );
                holes.push(hole.change(change.join("\n")));
            }
            Err(error) => {
                let hole = Hole::new(
                    Code::HostsOpen,
                    engine,
                    format!("{registry} in {shown}: {error}"),
                );
                holes.push(hole.change(format!(
                    "rootpin hosts check --dir {} {registry}",
                    shown.replace(", ", " --dir ")
                )));
            }
        }
    }
    if !missing.is_empty() {
        let found = format!(
            "no hosts.toml in {shown} for {}: each says itself what its tags are",
            missing.join(", ")
        );
        let dir = folders.first().map_or(Path::new(""), PathBuf::as_path);
        let change = resolver.write(dir, &missing.join(" "));
        holes.push(Hole::new(Code::HostsOpen, engine, found).change(change));
    }
    holes
}

/// What closes a file, where that is possible.
fn command(
    place: &RegistryFolder,
    registry: &str,
    resolver: &ResolverAddress<'_>,
) -> Option<String> {
    let name = if place.is_default { DEFAULT } else { registry };
    let text = place.text().ok()??;
    close(Some(&text), name, resolver.at, &Certificates::default()).ok()?;
    Some(resolver.write(place.folder().parent()?, name))
}

/// The first of several folders that has something for a registry.
fn first(folders: &[PathBuf], registry: &str) -> std::io::Result<Option<RegistryFolder>> {
    for folder in folders
        .iter()
        .map(PathBuf::as_path)
        .filter(|folder: &&Path| folder.exists())
    {
        if let Some(place) = RegistryFolder::of(folder, registry)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn opened(folder: &Path, registries: &[&str]) -> Vec<(String, String)> {
        let resolver = ResolverAddress {
            at: "127.0.0.1:5055".parse().unwrap(),
            registries: registries.iter().copied().collect(),
            config: Path::new(DEFAULT_CONFIG),
        };
        open("main", &[folder.to_owned()], &resolver, false)
            .into_iter()
            .map(|hole| (hole.found, hole.change))
            .collect()
    }

    fn write(folder: &Path, registry: &str, text: &str) {
        fs::create_dir_all(folder.join(registry)).unwrap();
        fs::write(folder.join(registry).join("hosts.toml"), text).unwrap();
    }

    #[test]
    fn a_cri_that_reads_no_hosts_toml_is_open() {
        let resolver = ResolverAddress {
            at: "127.0.0.1:5055".parse().unwrap(),
            registries: BTreeSet::new(),
            config: Path::new(DEFAULT_CONFIG),
        };
        let mut facts = super::super::tests::in_order("1.7.24");
        let holes = cri(&facts, &resolver);
        assert!(
            matches!(&holes[..], [hole] if hole.found.contains("no config_path")),
            "{holes:?}"
        );
        assert!(holes[0].change.starts_with("# in /"), "{holes:?}");
        assert!(
            holes[0]
                .change
                .contains("\n[plugins.'io.containerd.grpc.v1.cri'.registry]\n"),
            "{holes:?}"
        );
        // By the version of the file that is to be written, not of what containerd makes of it.
        let main = |facts: &mut ContainerdFacts, version: &str| {
            let config = facts.config.as_mut().unwrap();
            config.files.files[0].table = version.parse().unwrap();
            if let Some(images) = config.effective["plugins"].get_mut("io.containerd.cri.v1.images")
            {
                images["registry"]["config_path"] = "".into();
            }
            cri(facts, &resolver).remove(0).change
        };
        let change = main(&mut facts, "");
        assert!(change.contains("\n[plugins.'cri'.registry]\n"), "{change}");
        let mut facts = super::super::tests::in_order("2.1.9");
        for (version, section) in [
            ("version = 2", "io.containerd.grpc.v1.cri"),
            ("version = 3", "io.containerd.cri.v1.images"),
        ] {
            let change = main(&mut facts, version);
            let line = format!("\n[plugins.'{section}'.registry]\n");
            assert!(change.contains(&line), "{change}");
        }
    }

    #[test]
    fn a_registry_of_the_policy_without_a_file_is_open_and_one_that_leads_to_the_resolver_alone_is_not()
     {
        let dir = tempfile::tempdir().unwrap();
        let found = opened(dir.path(), &["r.example", "docker.io"]);
        assert!(
            found.len() == 1 && found[0].0.contains("for docker.io, r.example"),
            "{found:?}"
        );
        assert_eq!(
            found[0].1,
            format!(
                "rootpin hosts write --dir {} docker.io r.example",
                dir.path().display()
            )
        );
        let closed = "server = \"https://r.example\"\ncapabilities = [\"pull\", \"push\"]\n\
            [host.\"http://127.0.0.1:5055/resolve\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
        write(dir.path(), "r.example", closed);
        assert_eq!(opened(dir.path(), &["r.example"]), []);
        // A file for a registry that the policy doesn't name, and one that nobody understands.
        write(
            dir.path(),
            "other.example",
            "server = \"https://other.example\"\n",
        );
        write(dir.path(), "odd.example", "server = [");
        let found = opened(dir.path(), &["r.example"]);
        assert!(
            found.len() == 2
                && found[0].0.contains("odd.example")
                && found[0].0.contains("not understood"),
            "{found:?}"
        );
        assert!(found[1].0.contains("other.example/hosts.toml"), "{found:?}");
        let command = |registry| {
            format!(
                "rootpin hosts write --dir {} {registry}",
                dir.path().display()
            )
        };
        assert_eq!(found[1].1, command("other.example"));
        // Only a containerd before 2.0 passes over a file without a [host] table.
        write(
            dir.path(),
            "_default",
            "server = \"http://127.0.0.1:5055\"\ncapabilities = [\"pull\", \"resolve\"]\n",
        );
        fs::remove_dir_all(dir.path().join("other.example")).unwrap();
        fs::remove_dir_all(dir.path().join("odd.example")).unwrap();
        assert_eq!(opened(dir.path(), &["r.example"]), []);
        let resolver = ResolverAddress {
            at: "127.0.0.1:5055".parse().unwrap(),
            registries: BTreeSet::new(),
            config: Path::new(DEFAULT_CONFIG),
        };
        let found = open("main", &[dir.path().to_owned()], &resolver, true);
        assert!(
            found.len() == 1 && found[0].found.contains("[host] table"),
            "{found:?}"
        );
        assert_eq!(found[0].change, command("_default"));
    }

    #[test]
    fn mirrors_of_dockerd_are_open_beside_a_default_that_is_closed_and_docker_io_s_own_file_ends_them()
     {
        let dir = tempfile::tempdir().unwrap();
        let of = |given: &[&str]| {
            mirrors(
                "main",
                dir.path(),
                &given
                    .iter()
                    .map(|&mirror| mirror.to_owned())
                    .collect::<Vec<_>>(),
                &ResolverAddress {
                    at: "127.0.0.1:5055".parse().unwrap(),
                    registries: BTreeSet::new(),
                    config: Path::new("/srv/rootpin.toml"),
                },
            )
        };
        assert_eq!(
            of(&["https://m.example/"]),
            None,
            "that there is no file at all is another hole"
        );
        write(
            dir.path(),
            "_default",
            "server = \"http://127.0.0.1:5055\"\ncapabilities = [\"pull\", \"resolve\"]\n",
        );
        assert_eq!(opened(dir.path(), &["docker.io"]), []);
        let hole = of(&["https://m.example/"]).unwrap();
        assert!(
            hole.code == Code::HostsOpen && hole.found.contains("https://m.example/"),
            "{hole:?}"
        );
        assert_eq!(
            hole.change,
            format!(
                "rootpin hosts write --config /srv/rootpin.toml --dir {} docker.io",
                dir.path().display()
            )
        );
        assert_eq!(of(&[]), None);
        let closed = close(
            None,
            "docker.io",
            "127.0.0.1:5055".parse().unwrap(),
            &Certificates::default(),
        )
        .unwrap();
        write(dir.path(), "docker.io", &closed);
        assert_eq!(of(&["https://m.example/"]), None);
    }
}

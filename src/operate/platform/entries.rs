//! rootpin.toml's entries for the engines of a platform.

use std::fmt::Write as _;
use std::path::Path;

use super::{CONTAINERD, DOCKER, Platform};
use crate::config::{self, Config};
use crate::problem::Problem;

/// The file as it is shipped.
pub(crate) const SHIPPED: &str = include_str!("../../../packaging/rootpin.toml");

/// A rootpin.toml that names a platform's engines.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) text: String,
    pub(crate) config: Config,
    /// The names of these engines.
    pub(crate) names: Vec<String>,
}

/// The text with an `[[engine]]`, and where dockerd is a door a `[[docker]]`, for each engine that
/// it doesn't name yet. `socket`: containerd's.
///
/// # Errors
/// The text is no configuration.
pub(crate) fn with_entries(
    text: &str,
    platform: &Platform,
    socket: &Path,
) -> Result<Entries, Problem> {
    let now = config::parse(text)?;
    let mut after = text.to_owned();
    let mut names = Vec::new();
    let folder = now.control.parent().unwrap_or(Path::new("/run/rootpin"));
    let known = now
        .engines
        .iter()
        .find(|engine| same_socket(&engine.containerd, socket));
    if let Some(engine) = known {
        names.push(engine.name.clone());
    } else {
        let is_shipped = text == SHIPPED;
        let name = if is_shipped {
            short(platform).to_owned()
        } else {
            free(&now, short(platform))
        };
        let own = |door: &str| folder.join(format!("{name}.{door}.sock"));
        // As shipped the file names an engine that isn't here.
        if is_shipped {
            after = shipped_for(&name, socket);
        } else {
            let _ = write!(
                after,
                "{}\n[[engine]]\nname       = \"{name}\"\ncontainerd = \"{}\"\ngate       = \"{}\"\napply      = \"{}\"\n",
                line_end(&after),
                socket.display(),
                own("gate").display(),
                own("apply").display()
            );
        }
        names.push(name);
    }
    if platform.docker {
        let known = now
            .dockers
            .iter()
            .find(|docker| same_socket(&docker.socket, Path::new(DOCKER)));
        if let Some(docker) = known {
            names.push(docker.name.clone());
        } else {
            let name = free(&now, "docker");
            let authz = folder.join(format!("{name}.authz.sock"));
            let _ = write!(
                after,
                "{}\n[[docker]]\nname   = \"{name}\"\nsocket = \"{DOCKER}\"\nauthz  = \"{}\"\n",
                line_end(&after),
                authz.display()
            );
            names.push(name);
        }
    }
    let config = config::parse(&after).map_err(|why| {
        if is_inline(text) {
            Problem::hinted(
                "its engines are a list in one line, to which no [[engine]] or [[docker]] can be added",
                "write each as a table of its own, [[engine]] or [[docker]], and run this again",
            )
        } else {
            why
        }
    })?;
    Ok(Entries {
        text: after,
        config,
        names,
    })
}

/// Whether engines are an array of inline tables.
fn is_inline(text: &str) -> bool {
    let document: Result<toml_edit::DocumentMut, _> = text.parse();
    document.is_ok_and(|document| {
        ["engine", "docker"]
            .iter()
            .any(|key| document.get(key).is_some_and(toml_edit::Item::is_array))
    })
}

/// The shipped file with another engine in the place of its own.
fn shipped_for(name: &str, socket: &Path) -> String {
    SHIPPED
        .replace(
            "name       = \"containerd\"",
            &format!("name       = \"{name}\""),
        )
        .replace(
            &format!("containerd = \"{CONTAINERD}\""),
            &format!("containerd = \"{}\"", socket.display()),
        )
        .replace("/containerd.gate.sock", &format!("/{name}.gate.sock"))
        .replace("/containerd.apply.sock", &format!("/{name}.apply.sock"))
}

/// A platform's own containerd has its name; the system's is `containerd` on all.
fn short(platform: &Platform) -> &'static str {
    if platform.socket == CONTAINERD {
        "containerd"
    } else {
        platform.name
    }
}

fn free(config: &Config, name: &str) -> String {
    let engines = config.engines.iter().map(|engine| &engine.name);
    let taken: Vec<&String> = engines
        .chain(config.dockers.iter().map(|docker| &docker.name))
        .collect();
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(&name))
        .unwrap_or_else(|| name.to_owned())
}

fn line_end(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    }
}

/// Whether both are one socket: /var/run is /run on most hosts.
pub(crate) fn same_socket(one: &Path, other: &Path) -> bool {
    let below_run = |path: &Path| {
        path.strip_prefix("/var/run")
            .map_or_else(|_| path.to_owned(), |rest| Path::new("/run").join(rest))
    };
    below_run(one) == below_run(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, platform: &str) -> Entries {
        let platform = Platform::named(platform).unwrap();
        with_entries(text, platform, Path::new(platform.socket)).unwrap()
    }

    #[test]
    fn a_file_that_names_the_platform_s_engine_stays_as_it_is() {
        for (platform, text) in [
            ("containerd", SHIPPED.to_owned()),
            ("kind", SHIPPED.to_owned()),
            (
                "eks",
                SHIPPED.replace("/run/containerd/", "/var/run/containerd/"),
            ),
            ("k3s", with(SHIPPED, "k3s").text),
            ("docker", with(SHIPPED, "docker").text),
            ("microk8s", with("", "microk8s").text),
        ] {
            let entries = with(&text, platform);
            assert_eq!(entries.text, text, "{platform}");
        }
    }

    #[test]
    fn the_shipped_file_gets_the_platform_s_engine_in_place_of_one_that_is_not_there() {
        let entries = with(SHIPPED, "k3s");
        assert_eq!(entries.names, ["k3s"]);
        let [engine] = &entries.config.engines[..] else {
            panic!("{:?}", entries.config.engines)
        };
        assert_eq!(
            (
                engine.name.as_str(),
                engine.containerd.as_path(),
                engine.gate.as_path(),
                engine.apply.as_path()
            ),
            (
                "k3s",
                Path::new("/run/k3s/containerd/containerd.sock"),
                Path::new("/run/rootpin/k3s.gate.sock"),
                Path::new("/run/rootpin/k3s.apply.sock")
            )
        );
    }

    #[test]
    fn an_engine_at_another_socket_keeps_its_name_and_its_doors() {
        let platform = Platform::named("containerd").unwrap();
        let entries = with_entries(SHIPPED, platform, Path::new("/run/x.sock")).unwrap();
        assert_eq!(entries.names, ["containerd"]);
        let [engine] = &entries.config.engines[..] else {
            panic!("{:?}", entries.config.engines)
        };
        assert_eq!(engine.containerd, Path::new("/run/x.sock"));
        assert_eq!(engine.gate, Path::new("/run/rootpin/containerd.gate.sock"));
    }

    #[test]
    fn a_file_that_was_changed_gets_one_more_entry_and_keeps_every_byte() {
        let text = "deadline = \"6s\"\n[[engine]]\nname = \"k0s\"\ncontainerd = \"/c\"\ngate = \"/g\"\napply = \"/a\"";
        let entries = with(text, "k0s");
        assert!(entries.text.starts_with(text), "{}", entries.text);
        assert_eq!(entries.names, ["k0s-2"]);
        assert_eq!(entries.config.engines.len(), 2);
        let entries = with("control = \"/x/control\"\n", "docker");
        assert_eq!(entries.names, ["containerd", "docker"]);
        assert_eq!(
            entries.config.dockers[0].authz.as_deref(),
            Some(Path::new("/x/docker.authz.sock"))
        );
        let inline =
            "engine = [{ name = \"a\", containerd = \"/c\", gate = \"/g\", apply = \"/a\" }]\n";
        let k3s = Platform::named("k3s").unwrap();
        let socket = Path::new("/s");
        let why = with_entries(inline, k3s, socket).unwrap_err();
        assert!(why.what.contains("a list in one line"), "{why}");
        assert!(with_entries("what = 1", k3s, socket).is_err());
    }
}

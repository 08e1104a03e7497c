//! `rootpin hosts`: the `hosts.toml` files by which engines find the resolver.

mod check;
mod remove;
mod write;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::{Output, shell_word};
use crate::config::{self, DEFAULT_CONFIG};
use crate::hosts_toml::DEFAULT;
use crate::problem::Problem;
use rootpin_trust::image::Repository;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make engines ask the resolver, and nobody else, what a tag of these registries is
    #[command(
        long_about = "Make engines ask the resolver, and nobody else, what a tag of these registries is.\n\n\
            Writes the hosts.toml of each registry, or changes what is open in it: the registry itself and its mirrors keep `pull` and \
            `push` and lose `resolve`. CAs, client certificates, headers, comments and every other line stay. The old text is kept as \
            hosts.toml.bak. A file that is closed is left as it is, and one that is not understood is refused.\n\n\
            `_default` stands for all registries without a file of their own. With it every byte of theirs comes through the resolver, by \
            the credentials of rootpin.toml's docker-config.",
        after_help = "examples:\n  rootpin hosts write docker.io registry.example:5000\n  \
            rootpin hosts write --dry-run --dir /etc/containerd/certs.d docker.io"
    )]
    Write(write::Arguments),
    /// Take the hosts.toml of these registries back to what it was before `hosts write`
    #[command(
        long_about = "Take the hosts.toml of these registries back to what it was before `hosts write`, with what others changed since.\n\n\
            A file that `hosts write` made goes. From then on the registry itself says what its tags are; `install --uninstall` takes back all of them.",
        after_help = "examples:\n  rootpin hosts remove --dry-run registry.example:5000\n  rootpin hosts remove docker.io --dir /etc/containerd/certs.d"
    )]
    Remove(remove::Arguments),
    /// Say which hosts.toml let somebody else than the resolver say what a tag is
    #[command(
        long_about = "Say which hosts.toml let somebody else than the resolver say what a tag is. One code for each hole:\n  \
            no-file          the registry has no hosts.toml, so it says itself\n  \
            malformed        engines pass over a file that they don't understand\n  \
            no-server        no server is named, and then the registry may resolve\n  \
            server-resolves  the server may resolve\n  \
            host-resolves    another host may resolve\n  \
            no-resolver      the resolver is not asked\n  \
            no-host-table    containerd 1.7 passes over a file without a [host] table\n  \
            mirrors          dockerd's registry-mirrors say what Docker Hub's tags are\n  \
            writable         others than root can change it\n  \
            port-taken       somebody else than rootpind listens where the resolver should\n  \
            dir-list         a folder is a list with colons, of which CRI of containerd 2.1 and later takes none\n\n\
            Without a registry, every folder that is there is checked. Ends with 0 if all is closed, 1 if not.",
        after_help = "examples:\n  rootpin hosts check\n  rootpin hosts check docker.io --dir /etc/docker/certs.d --json"
    )]
    Check(check::Arguments),
}

/// Which files, and whose resolver.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// A folder of hosts.toml files: an engine's `config_path` or certs.d; can be given more than
    /// once [default: /etc/containerd/certs.d where /etc/containerd is, and /etc/docker/certs.d
    /// where /etc/docker is]
    #[arg(long = "dir", value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Where the resolver listens [default: `resolver` of rootpin.toml]
    #[arg(long, value_name = "ADDRESS:PORT")]
    resolver: Option<SocketAddr>,
    /// The rootpin.toml that says so
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(super) fn run(verb: Verb, output: Output) -> u8 {
    let result = match verb {
        Verb::Write(arguments) => write::run(&arguments, output),
        Verb::Remove(arguments) => remove::run(&arguments, output),
        Verb::Check(arguments) => check::run(&arguments, output),
    };
    result.unwrap_or_else(|failure| failure.exit(output))
}

impl Where {
    fn resolver(&self) -> Result<SocketAddr, Failure> {
        if let Some(resolver) = self.resolver {
            let usable = resolver.ip().is_loopback() && resolver.port() != 0;
            let wanted = || {
                Failure::Usage(Problem::hinted(
                    format!("{resolver} is not a loopback address with a port"),
                    "wanted 127.0.0.1:PORT",
                ))
            };
            return if usable { Ok(resolver) } else { Err(wanted()) };
        }
        let hint = "write resolver = \"127.0.0.1:505\" there, or name it by --resolver";
        let config = config::load(&self.config).map_err(|found| {
            let hint = found.hint.unwrap_or_default();
            Failure::Unknown(Problem::hinted(
                found.what,
                format!(
                    "{hint}; without it: --resolver 127.0.0.1:505, or where rootpind's resolver is"
                ),
            ))
        })?;
        let none = || {
            Failure::Unknown(Problem::hinted(
                format!("{} has no resolver", self.config.display()),
                hint.to_string(),
            ))
        };
        config.resolver.ok_or_else(none)
    }

    /// The options that were given, for a command that shall do the same in that folder.
    fn options(&self, dir: &Path) -> String {
        let mut words = String::new();
        let mut add = |option: &str, value: &str| {
            words.extend([" ", option, " ", &shell_word(value)]);
        };
        if !self.dirs.is_empty() {
            add("--dir", &dir.to_string_lossy());
        }
        if let Some(resolver) = self.resolver {
            add("--resolver", &resolver.to_string());
        } else if self.config != Path::new(DEFAULT_CONFIG) {
            add("--config", &self.config.to_string_lossy());
        }
        words
    }

    fn dirs(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.dirs.is_empty() {
            return Ok(self.dirs.clone());
        }
        let engines = ["/etc/containerd", "/etc/docker"].map(Path::new);
        let dirs: Vec<_> = engines
            .iter()
            .filter(|engine| engine.is_dir())
            .map(|engine| engine.join("certs.d"))
            .collect();
        if dirs.is_empty() {
            Err(Failure::Unknown(Problem::hinted(
                "neither /etc/containerd nor /etc/docker is here",
                "name an engine's folder of hosts.toml files by --dir",
            )))
        } else {
            Ok(dirs)
        }
    }
}

/// A registry's name as engines look for its folder, which is part of a path.
fn registry(text: &str) -> Result<String, String> {
    let known = Repository::from_full(&format!("{text}/library/x"))
        .is_ok_and(|repository| repository.host() == text);
    let wanted = "wanted a registry's host as image names have it, as docker.io or registry.example:5000, or _default";
    if text == DEFAULT || known {
        Ok(text.to_owned())
    } else {
        Err(wanted.to_owned())
    }
}

//! The credentials with which a command asks registries.

use std::path::{Path, PathBuf};

use crate::config::{self, DEFAULT_CONFIG};
use crate::problem::Problem;
use crate::sources::Credentials;

/// Where a command finds credentials, if it is not told of a Docker folder.
#[derive(Debug, clap::Args)]
pub(super) struct CredentialArguments {
    /// Folder of a Docker config.json with credentials
    #[arg(long, value_name = "DIR", global = true)]
    docker_config: Option<PathBuf>,
    /// rootpin.toml with `[credentials]`; else /etc/rootpin/rootpin.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

impl CredentialArguments {
    /// The credentials. `usual`: the Docker folder that counts where nothing is named.
    pub(super) fn credentials(self, usual: Option<PathBuf>) -> Result<Credentials, Problem> {
        if let Some(folder) = self.docker_config {
            return Ok(Credentials::in_folder(folder));
        }
        let config = match self.config {
            Some(path) => Some(config::load(&path)?),
            None => config::load(Path::new(DEFAULT_CONFIG)).ok(),
        };
        let usual = usual.filter(|folder| folder.is_dir());
        Ok(match (config, usual) {
            (Some(config), usual) => Credentials::configured(
                &config.credentials,
                usual.as_deref().or(config.docker_config.as_deref()),
                config.credential_helper_timeout,
            ),
            (None, Some(folder)) => Credentials::in_folder(folder),
            (None, None) => Credentials::none(),
        })
    }
}

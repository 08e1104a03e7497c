//! The credentials with which a command asks registries.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, DEFAULT_CONFIG};
use crate::problem::Problem;
use crate::sources::Credentials;

/// Where a command finds credentials, if it is not told of a Docker folder.
#[derive(Debug, clap::Args)]
pub(super) struct CredentialArguments {
    /// Folder of a Docker config.json with credentials
    #[arg(long, value_name = "DIR", global = true)]
    docker_config: Option<PathBuf>,
    /// rootpin.toml with `[credentials]`; else /etc/rootpin/rootpin.toml
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true)]
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
            None => usual_config(Path::new(DEFAULT_CONFIG))?,
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

/// What rootpin.toml at its usual place says. A host without rootpind has none, and a user who may not
/// read it asks with credentials of their own.
fn usual_config(path: &Path) -> Result<Option<Config>, Problem> {
    match File::open(path).map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound) => Ok(None),
        Err(ErrorKind::PermissionDenied) => {
            log::warn!(
                "{}: this user may not read it, so its [credentials] do not count",
                path.display()
            );
            Ok(None)
        }
        _ => config::load(path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_at_its_usual_place_may_be_missing_and_its_mistakes_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rootpin.toml");
        assert!(matches!(usual_config(&path), Ok(None)));
        std::fs::write(&path, "nonsense = \n").unwrap();
        let why = usual_config(&path).unwrap_err().to_string();
        assert!(why.contains("rootpin.toml"), "{why}");
    }
}

//! `[credentials]` of rootpin.toml: where this host's credentials come from, and in which order.

use std::path::PathBuf;

use serde::Deserialize;

/// Where credentials come from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Who is asked first; those that are left out are not asked. None: all that are set, as
    /// [`Kind::ALL`] has them.
    pub order: Option<Vec<Kind>>,
    /// containers' auth.json, as Podman and Skopeo write it.
    pub auth_file: Option<PathBuf>,
    /// The kubelet's `CredentialProviderConfig`: a file, or a folder of such files.
    pub kubelet_config: Option<PathBuf>,
    /// The folder of the programs that it names.
    pub kubelet_bin_dir: Option<PathBuf>,
    /// The name of a credential that systemd passes, with the text of a config.json.
    pub systemd: Option<String>,
}

/// A kind of place that has credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Docker's config.json in `docker-config`, with its credential helpers.
    DockerConfig,
    /// `auth-file`.
    AuthFile,
    /// `systemd`.
    Systemd,
    /// The kubelet's credential providers.
    Kubelet,
}

impl Kind {
    /// The order where nothing else is said: files before programs.
    pub const ALL: [Self; 4] = [
        Self::DockerConfig,
        Self::AuthFile,
        Self::Systemd,
        Self::Kubelet,
    ];

    /// As rootpin.toml has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DockerConfig => "docker-config",
            Self::AuthFile => "auth-file",
            Self::Systemd => "systemd",
            Self::Kubelet => "kubelet",
        }
    }
}

impl Settings {
    /// What is legal but senseless. `docker_config`: whether rootpin.toml has that key.
    #[must_use]
    pub fn wrong(&self, docker_config: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        for path in [&self.auth_file, &self.kubelet_config, &self.kubelet_bin_dir]
            .into_iter()
            .flatten()
            .filter(|path| !path.is_absolute())
        {
            wrong.push(format!("{} is not an absolute path", path.display()));
        }
        if self.kubelet_config.is_some() != self.kubelet_bin_dir.is_some() {
            wrong.push("kubelet-config and kubelet-bin-dir belong together".to_owned());
        }
        let plain =
            |name: &String| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if self.systemd.as_ref().is_some_and(|name| !plain(name)) {
            wrong.push("systemd is not the plain name of a credential".to_owned());
        }
        let set = |kind| match kind {
            Kind::DockerConfig => docker_config,
            Kind::AuthFile => self.auth_file.is_some(),
            Kind::Systemd => self.systemd.is_some(),
            Kind::Kubelet => self.kubelet_config.is_some(),
        };
        let order = self.order.iter().flatten();
        for (at, kind) in order.clone().enumerate() {
            if order.clone().take(at).any(|earlier| earlier == kind) {
                wrong.push(format!("order names {:?} twice", kind.as_str()));
            }
            if !set(*kind) {
                wrong.push(format!("order names {:?}, which is not set", kind.as_str()));
            }
        }
        wrong
    }

    /// Who is asked, in order.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        let all = self.order.as_deref().unwrap_or(&Kind::ALL);
        all.iter().copied()
    }
}

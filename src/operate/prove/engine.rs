//! One containerd: what it has, and calls in one of its namespaces.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::PluginsRequest;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::version_client::VersionClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::engines::ContainerdClient;

/// A containerd that has not said by then what it is says nothing.
const SILENCE: Duration = Duration::from_secs(5);
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

/// A containerd that answers.
#[derive(Debug, Clone)]
pub(super) struct ProofEngine {
    /// Its name in rootpin.toml.
    pub(super) name: String,
    pub(super) channel: Channel,
    /// Major and minor version.
    pub(super) version: (u32, u32),
    /// Type and ID of each plugin that works.
    plugins: BTreeSet<(String, String)>,
}

impl ProofEngine {
    /// Asks a containerd what it is.
    pub(super) async fn at(name: &str, socket: &Path) -> Result<Self, String> {
        let containerd = ContainerdClient::at(socket).map_err(|error| error.to_string())?;
        let channel = containerd.channel();
        let asked = async {
            let version = VersionClient::new(channel.clone())
                .version(())
                .await?
                .into_inner()
                .version;
            let plugins = IntrospectionClient::new(channel.clone())
                .plugins(PluginsRequest::default())
                .await?
                .into_inner()
                .plugins;
            Ok::<_, Status>((version, plugins))
        };
        let (version, plugins) = tokio::time::timeout(SILENCE, asked)
            .await
            .map_err(|_| format!("no answer within {SILENCE:?}"))?
            .map_err(|status| status.message().to_owned())?;
        let plugins = plugins
            .into_iter()
            .filter(|plugin| plugin.init_err.is_none())
            .map(|plugin| (plugin.r#type, plugin.id))
            .collect();
        let version =
            parsed(&version).ok_or_else(|| format!("it says that its version is {version:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            channel,
            version,
            plugins,
        })
    }

    pub(super) fn has(&self, kind: &str, id: &str) -> bool {
        self.plugins.contains(&(kind.to_owned(), id.to_owned()))
    }

    /// All its snapshotters.
    pub(super) fn snapshotters(&self) -> impl Iterator<Item = &str> {
        self.plugins
            .iter()
            .filter(|(kind, _)| kind == SNAPSHOTTER)
            .map(|(_, id)| id.as_str())
    }

    /// The one to unpack with: the usual one, where it is there.
    pub(super) fn snapshotter(&self) -> &str {
        ["overlayfs", "native"]
            .into_iter()
            .find(|usual| self.has(SNAPSHOTTER, usual))
            .or_else(|| self.snapshotters().next())
            .unwrap_or_default()
    }
}

/// `v2.1.9+ds1` is 2.1.
fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A request in a namespace, under a lease.
pub(super) fn within<T>(
    namespace: &str,
    lease: Option<&str>,
    message: T,
) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value = |text: &str| {
        text.parse::<AsciiMetadataValue>()
            .map_err(|_| Status::invalid_argument(format!("{text:?} in a header")))
    };
    request
        .metadata_mut()
        .insert("containerd-namespace", value(namespace)?);
    if let Some(lease) = lease {
        request
            .metadata_mut()
            .insert("containerd-lease", value(lease)?);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_however_it_was_packaged() {
        for (text, wanted) in [
            ("v2.1.9", (2, 1)),
            ("2.1.9+ds1-5", (2, 1)),
            ("1.7.24~ds1", (1, 7)),
            ("2.3.0-beta.1", (2, 3)),
        ] {
            assert_eq!(parsed(text), Some(wanted), "{text}");
        }
        assert_eq!(parsed("unknown"), None);
    }
}

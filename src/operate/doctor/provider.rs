//! The configuration by which a kubelet asks rootpin's credential provider, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::FileEdit;
use crate::config::Config;
use crate::credentials::{OWN_PROVIDER, Provider, read_kubelet_config};

/// Beside rootpin.toml.
pub(super) const FILE: &str = "credential-provider.json";

/// What is to be written beside rootpin.toml, if its providers are set and it is not there; and
/// how the kubelet is told of it.
///
/// # Errors
/// The providers' own configuration can't be read.
pub(super) fn install(
    config_path: &Path,
    config: &Config,
    control: Option<&Path>,
) -> Result<Option<(FileEdit, String)>, String> {
    let Some(theirs) = &config.credentials.kubelet_config else {
        return Ok(None);
    };
    let providers = read_kubelet_config(theirs)?;
    let path = std::path::absolute(config_path)
        .map_err(|error| error.to_string())?
        .with_file_name(FILE);
    let before = std::fs::read_to_string(&path).ok();
    let after = own_config(&providers, control);
    if before.as_ref() == Some(&after) {
        return Ok(None);
    }
    let told = format!(
        "the kubelet: start it with --image-credential-provider-config={} and --image-credential-provider-bin-dir= the folder of {OWN_PROVIDER}: docs/credentials.md",
        path.display()
    );
    let edit = FileEdit {
        path,
        before,
        after,
        mode: 0o644,
    };
    Ok(Some((edit, told)))
}

/// A `CredentialProviderConfig` of rootpin's provider alone, for every image that the others match.
pub(super) fn own_config(providers: &[Provider], control: Option<&Path>) -> String {
    let others = providers
        .iter()
        .filter(|provider| provider.name != OWN_PROVIDER);
    let images: BTreeSet<&String> = others.flat_map(|provider| &provider.match_images).collect();
    let args: Vec<String> = control
        .map(|control| vec!["--control".to_owned(), control.display().to_string()])
        .unwrap_or_default();
    let text = json!({
        "apiVersion": "kubelet.config.k8s.io/v1",
        "kind": "CredentialProviderConfig",
        "providers": [{
            "name": OWN_PROVIDER,
            "matchImages": images,
            "defaultCacheDuration": "0s",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "args": args,
        }],
    });
    format!("{text:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Settings;

    #[test]
    fn the_kubelet_asks_rootpin_for_every_image_that_it_asked_others_for() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs.yaml");
        let of = |name: &str, images: &str| {
            format!(
                "- name: {name}\n  matchImages: [{images}]\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
            )
        };
        std::fs::write(
            &theirs,
            format!(
                "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n{}{}",
                of("ecr-credential-provider", "'*.dkr.ecr.*.amazonaws.com', public.ecr.aws"),
                of("other", "r.example:5000")
            ),
        )
        .unwrap();
        let settings = Settings {
            kubelet_config: Some(theirs.clone()),
            kubelet_bin_dir: Some("/x".into()),
            ..Settings::default()
        };
        let config = Config {
            credentials: settings,
            ..crate::config::none().unwrap()
        };
        let at = folder.path().join("rootpin.toml");
        let (edit, told) = install(&at, &config, None).unwrap().unwrap();
        assert!(
            told.contains("--image-credential-provider-config="),
            "{told}"
        );
        std::fs::write(&edit.path, &edit.after).unwrap();
        let own = read_kubelet_config(&edit.path).unwrap();
        let [own] = &own[..] else { panic!("{own:?}") };
        for image in [
            "1.dkr.ecr.eu-west-1.amazonaws.com/x",
            "public.ecr.aws/x",
            "r.example:5000/x",
        ] {
            assert!(own.is_for(image), "{image}");
        }
        assert_eq!(own.name, OWN_PROVIDER);
        assert_eq!(install(&at, &config, None), Ok(None), "it is there");
        std::fs::write(&theirs, "{").unwrap();
        assert!(install(&at, &config, None).is_err());
        assert_eq!(
            install(&at, &crate::config::none().unwrap(), None),
            Ok(None)
        );
    }
}

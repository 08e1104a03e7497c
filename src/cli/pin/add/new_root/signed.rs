//! A new root whose signatures stand beside the image.

use std::collections::BTreeMap;

use toml::Value as Toml;

use super::super::super::Failure;
use super::super::super::material;
use super::super::pinned_files::Pinned;
use super::super::{Arguments, key_files};
use crate::problem::Problem;
use rootpin_trust::PublicKey;

/// What is written of it, and its files.
pub(super) struct SignedRoot {
    pub(super) values: Vec<(&'static str, Toml)>,
    pub(super) files: Pinned,
}

/// A root of cosign has the keys, one of Notation the certificate's file as it is.
pub(super) fn values(
    arguments: &Arguments,
    id: &str,
    keys: &[&PublicKey],
) -> Result<SignedRoot, Failure> {
    let fields = &arguments.fields;
    let others = [
        &fields.server,
        &fields.role,
        &fields.max_age,
        &fields.recheck,
    ];
    if others.iter().any(|field| field.is_some()) || !fields.metadata.is_empty() {
        return Err(Failure::Usage(Problem::hinted(
            "--server, --role, --metadata, --max-age and --recheck are for metadata, and signatures have none",
            "leave them out",
        )));
    }
    let Some(path) = &arguments.from else {
        return Err(Failure::Usage(Problem::hinted(
            "a registry shows no key of cosign, and no certificate that could be pinned from there",
            "name the publisher's PEM file by --from",
        )));
    };
    let (kind, list, files) = if fields.kind.as_deref() == Some("cosign") {
        ("cosign", "keys", key_files(id, keys)?)
    } else {
        let name = format!("roots/{id}.crt");
        let files = BTreeMap::from([(name, material::file(path)?)]);
        ("notation", "certificates", files)
    };
    let names: Vec<Toml> = files.keys().cloned().map(Toml::from).collect();
    let values = vec![
        ("id", Toml::from(id)),
        ("type", Toml::from(kind)),
        (list, Toml::from(names)),
    ];
    Ok(SignedRoot { values, files })
}

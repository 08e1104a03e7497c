//! The files that a pin comes with: keys, a root file, a CA.

use std::collections::BTreeMap;

use super::super::Failure;
use super::Arguments;
use crate::publish::to_pem;
use rootpin_trust::image::Digest;
use rootpin_trust::{PublicKey, RootFile};

/// Files that come with an edit, by name.
pub(super) type Pinned = BTreeMap<String, Vec<u8>>;

/// Files of public keys, under names that tell the key.
pub(super) fn key_files(id: &str, keys: &[&PublicKey]) -> Result<Pinned, Failure> {
    let file = |key: &&PublicKey| {
        Some((
            format!("roots/{id}-{:.12}.pub", key.id().to_string()),
            to_pem(key)?.into_bytes(),
        ))
    };
    let files: Option<BTreeMap<_, _>> = keys.iter().map(file).collect();
    files.ok_or_else(|| {
        Failure::Refused(
            "a root key of a kind that is not known here can't be pinned"
                .to_owned()
                .into(),
        )
    })
}

pub(super) fn root_file(id: &str, root: &RootFile, bytes: &[u8]) -> Pinned {
    BTreeMap::from([(
        format!("roots/{id}-{:.12}.root.json", root.sha256.hex()),
        bytes.to_vec(),
    )])
}

/// The certificates to trust for TLS, as a pinned file.
pub(super) fn tls_ca(arguments: &Arguments) -> Result<(Option<String>, Pinned), Failure> {
    let Some(bytes) = arguments.asking.tls_ca()? else {
        return Ok((None, BTreeMap::new()));
    };
    let name = format!(
        "roots/{}-{:.12}.tls-ca.pem",
        arguments.id,
        Digest::of(&bytes).hex()
    );
    Ok((Some(name.clone()), BTreeMap::from([(name, bytes)])))
}

//! Public keys as people hand them around, and as TUF metadata lists them.

use serde_json::{Value, json};

use super::document::canonical_text;
use rootpin_trust::image::Digest;
use rootpin_trust::{PublicKey, key_file};

/// A key's ID (TUF 1.0.34, section 4.2), and its object as the metadata that is made here lists it.
#[must_use]
pub fn key_object(key: &PublicKey) -> (String, Value) {
    let (keytype, scheme, public) = key.as_tuf().unwrap_or_default();
    let object = json!({ "keytype": keytype, "scheme": scheme, "keyval": { "public": public } });
    let id = canonical_text(&object).map(|text| Digest::of(&text).hex());
    (id.unwrap_or_default(), object)
}

/// The one public key in a file.
pub(super) fn only_key(file: &[u8]) -> Result<PublicKey, String> {
    let mut keys = key_file::public_keys(file).map_err(|error| error.to_string())?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        _ => Err("more than one key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!(
            "{}/tests/data/keys/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    }

    #[test]
    fn a_key_is_listed_as_other_tools_of_tuf_list_it() {
        for (name, keytype, scheme) in [
            ("ed25519.pub", "ed25519", "ed25519"),
            ("docker-signer.pub", "ecdsa", "ecdsa-sha2-nistp256"),
            ("p384.pub", "ecdsa", "ecdsa-sha2-nistp384"),
            ("rsa2048.pub", "rsa", "rsassa-pss-sha256"),
        ] {
            let key = only_key(&data(name)).unwrap();
            let (keyid, object) = key_object(&key);
            assert_eq!(
                (object["keytype"].as_str(), object["scheme"].as_str()),
                (Some(keytype), Some(scheme))
            );
            assert_eq!(
                crate::publish::document::material(&keyid, &object),
                Some(key.id()),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_single_public_key_is_none() {
        let two = [data("ed25519.pub"), data("p384.pub")].concat();
        for bad in [
            &two[..],
            b"",
            &data("rsa1024.pub"),
            &data("p256-compressed.pub"),
        ] {
            only_key(bad).unwrap_err();
        }
    }
}

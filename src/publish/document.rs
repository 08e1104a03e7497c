//! One metadata file on the side that writes it: what is signed, and the signatures.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::PublishError;
use super::canonical_json::{canonical_bytes, signed_by};
use super::key::{Signer, SigningError};
use super::role_key::RoleKey;
use rootpin_trust::image::Digest;
use rootpin_trust::{KeyId, hex};

/// The version of the specification that the files are written by.
const SPEC: &str = "1.0.34";
/// A metadata file that can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The `signed` object.
    pub signed: Map<String, Value>,
    /// Key ID and signature in hex digits.
    signatures: Vec<(String, String)>,
}

impl Document {
    /// A new one, without version and expiry: those it gets when it is dated.
    pub(super) fn new(kind: &str) -> Self {
        let members = [
            ("_type", json!(kind)),
            ("spec_version", json!(SPEC)),
            ("version", json!(0)),
            ("expires", json!("")),
        ];
        Self {
            signed: members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            signatures: Vec::new(),
        }
    }

    /// Reads a file; nothing of it is verified here.
    pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Self, PublishError> {
        let wrong = || PublishError::Malformed(name.to_owned());
        // Strictly: what is signed anew must be what every reader sees.
        canonical_bytes(bytes).ok_or_else(wrong)?;
        let Ok(Value::Object(mut file)) = serde_json::from_slice(bytes) else {
            return Err(wrong());
        };
        let (Some(Value::Object(signed)), Some(Value::Array(listed))) =
            (file.remove("signed"), file.remove("signatures"))
        else {
            return Err(wrong());
        };
        let text = |entry: &Value, member: &str| {
            entry.get(member).and_then(Value::as_str).map(str::to_owned)
        };
        let signatures = listed
            .iter()
            .map(|entry| Some((text(entry, "keyid")?, text(entry, "sig")?)))
            .collect::<Option<_>>();
        Ok(Self {
            signed,
            signatures: signatures.ok_or_else(wrong)?,
        })
    }

    /// The file. Control characters are escaped in it, unlike in what is signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let signatures: Value = self
            .signatures
            .iter()
            .map(|(keyid, sig)| json!({ "keyid": keyid, "sig": sig }))
            .collect();
        // Piece by piece: one value of the whole would be a copy of it.
        let signed = serde_json::to_string(&self.signed).unwrap_or_default();
        format!("{{\"signatures\":{signatures},\"signed\":{signed}}}\n").into_bytes()
    }

    /// Its version; 0, before it has one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.signed
            .get("version")
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }

    /// The end of its term, as it is written.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.signed
            .get("expires")
            .and_then(Value::as_str)?
            .parse()
            .ok()
    }

    /// Gives it its next version and a new term; what was signed before is not this any more.
    pub(super) fn date(
        &mut self,
        version: u64,
        now: Timestamp,
        term: SignedDuration,
    ) -> Result<(), PublishError> {
        let expires = now.checked_add(term).map_err(|_| {
            PublishError::Wrong("a term that ends after all time".to_owned().into())
        })?;
        self.signed.insert("version".to_owned(), version.into());
        self.signed.insert(
            "expires".to_owned(),
            expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
        );
        self.signatures.clear();
        Ok(())
    }

    /// Adds a signature of this key, under the ID and by the scheme that its role lists, in place
    /// of an earlier one.
    pub(super) fn sign(
        &mut self,
        signer: &dyn Signer,
        listed: &RoleKey,
    ) -> Result<(), SigningError> {
        let scheme = listed
            .key
            .get("scheme")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let signature = signer.sign(&self.canonical()?, scheme)?;
        self.signatures.retain(|(known, _)| *known != listed.keyid);
        self.signatures
            .push((listed.keyid.clone(), hex::encode(&signature)));
        Ok(())
    }

    /// Whether that key has signed; its canonical ID, by which two listings of one key count once.
    pub(super) fn signed_by(&self, RoleKey { keyid, key, .. }: &RoleKey) -> Option<KeyId> {
        let (_, signature) = self.signatures.iter().find(|(known, _)| known == keyid)?;
        signed_by(
            keyid,
            key,
            &self.canonical().ok()?,
            &hex::decode(signature)?,
        )
    }

    /// Takes the signatures of the same document that another machine has added.
    pub(super) fn take_signatures(&mut self, other: &Self) {
        for (keyid, signature) in &other.signatures {
            if !self.signatures.iter().any(|(known, _)| known == keyid) {
                self.signatures.push((keyid.clone(), signature.clone()));
            }
        }
    }

    /// Changes an object in the signed part; an empty one, where there is none.
    pub(super) fn edit<T>(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Map<String, Value>) -> T,
    ) -> T {
        let mut members = match self.signed.remove(name) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let result = change(&mut members);
        self.signed.insert(name.to_owned(), Value::Object(members));
        result
    }

    /// An object in the signed part.
    #[must_use]
    pub fn members(&self, name: &str) -> Option<&Map<String, Value>> {
        self.signed.get(name)?.as_object()
    }

    /// What is signed.
    fn canonical(&self) -> Result<Vec<u8>, SigningError> {
        let wrong = |why: &str| SigningError::Unusable(why.to_owned());
        let text = serde_json::to_vec(&self.signed)
            .map_err(|_| wrong("a document that can't be written"))?;
        canonical_bytes(&text).ok_or_else(|| wrong("a document that is no strict JSON"))
    }
}

/// How a file is listed by another: version, length and SHA-256.
pub(super) fn listing(version: u64, bytes: &[u8]) -> Value {
    json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": Digest::of(bytes).hex() } })
}

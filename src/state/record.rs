//! The form of one record: a checksum over table, key and body, then the body as JSON.
//!
//! redb checks its pages only when it opens the file, and a page that rots later is taken as it is,
//! even copied under a fresh page checksum by the next commit. The record's own checksum notices
//! that, and a value that strayed to another key or table.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::FileFault;

/// SHA-256 over table, key and body.
pub(super) type Checksum = [u8; 32];

/// A record as it is written, and its checksum.
pub(super) struct Framed {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: Checksum,
}

/// Writes a record.
pub(super) fn encode<T: Serialize>(table: &str, key: &[u8], form: &T) -> Result<Framed, FileFault> {
    let body =
        serde_json::to_vec(form).map_err(|error| FileFault::new(format!("{table}: {error}")))?;
    let checksum = checksum(table, key, &body);
    let bytes = [checksum.as_slice(), &body].concat();
    Ok(Framed { bytes, checksum })
}

/// Reads a record: the checksum first, and then only exactly the form.
pub(super) fn decode<T: DeserializeOwned>(
    table: &str,
    key: &[u8],
    bytes: &[u8],
) -> Result<(T, Checksum), FileFault> {
    let (stated, body) = bytes
        .split_first_chunk::<32>()
        .ok_or_else(|| FileFault::new(format!("{table}: a record is too short")))?;
    if checksum(table, key, body) != *stated {
        return Err(FileFault::new(format!(
            "{table}: a record fails its checksum"
        )));
    }
    let form = serde_json::from_slice(body).map_err(|error| {
        FileFault::new(format!("{table}: a record of an unknown form: {error}"))
    })?;
    Ok((form, *stated))
}

fn checksum(table: &str, key: &[u8], body: &[u8]) -> Checksum {
    let mut hash = Sha256::new();
    // No table's name holds a NUL, and the key's length ends the key: no two triples hash the same
    // text.
    hash.update(table);
    hash.update([0]);
    hash.update(key.len().to_string());
    hash.update([0]);
    hash.update(key);
    hash.update(body);
    hash.finalize().into()
}

/// A value that is written as its text.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_only_under_its_own_table_and_key_and_unchanged() {
        let framed = encode("floors", b"a", &vec![1, 2]).unwrap();
        assert_eq!(
            decode::<Vec<u8>>("floors", b"a", &framed.bytes).unwrap(),
            (vec![1, 2], framed.checksum)
        );
        assert!(decode::<Vec<u8>>("floors", b"b", &framed.bytes).is_err());
        assert!(decode::<Vec<u8>>("floor", b"a", &framed.bytes).is_err());
        assert!(decode::<Vec<u8>>("floors", b"a", &framed.bytes[..31]).is_err());
        for byte in 0..framed.bytes.len() {
            let mut bytes = framed.bytes.clone();
            bytes[byte] ^= 1 << (byte % 8);
            assert!(decode::<Vec<u8>>("floors", b"a", &bytes).is_err(), "{byte}");
        }
    }
}

//! Sentences in which people say why.

use super::REMOVED;

/// A key under which people say why.
pub(super) fn is_reason(key: &str) -> bool {
    let name = key.rsplit(['.', '-', '_']).next().unwrap_or_default();
    ["comment", "description", "note", "reason"].contains(&name)
}

/// A sentence of a person's, in which `key=S35` is a secret whatever the key is.
pub(super) fn without_pairs(text: &str) -> String {
    let pairs = text.split_inclusive(char::is_whitespace).map(|piece| {
        let Some((name, value)) = piece.split_once('=') else {
            return piece.to_owned();
        };
        let secret = value.trim_start_matches(['"', '\'', '\\']);
        let length = secret
            .find(|sign: char| sign.is_whitespace() || "\"'\\,;)]}".contains(sign))
            .unwrap_or(secret.len());
        let has_name = name.ends_with(|sign: char| sign.is_ascii_alphanumeric());
        if length == 0 || !has_name {
            return piece.to_owned();
        }
        let (before, after) = (value.len() - secret.len(), secret.get(length..));
        format!(
            "{name}={}{REMOVED}{}",
            value.get(..before).unwrap_or_default(),
            after.unwrap_or_default()
        )
    });
    pairs.collect()
}

//! Canonical JSON as docker/go (`canonical/json`) writes it: the form that Notary signs and hashes
//! key IDs over.
//!
//! Members sorted by their UTF-8 bytes, no white space, only `"` and `\` escaped, no Unicode
//! normalisation.

mod rewrite;
#[cfg(test)]
mod tests;
mod text;

pub use rewrite::{JsonError, Limits, rewrite, rewrite_doubles};
pub use text::{Members, Text};

/// The number of bytes before a quote, a backslash or a byte below `least`; sixteen are looked at
/// in one step.
#[inline]
fn plain(bytes: &[u8], least: u8) -> usize {
    let ends = |byte: u8| u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < least);
    let chunks = bytes.as_chunks::<16>().0;
    let has_end = |chunk: &[u8; 16]| chunk.iter().fold(0, |found, byte| found | ends(*byte)) != 0;
    let begin = chunks.iter().position(has_end).unwrap_or(chunks.len()) * 16;
    let rest = bytes.get(begin..).unwrap_or_default();
    begin
        + rest
            .iter()
            .position(|byte| ends(*byte) != 0)
            .unwrap_or(rest.len())
}

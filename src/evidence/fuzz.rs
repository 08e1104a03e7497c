//! Cached signatures, which a bundle from elsewhere may bring, changed.

use super::signature_cache::{merged_signatures, read_cached};
use crate::fuzzing::try_reader;

const ONE: &[u8] = br#"{"signatures":[{"media-type":"application/vnd.dev.sigstore.bundle.v0.3+json","bytes":"e30=","signature":null}]}"#;
const TWO: &[u8] = br#"{"signatures":[{"media-type":"application/vnd.dev.cosign.simplesigning.v1+json","bytes":"e30=","signature":"MEUCIQ=="},{"media-type":"application/jose+json","bytes":"","signature":null}]}"#;

#[test]
fn no_cached_signatures_make_their_reader_panic_and_what_is_merged_is_read_again() {
    let count = |bytes: &[u8]| read_cached(bytes).map(|files| files.len());
    assert_eq!(
        merged_signatures(TWO, ONE).map(|all| count(&all)),
        Some(Some(3))
    );
    try_reader("cached-signatures", &[ONE, TWO], |bytes| {
        for (new, known) in [(bytes, TWO), (TWO, bytes)] {
            if let Some(merged) = merged_signatures(new, known) {
                assert!(count(&merged) > Some(0));
            }
        }
    });
}

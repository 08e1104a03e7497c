//! What containerd sends over the connections of NRI, changed.

use super::ttrpc_mux::TtrpcMux;
use crate::fuzzing::try_reader;

/// A frame of a connection, with a request of ttRPC in it.
const FRAME: &[u8] = b"\0\0\0\x01\0\0\0\x0e\0\0\0\x04\0\0\0\x01\x01\0body";

#[test]
fn no_frames_make_the_connection_of_nri_panic_or_go_on_for_ever() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let messages = |bytes: &[u8]| {
        runtime.block_on(async {
            let mut mux = TtrpcMux::new(tokio::io::join(bytes, tokio::io::sink()));
            let mut count = 0;
            while mux.next().await.is_ok() {
                count += 1;
            }
            count
        })
    };
    assert_eq!(messages(FRAME), 1);
    try_reader("ttrpc", &[FRAME, &FRAME.repeat(3)], |bytes| {
        assert!(messages(bytes) <= bytes.len());
    });
}

//! What engines ask the resolver, changed.

use http::Request;

use super::asked::{RegistryRequest, read};
use crate::fuzzing::try_reader;
use rootpin_trust::image::ImageRef;

const ASKED: [&[u8]; 4] = [
    b"/v2/team/app/manifests/v1?ns=r.example%3A5000",
    b"/resolve/v2/library/alpine/manifests/sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea?ns=docker.io",
    b"/v2/a/manifests/sha256-0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea.sig?ns=r.example",
    b"/v2/",
];

#[test]
fn no_request_makes_the_resolver_panic_and_a_name_is_read_again_as_the_same() {
    let name = |bytes: &[u8]| {
        let request = Request::get(bytes).body(()).ok()?;
        match read(&request).ok()? {
            RegistryRequest::Tag(name) => Some(name),
            _ => None,
        }
    };
    assert!(name(ASKED[0]).is_some());
    try_reader("resolver-request", &ASKED, |bytes| {
        if let Some(name) = name(bytes) {
            assert_eq!(name.to_string().parse::<ImageRef>().as_ref(), Ok(&name));
        }
    });
}

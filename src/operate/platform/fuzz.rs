//! rootpin.toml, changed.

use std::path::Path;

use super::{PLATFORMS, SHIPPED, with_entries};
use crate::config;
use crate::fuzzing::try_reader;

const OWN: &[u8] = b"control = \"/run/rootpin/control.sock\"\n[[engine]]\nname = \"containerd\"\ncontainerd = \"/run/containerd/containerd.sock\"\ngate = \"/run/rootpin/a.sock\"\napply = \"/run/rootpin/b.sock\"\n";

#[test]
fn no_rootpin_toml_makes_its_reader_panic_and_what_is_added_to_it_is_added_once() {
    let added = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for platform in PLATFORMS
            .iter()
            .filter(|platform| ["k3s", "docker"].contains(&platform.name))
        {
            let socket = Path::new(platform.socket);
            let entries = with_entries(&text, platform, socket).ok()?;
            assert!(config::parse(&entries.text).is_ok());
            let again = with_entries(&entries.text, platform, socket).unwrap();
            assert_eq!(again.text, entries.text);
        }
        Some(())
    };
    assert!(added(OWN).is_some() && added(SHIPPED.as_bytes()).is_some());
    try_reader("rootpin-toml", &[OWN, SHIPPED.as_bytes()], |bytes| {
        let _ = added(bytes);
    });
}

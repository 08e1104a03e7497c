//! hosts.toml and daemon.json, changed.

use super::{DaemonJson, HostsFile, capabilities};
use crate::fuzzing::try_reader;

const HOSTS: &[u8] = b"server = \"https://r.example\"\ncapabilities = [\"pull\"]\nca = [\"a.pem\"]\n[host.\"https://m.example/v2/a\"]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nskip_verify = true\noverride_path = true\nclient = [[\"c\", \"k\"]]\n[host.\"https://m.example/v2/a\".header]\nx = [\"y\"]\n";

#[test]
fn no_hosts_toml_makes_its_reader_panic_and_what_is_written_is_read_again() {
    let read = |bytes: &[u8]| {
        let file: HostsFile = String::from_utf8_lossy(bytes).parse().ok()?;
        let again: HostsFile = file.to_string().parse().unwrap();
        assert_eq!(again.server(), file.server());
        let _ = capabilities(file.root());
        let hosts = file.hosts().ok()?;
        hosts.iter().for_each(|(_, host)| drop(capabilities(host)));
        Some(hosts.len())
    };
    assert_eq!(read(HOSTS), Some(1));
    try_reader("hosts-toml", &[HOSTS], |bytes| {
        let _ = read(bytes);
    });
}

#[test]
fn no_daemon_json_makes_its_reader_panic() {
    let example = br#"{"registry-mirrors":["https://m.example/"],"insecure-registries":["10.0.0.0/8","r.example:5000","fd00::/8","http://a/"]}"#;
    try_reader("docker-mirrors", &[example], |bytes| {
        if let Ok(read) = serde_json::from_slice::<DaemonJson>(bytes) {
            for registry in ["r.example:5000", "10.1.2.3", "[fd00::1]:80", "a"] {
                let _ = read.is_insecure(registry);
            }
        }
    });
}

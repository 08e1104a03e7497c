//! Settings of containerd that open another way to it, or to its containers, than those that the
//! doors keep.

use super::super::code::Code;
use super::super::config_files::at;
use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::hole::Hole;

/// Where the address of the TCP listener and the CA of its clients are: up to 2.2, and from 2.3 on.
const TCP: [[&[&str]; 2]; 2] = [
    [&["grpc", "tcp_address"], &["grpc", "tcp_tls_ca"]],
    [
        &["plugins", "io.containerd.server.v1.grpc-tcp", "address"],
        &["plugins", "io.containerd.server.v1.grpc-tcp", "tls_ca"],
    ],
];
const RESTORE: [&str; 3] = [
    "plugins",
    "io.containerd.cri.v1.runtime",
    "enable_experimental_restore_via_create",
];

pub(super) fn roads(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Hole> {
    let name = &facts.engine.name;
    let text = |path: &[&str]| {
        at(&config.effective, path)
            .and_then(toml::Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let mut holes = Vec::new();
    for [address, ca] in TCP {
        if let Some(found) = text(address).filter(|_| text(ca).is_none()) {
            let found = format!(
                "it listens at {found}, {}, and asks nobody for a certificate",
                config.files.setter(address)
            );
            let (key, section) = address.split_last().unwrap_or((&"", &[]));
            let change = format!(
                "# or name the CA of its clients: {}\n['{}']\n  {key} = \"\"",
                ca.join("."),
                section.join("'.'")
            );
            holes.push(Hole::new(Code::ContainerdExposed, name, found).change(change));
        }
    }
    if at(&config.effective, &RESTORE).and_then(toml::Value::as_bool) == Some(true) {
        let found = format!(
            "enable_experimental_restore_via_create = true, {}",
            config.files.setter(&RESTORE)
        );
        let change = format!(
            "# in {}\n[plugins.'{}']\n  enable_experimental_restore_via_create = false",
            config.main.display(),
            config.section("io.containerd.cri.v1.runtime")
        );
        holes.push(Hole::new(Code::CriRestore, name, found).change(change));
    }
    holes
}

//! Reads what dockerd's daemon.json says about registries. It lies beside the folder of `hosts.toml`
//! files, as /etc/docker/daemon.json beside /etc/docker/certs.d.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// No daemon.json is longer.
const MAX_BYTES: u64 = 1 << 20;

/// Docker Hub's mirrors, and registries without verified TLS.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DaemonJson {
    /// `registry-mirrors`, as written.
    #[serde(default, rename = "registry-mirrors", deserialize_with = "texts")]
    pub(crate) mirrors: Vec<String>,
    #[serde(default, rename = "insecure-registries", deserialize_with = "texts")]
    insecure: Vec<String>,
}

/// The texts of a list; what is of another type is left to dockerd, which says so and does not
/// start.
fn texts<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Vec<String>, D::Error> {
    let value = Value::deserialize(reader)?;
    let texts = value.as_array().into_iter().flatten();
    Ok(texts.filter_map(Value::as_str).map(str::to_owned).collect())
}

impl DaemonJson {
    /// The file beside that folder; an empty one where it is missing or dockerd could not start with
    /// it.
    pub(crate) fn beside(folder: &Path) -> Self {
        let path = folder.parent().map(|parent| parent.join("daemon.json"));
        let Some(Ok(file)) = path.map(File::open) else {
            return Self::default();
        };
        let mut text = String::new();
        match file.take(MAX_BYTES).read_to_string(&mut text) {
            Ok(_) => serde_json::from_str(&text).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Whether `insecure-registries` lists a registry: by its name and port, or by a network that
    /// its address is in. dockerd looks up a name's addresses for that; here a name wants an entry
    /// of its own.
    pub(crate) fn is_insecure(&self, registry: &str) -> bool {
        let address = address(registry);
        self.insecure.iter().any(|entry| {
            let name = ["http://", "https://"]
                .iter()
                .find_map(|scheme| entry.strip_prefix(scheme))
                .unwrap_or(entry);
            let network = address.and_then(|address| is_within(address, entry));
            name.trim_end_matches('/').eq_ignore_ascii_case(registry) || network == Some(true)
        })
    }
}

/// The address in `10.0.0.1:5000`, `10.0.0.1`, `[::1]:5000` or `[::1]`.
fn address(registry: &str) -> Option<IpAddr> {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    };
    host.parse().ok()
}

/// Whether an address is in `NETWORK/BITS`; `None`, where that is no network of its family.
fn is_within(address: IpAddr, network: &str) -> Option<bool> {
    let (network, bits) = network.split_once('/')?;
    let (address, network, most) = match (address, network.parse().ok()?) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (
            u128::from(u32::from(address)),
            u128::from(u32::from(network)),
            32,
        ),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.into(), network.into(), 128),
        _ => return None,
    };
    let free = u32::checked_sub(most, bits.parse().ok()?)?;
    let prefix = |bits: u128| bits.checked_shr(free).unwrap_or(0);
    Some(prefix(address) == prefix(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DaemonJson {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("daemon.json"), text).unwrap();
        DaemonJson::beside(&root.path().join("certs.d"))
    }

    #[test]
    fn insecure_registries_are_names_with_ports_and_networks() {
        let file = read(
            r#"{"insecure-registries": ["10.0.0.0/8", "fd00::/8", "R.example:5000", "http://s.example/", "192.0.2.1/32", "0.0.0.0/40", 7]}"#,
        );
        for insecure in [
            "10.1.2.3",
            "10.1.2.3:5000",
            "[fd00::1]:5000",
            "[fdff::1]",
            "r.example:5000",
            "s.example",
            "192.0.2.1:80",
        ] {
            assert!(file.is_insecure(insecure), "{insecure}");
        }
        for secure in [
            "11.0.0.1",
            "[fe80::1]:5000",
            "r.example",
            "r.example:5001",
            "10.example",
            "192.0.2.2",
        ] {
            assert!(!file.is_insecure(secure), "{secure}");
        }
        let all = read(r#"{"insecure-registries": ["0.0.0.0/0"]}"#);
        assert!(all.is_insecure("203.0.113.9:5000") && !all.is_insecure("[::2]"));
    }

    #[test]
    fn a_file_that_is_not_there_or_that_dockerd_would_refuse_says_nothing() {
        for text in ["", "[]", "{", r#"{"registry-mirrors": null}"#] {
            let file = read(text);
            assert!(
                file.mirrors.is_empty() && !file.is_insecure("10.0.0.1"),
                "{text}"
            );
        }
        let file =
            read(r#"{"registry-mirrors": ["https://m.example/"], "insecure-registries": {}}"#);
        assert_eq!(file.mirrors, ["https://m.example/"]);
    }
}

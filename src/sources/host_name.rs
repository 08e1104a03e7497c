//! The names of registries' hosts without their ports.

/// A host without its port, as engines write it on what they fetch from there: an IPv6 address has no
/// brackets either.
pub(crate) fn host_name(host: &str) -> &str {
    match host
        .strip_prefix('[')
        .and_then(|address| address.split_once(']'))
    {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether a registry is the one of a host without a port. Engines write it as the client did, in
/// either case.
pub(crate) fn is_of_host(registry: &str, host: &str) -> bool {
    host_name(registry).eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_without_its_port_in_either_case() {
        for (registry, name) in [
            ("r.example", "r.example"),
            ("r.example:5000", "r.example"),
            ("[::1]:5000", "::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(host_name(registry), name);
        }
        assert!(is_of_host("R.example:5000", "r.EXAMPLE"));
        assert!(!is_of_host("r.example.net", "r.example"));
    }
}

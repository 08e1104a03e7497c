//! Whatever a policy says, no reader of its files panics.

use std::collections::BTreeMap;

use super::load;
use crate::fuzzing::try_reader;

/// With something to warn of in each entry.
const POLICY: &[u8] = br#"
version = 1
default = "deny"
audit-until = 2026-12-01T00:00:00Z
[local]
namespaces = ["moby"]
[[root]]
id = "a"
type = "notary"
server = "http://[::1]:1"
tls-ca = "ca.pem"
keys = ["1111111111111111111111111111111111111111111111111111111111111111"]
role = "targets"
[[rule]]
match = "h.example/**"
roots = ["a"]
index = "by-manifests"
audit-until = 2026-01-01T00:00:00Z
[[exempt]]
match = "h.example/a"
until = 2026-01-01T00:00:00Z
reason = "x"
digests = ["sha256:1111111111111111111111111111111111111111111111111111111111111111"]
[[revoked]]
key = "1111111111111111111111111111111111111111111111111111111111111111"
reason = "x"
"#;

#[test]
fn no_policy_makes_the_look_for_its_warnings_panic() {
    let ca = ("ca.pem".to_owned(), b"-----BEGIN CERTIFICATE-----".to_vec());
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    try_reader("policy-warnings", &[POLICY], |bytes| {
        let policy = ("policy.toml".to_owned(), bytes.to_vec());
        let _ = load(&BTreeMap::from([policy, ca.clone()]), now);
    });
}

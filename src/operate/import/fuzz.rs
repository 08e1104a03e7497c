//! Files of other tools, changed.

use super::{
    NotaryConfig, Proposal, RegistriesText, ServerChoice, TrustDirectory, add_registries,
    containers_policy, docker_daemon, files, notary_config, notation_trust_policy,
};
use crate::fuzzing::try_reader;
use crate::problem::Problem;

const KEY: &[u8] = include_bytes!("../../../tests/data/signatures/keys/p256.pub");
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/data/signatures/certificates/p256.crt");

fn servers() -> ServerChoice {
    ServerChoice {
        server: None,
        tls_ca: None,
    }
}

/// What is proposed is written without a panic too.
fn written(proposal: Result<Proposal, Problem>) -> bool {
    proposal.is_ok_and(|proposal| !files(&proposal).is_empty())
}

#[test]
fn no_policy_json_makes_the_import_panic() {
    let example = br#"{"default":[{"type":"reject"}],"transports":{"docker":{"r.example/team":[{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"matchRepository"}}],"*.example":[{"type":"insecureAcceptAnything"}]}}}"#;
    let read = |bytes: &[u8]| {
        written(containers_policy(
            "policy.json",
            bytes,
            &|_| Ok(KEY.to_vec()),
            true,
        ))
    };
    assert!(read(example));
    try_reader("policy-json", &[example], |bytes| {
        let _ = read(bytes);
    });
}

#[test]
fn no_registries_conf_makes_the_import_panic() {
    let new = b"unqualified-search-registries = [\"r.example\"]\n[[registry]]\nprefix = \"*.r.example\"\nlocation = \"m.example/a\"\nblocked = true\n[[registry.mirror]]\nlocation = \"m.example:5000\"\ninsecure = true\npull-from-mirror = \"digest-only\"\n[aliases]\n\"a\" = \"r.example/a\"\n";
    let old = b"[registries.search]\nregistries = ['r.example']\n[registries.block]\nregistries = ['b.example']\n[registries.insecure]\nregistries = ['i.example']\n";
    let read = |bytes: &[u8], drop_in| {
        let text = RegistriesText {
            file: "registries.conf".to_owned(),
            bytes: bytes.to_vec(),
            drop_in,
        };
        let added = add_registries(Proposal::default(), &[text]);
        added.is_ok_and(|(proposal, _)| written(Ok(proposal)))
    };
    assert!(read(old, false));
    try_reader("registries-conf", &[new, old], |bytes| {
        let _ = (read(bytes, false), read(bytes, true));
    });
}

#[test]
fn no_daemon_json_makes_the_import_panic() {
    let example = br#"{"content-trust":{"mode":"enforced","allow-expired-cached-trust-data":true,"trust-pinning":{"root-keys":{"r.example/a/*":["30ff07203524acdab8e653ac2fdc39817dd51afb50adaf0d6f923643f1ad8db0"]},"official-images":true}}}"#;
    let read = |bytes: &[u8]| {
        written(docker_daemon(
            "daemon.json",
            bytes,
            &servers(),
            &TrustDirectory::default(),
        ))
    };
    let _ = read(example);
    try_reader("daemon-json", &[example], |bytes| {
        let _ = read(bytes);
    });
}

#[test]
fn no_configuration_of_notary_makes_the_import_panic() {
    let example = br#"{"trust_dir":"~/.docker/trust","remote_server":{"url":"https://n.example","root_ca":"ca.pem"},"trust_pinning":{"disable_tofu":true,"certs":{"r.example/a":["30ff07203524acdab8e653ac2fdc39817dd51afb50adaf0d6f923643f1ad8db0"]},"ca":{"r.example/":"ca.crt"}}}"#;
    try_reader("notary-config", &[example], |bytes| {
        if let Ok(config) = NotaryConfig::read(bytes) {
            let trust = TrustDirectory::default();
            let _ = written(Ok(notary_config(
                "config.json",
                &config,
                &servers(),
                &trust,
            )));
        }
    });
}

#[test]
fn no_trust_policy_of_notation_makes_the_import_panic() {
    let example = br#"{"version":"1.0","trustPolicies":[{"name":"a","registryScopes":["r.example/team/app"],"signatureVerification":{"level":"strict","override":{"expiry":"log"}},"trustStores":["ca:acme"],"trustedIdentities":["x509.subject: C=US, ST=WA, O=Acme\\, Inc."]}]}"#;
    let store = |_: &str| Ok(vec![("ca.crt".to_owned(), CERTIFICATE.to_vec())]);
    try_reader("notation-policy", &[example], |bytes| {
        let _ = written(notation_trust_policy("trustpolicy.json", bytes, &store));
    });
}

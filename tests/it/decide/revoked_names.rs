//! A revocation names a key by whichever hash tools print of it, and counts wherever that key is met:
//! pinned, or certified by what is.

use rootpin_trust::key_file::signature_keys;
use rootpin_trust::{Fingerprint, PublicKey};

use super::setup::{Host, Server, pull, rule, said};
use super::signatures::{Place, decider, digest, read};

/// Each name of a key, and of a certificate over it.
fn names(key: &PublicKey) -> Vec<String> {
    let print = Fingerprint::of(key).unwrap();
    let mut names = vec![key.id().to_string(), print.to_string(), print.hex()];
    for certificate in key.certificates() {
        let hex = certificate.sha256.hex();
        let pairs: Vec<&str> = (0..32).map(|at| &hex[2 * at..2 * at + 2]).collect();
        names.extend([pairs.join(":").to_uppercase(), hex.clone()]);
    }
    names
}

fn key(folder: &str, file: &str) -> PublicKey {
    signature_keys(&read(folder, file)).unwrap().remove(0)
}

#[tokio::test]
async fn a_key_is_revoked_by_each_of_its_names_pinned_or_below_what_is_pinned() {
    let cosign = "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/p384.pub\"]\n";
    let notation =
        "[[root]]\nid = \"own\"\ntype = \"notation\"\ncertificates = [\"roots/ca.crt\"]\n";
    let (leaf, authority) = (
        key("certificates", "p384.crt"),
        key("certificates", "ca.crt"),
    );
    let other = key("certificates", "p256.crt");
    let bare = key("keys", "p384.pub");
    for (root, fixture, revoked, wanted) in [
        (cosign, "bundle-p384", &bare, "refused revoked"),
        (cosign, "simple-p384", &bare, "refused revoked"),
        (notation, "jws-p384", &leaf, "refused revoked"),
        (notation, "cose-p384", &authority, "refused revoked"),
        (notation, "cose-p384", &other, "allowed signed"),
    ] {
        let server = Server::empty();
        let place = match fixture {
            "simple-p384" => Place::SignatureTag,
            _ => Place::Referrers,
        };
        server.sign(place, fixture);
        let policy = format!(
            "{root}{}",
            rule(&server.repository(), &["own"], "tags = \"unbound\"")
        );
        let names = names(revoked);
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            let policy = format!("{policy}[[revoked]]\nkey = \"{name}\"\nreason = \"lost\"\n");
            let host = Host::new();
            let verdict = pull(&decider(&host, &policy), &server.name(), digest()).await;
            assert_eq!(said(&verdict), wanted, "{fixture} {name}");
        }
    }
}

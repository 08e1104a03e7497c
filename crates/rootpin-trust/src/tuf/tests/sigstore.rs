//! A history of roots as Sigstore's has been since its first: five holders of keys, three of whom
//! must sign; the same keys listed as points in hex, then in PEM, then under another `keytype`,
//! each time under new IDs; dates with offsets and fractions; signatures of those who did not sign
//! as empty text.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::canonical::{Limits, rewrite};
use crate::hex;
use crate::image::Digest;

use super::host::Host;
use super::publisher::{Files, Publisher, target};

/// DER of a public key of P-256, up to its point.
const P256_INFO: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// How a root file writes a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Hex,
    Pem,
    PemOfEcdsa,
}

/// One root file: whose keys it lists and how, and who signed it with which IDs.
struct Root {
    expires: &'static str,
    holders: [usize; 5],
    form: Form,
    signatures: Vec<(usize, Form)>,
    empty: Vec<usize>,
}

struct Ceremony(Vec<EcdsaKeyPair>);

fn text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

impl Ceremony {
    /// The holders, the sixth of whom comes in the place of another, and the key that is online.
    fn new() -> Self {
        Self(
            (0..7)
                .map(|_| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
                .collect(),
        )
    }

    fn key(&self, holder: usize, form: Form) -> Value {
        let point = self.0[holder].public_key().as_ref();
        let info = [&hex::decode(P256_INFO).unwrap(), point].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(info)
        );
        let (keytype, public) = match form {
            Form::Hex => ("ecdsa-sha2-nistp256", text(point)),
            Form::Pem => ("ecdsa-sha2-nistp256", pem),
            Form::PemOfEcdsa => ("ecdsa", pem),
        };
        json!({
            "keyid_hash_algorithms": ["sha256", "sha512"], "keytype": keytype, "keyval": { "public": public },
            "scheme": "ecdsa-sha2-nistp256", "x-tuf-on-ci-keyowner": format!("@holder-{holder}"),
        })
    }

    fn id(&self, holder: usize, form: Form) -> String {
        Digest::of(self.key(holder, form).to_string().as_bytes()).hex()
    }

    fn sign(&self, signed: &Value, signers: &[(usize, Form)], empty: &[(usize, Form)]) -> Vec<u8> {
        let message = rewrite(
            signed.to_string().as_bytes(),
            Limits {
                bytes: 1 << 20,
                depth: 8,
                values: 1000,
            },
        )
        .unwrap();
        let good = |(holder, form): &(usize, Form)| {
            let signature = self.0[*holder]
                .sign(&SystemRandom::new(), &message)
                .unwrap();
            json!({ "keyid": self.id(*holder, *form), "sig": text(signature.as_ref()) })
        };
        let none =
            |(holder, form): &(usize, Form)| json!({ "keyid": self.id(*holder, *form), "sig": "" });
        let signatures: Vec<_> = empty
            .iter()
            .map(none)
            .chain(signers.iter().map(good))
            .collect();
        serde_json::to_vec_pretty(&json!({ "signatures": signatures, "signed": signed })).unwrap()
    }

    fn root(&self, version: usize, root: &Root) -> Vec<u8> {
        let online = 6;
        let listed: Vec<_> = root
            .holders
            .iter()
            .chain([&online])
            .map(|holder| (self.id(*holder, root.form), *holder))
            .collect();
        let keys: BTreeMap<_, _> = listed
            .iter()
            .map(|(id, holder)| (id, self.key(*holder, root.form)))
            .collect();
        let of_holders: Vec<_> = listed[..5].iter().map(|(id, _)| id).collect();
        let offline = json!({ "keyids": of_holders, "threshold": 3 });
        let online = json!({ "keyids": [listed[5].0], "threshold": 1 });
        let signed = json!({
            "_type": "root", "consistent_snapshot": version > 4, "expires": root.expires, "keys": keys, "spec_version": "1.0",
            "version": version, "roles": { "root": offline, "targets": offline, "snapshot": online, "timestamp": online },
        });
        let empty: Vec<_> = root
            .empty
            .iter()
            .map(|holder| (*holder, root.form))
            .collect();
        self.sign(&signed, &root.signatures, &empty)
    }

    /// The repository as it is under the last root.
    fn publish(&self, history: &[Root]) -> Files {
        let roots = history
            .iter()
            .zip(1..)
            .map(|(root, version)| (format!("{version}.root.json"), self.root(version, root)));
        let mut files: Files = roots.collect();
        let head = |kind: &str| json!({ "_type": kind, "expires": "2030-02-01T00:00:00Z", "spec_version": "1.0", "version": 1 });
        let mut targets = head("targets");
        targets["targets"] = json!({ "r.example/app:1": target("one") });
        files.insert(
            "1.targets.json".to_owned(),
            self.sign(&targets, &history.last().unwrap().signatures, &[]),
        );
        let online = [(6, history.last().unwrap().form)];
        for (name, kind, listed) in [
            ("1.snapshot.json", "snapshot", "targets.json"),
            ("timestamp.json", "timestamp", "snapshot.json"),
        ] {
            let mut signed = head(kind);
            signed["meta"] = json!({ listed: { "version": 1 } });
            files.insert(name.to_owned(), self.sign(&signed, &online, &[]));
        }
        files
    }
}

fn all(holders: [usize; 5], form: Form) -> Vec<(usize, Form)> {
    holders.map(|holder| (holder, form)).to_vec()
}

fn history() -> Vec<Root> {
    use Form::{Hex, Pem, PemOfEcdsa};
    let (first, later) = ([0, 1, 2, 3, 4], [0, 2, 3, 4, 5]);
    let root = |expires, holders, form, signatures, empty| Root {
        expires,
        holders,
        form,
        signatures,
        empty,
    };
    vec![
        root(
            "2021-12-18T13:28:12.99008-06:00",
            first,
            Hex,
            all(first, Hex),
            vec![],
        ),
        root(
            "2022-05-11T19:09:02.663975009Z",
            first,
            Hex,
            all(first, Hex)[1..4].to_vec(),
            vec![],
        ),
        // One holder is another.
        root("2023-01-12T18:22:02Z", later, Hex, all(later, Hex), vec![]),
        // In PEM: each signs under the old ID and under the new one.
        root(
            "2023-04-18T18:13:43Z",
            later,
            Pem,
            [all(later, Pem), all(later, Hex)].concat(),
            vec![],
        ),
        root("2023-08-28T07:54:10Z", later, Pem, all(later, Pem), vec![]),
        root(
            "2024-09-12T06:53:10Z",
            later,
            PemOfEcdsa,
            [all(later, Pem), all(later, PemOfEcdsa)].concat(),
            vec![],
        ),
        root(
            "2030-06-22T13:27:01Z",
            later,
            PemOfEcdsa,
            all(later, PemOfEcdsa)[2..].to_vec(),
            vec![0, 2],
        ),
    ]
}

fn host_from(files: &Files, version: usize) -> (Host, Publisher) {
    let mut publisher = Publisher::new();
    let pinned = files[&format!("{version}.root.json")].clone();
    publisher.files.clone_from(files);
    let mut host = Publisher::new();
    host.files.insert("1.root.json".to_owned(), pinned);
    (Host::of(&host), publisher)
}

#[test]
fn a_history_like_sigstore_s_is_followed_from_each_of_its_roots() {
    let files = Ceremony::new().publish(&history());
    for version in 1..=history().len() {
        let (mut host, publisher) = host_from(&files, version);
        assert_eq!(
            host.tag(&publisher, "r.example/app", "1"),
            Some(Digest::of(b"one")),
            "from {version}"
        );
    }
}

#[test]
fn two_of_the_five_holders_are_too_few_however_often_and_under_however_many_ids_they_sign() {
    use Form::{Hex, Pem, PemOfEcdsa};
    let ceremony = Ceremony::new();
    for (version, signatures) in [
        (2, vec![(0, Hex), (1, Hex)]),
        (4, vec![(0, Pem), (2, Pem), (3, Pem), (0, Hex), (2, Hex)]),
        (4, vec![(0, Pem), (2, Pem), (0, Hex), (2, Hex), (3, Hex)]),
        (
            6,
            vec![(0, Pem), (2, Pem), (0, PemOfEcdsa), (2, PemOfEcdsa)],
        ),
        (7, vec![(3, PemOfEcdsa), (5, PemOfEcdsa)]),
    ] {
        let mut files = ceremony.publish(&history());
        let mut history = history();
        history[version - 1].signatures.clone_from(&signatures);
        files.insert(
            format!("{version}.root.json"),
            ceremony.root(version, &history[version - 1]),
        );
        let (mut host, publisher) = host_from(&files, 1);
        assert_eq!(host.code(&publisher), "bad-signature", "version {version}");
    }
}

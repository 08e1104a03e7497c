//! Signatures beside images: a registry that the adversary has, with what two honest publishers
//! signed by cosign and Notation, and whatever the adversary puts beside it.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use rootpin_trust::image::Digest;
use rootpin_trust::{SIGNATURE_BYTES, SignatureFile};
use serde_json::Value;
use sha2::Digest as _;

use crate::history::Files;
use crate::look::View;
use crate::notary_publisher::Key;
use crate::steps::Random;
use crate::tuf_forgery::{Held, evil};

/// The sources, as [`crate::look::Network`] names them, and the images.
pub(crate) const COSIGN: &str = "cosign";
pub(crate) const NOTATION: &str = "notation";
/// The same two keys of cosign, whose signatures bind tags.
pub(crate) const TAGGED: &str = "tags";
pub(crate) const SIGNED: &str = "s.example/app:1";
pub(crate) const TAGGED_NAME: &str = "t.example/app:1";
pub(crate) const ENVELOPED: &str = "e.example/app:1";

/// Two of these must sign; the policy revokes the last one.
const KEYS: [&str; 3] = ["builder", "releaser", "former releaser"];
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The image that real notation signed.
const FIXTURE: &str = "9c984d4f67b71c86923031219becb249a723192ea0dec396205a1b3324fe5c19";
const CERTIFICATE: &str = include_str!("../../../../tests/data/signatures/certificates/p256.crt");

/// The policy's part, and the files that it names.
pub(crate) fn policy() -> (String, Files) {
    let mut files: Files = KEYS
        .iter()
        .map(|name| (file_of(name), Key::named(name).public_pem().into_bytes()))
        .collect();
    files.insert("notation.crt".to_owned(), CERTIFICATE.as_bytes().to_vec());
    let keys = KEYS.map(file_of);
    let revoked = Key::named(KEYS[2]).id();
    let text = format!(
        "[[root]]\nid = \"{COSIGN}\"\ntype = \"cosign\"\nkeys = {keys:?}\nthreshold = 2\n\
         [[root]]\nid = \"{TAGGED}\"\ntype = \"cosign\"\nkeys = {keys:?}\nthreshold = 2\n\
         binds-tag = \"annotation:tag\"\n\
         [[root]]\nid = \"{NOTATION}\"\ntype = \"notation\"\ncertificates = [\"notation.crt\"]\n\
         [[rule]]\nmatch = \"s.example/**\"\nroots = [\"{COSIGN}\"]\ntags = \"unbound\"\n\
         [[rule]]\nmatch = \"t.example/**\"\nroots = [\"{TAGGED}\"]\n\
         [[rule]]\nmatch = \"e.example/**\"\nroots = [\"{NOTATION}\"]\ntags = \"unbound\"\n\
         [[revoked]]\nkey = \"{revoked}\"\nreason = \"stolen\"\n"
    );
    (text, files)
}

fn file_of(name: &str) -> String {
    format!("{}.pub", name.replace(' ', "-"))
}

/// What the honest publishers signed up to a publication.
pub(crate) fn digest(source: &str, at: usize) -> Digest {
    if source == NOTATION {
        return format!("sha256:{FIXTURE}").parse().unwrap();
    }
    if source == TAGGED {
        return Digest::of(format!("tagged {at}").as_bytes());
    }
    Digest::of(format!("signed {}", at / 2).as_bytes())
}

/// The tag that is signed with it. Nobody asks for the second one.
fn tag(source: &str, at: usize) -> &'static str {
    if source == TAGGED && at % 2 == 1 {
        "2"
    } else {
        "1"
    }
}

pub(crate) fn is_signed(source: &str, head: usize, digest_of: Digest) -> bool {
    (0..=head).any(|at| digest(source, at) == digest_of && tag(source, at) == "1")
}

/// What was signed last for the tag that is asked for.
pub(crate) fn newest(source: &str, head: usize) -> Digest {
    let at = (0..=head).rev().find(|at| tag(source, *at) == "1");
    digest(source, at.unwrap_or_default())
}

/// What is beside the images of a source.
pub(crate) fn published(source: &str, at: usize) -> Files {
    if source == NOTATION {
        return [("cose-p256", "cose"), ("jws-p256", "jose+json")]
            .into_iter()
            .map(|(folder, kind)| (format!("{folder} application/{kind}"), fixture(folder)))
            .collect();
    }
    let mut files = Files::new();
    for at in 0..=at {
        for key in &KEYS[..2] {
            let (name, bytes) = bundle(key, digest(source, at), tag(source, at));
            files.insert(name, bytes);
        }
    }
    files
}

/// Whether a signature of Notation's honest signer is in what a registry shows.
pub(crate) fn is_shown(view: &View) -> bool {
    static OWN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let envelopes = published(NOTATION, 0);
        envelopes.values().map(|file| signature_in(file)).collect()
    });
    let has = |bytes: &[u8], own: &[u8]| bytes.windows(own.len()).any(|part| part == own);
    let mut files = view.files.values();
    files.any(|bytes| OWN.iter().any(|own| has(bytes, own)))
}

fn signature_in(envelope: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(envelope) {
        Ok(jws) => jws["signature"].as_str().unwrap().as_bytes().to_vec(),
        // The last part of COSE_Sign1.
        Err(_) => envelope[envelope.len() - 64..].to_vec(),
    }
}

/// The same image, signed by notation under certificates that nobody pinned.
fn by_others() -> Files {
    [
        ("cose-p384", "cose"),
        ("cose-rsa2048", "cose"),
        ("jws-p384", "jose+json"),
        ("jws-rsa2048", "jose+json"),
    ]
    .into_iter()
    .map(|(folder, kind)| (format!("{folder} application/{kind}"), fixture(folder)))
    .collect()
}

fn fixture(folder: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/signatures");
    let read = |name: &str| std::fs::read(format!("{root}/{folder}/{name}")).unwrap();
    let manifest: Value = serde_json::from_slice(&read("0.manifest.json")).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    read(layer.strip_prefix("sha256:").unwrap())
}

/// The files of a source, as a search in the registry finds them.
pub(crate) fn found(files: &Files) -> Vec<SignatureFile> {
    let few = files.iter().take(rootpin_trust::MOST_SIGNATURES);
    few.filter(|(_, bytes)| bytes.len() <= SIGNATURE_BYTES)
        .map(|(name, bytes)| SignatureFile {
            media_type: name.split(' ').next_back().unwrap().to_owned(),
            bytes: bytes.clone(),
            signature: None,
        })
        .collect()
}

/// What an adversary puts beside the images: signatures of its own bytes by each key that it has,
/// payloads and signatures of others combined, and junk.
pub(crate) fn forged(source: &str, at: usize, held: Held, choice: u32) -> Files {
    let random = &mut Random::new(choice.into());
    let mut files = published(source, at);
    if source == NOTATION {
        // The honest ones are hidden, or not.
        files.retain(|_, _| random.chance(50));
        files.extend(by_others());
    }
    let mut signers = vec!["attacker", KEYS[2]];
    signers.extend(held.cosign.then_some(KEYS[0]));
    for name in &signers {
        let (evil, bytes) = bundle(name, evil(), "1");
        files.insert(evil, bytes);
        // What was signed for another tag.
        let (moved, bytes) = bundle(name, digest(TAGGED, 1), "1");
        files.insert(moved, bytes);
    }
    // A good signature over another payload, and a good payload under another signature.
    let (_, good) = bundle(KEYS[0], digest(COSIGN, at), "1");
    for name in &signers {
        let (_, own) = bundle(name, evil(), "1");
        let [mut good, mut own]: [Value; 2] =
            [&good, &own].map(|bytes| serde_json::from_slice(bytes).unwrap());
        let (of_good, of_own) = (&mut good["dsseEnvelope"], &mut own["dsseEnvelope"]);
        std::mem::swap(&mut of_good["payload"], &mut of_own["payload"]);
        for (kind, file) in [("good", good), ("own", own)] {
            files.insert(
                format!("swapped {kind} {name} {BUNDLE}"),
                serde_json::to_vec(&file).unwrap(),
            );
        }
    }
    // Signatures of the former releaser twice, or of one that the adversary has: two are wanted.
    for number in 0..random.below(4) {
        let (name, bytes) = bundle(signers[random.below(signers.len())], evil(), "1");
        files.insert(format!("again {number} {name}"), bytes);
    }
    for number in 0..random.below(90) {
        let bytes = vec![b'{'; 1 + random.below(300)];
        let kinds = [
            BUNDLE,
            "application/cose",
            "application/jose+json",
            "text/plain",
        ];
        // Before or behind the good ones.
        let before = *random.one_of(&["0", "z"]);
        let kind = random.one_of(&kinds);
        files.insert(format!("{before} junk {number} {kind}"), bytes);
    }
    files
}

/// A Sigstore bundle of that key over a digest and a tag. Each is signed once: that takes longer than all else.
fn bundle(name: &str, digest: Digest, tag: &'static str) -> (String, Vec<u8>) {
    type Signed = BTreeMap<(String, Digest, &'static str), Vec<u8>>;
    static SIGNED: Mutex<Signed> = Mutex::new(BTreeMap::new());
    let mut signed = SIGNED.lock().unwrap();
    let bytes = signed
        .entry((name.to_owned(), digest, tag))
        .or_insert_with(|| sign(name, digest, tag));
    (
        format!("{name} {} {tag} {BUNDLE}", digest.hex()),
        bytes.clone(),
    )
}

fn sign(name: &str, digest: Digest, tag: &str) -> Vec<u8> {
    let hex = digest.hex();
    let payload = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{hex}"}},"annotations":{{"tag":"{tag}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#
    );
    let (kind, length) = (IN_TOTO.len(), payload.len());
    let message = format!("DSSEv1 {kind} {IN_TOTO} {length} {payload}");
    // As `Key::named` makes it.
    let pair = SigningKey::from_slice(&sha2::Sha256::digest(name)).unwrap();
    let signature: Signature = pair.sign(message.as_bytes());
    let sig = STANDARD.encode(signature.to_der().as_bytes());
    let payload = STANDARD.encode(payload);
    let bytes = format!(
        r#"{{"mediaType":"{BUNDLE}","verificationMaterial":{{"publicKey":{{"hint":""}}}},"dsseEnvelope":{{"payload":"{payload}","payloadType":"{IN_TOTO}","signatures":[{{"sig":"{sig}"}}]}}}}"#
    );
    bytes.into_bytes()
}

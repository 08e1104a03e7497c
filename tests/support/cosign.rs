//! Signs images as cosign does, by keys of our own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a layer that has the signature over its bytes.
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The bytes before the point of a P-256 key (RFC 5480, section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

pub(crate) fn public_pem(seed: u8) -> String {
    let point = key(seed).verifying_key().to_sec1_point(false);
    let spki = [&P256_SPKI, point.as_bytes()].concat();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    )
}

/// The signature of a message.
pub(crate) fn signed(seed: u8, message: &[u8]) -> String {
    let signature: Signature = key(seed).sign(message);
    STANDARD.encode(signature.to_der().as_bytes())
}

/// The type of a statement that is a signature.
pub(crate) const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// What cosign 3 writes of a digest.
pub(crate) fn bundle(digest: &str, seed: u8) -> Vec<u8> {
    bundle_of(SIGN, digest, &json!({}), seed)
}

/// A statement of that type about a digest, with annotations.
pub(crate) fn bundle_of(predicate: &str, digest: &str, annotations: &Value, seed: u8) -> Vec<u8> {
    let hex = digest.trim_start_matches("sha256:");
    let statement = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": [{ "digest": { "sha256": hex }, "annotations": annotations }], "predicateType": predicate, "predicate": {} });
    let (kind, payload) = ("application/vnd.in-toto+json", statement.to_string());
    let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    let envelope = json!({ "payload": STANDARD.encode(&payload), "payloadType": kind, "signatures": [{ "sig": signed(seed, message.as_bytes()) }] });
    let bundle = json!({ "mediaType": BUNDLE, "verificationMaterial": { "publicKey": { "hint": "" } }, "dsseEnvelope": envelope });
    bundle.to_string().into_bytes()
}

/// What cosign 2 writes of a digest in a repository, and its signature.
pub(crate) fn simple(repository: &str, digest: &str, seed: u8) -> (Vec<u8>, String) {
    annotated(repository, digest, &Value::Null, seed)
}

/// The same with signed annotations, as `cosign sign -a tag=v1` writes them.
pub(crate) fn annotated(
    repository: &str,
    digest: &str,
    annotations: &Value,
    seed: u8,
) -> (Vec<u8>, String) {
    let payload = json!({ "critical": { "identity": { "docker-reference": repository }, "image": { "docker-manifest-digest": digest }, "type": "cosign container image signature" }, "optional": annotations });
    let payload = payload.to_string().into_bytes();
    let signature = signed(seed, &payload);
    (payload, signature)
}

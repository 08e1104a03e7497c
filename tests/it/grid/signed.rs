//! Signatures beside the grid's images in its registry, as cosign and Notation write them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p256::ecdsa::Signature;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SigningKey as _,
};
use rootpin_trust::image::Digest;
use rootpin_trust::key_file;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::image::{INDEX, Image, MANIFEST};
use crate::cosign;
use crate::tls::pem;

const JWS: &str = "application/jose+json";
/// Whose keys sign: those of the policy's root, and another's.
const OWN: u8 = 1;
const OTHER: u8 = 2;

/// What a registry has by digest, and its media type; lists of referrers by that of their subject.
pub(super) struct Beside {
    pub(super) files: BTreeMap<String, (&'static str, Vec<u8>)>,
    /// Files of the policy.
    pub(super) pinned: BTreeMap<String, Vec<u8>>,
    lists: BTreeMap<Digest, Vec<Value>>,
    leaf: KeyPair,
    certificate: Vec<u8>,
}

/// One signature, and the annotations of its layer.
struct Signed {
    media_type: &'static str,
    bytes: Vec<u8>,
    annotations: Value,
}

impl Beside {
    pub(super) fn new() -> Self {
        let leaf = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let certificate = params.self_signed(&leaf).unwrap();
        let pinned = [
            ("own.pub", cosign::public_pem(OWN)),
            ("leaf.crt", pem("CERTIFICATE", certificate.der())),
        ];
        Self {
            files: BTreeMap::new(),
            pinned: pinned
                .map(|(name, text)| (name.to_owned(), text.into_bytes()))
                .into(),
            lists: BTreeMap::new(),
            leaf,
            certificate: certificate.der().to_vec(),
        }
    }

    /// Serves the bytes of an image's manifest or index.
    pub(super) fn serve(&mut self, media_type: &'static str, bytes: &[u8]) {
        let path = format!("manifests/{}", Digest::of(bytes));
        self.files.insert(path, (media_type, bytes.to_vec()));
    }

    /// Signs a digest by the pinned keys: as cosign 3 does, without a tag, as cosign 2 does with
    /// one, and as Notation does.
    pub(super) fn sign(&mut self, digest: Digest, tag: &str) {
        let notation = self.jws(digest);
        for signed in [bundle(digest, OWN), simple(digest, tag), notation] {
            self.put(digest, signed);
        }
    }

    /// Signs a digest by a key that nobody pins.
    pub(super) fn sign_by_another(&mut self, digest: Digest) {
        self.put(digest, bundle(digest, OTHER));
    }

    fn put(&mut self, subject: Digest, signed: Signed) {
        let (of, size) = (Digest::of(&signed.bytes), signed.bytes.len());
        let layer = json!({ "mediaType": signed.media_type, "digest": of.to_string(), "size": size, "annotations": signed.annotations });
        let empty = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2 });
        let subject_entry = json!({ "mediaType": INDEX, "digest": subject.to_string(), "size": 7 });
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [layer], "subject": subject_entry });
        let manifest = manifest.to_string().into_bytes();
        let entry = json!({ "mediaType": MANIFEST, "digest": Digest::of(&manifest).to_string(), "size": manifest.len() });
        self.files.insert(
            format!("blobs/{of}"),
            ("application/octet-stream", signed.bytes),
        );
        self.serve(MANIFEST, &manifest);
        self.lists.entry(subject).or_default().push(entry);
    }

    /// What is at a path of a repository, if a signature or an image is.
    pub(super) fn at(&self, path: &str) -> Option<(&'static str, Vec<u8>)> {
        if let Some((_, subject)) = path.split_once("/referrers/") {
            let subject = subject.split('?').next().unwrap();
            let list = self.lists.get(&subject.parse().unwrap());
            let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": list.cloned().unwrap_or_default() });
            return Some((INDEX, list.to_string().into_bytes()));
        }
        let mut files = self.files.iter();
        files
            .find(|(name, _)| path.ends_with(&format!("/{name}")))
            .map(|(_, file)| file.clone())
    }

    /// The canonical ID of the pinned key, for `[[revoked]]`.
    pub(super) fn key_of(&self, file: &str) -> String {
        let keys = key_file::public_keys(&self.pinned[file]).unwrap();
        keys[0].id().to_string()
    }

    fn jws(&self, digest: Digest) -> Signed {
        let scheme = "io.cncf.notary.signingScheme";
        let header = json!({ "alg": "ES256", "crit": [scheme], "cty": "application/vnd.cncf.notary.payload.v1+json", scheme: "notary.x509", "io.cncf.notary.signingTime": "2026-01-01T00:00:00Z" });
        let payload = json!({ "targetArtifact": { "mediaType": INDEX, "digest": digest.to_string(), "size": 7 } });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (protected, payload) = (part(&header), part(&payload));
        let der = self
            .leaf
            .sign(format!("{protected}.{payload}").as_bytes())
            .unwrap();
        let signature = URL_SAFE_NO_PAD.encode(Signature::from_der(&der).unwrap().to_bytes());
        let chain = [STANDARD.encode(&self.certificate)];
        let envelope = json!({ "protected": protected, "payload": payload, "signature": signature, "header": { "x5c": chain } });
        Signed {
            media_type: JWS,
            bytes: envelope.to_string().into_bytes(),
            annotations: json!({}),
        }
    }
}

fn bundle(digest: Digest, key: u8) -> Signed {
    Signed {
        media_type: cosign::BUNDLE,
        bytes: cosign::bundle(&digest.to_string(), key),
        annotations: json!({}),
    }
}

fn simple(digest: Digest, tag: &str) -> Signed {
    let optional = json!({ "tag": tag });
    let (bytes, signature) = cosign::annotated("r.test/app", &digest.to_string(), &optional, OWN);
    Signed {
        media_type: cosign::SIMPLE,
        bytes,
        annotations: json!({ cosign::SIGNATURE: signature }),
    }
}

pub(super) const COSIGN: &str = "[[root]]\nid = \"two\"\ntype = \"cosign\"\nkeys = [\"own.pub\"]\n";
pub(super) const NOTATION: &str =
    "[[root]]\nid = \"two\"\ntype = \"notation\"\ncertificates = [\"leaf.crt\"]\n";

/// The signatures of the images, by what is signed of them: each for the tag that it is meant for,
/// and one image by a key of somebody else.
pub(super) fn beside(images: &BTreeMap<&'static str, Image>) -> Beside {
    let mut beside = Beside::new();
    for image in images.values() {
        beside.serve(INDEX, image.text.as_bytes());
        for platform in &image.platforms {
            beside.serve(MANIFEST, platform.text.as_bytes());
        }
    }
    beside.sign(images["signed"].index.digest(), "v1");
    beside.sign(images["older"].index.digest(), "v2");
    beside.sign_by_another(images["unsigned"].index.digest());
    beside
}

/// A registry that has one digest under every tag, and the signatures beside images.
pub(super) async fn serve(served: Arc<Mutex<Option<Digest>>>, beside: Arc<Beside>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let digest = served.lock().unwrap().unwrap();
        let path = request.uri().path().to_owned();
        let found = beside.at(&path);
        async move {
            let reply = Response::builder();
            if let Some((media_type, bytes)) = found {
                let digest = Digest::of(&bytes).to_string();
                return reply
                    .header("docker-content-digest", digest)
                    .header("content-type", media_type)
                    .body(axum::body::Body::from(bytes))
                    .unwrap();
            }
            if path.contains("/manifests/sha256-") {
                return reply.status(404).body(axum::body::Body::empty()).unwrap();
            }
            reply
                .header("docker-content-digest", digest.to_string())
                .header("content-type", MANIFEST)
                .body(axum::body::Body::empty())
                .unwrap()
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    host
}

//! The readers of bytes from outside, each as a function that must return: whatever the bytes are, no
//! panic, and what is read once is read the same way again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rootpin_policy::{MetadataUrl, Pattern, load, parse_duration};
use rootpin_trust::canonical::rewrite;
use rootpin_trust::cosign::{CosignPins, TagBinding};
use rootpin_trust::image::{Blob, Digest, Document, ImageRef, Repository, Tag};
use rootpin_trust::notary::{GunUpdate, Inspection, KeyPins};
use rootpin_trust::notation::{NotationPins, PinnedCertificate};
use rootpin_trust::tuf::{PinnedRoot, Question, RootPins, Search, Sweep, Update, path_matches};
use rootpin_trust::{
    Answer, FetchFrom, Refusal, RootFile, SignatureFile, SignedImage, Verification, Want, cosign,
    key_file, notation, pem,
};
use serde_json::Value;

use crate::json::{LIMITS, canonical};
use crate::publisher::{Publisher, sign};
use crate::signer;

/// A reader, with the folder of its examples below `tests/data` and the end of their names.
pub type Target = (&'static str, fn(&[u8]), &'static str, &'static str);

/// Every reader.
pub const TARGETS: [Target; 24] = [
    ("reference", reference, "", ""),
    ("names", names, "", ""),
    ("canonical", canonical, "notary", ".json"),
    ("policy", policy, "policy", ".toml"),
    ("tuf-root", tuf_root, "tuf", ".json"),
    ("tuf-timestamp", tuf_timestamp, "tuf", "timestamp.json"),
    ("tuf-snapshot", tuf_snapshot, "tuf", "snapshot.json"),
    ("tuf-targets", tuf_targets, "tuf", "targets.json"),
    ("notary-root", notary_root, "notary/server", "root.json"),
    (
        "notary-timestamp",
        notary_timestamp,
        "notary/server",
        "timestamp.json",
    ),
    (
        "notary-snapshot",
        notary_snapshot,
        "notary/server",
        "snapshot.json",
    ),
    (
        "notary-targets",
        notary_targets,
        "notary/server",
        "targets.json",
    ),
    ("root-file", root_file, "", "root.json"),
    ("pem", pem_file, "keys", ""),
    ("manifest", manifest, "manifests", ".json"),
    ("signature", signature, "signatures", ""),
    ("certificate", certificate, "signatures/certificates", ""),
    ("signed-statement", signer::statement, "made/statement", ""),
    ("signed-simple", signer::simple, "made/simple", ""),
    ("signed-jws", signer::jws, "made/jws", ""),
    ("signed-cose", signer::cose, "made/cose", ""),
    (
        "signed-notary-root",
        signer::notary_root,
        "made/notary/root",
        "",
    ),
    (
        "signed-notary-targets",
        signer::notary_targets,
        "made/notary/targets",
        "",
    ),
    (
        "signed-notary-lists",
        signer::notary_lists,
        "made/notary",
        "",
    ),
];

pub fn now() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

/// Names of images: what is written is read as the same name.
pub fn reference(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = text.parse::<ImageRef>() {
        assert_eq!(name.to_string().parse::<ImageRef>().as_ref(), Ok(&name));
    }
    if let Ok(name) = ImageRef::from_full(&text) {
        assert_eq!(ImageRef::from_full(&name.to_string()).as_ref(), Ok(&name));
    }
    if let Ok(repository) = Repository::from_full(&text) {
        assert!(repository.as_str().eq_ignore_ascii_case(&text));
        assert_eq!(
            Repository::from_full(repository.as_str()).as_ref(),
            Ok(&repository)
        );
        assert!(!repository.host().is_empty() && !repository.path().is_empty());
    }
}

/// Other small texts of a policy and of metadata.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (first, second) = text
        .split_once('\n')
        .unwrap_or((&text, "r.example/team/app"));
    if let Ok(tag) = first.parse::<Tag>() {
        assert_eq!(tag.as_str(), first);
    }
    if let Ok(digest) = first.parse::<Digest>() {
        assert_eq!(digest.to_string(), first);
    }
    if let (Ok(pattern), Ok(repository)) = (first.parse::<Pattern>(), Repository::from_full(second))
    {
        let matches = pattern.matches(&repository);
        assert!(!matches || repository.host() == pattern.host());
        assert!(pattern.contains(&pattern) && pattern.overlaps(&pattern));
    }
    if let Ok(url) = first.parse::<MetadataUrl>() {
        assert_eq!(url.to_string().parse::<MetadataUrl>().unwrap(), url);
    }
    let _ = parse_duration(first);
    if path_matches(first, second) {
        assert_eq!(first.matches('/').count(), second.matches('/').count());
    }
}

/// A policy: whole or not at all, and the same every time.
pub fn policy(bytes: &[u8]) {
    let read = || {
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), bytes.to_vec()),
            ("roots/acme.pub".to_owned(), data("keys/ed25519.pub")),
            ("roots/1.root.json".to_owned(), data("tuf/1.root.json")),
            ("policy.d/10.toml".to_owned(), Vec::new()),
        ]);
        load(&files, now())
    };
    match (read(), read()) {
        (Ok(one), Ok(other)) => {
            assert_eq!((one.hash, one.rules.len()), (other.hash, other.rules.len()));
        }
        (Err(one), Err(other)) => {
            assert!(!one.is_empty(), "no policy, and no reason");
            assert_eq!(one.len(), other.len());
        }
        _ => panic!("once a policy, once none"),
    }
}

/// A root file that is to be pinned.
pub fn tuf_root(bytes: &[u8]) {
    if let Ok(root) = PinnedRoot::read(bytes.to_vec()) {
        assert!(root.version() > 0 && !root.signers().is_empty());
    }
    tuf(2, "root", bytes);
}

pub fn tuf_timestamp(bytes: &[u8]) {
    tuf(0, "timestamp", bytes);
}

pub fn tuf_snapshot(bytes: &[u8]) {
    tuf(0, "snapshot", bytes);
    signed("2.snapshot.json", bytes, 3);
}

pub fn tuf_targets(bytes: &[u8]) {
    tuf(0, "targets", bytes);
    signed("2.targets.json", bytes, 4);
}

/// The same bytes where their role's key signed them: whoever has it writes what it likes. Returns
/// whether they were good metadata.
pub fn signed(name: &str, bytes: &[u8], key: u8) -> bool {
    static FILES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
        let mut publisher = Publisher::new();
        publisher.publish();
        // Without length and hash: they may be what they like.
        publisher.versions.insert("snapshot".to_owned(), 1);
        publisher.publish_snapshot(&serde_json::json!({ "targets.json": { "version": 2 } }));
        publisher.files
    });
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return false;
    };
    let body = &value["signed"];
    if rewrite(body.to_string().as_bytes(), LIMITS).is_err() {
        return false;
    }
    let forged = sign(body, &[key]);
    let fetch = |want: &Want| -> Result<Answer, Refusal> {
        let file = want.request.file_name();
        Ok(match want.from {
            FetchFrom::Cache => Answer::Missing,
            FetchFrom::Source if file == name => Answer::Bytes(forged.clone()),
            FetchFrom::Source => FILES.get(&file).cloned().into(),
        })
    };
    let pins = RootPins {
        id: "repository".to_owned(),
        root: Arc::new(PinnedRoot::read(FILES["1.root.json"].clone()).unwrap()),
        revoked: BTreeSet::new(),
        floor: BTreeMap::new(),
        max_age: None,
    };
    let at = now();
    let Ok(trusted) = Update::start(&pins, Vec::new(), None, at).run(fetch) else {
        return false;
    };
    let app = Repository::from_full("registry.example/team/app").unwrap();
    for question in [
        Question::Tag("v1".parse().unwrap()),
        Question::Digest(Digest::of(b"")),
        Question::Any,
    ] {
        if let Ok(found) = Search::start(&trusted, &app, &question, at).run(fetch) {
            assert_eq!(found.collection.get().gun, app);
        }
    }
    if let Ok(mut sweep) = Sweep::start(&trusted, "", at) {
        let _ = sweep.run(|want| fetch(want));
    }
    true
}

/// An update and a search in the repository of the documentation, one of whose files is these bytes:
/// they may as well be what nobody signed.
fn tuf(version: u64, role: &str, bytes: &[u8]) {
    static PINS: LazyLock<RootPins> = LazyLock::new(|| RootPins {
        id: "repository".to_owned(),
        root: Arc::new(PinnedRoot::read(data("tuf/repository/1.root.json")).unwrap()),
        revoked: BTreeSet::new(),
        floor: BTreeMap::new(),
        max_age: None,
    });
    let honest = |name: &str| {
        LazyLock::force(&DATA)
            .get(&format!("tuf/repository/{name}"))
            .cloned()
    };
    let fetch = |want: &Want| -> Result<Answer, Refusal> {
        let is_it = want.request.role == role
            && (version == 0 || want.request.file_name().starts_with(&version.to_string()));
        Ok(match want.from {
            FetchFrom::Cache => Answer::Missing,
            FetchFrom::Source if is_it => Answer::Bytes(bytes.to_vec()),
            FetchFrom::Source => honest(&want.request.file_name()).into(),
        })
    };
    let mut update = Update::start(&PINS, Vec::new(), None, now());
    let done = update.run(fetch);
    if let Some(progress) = update.progress() {
        progress.get().merge_into(&[]).unwrap();
    }
    if let Ok(trusted) = done {
        let app = Repository::from_full("registry.example/team/app").unwrap();
        let question = Question::Tag("v1".parse().unwrap());
        let found = Search::start(&trusted, &app, &question, now()).run(fetch);
        let signed = "sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea";
        if let Some(target) = found
            .ok()
            .and_then(|found| found.collection.get().targets.get("v1").cloned())
        {
            assert_eq!(target.digest.to_string(), signed);
        }
    }
}

pub fn notary_root(bytes: &[u8]) {
    notary("root", bytes);
}

pub fn notary_timestamp(bytes: &[u8]) {
    notary("timestamp", bytes);
}

pub fn notary_snapshot(bytes: &[u8]) {
    notary("snapshot", bytes);
}

pub fn notary_targets(bytes: &[u8]) {
    notary("targets", bytes);
}

/// The same with a repository of Notary.
fn notary(role: &str, bytes: &[u8]) {
    let key = "30ff07203524acdab8e653ac2fdc39817dd51afb50adaf0d6f923643f1ad8db0";
    let pins = KeyPins {
        keys: [key.parse().unwrap()].into(),
        revoked: BTreeSet::new(),
        role: "targets".to_owned(),
        certificate_dates: true,
        allow_rsa_pkcs1v15: true,
        max_age: None,
    };
    let gun = Repository::from_full("registry.test/fix/basic").unwrap();
    let at = "2026-11-23T00:00:00Z".parse().unwrap();
    let mut update = GunUpdate::start(&gun, &pins, Vec::new(), at);
    let done = update.run(|want| {
        let request = &want.request;
        Ok::<_, Refusal>(match want.from {
            FetchFrom::Source if request.is_root_version() => Answer::Missing,
            FetchFrom::Source if request.role == role => Answer::Bytes(bytes.to_vec()),
            FetchFrom::Source => Answer::Bytes(data(&format!(
                "notary/server/basic/served/{}.json",
                request.role
            ))),
            FetchFrom::Cache => Answer::Missing,
        })
    });
    if let Ok(collection) = done {
        assert_eq!(collection.get().targets["v1"].digest.hex(), "11".repeat(32));
    }
    let mut inspection = Inspection::default();
    if let Ok(root) = inspection.root("root.json", bytes)
        && let Some(targets) = root.role("targets")
    {
        let _ = inspection.targets(targets, bytes);
        let _ = inspection.plain(targets, bytes);
    }
}

/// A root file of unknown format, as a person brings it.
pub fn root_file(bytes: &[u8]) {
    if let Ok(root) = RootFile::read(bytes) {
        assert!(root.own_signers() <= root.ids().len());
    }
}

/// Keys and certificates: what is written is read as the same key.
pub fn pem_file(bytes: &[u8]) {
    let _ = (pem::blocks(bytes), pem::file(bytes));
    for key in key_file::signature_keys(bytes).unwrap_or_default() {
        if let Some(spki) = key.spki() {
            let text = STANDARD.encode(&spki);
            let written = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
            let again = key_file::signature_keys(written.as_bytes()).unwrap();
            assert_eq!(
                again
                    .iter()
                    .map(rootpin_trust::PublicKey::id)
                    .collect::<Vec<_>>(),
                [key.id()]
            );
        }
        let _ = key.verify("ecdsa", bytes, bytes, false);
    }
}

/// Signatures beside an image: of cosign, podman and Notation, in each form that they may claim.
pub fn signature(bytes: &[u8]) {
    static PINS: LazyLock<(CosignPins, NotationPins)> = LazyLock::new(|| {
        let keys = key_file::signature_keys(&data("signatures/keys/p256.pub")).unwrap();
        let certificate = PinnedCertificate::read(&data("signatures/certificates/p256.crt"));
        let cosign = CosignPins {
            keys,
            threshold: 1,
            format: None,
            binds_tag: Some(TagBinding::Reference),
        };
        let notation = NotationPins {
            certificates: vec![certificate.unwrap()],
            subjects: Vec::new(),
            ignore_validity: false,
            binds_tag: Some("tag".to_owned()),
        };
        (cosign, notation)
    });
    let image = SignedImage {
        repository: &Repository::from_full("r.example/app").unwrap(),
        digest: Digest::of(&DATA["signatures/image.json"]),
        tag: None,
        every_signer: true,
    };
    for media_type in [
        cosign::BUNDLE,
        cosign::SIMPLE_SIGNING,
        notation::JWS,
        notation::COSE,
    ] {
        let file = SignatureFile {
            media_type: media_type.to_owned(),
            bytes: bytes.to_vec(),
            signature: Some("MEUCIQ==".to_owned()),
        };
        let files = [file];
        let nobody = BTreeSet::new();
        let of_cosign = cosign::verify(image, &PINS.0, &nobody, &files, Vec::new());
        let of_notation = notation::verify(image, &PINS.1, (&nobody, now()), &files, Vec::new());
        assert_eq!(
            (of_cosign.findings.len(), of_notation.findings.len()),
            (1, 1)
        );
    }
}

/// Certificates that are pinned.
pub fn certificate(bytes: &[u8]) {
    let read = || PinnedCertificate::read(bytes).ok();
    assert_eq!(read(), read());
}

/// Manifests and indexes.
pub fn manifest(bytes: &[u8]) {
    let read = Document::parse(bytes);
    let again = Blob::read(bytes);
    assert_eq!(read.is_ok(), again.is_ok());
    if let Ok(blob) = again {
        assert_eq!(blob.digest(), Digest::of(bytes));
        assert!(blob.content().len() <= bytes.len());
    }
}

/// The files below `tests/data`, by their paths there, and those that are made.
pub static DATA: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");
    let (mut found, mut folders) = (signer::examples(), vec![std::path::PathBuf::from(root)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().unwrap().len() < 64 << 10 {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
});

fn data(name: &str) -> Vec<u8> {
    DATA[name].clone()
}

//! Signatures that real cosign made, and every mutation of them.

mod counting;
mod formats;
mod skopeo;
mod strangers;
mod tags;

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};

use super::*;
use crate::Code;
use crate::image::{Digest, Repository};
use crate::key_file::signature_keys;

const IMAGE: &str = "sha256:9c984d4f67b71c86923031219becb249a723192ea0dec396205a1b3324fe5c19";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

pub(crate) fn folder(name: &str) -> PathBuf {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/signatures");
    PathBuf::from(tests).join(name)
}

/// The layers of each signature's manifest in a folder, as a search finds them.
pub(crate) fn files(name: &str) -> Vec<SignatureFile> {
    let mut manifests: Vec<_> = fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    manifests.sort();
    let mut files = Vec::new();
    for path in manifests
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
    {
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let hex = layer["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            files.push(SignatureFile {
                media_type: layer["mediaType"].as_str().unwrap().to_owned(),
                bytes: fs::read(folder(name).join(hex)).unwrap(),
                signature: layer["annotations"]["dev.cosignproject.cosign/signature"]
                    .as_str()
                    .map(str::to_owned),
            });
        }
    }
    assert!(!files.is_empty());
    files
}

fn key(name: &str) -> PublicKey {
    let pem = fs::read(folder(&format!("keys/{name}.pub"))).unwrap();
    signature_keys(&pem).unwrap().remove(0)
}

fn pins(keys: &[&str], threshold: u64) -> CosignPins {
    CosignPins {
        keys: keys.iter().map(|name| key(name)).collect(),
        threshold,
        format: None,
        binds_tag: None,
    }
}

fn repository() -> Repository {
    Repository::from_full("127.0.0.1:5000/team/app").unwrap()
}

fn outcome(pins: &CosignPins, files: &[SignatureFile]) -> SignatureOutcome {
    outcome_under(&[], pins, files)
}

/// The same while these keys are revoked.
fn outcome_under(
    revoked: &[PublicKey],
    pins: &CosignPins,
    files: &[SignatureFile],
) -> SignatureOutcome {
    let repository = repository();
    let image = SignedImage {
        repository: &repository,
        digest: IMAGE.parse().unwrap(),
        tag: None,
        every_signer: false,
    };
    let revoked = revoked.iter().map(PublicKey::id).collect();
    verify(image, pins, &revoked, files, Vec::new())
}

/// `signed`, or the code of the refusal.
fn said(pins: &CosignPins, files: &[SignatureFile]) -> &'static str {
    said_of(&outcome(pins, files))
}

fn said_of(outcome: &SignatureOutcome) -> &'static str {
    match &outcome.result {
        Ok(_) => "signed",
        Err(refusal) => refusal.code.as_str(),
    }
}

#[test]
fn each_kind_of_key_and_format_that_cosign_writes_is_taken() {
    for format in ["simple", "bundle"] {
        for name in ["p256", "p384", "p521", "rsa", "ed25519"] {
            let files = files(&format!("{format}-{name}"));
            // cosign 3.1 signs a bundle by Ed25519ph, and its own verify refuses it as well.
            if (format, name) == ("bundle", "ed25519") {
                assert_eq!(said(&pins(&[name], 1), &files), "no-statement");
                let found = &outcome(&pins(&[name], 1), &files).findings[0];
                let why = found.rejected.as_deref().unwrap();
                assert!(why.contains("cosign 3 signs by Ed25519ph"), "{why}");
                let found = &outcome(&pins(&["other"], 1), &files).findings[0];
                let why = found.rejected.as_deref().unwrap();
                assert!(!why.contains("Ed25519"), "{why}");
                continue;
            }
            assert_eq!(said(&pins(&[name], 1), &files), "signed", "{format} {name}");
            let collection = outcome(&pins(&[name], 1), &files).result.unwrap();
            let collection = collection.get();
            assert_eq!(
                collection.untagged,
                BTreeSet::from([IMAGE.parse().unwrap()])
            );
            assert!(collection.targets.is_empty());
            assert_eq!(collection.signers, BTreeSet::from([key(name).id()]));
            assert_eq!(said(&pins(&["other"], 1), &files), "no-statement");
        }
    }
}

#[test]
fn a_bundle_under_a_p384_key_may_be_signed_by_sha_256_too() {
    let files = files("made-bundle-p384");
    assert_eq!(said(&pins(&["made-p384"], 1), &files), "signed");
    assert_eq!(said(&pins(&["p384"], 1), &files), "no-statement");
}

#[test]
fn the_format_of_the_policy_is_the_only_one_that_counts() {
    for (format, good, bad) in [
        (CosignFormat::Bundle, "bundle-p256", "simple-p256"),
        (CosignFormat::SimpleSigning, "simple-p256", "bundle-p256"),
    ] {
        let pins = CosignPins {
            format: Some(format),
            ..pins(&["p256"], 1)
        };
        assert_eq!(said(&pins, &files(good)), "signed");
        // Its key may be pinned and good: it is not alarming, and the hint says what would count.
        let refusal = outcome(&pins, &files(bad)).result.unwrap_err();
        assert_eq!(refusal.code, Code::NoStatement);
        let hint = format!("have its publisher sign it as {}", format.as_str());
        assert!(refusal.hint.contains(&hint), "{refusal:?}");
        // Whoever may push beside an image must not talk its host's owner into taking more.
        assert!(!refusal.hint.contains("policy"), "{refusal:?}");
    }
}

#[test]
fn an_image_without_signatures_or_with_another_digest_is_not_signed() {
    assert_eq!(said(&pins(&["p256"], 1), &[]), "no-statement");
    for name in ["simple-p256", "bundle-p256"] {
        let (repository, digest) = (repository(), Digest::of(b"other"));
        let image = SignedImage {
            repository: &repository,
            digest,
            tag: None,
            every_signer: false,
        };
        let (pins, files) = (pins(&["p256"], 1), files(name));
        let refusal = verify(image, &pins, &BTreeSet::new(), &files, Vec::new())
            .result
            .unwrap_err();
        assert_eq!(refusal.code, Code::NoStatement);
        assert!(
            refusal.found.contains("for another digest"),
            "{}",
            refusal.found
        );
    }
}

#[test]
fn only_what_may_be_an_ed25519_signature_is_said_to_be_in_a_form_that_does_not_count() {
    let pins = pins(&["ed25519", "p256"], 1);
    for (fixture, wanted) in [
        ("simple-p384", false),
        ("simple-rsa", false),
        ("bundle-p384", false),
    ] {
        let found = &outcome(&pins, &files(fixture)).findings[0];
        let why = found.rejected.as_deref().unwrap();
        assert_eq!(why.contains("Ed25519"), wanted, "{fixture}: {why}");
    }
    let mut strange = files("simple-ed25519");
    strange[0].signature = Some(STANDARD.encode([7; 64]));
    let found = &outcome(&pins, &strange).findings[0];
    assert!(found.rejected.as_deref().unwrap().contains("Ed25519"));
}

#[test]
fn a_signer_who_is_missing_is_no_bad_signature_whatever_strangers_put_beside_it() {
    let pins = pins(&["p256", "other"], 2);
    let refusal = |fixtures: &[&str]| {
        let files: Vec<_> = fixtures.iter().flat_map(|name| files(name)).collect();
        outcome(&pins, &files).result.unwrap_err()
    };
    for alone in [&["bundle-p256"][..], &["simple-p256", "attested"]] {
        let refusal = refusal(alone);
        assert_eq!(refusal.code, Code::NoStatement, "{refusal}");
        assert!(refusal.hint.contains("other keys' owners"), "{refusal}");
        assert!(!refusal.hint.contains("pin add"), "{refusal}");
    }
    let attested = refusal(&["attested"]);
    assert_eq!(attested.code, Code::NoStatement, "{attested}");
    assert!(attested.hint.contains("cosign sign"), "{attested}");
    for strange in ["bundle-p384", "simple-rsa"] {
        let beside = refusal(&["bundle-p256", "attested", strange]);
        assert_eq!(beside.code, Code::NoStatement, "{beside}");
        assert!(beside.hint.contains("other keys' owners"), "{beside}");
        // The publisher may have another key now.
        let alone = refusal(&[strange]);
        assert_eq!(alone.code, Code::NoStatement, "{alone}");
        assert!(alone.hint.contains("pin add"), "{alone}");
    }
}

#[test]
fn an_attestation_by_the_right_key_is_no_signature() {
    let outcome = outcome(&pins(&["p256"], 1), &files("attested"));
    assert_eq!(outcome.result.unwrap_err().code, Code::NoStatement);
    let why = outcome.findings[0].rejected.as_deref().unwrap();
    assert!(
        why.contains("predicateType") && outcome.findings[0].key.is_some(),
        "{why}"
    );
}

#[test]
fn each_flipped_bit_of_a_signed_payload_and_of_a_signature_is_refused() {
    let pins = pins(&["p256"], 1);
    let simple = files("simple-p256").remove(0);
    for at in 0..simple.bytes.len() {
        let mut file = simple.clone();
        file.bytes[at] ^= 1;
        assert_eq!(said(&pins, &[file]), "no-statement", "byte {at}");
    }
    let bundle = files("bundle-p256").remove(0);
    let text = String::from_utf8(bundle.bytes.clone()).unwrap();
    for member in ["payload\":\"", "sig\":\""] {
        let begin = text.find(member).unwrap() + member.len();
        let end = begin + text[begin..].find('"').unwrap();
        for at in begin..end - 4 {
            let mut file = bundle.clone();
            file.bytes[at] = if file.bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(said(&pins, &[file]), "no-statement", "{member} {at}");
        }
    }
}

/// The bytes before the point of a P-256 key (RFC 5480, section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key of our own, for what no tool writes.
fn own_key(seed: u8) -> PublicKey {
    let pair = SigningKey::from_slice(&[seed; 32]).unwrap();
    let point = pair.verifying_key().to_sec1_point(false);
    PublicKey::from_spki(&[&P256_SPKI, point.as_bytes()].concat(), None).unwrap()
}

fn signed(seed: u8, message: &[u8]) -> String {
    let pair = SigningKey::from_slice(&[seed; 32]).unwrap();
    let signature: Signature = pair.sign(message);
    STANDARD.encode(signature.to_der().as_bytes())
}

fn statement(predicate: &str, digest: &str, more: &str) -> String {
    let hex = digest.trim_start_matches("sha256:");
    format!(
        r#"{{"_type":"{STATEMENT}","subject":[{{"digest":{{"sha256":"{hex}"}}{more}}}],"predicateType":"{predicate}","predicate":{{}}}}"#
    )
}

fn file(bytes: String) -> SignatureFile {
    SignatureFile {
        media_type: BUNDLE.to_owned(),
        bytes: bytes.into_bytes(),
        signature: None,
    }
}

fn envelope(kind: &str, payload: &str, signatures: &str, hint: &str) -> SignatureFile {
    let payload = STANDARD.encode(payload);
    file(format!(
        r#"{{"mediaType":"{BUNDLE}","verificationMaterial":{{"publicKey":{{"hint":"{hint}"}}}},"dsseEnvelope":{{"payload":"{payload}","payloadType":"{kind}","signatures":[{signatures}]}}}}"#
    ))
}

fn pae(kind: &str, payload: &str) -> Vec<u8> {
    format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len()).into_bytes()
}

const IN_TOTO: &str = "application/vnd.in-toto+json";

fn bundle(seed: u8, payload: &str) -> SignatureFile {
    let sig = format!(r#"{{"sig":"{}"}}"#, signed(seed, &pae(IN_TOTO, payload)));
    envelope(IN_TOTO, payload, &sig, "")
}

fn own_pins() -> CosignPins {
    CosignPins {
        keys: vec![own_key(1)],
        ..pins(&[], 1)
    }
}

#[test]
fn a_hint_chooses_the_key_that_is_tried_first_and_is_never_trusted() {
    let good = statement(SIGN, IMAGE, "");
    let by = |seed, hint: &str| {
        let sig = format!(r#"{{"sig":"{}"}}"#, signed(seed, &pae(IN_TOTO, &good)));
        envelope(IN_TOTO, &good, &sig, hint)
    };
    let hint = hint_of(&own_key(1)).unwrap();
    for hint in [hint.as_str(), "", "wrong", &hint_of(&own_key(2)).unwrap()] {
        assert_eq!(said(&own_pins(), &[by(1, hint)]), "signed", "{hint}");
        assert_eq!(said(&own_pins(), &[by(2, hint)]), "no-statement", "{hint}");
    }
}

#[test]
fn a_bundle_is_one_statement_about_the_image_under_one_signature_and_nothing_else() {
    let good = statement(SIGN, IMAGE, "");
    assert_eq!(said(&own_pins(), &[bundle(1, &good)]), "signed");
    let other = format!("sha256:{}", "0".repeat(64));
    let bad = [
        statement("https://slsa.dev/provenance/v1", IMAGE, ""),
        statement(&format!("{SIGN}/"), IMAGE, ""),
        statement(SIGN, &other, ""),
        statement(SIGN, &IMAGE.to_uppercase(), ""),
        good.replace("Statement/v1", "Statement/v0.1"),
        good.replace("sha256", "sha512"),
        good.replace("\"predicateType\"", "\"predicate-type\""),
        good.replace("{}}", "{},\"predicateType\":\"x\"}"),
        good.replace("[{", "[{\"name\":\"x\"},{")
            .replace("}],", "},{\"digest\":{\"sha256\":\"")
            .replace("\",\"pred", "pred"),
        format!("[{good}]"),
        String::new(),
    ];
    for (at, payload) in bad.iter().enumerate() {
        // Those that are read, name the image and have no other predicate should be signatures of it.
        let wanted = if [4, 6].contains(&at) {
            "bad-signature"
        } else {
            "no-statement"
        };
        let said = said(&own_pins(), &[bundle(1, payload)]);
        assert_eq!(said, wanted, "{payload}");
    }
    let sig = format!(r#"{{"sig":"{}"}}"#, signed(1, &pae(IN_TOTO, &good)));
    let two = format!("{sig},{sig}");
    let bare = format!(r#"{{"sig":"{}"}}"#, signed(1, good.as_bytes()));
    let text = "text/plain";
    let of_text = format!(r#"{{"sig":"{}"}}"#, signed(1, &pae(text, &good)));
    for odd in [
        envelope(IN_TOTO, &good, &two, ""),
        envelope(IN_TOTO, &good, "", ""),
        envelope(IN_TOTO, &good, &bare, ""),
        envelope(text, &good, &of_text, ""),
        envelope(IN_TOTO, &good, &of_text, ""),
    ] {
        assert_eq!(said(&own_pins(), &[odd]), "no-statement");
    }
    let whole = String::from_utf8(bundle(1, &good).bytes).unwrap();
    for odd in [
        whole.replace("v0.3+json", "v0.2+json"),
        whole.replacen('{', "{\"messageSignature\":{},", 1),
        whole.replacen('{', "{\"mediaType\":\"x\",", 1),
        whole.replace("dsseEnvelope", "envelope"),
    ] {
        assert_eq!(said(&own_pins(), &[file(odd)]), "no-statement");
    }
}

#[test]
fn simple_signing_must_say_that_it_is_a_signature_of_the_image() {
    let payload = |kind: &str, digest: &str| {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
        )
    };
    let of = |payload: &str, by: &str| SignatureFile {
        media_type: SIMPLE_SIGNING.to_owned(),
        bytes: payload.as_bytes().to_vec(),
        signature: Some(by.to_owned()),
    };
    let own = |payload: &str| of(payload, &signed(1, payload.as_bytes()));
    let (kind, other) = (
        "cosign container image signature",
        format!("sha256:{}", "0".repeat(64)),
    );
    assert_eq!(said(&own_pins(), &[own(&payload(kind, IMAGE))]), "signed");
    // `base64` breaks lines, and Go's decoder skips the breaks.
    let whole = signed(1, payload(kind, IMAGE).as_bytes());
    let lines: Vec<&str> = [0, 40, 76]
        .map(|at| &whole[at..])
        .iter()
        .zip([40, 36, whole.len() - 76])
        .map(|(rest, length)| &rest[..length])
        .collect();
    for end in ["\n", "\r\n"] {
        let wrapped = lines.join(end) + end;
        let file = of(&payload(kind, IMAGE), &wrapped);
        assert_eq!(said(&own_pins(), &[file]), "signed", "{wrapped:?}");
    }
    for odd in [" ", "\t", "-", "=", "\u{b}"] {
        let file = of(&payload(kind, IMAGE), &lines.join(odd));
        assert_eq!(said(&own_pins(), &[file]), "no-statement", "{odd:?}");
    }
    let good = payload(kind, IMAGE);
    // Its key's owner should have signed the image by these.
    for odd in [
        own(&payload("atomic container signature", IMAGE)),
        own(&good.replacen('{', "{\"Critical\":{},", 1)),
        own(&good.replace("\"type\"", "\"Type\":\"x\",\"type\"")),
        own(&good.replace(
            "\"docker-manifest",
            "\"DOCKER-manifest-digest\":\"x\",\"docker-manifest",
        )),
    ] {
        assert_eq!(
            said(&own_pins(), std::slice::from_ref(&odd)),
            "bad-signature",
            "{odd:?}"
        );
    }
    for odd in [
        own(&payload(kind, &other)),
        own(&payload(kind, IMAGE.trim_start_matches("sha256:"))),
        own(&good.replace("critical", "crucial")),
        own(&good.replacen('{', "{\"critical\":{},", 1)),
        of(&good, "no base64!"),
        of(&good, ""),
        SignatureFile {
            signature: None,
            ..own(&good)
        },
        SignatureFile {
            media_type: BUNDLE.to_owned(),
            ..own(&good)
        },
        SignatureFile {
            media_type: "text/plain".to_owned(),
            ..own(&good)
        },
        SignatureFile {
            media_type: SIMPLE_SIGNING.to_owned(),
            ..bundle(1, &statement(SIGN, IMAGE, ""))
        },
    ] {
        assert_eq!(
            said(&own_pins(), std::slice::from_ref(&odd)),
            "no-statement",
            "{odd:?}"
        );
    }
}

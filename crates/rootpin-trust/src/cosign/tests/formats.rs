//! Which of a key's bundles are signatures of an image.

use super::*;

const MANIFEST: &[u8] = b"an image's manifest";

/// What `cosign sign-blob` makes of a file.
fn of_file(content: &[u8], hash: &Digest, algorithm: &str) -> SignatureFile {
    let hash = STANDARD.encode(hash.as_bytes());
    file(format!(
        r#"{{"mediaType":"{BUNDLE}","messageSignature":{{"messageDigest":{{"algorithm":"{algorithm}","digest":"{hash}"}},"signature":"{}"}}}}"#,
        signed(1, content)
    ))
}

fn of_digest(pins: &CosignPins, digest: Digest, file: SignatureFile) -> SignatureOutcome {
    let repository = repository();
    let image = SignedImage {
        repository: &repository,
        digest,
        tag: None,
        every_signer: false,
    };
    verify(image, pins, &BTreeSet::new(), &[file], Vec::new())
}

#[test]
fn the_signature_of_a_file_counts_for_an_image_only_where_the_root_says_so() {
    let digest = Digest::of(MANIFEST);
    let ask = |format| {
        let pins = CosignPins {
            format,
            ..own_pins()
        };
        let file = of_file(MANIFEST, &digest, "SHA2_256");
        let outcome = of_digest(&pins, digest, file);
        assert_eq!(outcome.findings[0].format, "message-signature");
        outcome
    };
    assert!(ask(Some(CosignFormat::MessageSignature)).result.is_ok());
    for format in [
        None,
        Some(CosignFormat::Bundle),
        Some(CosignFormat::SimpleSigning),
    ] {
        let refusal = ask(format).result.unwrap_err();
        assert_eq!(refusal.code, Code::NoStatement);
    }
    let refusal = ask(None).result.unwrap_err();
    assert!(refusal.found.contains("message-signature"), "{refusal}");
    let only = CosignPins {
        format: Some(CosignFormat::MessageSignature),
        ..own_pins()
    };
    let image = bundle(1, &statement(SIGN, IMAGE, ""));
    assert_eq!(said(&only, &[image]), "no-statement");
}

#[test]
fn the_signature_of_a_file_is_for_its_own_digest_only() {
    let pins = CosignPins {
        format: Some(CosignFormat::MessageSignature),
        ..own_pins()
    };
    let (digest, other) = (Digest::of(MANIFEST), Digest::of(b"other"));
    let ask = |digest, hash, algorithm| {
        let file = of_file(MANIFEST, hash, algorithm);
        of_digest(&pins, digest, file).result.is_ok()
    };
    assert!(ask(digest, &digest, "SHA2_256"));
    assert!(!ask(digest, &digest, "SHA2_512"));
    assert!(!ask(other, &digest, "SHA2_256") && !ask(other, &other, "SHA2_256"));
}

#[test]
fn a_bundle_may_have_its_older_media_type_and_either_alphabet_of_base64() {
    // So long that both alphabets differ.
    let more = format!(r#","name":"{}""#, "???>>>".repeat(9));
    let file = bundle(1, &statement(SIGN, IMAGE, &more));
    let text = String::from_utf8(file.bytes.clone()).unwrap();
    let with = |text: &str| SignatureFile {
        bytes: text.as_bytes().to_vec(),
        ..file.clone()
    };
    let old = "application/vnd.dev.sigstore.bundle+json;version=0.3";
    assert_eq!(
        said(&own_pins(), &[with(&text.replace(BUNDLE, old))]),
        "signed"
    );
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let payload = value["dsseEnvelope"]["payload"].as_str().unwrap();
    let other = payload.replace('+', "-").replace('/', "_");
    assert_ne!(payload, other);
    assert_eq!(
        said(&own_pins(), &[with(&text.replace(payload, &other))]),
        "signed"
    );
}

#[test]
fn an_attestation_is_known_as_one_before_its_key_is() {
    let provenance = "https://slsa.dev/provenance/v1";
    let attestation = bundle(2, &statement(provenance, IMAGE, ""));
    let signature = bundle(2, &statement(SIGN, IMAGE, ""));
    let findings = outcome(&own_pins(), &[attestation, signature]).findings;
    assert_eq!(findings[0].predicate.as_deref(), Some(provenance));
    assert_eq!(findings[1].predicate, None);
}

#[test]
fn where_every_signer_is_asked_for_it_is_said_how_many_of_them_it_takes() {
    let repository = repository();
    for (every_signer, needed) in [(false, 2), (true, 1)] {
        let image = SignedImage {
            repository: &repository,
            digest: IMAGE.parse().unwrap(),
            tag: None,
            every_signer,
        };
        let pins = pins(&["p256", "other"], 1);
        let files = files("bundle-two");
        let outcome = verify(image, &pins, &BTreeSet::new(), &files, Vec::new());
        let collection = outcome.result.unwrap();
        let collection = collection.get();
        assert_eq!(collection.signers.len(), 2);
        assert_eq!(collection.signers_needed, needed);
    }
}

#[test]
fn a_revoked_key_s_signature_counts_for_nothing() {
    let said = |threshold, revoked: &[PublicKey]| {
        let pins = pins(&["p256", "other"], threshold);
        let outcome = outcome_under(revoked, &pins, &files("bundle-two"));
        match outcome.result {
            Ok(_) => "signed".to_owned(),
            Err(refusal) => format!("{}: {}", refusal.code.as_str(), refusal.found),
        }
    };
    let refused = said(2, &[key("other")]);
    let good = format!("keys {} that count", key("p256").id());
    assert!(
        refused.starts_with("revoked: ") && refused.contains(&good),
        "{refused}"
    );
    assert_eq!(said(1, &[key("other")]), "signed");
    assert!(said(1, &[key("other"), key("p256")]).starts_with("revoked: "));
}

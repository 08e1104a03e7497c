//! Signatures that real notation made, and mutations of them.

mod certificates;
mod chains;
mod headers;

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::Code;
use crate::cosign::tests::{files, folder};
use crate::image::Repository;

const IMAGE: &str = "sha256:9c984d4f67b71c86923031219becb249a723192ea0dec396205a1b3324fe5c19";
const NOW: &str = "2026-11-30T12:00:00Z";

fn certificate(name: &str) -> PinnedCertificate {
    let pem = fs::read(folder(&format!("certificates/{name}.crt"))).unwrap();
    PinnedCertificate::read(&pem).unwrap()
}

fn pins(certificates: &[&str]) -> NotationPins {
    NotationPins {
        certificates: certificates.iter().map(|name| certificate(name)).collect(),
        subjects: Vec::new(),
        ignore_validity: false,
        binds_tag: None,
    }
}

fn outcome(pins: &NotationPins, files: &[SignatureFile]) -> SignatureOutcome {
    outcome_at(NOW, pins, &[], files)
}

/// The same at another time, and while these keys are revoked.
fn outcome_at(
    now: &str,
    pins: &NotationPins,
    revoked: &[KeyId],
    files: &[SignatureFile],
) -> SignatureOutcome {
    let repository = Repository::from_full("127.0.0.1:5000/team/app").unwrap();
    let image = SignedImage {
        repository: &repository,
        digest: IMAGE.parse().unwrap(),
        tag: None,
        every_signer: false,
    };
    let revoked = revoked.iter().copied().collect();
    let now = now.parse().unwrap();
    verify(image, pins, (&revoked, now), files, Vec::new())
}

/// `signed`, or why not.
fn said(pins: &NotationPins, files: &[SignatureFile]) -> String {
    said_of(&outcome(pins, files))
}

fn said_of(outcome: &SignatureOutcome) -> String {
    match outcome.result {
        Ok(_) => "signed".to_owned(),
        Err(_) => outcome.findings[0].rejected.clone().unwrap(),
    }
}

const FORMATS: [&str; 2] = ["jws", "cose"];
const KEYS: [&str; 4] = ["rsa2048", "rsa3072", "p256", "p384"];

#[test]
fn each_key_and_envelope_that_notation_writes_is_taken_under_a_pinned_authority_or_leaf() {
    for format in FORMATS {
        for key in KEYS {
            let files = files(&format!("{format}-{key}"));
            for pin in ["ca", key] {
                let outcome = outcome(&pins(&[pin]), &files);
                let collection = outcome.result.unwrap();
                let collection = collection.get();
                assert_eq!(
                    collection.untagged,
                    BTreeSet::from([IMAGE.parse().unwrap()])
                );
                assert_eq!(collection.signers, BTreeSet::from([certificate(key).key]));
                assert_eq!(collection.expires, certificate(key).certificate.not_after);
                assert_eq!(outcome.findings[0].format, format!("notation-{format}"));
            }
            let other = if key == "p256" { "p384" } else { "p256" };
            assert!(said(&pins(&[other]), &files).contains("lead to none that is pinned"));
        }
    }
}

#[test]
fn a_p_521_key_signs_by_es512_under_an_authority_with_such_a_key() {
    for format in FORMATS {
        let signed = files(&format!("{format}-p521"));
        for pin in ["p521-ca", "p521"] {
            let pins = pins(&[pin]);
            let said = |files: &[SignatureFile]| {
                said_of(&outcome_at("2026-12-01T00:00:00Z", &pins, &[], files))
            };
            assert_eq!(said(&signed), "signed", "{format} {pin}");
            let mut changed = signed.clone();
            let middle = changed[0].bytes.len() / 2;
            changed[0].bytes[middle] ^= 1;
            assert_ne!(said(&changed), "signed", "{format} {pin}");
        }
        assert!(said(&pins(&["ca"]), &signed).contains("lead to none that is pinned"));
    }
}

#[test]
fn an_authority_whose_purposes_leave_out_code_signing_is_known_by_that() {
    assert!(certificate("tls-ca").excludes_code_signing());
    for name in ["ca", "made-ca", "p521-ca", "p256"] {
        assert!(!certificate(name).excludes_code_signing(), "{name}");
    }
}

#[test]
fn an_envelope_under_the_other_one_s_media_type_counts_for_nothing() {
    for (format, other) in [("jws", COSE), ("cose", JWS)] {
        let mut files = files(&format!("{format}-p256"));
        other.clone_into(&mut files[0].media_type);
        assert_ne!(said(&pins(&["ca"]), &files), "signed");
    }
}

#[test]
fn each_flipped_byte_of_an_envelope_is_refused_unless_it_is_of_what_is_not_signed() {
    let pins = pins(&["ca"]);
    for format in FORMATS {
        let file = files(&format!("{format}-p256")).remove(0);
        let agent = file
            .bytes
            .windows(12)
            .position(|part| part == b"signingAgent")
            .unwrap();
        let taken = (0..file.bytes.len()).filter(|at| {
            let mut flipped = file.clone();
            flipped.bytes[*at] ^= 1;
            said(&pins, &[flipped]) == "signed"
        });
        let taken: Vec<usize> = taken.collect();
        // The name of the tool is unsigned, and nothing else.
        let around = agent.saturating_sub(20)..agent + 60;
        let others = taken.iter().filter(|at| !around.contains(at)).count();
        assert_eq!(others, 0, "{format}: {taken:?}");
        let flip = |name: &str| {
            let mut file = file.clone();
            let begin = file
                .bytes
                .windows(name.len())
                .position(|part| part == name.as_bytes());
            file.bytes[begin.unwrap() + name.len() + 4] ^= 1;
            said(&pins, &[file])
        };
        if format == "jws" {
            for part in ["\"payload\":\"", "\"protected\":\"", "\"signature\":\""] {
                assert_ne!(flip(part), "signed");
            }
        } else {
            assert_ne!(flip("targetArtifact"), "signed");
        }
    }
}

#[test]
fn a_signature_and_its_certificates_count_until_they_end() {
    for format in FORMATS {
        let files = files(&format!("{format}-expiry"));
        let outcome = |now: &str, files: &_| outcome_at(now, &pins(&["ca"]), &[], files);
        let said = |now: &str, files: &_| said_of(&outcome(now, files));
        let signed = outcome("2026-11-29T21:00:00Z", &files).result.unwrap();
        assert!(signed.get().expires < "2026-11-30T21:00:00Z".parse().unwrap());
        assert_eq!(said(NOW, &files), "signed");
        assert!(said("2026-12-01T00:00:00Z", &files).contains("it expired at"));
        let files = self::files(&format!("{format}-p256"));
        assert!(said("2040-01-01T00:00:00Z", &files).contains("is valid from"));
        assert!(said("2020-01-01T00:00:00Z", &files).contains("is valid from"));
        let ignoring = |pin: &str| {
            let pins = NotationPins {
                ignore_validity: true,
                ..pins(&[pin])
            };
            said_of(&outcome_at("2040-01-01T00:00:00Z", &pins, &[], &files))
        };
        assert_eq!(ignoring("p256"), "signed");
        assert!(ignoring("ca").contains("is valid from"));
    }
}

#[test]
fn a_subject_and_a_tag_are_demanded_where_the_policy_names_them() {
    for format in FORMATS {
        let files = files(&format!("{format}-expiry"));
        let with = |subject: &str| NotationPins {
            subjects: vec![SubjectAttribute::parse_all(subject).unwrap()],
            binds_tag: Some("tag".to_owned()),
            ..pins(&["ca"])
        };
        let said = |pins: &NotationPins, files: &_| {
            said_of(&outcome_at("2026-11-29T21:00:00Z", pins, &[], files))
        };
        let with_name = with("O=Lab, CN=p256");
        let signed = outcome_at("2026-11-29T21:00:00Z", &with_name, &[], &files);
        let signed = signed.result.unwrap();
        assert_eq!(signed.get().targets.keys().collect::<Vec<_>>(), ["v1"]);
        assert!(signed.get().untagged.is_empty());
        assert!(said(&with("O=Lab, CN=p384"), &files).contains("its signer is"));
        let untagged = self::files(&format!("{format}-p256"));
        assert!(said(&with("O=Lab"), &untagged).contains("it signs no annotation"));
        // Neither is a bad signature.
        for (pins, files, hint) in [
            (with("O=Lab, CN=p384"), &files, "`subjects`"),
            (with("O=Lab"), &untagged, "--user-metadata tag=TAG"),
        ] {
            let no = outcome_at("2026-11-29T21:00:00Z", &pins, &[], files);
            let refusal = no.result.unwrap_err();
            assert_eq!(refusal.code, Code::NoStatement);
            assert!(refusal.hint.contains(hint), "{refusal:?}");
        }
    }
    for odd in [
        "",
        "CN",
        "CN=",
        "X=y",
        "CN=a+O=b",
        "CN=a,b",
        "CN=\"a, b\"",
        "CN=a\\",
        "CN=a\\x",
        "CN=a\\4",
        "CN=\\ff",
        "CN=#0402",
        "DC=a",
        "CN=  ",
    ] {
        assert!(SubjectAttribute::parse_all(odd).is_none(), "{odd}");
    }
}

#[test]
fn a_value_of_a_subject_may_have_a_comma_and_each_escape_of_rfc_4514() {
    let parsed = |text: &str| {
        let all = SubjectAttribute::parse_all(text).unwrap();
        all.into_iter().map(|one| one.value).collect::<Vec<_>>()
    };
    assert_eq!(
        parsed("C=US, ST=WA ,O=Acme\\, Inc., CN= builder"),
        ["US", "WA", "Acme, Inc.", "builder"]
    );
    for (text, wanted) in [
        ("O=a\\+b\\\\c\\\"d", "a+b\\c\"d"),
        ("O=\\ a\\ ", " a "),
        ("O=\\#a=b", "#a=b"),
        ("O=M\\c3\\BCller", "Müller"),
        ("O=Acme\\2C Inc.", "Acme, Inc."),
    ] {
        assert_eq!(parsed(text), [wanted], "{text}");
    }
    for kind in ["serialNumber", "STREET", "postalCode", "OU", "L"] {
        assert_eq!(parsed(&format!("{kind}=a")), ["a"], "{kind}");
    }
}

#[test]
fn a_signature_under_a_revoked_key_of_any_certificate_of_the_path_is_refused_as_revoked() {
    for format in FORMATS {
        for revoked in ["p256", "ca"] {
            let revoked = [certificate(revoked).key];
            let files = files(&format!("{format}-p256"));
            let outcome = || outcome_at(NOW, &pins(&["ca"]), &revoked, &files);
            assert!(said_of(&outcome()).contains("revokes"));
            let refusal = outcome().result.unwrap_err();
            assert_eq!(refusal.code, Code::Revoked);
        }
    }
}

#[test]
fn another_digest_is_not_signed() {
    let repository = Repository::from_full("127.0.0.1:5000/team/app").unwrap();
    let image = SignedImage {
        repository: &repository,
        digest: Digest::of(b"other"),
        tag: None,
        every_signer: false,
    };
    for format in FORMATS {
        let (now, files) = (NOW.parse().unwrap(), files(&format!("{format}-p256")));
        let nobody = BTreeSet::new();
        let refusal = verify(image, &pins(&["ca"]), (&nobody, now), &files, Vec::new());
        assert_eq!(refusal.result.unwrap_err().code, Code::NoStatement);
        assert_eq!(
            refusal.findings[0].rejected.as_deref(),
            Some("it is for another digest")
        );
    }
}

fn attributes(critical: &[&str]) -> Attributes {
    Attributes {
        scheme: Scheme::RawEcdsaP256Sha256,
        content: PAYLOAD.to_owned(),
        signing_scheme: SCHEME.to_owned(),
        signed_at: Some("2026-11-30T09:00:00Z".parse().unwrap()),
        expiry: None,
        critical: critical.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn attributes_are_those_of_the_specification_or_the_signature_counts_for_nothing() {
    let check = |attributes: &Attributes| {
        let mut found = SignatureFinding::rejected("", "");
        check_attributes(attributes, NOW.parse().unwrap(), &mut found)
    };
    check(&attributes(&[SIGNING_SCHEME])).unwrap();
    for critical in [
        &[][..],
        &["io.cncf.notary.verificationPlugin", SIGNING_SCHEME],
        &[SIGNING_SCHEME, "com.example.unknown"],
    ] {
        check(&attributes(critical)).unwrap_err();
    }
    let authority = "notary.x509.signingAuthority".to_owned();
    check(&Attributes {
        signing_scheme: authority,
        ..attributes(&[SIGNING_SCHEME])
    })
    .unwrap_err();
    let expiring = |critical: &[&str], expiry: &str| Attributes {
        expiry: Some(expiry.parse().unwrap()),
        ..attributes(critical)
    };
    let both = [SIGNING_SCHEME, EXPIRY];
    check(&expiring(&both, "2026-12-01T00:00:00Z")).unwrap();
    check(&expiring(&both, NOW)).unwrap_err();
    check(&expiring(&[SIGNING_SCHEME], "2026-12-01T00:00:00Z")).unwrap_err();
}

#[test]
fn a_jws_header_must_be_whole_and_its_critical_attributes_there() {
    let file = files("jws-p256").remove(0);
    let text = String::from_utf8(file.bytes).unwrap();
    let begin = text.find("\"protected\":\"").unwrap() + 13;
    let end = begin + text[begin..].find('"').unwrap();
    let header = URL_SAFE_NO_PAD.decode(&text[begin..end]).unwrap();
    let header = String::from_utf8(header).unwrap();
    let read = |header: &str| {
        let text = format!(
            "{}{}{}",
            &text[..begin],
            URL_SAFE_NO_PAD.encode(header),
            &text[end..]
        );
        jws::read(text.as_bytes()).map(|_| ())
    };
    read(&header).unwrap();
    for (from, to) in [
        ("ES256", "none"),
        ("ES256", "HS256"),
        ("\"alg\"", "\"al\""),
        ("\"crit\"", "\"critical\""),
        ("signingScheme\"]", "signingScheme\",\"absent\"]"),
        ("{\"alg\"", "{\"alg\":\"ES256\",\"alg\""),
    ] {
        assert!(header.contains(from), "{header}");
        assert!(read(&header.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn certificates_without_the_right_usages_are_no_pins() {
    for name in [
        "ca-without-usage",
        "leaf-for-tls",
        "leaf-that-signs-certificates",
    ] {
        let pem = fs::read(folder(&format!("certificates/{name}.crt"))).unwrap();
        assert!(PinnedCertificate::read(&pem).is_err(), "{name}");
    }
    let two = [
        fs::read(folder("certificates/ca.crt")).unwrap(),
        fs::read(folder("certificates/p256.crt")).unwrap(),
    ];
    assert!(PinnedCertificate::read(&two.concat()).is_err());
    assert!(PinnedCertificate::read(&fs::read(folder("keys/p256.pub")).unwrap()).is_err());
}

#[test]
fn a_certificate_whose_key_makes_no_signature_that_counts_is_no_pin() {
    for name in ["ed25519", "ed25519-ca", "rsa2560"] {
        let pem = fs::read(folder(&format!("certificates/{name}.crt"))).unwrap();
        let error = PinnedCertificate::read(&pem).unwrap_err().to_string();
        assert!(
            error.contains("no signature that counts"),
            "{name}: {error}"
        );
    }
    let pem = fs::read(folder("certificates/rsa2560-ca.crt")).unwrap();
    assert!(PinnedCertificate::read(&pem).is_ok());
}

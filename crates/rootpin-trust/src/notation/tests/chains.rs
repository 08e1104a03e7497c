//! The certificates of an envelope, which whoever may push can leave out, add and exchange.

use super::certificates::*;
use super::*;

const ROOT: u8 = 1;
const MIDDLE: u8 = 2;
const LEAF: u8 = 3;
const OTHER: u8 = 9;

/// A root, an authority under it, and a signer.
struct Certificates {
    root: Vec<u8>,
    middle: Vec<u8>,
    leaf: Vec<u8>,
}

fn certificates() -> Certificates {
    let (root, middle) = (authority("root", ROOT), authority("middle", MIDDLE));
    Certificates {
        root: root.issued_by_itself(),
        middle: middle.issued_by(&root),
        leaf: leaf("leaf", LEAF).issued_by(&middle),
    }
}

fn pinning(certificates: &[&[u8]]) -> NotationPins {
    NotationPins {
        certificates: certificates.iter().map(|der| pinned(der)).collect(),
        ..pins(&[])
    }
}

/// What an envelope with these certificates comes to.
fn of_chain(pins: &NotationPins, chain: &[&[u8]]) -> String {
    said(pins, &[jws(LEAF, chain, &header(), &payload(""))])
}

const NO_ROOT: &str = "do not end with a root";

#[test]
fn a_chain_counts_whole_under_each_of_its_certificates_and_no_part_of_it_does() {
    let Certificates { root, middle, leaf } = &certificates();
    for pin in [root, middle, leaf] {
        let pins = pinning(&[pin]);
        assert_eq!(of_chain(&pins, &[leaf, middle, root]), "signed");
        for part in [&[leaf.as_slice(), middle][..], &[leaf], &[]] {
            assert_ne!(of_chain(&pins, part), "signed");
        }
    }
    assert!(of_chain(&pinning(&[middle]), &[leaf, middle]).contains(NO_ROOT));
    assert!(of_chain(&pinning(&[leaf]), &[leaf]).contains(NO_ROOT));
    assert!(of_chain(&pinning(&[root]), &[leaf, middle]).contains("none that is pinned"));
    assert!(of_chain(&pinning(&[root]), &[leaf, root]).contains("not in order"));
    assert!(of_chain(&pinning(&[root]), &[leaf, middle, root, root]).contains("signs itself"));
}

#[test]
fn a_revoked_or_expired_certificate_above_the_pin_is_found_and_cutting_it_off_helps_nobody() {
    let Certificates { root, middle, leaf } = &certificates();
    for pin in [middle, leaf] {
        for seed in [ROOT, MIDDLE, LEAF] {
            let outcome = |chain: &[&[u8]]| {
                let file = jws(LEAF, chain, &header(), &payload(""));
                outcome_at(NOW, &pinning(&[pin]), &[key(seed).id()], &[file])
            };
            assert!(said_of(&outcome(&[leaf, middle, root])).contains("revokes"));
            let refusal = outcome(&[leaf, middle, root]).result.unwrap_err();
            assert_eq!(refusal.code, Code::Revoked);
            assert!(said_of(&outcome(&[leaf, middle])).contains(NO_ROOT));
        }
    }
    let over = Content {
        until: "261101000000Z",
        ..authority("root", ROOT)
    };
    let over = over.issued_by_itself();
    for pin in [middle, leaf] {
        let said = of_chain(&pinning(&[pin]), &[leaf, middle, &over]);
        assert!(said.contains("is valid from"), "{said}");
    }
    let ignoring = NotationPins {
        ignore_validity: true,
        ..pinning(&[leaf])
    };
    assert_eq!(of_chain(&ignoring, &[leaf, middle, &over]), "signed");
}

#[test]
fn a_signature_of_something_else_under_a_revoked_certificate_says_nothing_of_this_image() {
    let Certificates { root, middle, leaf } = &certificates();
    let chain: [&[u8]; 3] = [leaf, middle, root];
    let other = payload("").replace(IMAGE, &Digest::of(b"other").to_string());
    let of_a_file = header().replace(PAYLOAD, "text/plain");
    for seed in [ROOT, MIDDLE, LEAF] {
        let (pins, revoked) = (pinning(&[root]), [key(seed).id()]);
        let code = |header: &str, payload: &str| {
            let file = jws(LEAF, &chain, header, payload);
            outcome_at(NOW, &pins, &revoked, &[file])
                .result
                .unwrap_err()
                .code
        };
        assert_eq!(code(&header(), &payload("")), Code::Revoked);
        assert_eq!(code(&header(), &other), Code::NoStatement);
        assert_eq!(code(&of_a_file, &payload("")), Code::NoStatement);
    }
}

#[test]
fn a_certificate_that_did_not_sign_the_one_before_it_is_refused() {
    let Certificates { root, middle, leaf } = &certificates();
    let junk = authority("root", OTHER).issued_by_itself();
    let false_middle = authority("middle", OTHER).issued_by(&authority("root", OTHER));
    for (pin, chain) in [
        (middle, [leaf, middle, &junk]),
        (leaf, [leaf, &false_middle, &junk]),
        (root, [leaf, &false_middle, root]),
        (&junk, [leaf, middle, &junk]),
    ] {
        let said = of_chain(&pinning(&[pin]), &chain.map(Vec::as_slice));
        assert!(
            said.contains("is not signed by the next one's key"),
            "{said}"
        );
    }
    // A root of that name whose signature is not its own.
    let unsigned = authority("root", ROOT).issued_by(&authority("root", OTHER));
    let said = of_chain(&pinning(&[middle]), &[leaf, middle, &unsigned]);
    assert!(said.contains(NO_ROOT), "{said}");
    // A signer is no authority.
    let by_leaf = self::leaf("second", LEAF).issued_by(&self::leaf("leaf", LEAF));
    let said = of_chain(&pinning(&[root]), &[&by_leaf, leaf, middle, root]);
    assert!(said.contains("authority"), "{said}");
}

#[test]
fn a_path_is_no_longer_than_each_authority_of_it_allows() {
    for (of_root, of_middle, counts) in [
        (None, None, true),
        (Some(2), Some(1), true),
        (Some(1), Some(1), false),
        (Some(0), None, false),
        (None, Some(0), false),
        (None, Some(1), true),
    ] {
        let root = Content {
            longest_path: of_root,
            ..authority("root", ROOT)
        };
        let middle = Content {
            longest_path: of_middle,
            ..authority("middle", MIDDLE)
        };
        let low = authority("low", OTHER);
        let leaf = leaf("leaf", LEAF).issued_by(&low);
        let low = low.issued_by(&middle);
        let middle = middle.issued_by(&root);
        let root = root.issued_by_itself();
        for pin in [&root, &middle, &low] {
            let said = of_chain(&pinning(&[pin]), &[&leaf, &low, &middle, &root]);
            assert_eq!(said == "signed", counts, "{of_root:?} {of_middle:?} {said}");
            assert!(counts || said.contains("allows no path of"), "{said}");
        }
    }
}

#[test]
fn a_subject_that_is_compared_has_each_attribute_once() {
    let root = authority("root", ROOT);
    let of = |subject: &[(&'static str, &'static str)], wanted: &str| {
        let leaf = Content {
            subject: subject.to_vec(),
            ..leaf("leaf", LEAF)
        };
        let (leaf, root) = (leaf.issued_by(&root), root.issued_by_itself());
        let pins = NotationPins {
            subjects: vec![SubjectAttribute::parse_all(wanted).unwrap()],
            ..pinning(&[&root])
        };
        of_chain(&pins, &[&leaf, &root])
    };
    let good = [(O, "Lab"), (OU, "release"), (CN, "builder")];
    assert_eq!(of(&good, "O=Lab, OU=release"), "signed");
    assert_eq!(of(&good, "CN=builder"), "signed");
    for (subject, wanted) in [
        (
            &[(O, "Lab"), (OU, "guest"), (OU, "release"), (CN, "mallory")][..],
            "OU=release",
        ),
        (
            &[(O, "Evil"), (O, "Lab"), (CN, "evil"), (CN, "builder")],
            "O=Lab, CN=builder",
        ),
        (
            &[(O, "Lab"), (OU, "a"), (OU, "a"), (CN, "builder")],
            "O=Lab",
        ),
    ] {
        let said = of(subject, wanted);
        assert!(said.contains("each attribute once"), "{said}");
    }
    assert!(of(&good, "CN=mallory").contains("its signer is"));
}

#[test]
fn the_purposes_and_usages_of_a_leaf_are_those_of_the_specification() {
    let root = authority("root", ROOT);
    let of = |purposes: &[&'static str], usage: u8| {
        let leaf = Content {
            purposes: purposes.to_vec(),
            usage,
            ..leaf("leaf", LEAF)
        };
        let (leaf, root) = (leaf.issued_by(&root), root.issued_by_itself());
        of_chain(&pinning(&[&root]), &[&leaf, &root])
    };
    let custom = "1.3.6.1.4.1.311.10.3.13";
    for purposes in [&[][..], &[CODE_SIGNING], &[custom], &[CODE_SIGNING, custom]] {
        assert_eq!(of(purposes, DIGITAL_SIGNATURE), "signed", "{purposes:?}");
    }
    // Any, server, client, e-mail, time stamps, answers about revocation.
    for excluded in [
        "2.5.29.37.0",
        "1.3.6.1.5.5.7.3.1",
        "1.3.6.1.5.5.7.3.2",
        "1.3.6.1.5.5.7.3.4",
        "1.3.6.1.5.5.7.3.8",
        "1.3.6.1.5.5.7.3.9",
    ] {
        for purposes in [&[excluded][..], &[CODE_SIGNING, excluded]] {
            let said = of(purposes, DIGITAL_SIGNATURE);
            assert!(said.contains(excluded), "{said}");
        }
    }
    let both = DIGITAL_SIGNATURE | NON_REPUDIATION;
    assert_eq!(of(&[CODE_SIGNING], both), "signed");
    for usage in [
        NON_REPUDIATION,
        KEY_ENCIPHERMENT,
        both | KEY_ENCIPHERMENT,
        DIGITAL_SIGNATURE | 0x04,
        DIGITAL_SIGNATURE | 0x02,
    ] {
        let said = of(&[CODE_SIGNING], usage);
        assert!(said.contains("key usage"), "{usage:x}: {said}");
    }
}

#[test]
fn of_a_renewed_authority_each_certificate_counts_alone_in_whichever_order_they_are_pinned() {
    let root = authority("root", ROOT);
    let leaf = leaf("leaf", LEAF).issued_by(&root);
    let over = Content {
        until: "261101000000Z",
        ..root.clone()
    };
    let (root, over) = (root.issued_by_itself(), over.issued_by_itself());
    for pins in [[&over, &root], [&root, &over]] {
        let pins = pinning(&pins.map(Vec::as_slice));
        assert_eq!(of_chain(&pins, &[&leaf, &root]), "signed");
        assert!(of_chain(&pins, &[&leaf, &over]).contains("is valid from"));
    }
    let said = of_chain(&pinning(&[&over]), &[&leaf, &root]);
    assert!(
        said.contains("another certificate than the pinned one"),
        "{said}"
    );
}

#[test]
fn other_extensions_and_hashes_than_the_specification_speaks_of_change_nothing() {
    // Certificate policies; permitted names of another organization; a server's purpose.
    let policies = tlv(0x30, &[&tlv(0x30, &[&[6, 3, 42, 3, 4]])]);
    let permitted = tlv(0x30, &[&tlv(0x30, &[&tlv(0x82, &[b"x.y"])])]);
    let names = tlv(0x30, &[&tlv(0xa0, &[&permitted[2..]])]);
    let root = Content {
        by_sha512: true,
        others: vec![("2.5.29.30", names)],
        ..authority("root", ROOT)
    };
    let middle = Content {
        purposes: vec!["1.3.6.1.5.5.7.3.1"],
        ..authority("middle", MIDDLE)
    };
    let leaf = Content {
        others: vec![("2.5.29.32", policies)],
        ..leaf("leaf", LEAF)
    };
    let leaf = leaf.issued_by(&middle);
    let middle = middle.issued_by(&root);
    let root = root.issued_by_itself();
    for pin in [&root, &middle, &leaf] {
        let said = of_chain(&pinning(&[pin]), &[&leaf, &middle, &root]);
        assert_eq!(said, "signed");
    }
}

#[test]
fn a_signer_that_issued_its_own_certificate_is_pinned_by_that_one_alone() {
    let own = leaf("own", LEAF).issued_by_itself();
    let same_key = Content {
        until: "410101000000Z",
        ..leaf("own", LEAF)
    };
    assert_eq!(of_chain(&pinning(&[&own]), &[&own]), "signed");
    let other = same_key.issued_by_itself();
    assert!(of_chain(&pinning(&[&own]), &[&other]).contains("another certificate"));
    let root = authority("root", ROOT).issued_by_itself();
    let said = of_chain(&pinning(&[&own]), &[&own, &root]);
    assert!(said.contains("not in order"), "{said}");
}

#[test]
fn the_signed_parts_are_whole_and_have_the_names_that_each_tool_reads() {
    let own = leaf("own", LEAF).issued_by_itself();
    let pins = pinning(&[&own]);
    let of = |header: &str, payload: &str| said(&pins, &[jws(LEAF, &[&own], header, payload)]);
    let (header, good) = (header(), payload(""));
    assert_eq!(of(&header, &good), "signed");
    assert_eq!(
        of(&header, &payload(r#","annotations":{"Digest":"x"}"#)),
        "signed"
    );
    let untimed = header.replace("signingTime", "signing-time");
    assert!(of(&untimed, &good).contains("when it was signed"));
    let timed = header.replace("2026-11-30T09", "yesterday at 9");
    assert!(of(&timed, &good).contains("is no time"));
    let zeros = "0".repeat(64);
    for (payload, why) in [
        (
            payload(&format!(r#","Digest":"sha256:{zeros}""#)),
            "other letters",
        ),
        (
            good.replace(
                "{\"targetArtifact\"",
                "{\"TargetArtifact\":{},\"targetArtifact\"",
            ),
            "other letters",
        ),
        (good.replace(",\"size\":1", ""), "no size"),
        (good.replace("\"size\":1", "\"size\":\"1\""), "no size"),
        (good.replace("mediaType", "media-type"), "no media type"),
    ] {
        let said = of(&header, &payload);
        assert!(said.contains(why), "{payload}: {said}");
    }
    let ends = |at: &str| {
        header
            .replace(
                &format!("[\"{SIGNING_SCHEME}\"]"),
                &format!("[\"{SIGNING_SCHEME}\",\"{EXPIRY}\"]"),
            )
            .replace("\"cty\"", &format!("\"{EXPIRY}\":\"{at}\",\"cty\""))
    };
    assert_eq!(of(&ends("2026-12-30T09:00:00Z"), &good), "signed");
    assert!(of(&ends("2026-11-30T09:00:00Z"), &good).contains("before it was signed"));
}

#[test]
fn nothing_that_a_stranger_puts_beside_an_image_changes_the_code_of_its_refusal() {
    let Certificates { root, middle, leaf } = &certificates();
    let chain: [&[u8]; 3] = [leaf, middle, root];
    let by = |header: &str, payload: &str| jws(LEAF, &chain, header, payload);
    let critical = header().replace(
        &format!("[\"{SIGNING_SCHEME}\"]"),
        &format!("[\"{SIGNING_SCHEME}\",\"x\"]"),
    );
    let critical = critical.replace("\"cty\"", "\"x\":\"y\",\"cty\"");
    let over = header().replace(
        &format!("[\"{SIGNING_SCHEME}\"]"),
        &format!("[\"{SIGNING_SCHEME}\",\"{EXPIRY}\"]"),
    );
    let until = format!("\"{EXPIRY}\":\"2026-11-30T10:00:00Z\",\"cty\"");
    let over = over.replace("\"cty\"", &until);
    let other = payload("").replace(IMAGE, &Digest::of(b"other").to_string());
    let own = self::leaf("own", OTHER).issued_by_itself();
    let tampered = SignatureFile {
        bytes: by(&header(), &payload("")).bytes[1..].to_vec(),
        ..by(&header(), &payload(""))
    };
    let strangers = [
        jws(OTHER, &[&own], &header(), &payload("")),
        // Under the pinned root's certificate, which everybody has.
        jws(OTHER, &[&own, root], &header(), &payload("")),
        jws(OTHER, &chain, &header(), &payload("")),
        by(&header(), &other),
        by(&over, &other),
        by(&critical, &other),
        tampered,
    ];
    for (own, wanted) in [
        (vec![], Code::NoStatement),
        (vec![by(&over, &payload(""))], Code::Expired),
        (vec![by(&critical, &payload(""))], Code::BadSignature),
    ] {
        let code = |files: &[SignatureFile]| {
            let outcome = outcome(&pinning(&[root]), files);
            outcome.result.unwrap_err().code
        };
        assert_eq!(code(&own), wanted);
        for (at, stranger) in strangers.iter().enumerate() {
            let all = [std::slice::from_ref(stranger), &own].concat();
            assert_eq!(code(&all), wanted, "{at}");
        }
    }
}

#[test]
fn a_certificate_that_is_revoked_by_its_fingerprint_is_so_with_the_other_signature_that_ecdsa_has()
{
    let Certificates { root, middle, leaf } = &certificates();
    for (at, der) in [leaf, middle].into_iter().enumerate() {
        let twin = twin(der);
        let mut chain = [leaf.as_slice(), middle, root];
        chain[at] = &twin;
        let files = [jws(LEAF, &chain, &header(), &payload(""))];
        let name = KeyId::from_bytes(*Digest::of(der).as_bytes());
        let said =
            |revoked: &[KeyId]| said_of(&outcome_at(NOW, &pinning(&[root]), revoked, &files));
        assert_eq!(said(&[]), "signed", "{at}");
        assert!(said(&[name]).contains("revokes"), "{at}");
    }
}

#[test]
fn certificates_that_never_end_count() {
    let endless = |content: Content| Content {
        until: "99991231235959Z",
        ..content
    };
    let root = endless(authority("root", ROOT));
    let leaf = endless(leaf("leaf", LEAF)).issued_by(&root);
    let root = root.issued_by_itself();
    let file = jws(LEAF, &[&leaf, &root], &header(), &payload(""));
    let outcome = outcome(&pinning(&[&root]), &[file]);
    assert_eq!(said_of(&outcome), "signed");
    assert_eq!(outcome.result.unwrap().get().expires, Timestamp::MAX);
}

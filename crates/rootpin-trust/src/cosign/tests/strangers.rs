//! What a stranger can put beside an image: it hides no signature, and chooses no refusal's code.

use super::*;

/// What anybody can put beside an image: signatures by other keys, of other images, and junk.
fn of_strangers() -> Vec<SignatureFile> {
    let other = format!("sha256:{}", "0".repeat(64));
    let good = statement(SIGN, IMAGE, "");
    let mut tampered = bundle(1, &good);
    tampered.bytes = String::from_utf8(tampered.bytes)
        .unwrap()
        .replace("\"sig\":\"M", "\"sig\":\"N")
        .into_bytes();
    let of_another = bundle(1, &statement(SIGN, &other, ""));
    let mut simple = files("simple-rsa").remove(0);
    let mut all = vec![
        bundle(2, &good),
        bundle(2, &statement("https://slsa.dev/provenance/v1", IMAGE, "")),
        bundle(2, &good.replace("Statement/v1", "Statement/v0.1")),
        tampered,
        of_another,
        file("{}".to_owned()),
        file("<html>".to_owned()),
        simple.clone(),
    ];
    simple.signature = None;
    all.push(simple);
    all
}

#[test]
fn nothing_that_a_stranger_puts_beside_an_image_changes_the_code_of_its_refusal() {
    let good = statement(SIGN, IMAGE, "");
    let report = bundle(1, &statement("https://slsa.dev/provenance/v1", IMAGE, ""));
    let odd = bundle(1, &good.replace("Statement/v1", "Statement/v0.1"));
    let two = CosignPins {
        keys: vec![own_key(1), own_key(3)],
        threshold: 2,
        ..own_pins()
    };
    let bound = CosignPins {
        binds_tag: Some(TagBinding::Annotation("tag".to_owned())),
        ..own_pins()
    };
    let formats = CosignPins {
        format: Some(CosignFormat::SimpleSigning),
        ..own_pins()
    };
    for (pins, revoked, own, wanted) in [
        (own_pins(), None, vec![], "no-statement"),
        (own_pins(), None, vec![report.clone()], "no-statement"),
        (own_pins(), None, vec![odd.clone()], "bad-signature"),
        (own_pins(), Some(1), vec![bundle(1, &good)], "revoked"),
        (two.clone(), None, vec![bundle(1, &good)], "no-statement"),
        (
            two,
            Some(3),
            vec![bundle(1, &good), bundle(3, &good)],
            "revoked",
        ),
        (bound, None, vec![bundle(1, &good)], "no-statement"),
        (formats, None, vec![], "no-statement"),
    ] {
        let revoked: Vec<_> = revoked.map(own_key).into_iter().collect();
        let code = |files: &[SignatureFile]| said_of(&outcome_under(&revoked, &pins, files));
        assert_eq!(code(&own), wanted);
        for stranger in of_strangers() {
            let shown = String::from_utf8_lossy(&stranger.bytes).into_owned();
            let first = [std::slice::from_ref(&stranger), &own].concat();
            let last = [&own, std::slice::from_ref(&stranger)].concat();
            assert_eq!([code(&first), code(&last)], [wanted; 2], "{shown}");
        }
        assert_eq!(code(&[of_strangers(), own].concat()), wanted);
    }
}

#[test]
fn why_a_pinned_key_s_signature_does_not_count_is_said_before_what_is_by_others() {
    let good = statement(SIGN, IMAGE, "");
    let odd = bundle(1, &good.replace("Statement/v1", "Statement/v0.1"));
    let all = [of_strangers(), vec![odd]].concat();
    let refusal = outcome(&own_pins(), &all).result.unwrap_err();
    assert!(refusal.found.contains("Statement/v0.1"), "{refusal}");
}

#[test]
fn no_number_of_signatures_by_strangers_takes_the_work_that_a_later_one_needs() {
    let good = statement(SIGN, IMAGE, "");
    let keys: Vec<_> = (10..60).map(own_key).collect();
    let pins = CosignPins { keys, ..own_pins() };
    let junk = bundle(2, &good);
    let mut all = vec![junk; MOST_SIGNATURES - 1];
    all.push(bundle(59, &good));
    assert_eq!(said(&pins, &all), "signed");
}

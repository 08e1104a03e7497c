//! How many keys signed: each counts once, and only while it is not revoked.

use super::*;

#[test]
fn a_threshold_counts_distinct_keys_and_not_signatures() {
    let two = files("bundle-two");
    assert_eq!(said(&pins(&["p256", "other"], 2), &two), "signed");
    assert_eq!(said(&pins(&["p256", "rsa"], 2), &two), "no-statement");
    let both_forms = [
        files("bundle-p256"),
        files("simple-p256"),
        files("bundle-p256"),
    ]
    .concat();
    assert_eq!(
        said(&pins(&["p256", "other"], 2), &both_forms),
        "no-statement"
    );
    let mut twice = pins(&["p256", "p256"], 2);
    assert_eq!(said(&twice, &both_forms), "no-statement");
    twice.threshold = 1;
    assert_eq!(said(&twice, &both_forms), "signed");
}

#[test]
fn a_signature_of_another_image_by_a_revoked_key_says_nothing_of_this_one() {
    let repository = repository();
    for fixture in ["bundle-p256", "simple-p256"] {
        let pins = pins(&["p256", "other"], 1);
        let revoked = BTreeSet::from([key("p256").id()]);
        let code = |digest: Digest| {
            let image = SignedImage {
                repository: &repository,
                digest,
                tag: None,
                every_signer: false,
            };
            let outcome = verify(image, &pins, &revoked, &files(fixture), Vec::new());
            outcome.result.unwrap_err().code
        };
        assert_eq!(code(IMAGE.parse().unwrap()), Code::Revoked, "{fixture}");
        assert_eq!(code(Digest::of(b"other")), Code::NoStatement, "{fixture}");
    }
}

#[test]
fn signatures_are_found_in_any_order_and_among_junk_and_no_more_than_the_limit_are_looked_at() {
    let mut all = files("bundle-two");
    all.reverse();
    assert_eq!(said(&pins(&["p256", "other"], 2), &all), "signed");
    let junk = SignatureFile {
        bytes: b"{}".to_vec(),
        ..all[0].clone()
    };
    let mut many = vec![junk; 1000];
    many.insert(10, files("bundle-p256").remove(0));
    let found = outcome(&pins(&["p256"], 1), &many);
    assert!(found.result.is_ok() && found.findings.len() == MOST_SIGNATURES);
    many.swap(10, 500);
    assert_eq!(said(&pins(&["p256"], 1), &many), "no-statement");
}

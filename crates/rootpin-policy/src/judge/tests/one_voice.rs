//! A quorum counts signers: what is asked for where roots share some, and what comes of it.

use proptest::prelude::*;
use rootpin_trust::KeyId;

use super::*;

const P256: &[u8] = include_bytes!("../../../../../tests/data/signatures/keys/p256.pub");
const RSA: &[u8] = include_bytes!("../../../../../tests/data/signatures/keys/rsa.pub");

fn key(digit: usize) -> KeyId {
    format!("{digit:064x}").parse().unwrap()
}

/// A root's statement that the tag is these bytes, by these keys, of which it takes so many.
fn signed_by(keys: &[usize], needed: usize, at_hand: bool) -> Heard {
    let mut statement = statement(&[("1", "good")], at_hand);
    let mut collection = Collection {
        gun: name("r.example/team/app").repository,
        role: "targets".to_owned(),
        targets: statement.verified.get().targets.clone(),
        untagged: [digest("good")].into(),
        expires: Timestamp::MAX,
        root_keys: BTreeSet::new(),
        signers: keys.iter().map(|digit| key(*digit)).collect(),
        signers_needed: 0,
        versions: BTreeMap::new(),
    };
    collection.signers_needed = needed.min(collection.signers.len());
    statement.verified = Arc::new(Verified::for_test(collection));
    Heard::Root(Ok(statement))
}

/// Two roots whose signatures stand beside the image, and a quorum of both.
fn beside() -> Policy {
    let root = |id: &str, file: &str| {
        format!("[[root]]\nid = \"{id}\"\ntype = \"cosign\"\nkeys = [\"roots/{file}.pub\"]\n")
    };
    let text = format!(
        "version = 1\ndefault = \"deny\"\n{}{}[[rule]]\nmatch = \"r.example/team/**\"\nroots = [\"one\", \"two\"]\ntags = \"unbound\"\nquorum = 2\n",
        root("one", "p256"),
        root("two", "rsa")
    );
    let files = BTreeMap::from([
        ("policy.toml".to_owned(), text.into_bytes()),
        ("roots/p256.pub".to_owned(), P256.to_vec()),
        ("roots/rsa.pub".to_owned(), RSA.to_vec()),
    ]);
    load(&files, now()).unwrap()
}

/// What was asked of which root, and the answer.
fn asked(policy: &Policy, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    let question = Question::pull(name("r.example/team/app:1"), digest("good"));
    let mut judge = Judge::start(policy, question, now(), None);
    let (mut asked, mut heard) = (Vec::new(), None);
    loop {
        match judge.next(heard.take()) {
            Step::Done(judgement) => return (asked, judgement),
            Step::Ask(ask) => {
                let Need::Root(root, _, about) = &ask.need else {
                    panic!("{ask:?}")
                };
                let all = matches!(
                    about,
                    tuf::Question::Image {
                        every_signer: true,
                        ..
                    }
                );
                let all = if all { " all" } else { "" };
                let again = if ask.again { " again" } else { "" };
                let text = format!("{}{all}{again}", root.id);
                assert!(!asked.contains(&text), "{text} twice");
                heard = Some(said(&text));
                asked.push(text);
            }
        }
    }
}

#[test]
fn roots_that_share_no_signer_are_asked_once() {
    let (asked, judgement) = asked(&beside(), |text| {
        signed_by(if text == "one" { &[1, 2] } else { &[3] }, 9, true)
    });
    assert_eq!(asked, ["one", "two"]);
    assert_eq!(code(&judgement), "signed");
}

#[test]
fn where_they_share_one_all_signers_are_asked_for_and_the_registry_last() {
    let of_both = |text: &str| {
        let keys: &[usize] = match text {
            "one all again" => &[1, 2],
            _ => &[1],
        };
        signed_by(keys, 1, !text.ends_with("again"))
    };
    let (asked, judgement) = asked(&beside(), of_both);
    assert_eq!(asked, ["one", "two", "one all", "two all", "one all again"]);
    assert_eq!(code(&judgement), "signed");
}

#[test]
fn one_signer_is_refused_and_one_whose_other_signatures_are_not_seen_is_not_judged() {
    let (asked_of, judgement) = asked(&beside(), |_| signed_by(&[1], 1, true));
    assert_eq!(asked_of.len(), 6);
    assert_eq!(code(&judgement), "bad-signature");
    let (_, judgement) = asked(&beside(), |text| match text {
        "one all again" => silent(),
        _ => signed_by(&[1], 1, true),
    });
    assert_eq!(code(&judgement), "source-unreachable");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_quorum_is_of_roots_that_have_keys_of_their_own(
        one in prop::collection::btree_set(0..4_usize, 1..4),
        two in prop::collection::btree_set(0..4_usize, 1..4),
        needed in 1..4_usize,
        is_beside in any::<bool>(),
    ) {
        let policy = if is_beside { beside() } else { policy(2, "") };
        let keys = |text: &str| -> Vec<usize> {
            let keys = if text.starts_with("one") { &one } else { &two };
            keys.iter().copied().collect()
        };
        let (_, judgement) = asked(&policy, |text| {
            let needed = if text.contains("all") { needed } else { 9 };
            signed_by(&keys(text), needed, false)
        });
        let needs = |keys: &BTreeSet<usize>| if is_beside { needed.min(keys.len()) } else { keys.len() };
        // By Hall's theorem, for two roots.
        let can = one.union(&two).count() >= needs(&one) + needs(&two);
        prop_assert_eq!(judgement.result.is_ok(), can || one.is_disjoint(&two));
    }
}

//! A quorum counts signers: what is asked for where roots share some, and what comes of it.

use proptest::prelude::*;
use rootpin_trust::{KeyId, independent};

use super::*;

const KEYS: [(&str, &[u8]); 4] = [
    (
        "one",
        include_bytes!("../../../../../tests/data/signatures/keys/p256.pub"),
    ),
    (
        "two",
        include_bytes!("../../../../../tests/data/signatures/keys/rsa.pub"),
    ),
    (
        "three",
        include_bytes!("../../../../../tests/data/signatures/keys/p384.pub"),
    ),
    (
        "four",
        include_bytes!("../../../../../tests/data/signatures/keys/ed25519.pub"),
    ),
];

fn key(digit: usize) -> KeyId {
    format!("{digit:064x}").parse().unwrap()
}

/// A root's statement that the tag is these bytes, by these keys, of which it takes so many.
pub(super) fn signed_by(keys: &[usize], needed: usize, at_hand: bool) -> Heard {
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

/// So many of these roots, whose signatures stand beside the image, and a quorum of all of them.
pub(super) fn quorum_of(count: usize) -> Policy {
    quorum_among(count, count)
}

/// The same, and a quorum of so many of them.
fn quorum_among(quorum: usize, count: usize) -> Policy {
    let keys = KEYS.get(..count).unwrap();
    let ids: Vec<&str> = keys.iter().map(|(id, _)| *id).collect();
    let root =
        |id: &&str| format!("[[root]]\nid = \"{id}\"\ntype = \"cosign\"\nkeys = [\"{id}.pub\"]\n");
    let roots: String = ids.iter().map(root).collect();
    let rule = format!(
        "[[rule]]\nmatch = \"r.example/team/**\"\nroots = {ids:?}\ntags = \"unbound\"\nquorum = {quorum}\n"
    );
    let text = format!("version = 1\ndefault = \"deny\"\n{roots}{rule}").into_bytes();
    let keys = keys
        .iter()
        .map(|(id, pem)| (format!("{id}.pub"), pem.to_vec()));
    let files: BTreeMap<_, _> = keys.chain([("policy.toml".to_owned(), text)]).collect();
    load(&files, now()).unwrap()
}

/// What was asked of which root, and the answer.
pub(super) fn asked(policy: &Policy, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    asked_among(policy, |text, _| said(text))
}

/// The same; what is said may depend on how many share the time.
fn asked_among(
    policy: &Policy,
    mut said: impl FnMut(&str, usize) -> Heard,
) -> (Vec<String>, Judgement) {
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
                heard = Some(said(&text, ask.sharers));
                asked.push(text);
            }
        }
    }
}

#[test]
fn roots_that_share_no_signer_are_asked_once() {
    let (asked, judgement) = asked(&quorum_of(2), |text| {
        signed_by(if text == "one" { &[1, 2] } else { &[3] }, 9, true)
    });
    assert_eq!(asked, ["one", "two"]);
    assert_eq!(code(&judgement), "signed");
}

#[test]
fn a_look_at_all_signers_leaves_their_part_of_the_time_to_roots_that_were_not_asked_yet() {
    let mut shares = Vec::new();
    let (asked, judgement) = asked_among(&quorum_among(2, 3), |text, sharers| {
        if text.contains(" all") {
            shares.push(sharers);
        }
        let signer = if text.starts_with("three") { 2 } else { 1 };
        signed_by(&[signer], 1, true)
    });
    assert_eq!(asked.last().unwrap(), "three");
    assert_eq!(shares, [2; 4], "{asked:?}");
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
    let (asked, judgement) = asked(&quorum_of(2), of_both);
    assert_eq!(asked, ["one", "two", "one all", "two all", "one all again"]);
    assert_eq!(code(&judgement), "signed");
}

#[test]
fn a_root_that_shares_no_signer_is_not_asked_for_all_of_them() {
    let (asked, judgement) = asked(&quorum_of(3), |text| {
        let keys: &[usize] = match text {
            "one" | "one all" => &[2],
            "two all" => &[1, 3],
            _ => &[1],
        };
        signed_by(keys, 1, true)
    });
    assert_eq!(asked, ["one", "two", "three", "two all"]);
    assert_eq!(code(&judgement), "signed");
}

#[test]
fn a_yes_lists_the_roots_whose_keys_make_the_quorum_and_holds_until_the_first_one_s_end() {
    let until = |text: &str| match text.split(' ').next() {
        Some("three") => now() + jiff::SignedDuration::from_mins(1),
        _ => now() + jiff::SignedDuration::from_mins(2),
    };
    let (_, judgement) = asked(&quorum_among(2, 3), |text| {
        let signer = if text.starts_with("three") { 2 } else { 1 };
        match signed_by(&[signer], 1, false) {
            Heard::Root(Ok(statement)) => Heard::Root(Ok(Statement {
                valid_until: until(text),
                ..statement
            })),
            heard => heard,
        }
    });
    let admission = judgement.result.unwrap();
    assert_eq!(admission.valid_until, until("three"));
    let Ground::Signed(roots) = admission.ground else {
        panic!("{admission:?}");
    };
    let ids: Vec<_> = roots.iter().map(|(id, _)| id.as_str()).collect();
    assert!(
        ids == ["one", "three"] || ids == ["two", "three"],
        "{ids:?}"
    );
}

#[test]
fn a_no_says_what_signatures_beside_the_image_would_bind_and_a_command_stays_the_last_of_its_hint()
{
    let binds = "; root one binds digest; not name, tag, freshness; root two binds digest; not name, tag, freshness";
    for (unpinned_root, wanted) in [
        (false, format!("type this{binds}")),
        (true, "type this".to_owned()),
    ] {
        let (_, judgement) = asked(&quorum_of(2), |_| {
            let refusal = Refusal::new(Code::RootNotPinned, "a", "b", "type this");
            Heard::Root(Err(Refusal {
                unpinned_root,
                ..refusal
            }))
        });
        assert_eq!(judgement.result.unwrap_err().refusal.hint, wanted);
    }
    // Roots that list tags bind all of it.
    let (_, judgement) = asked(&policy(1, ""), |_| silent());
    assert_eq!(judgement.result.unwrap_err().refusal.hint, "c");
}

#[test]
fn one_signer_is_refused_and_one_whose_other_signatures_are_not_seen_is_not_judged() {
    let (asked_of, judgement) = asked(&quorum_of(2), |_| signed_by(&[1], 1, true));
    assert_eq!(asked_of.len(), 6);
    assert_eq!(code(&judgement), "bad-signature");
    let (_, judgement) = asked(&quorum_of(2), |text| match text {
        "one all again" => silent(),
        _ => signed_by(&[1], 1, true),
    });
    assert_eq!(code(&judgement), "source-unreachable");
    // Nor one of whose list a part only was looked at.
    let (_, judgement) = asked(&quorum_of(2), |text| match signed_by(&[1], 1, true) {
        Heard::Root(Ok(mut statement)) if text.contains("all") => {
            "; 64 of 65 were looked at".clone_into(&mut statement.cut);
            Heard::Root(Ok(statement))
        }
        heard => heard,
    });
    assert_eq!(code(&judgement), "over-limit");
    let found = judgement.result.unwrap_err().refusal.found;
    assert!(found.ends_with("; 64 of 65 were looked at"), "{found}");
}

#[test]
fn a_root_s_other_signer_may_be_the_only_one_of_the_next_root_and_so_on() {
    let (_, judgement) = asked(&quorum_of(4), |text| {
        let keys: &[usize] = match text.trim_end_matches(" again") {
            "one" | "two" | "two all" => &[1],
            "one all" => &[1, 2],
            "three" => &[2],
            "three all" => &[2, 3],
            "four" => &[3],
            _ => &[3, 4],
        };
        signed_by(keys, 1, true)
    });
    assert_eq!(code(&judgement), "signed");
}

#[test]
fn one_voice_is_no_final_answer_where_another_signer_and_a_silent_root_would_make_the_quorum() {
    let of = |other: &'static [usize]| {
        let (_, judgement) = asked(&quorum_of(3), |text| match text.split(' ').next() {
            Some("three") => silent(),
            Some("one") if text.contains("all") => signed_by(other, 1, false),
            _ => signed_by(&[1], 1, false),
        });
        code(&judgement).to_owned()
    };
    assert_eq!(of(&[1, 2]), "source-unreachable");
    assert_eq!(of(&[1]), "bad-signature");
}

/// What a root says, if it can be heard: the signers that are found first, and all of them.
type Voice = Option<(BTreeSet<usize>, BTreeSet<usize>)>;

fn voices() -> impl Strategy<Value = Vec<Voice>> {
    let keys = || prop::collection::btree_set(0..5_usize, 1..4);
    let voice = (any::<u8>(), keys(), keys());
    let voice = voice.prop_map(|(silent, first, more)| {
        let all = &first | &more;
        (silent > 50).then_some((first, all))
    });
    prop::collection::vec(voice, 2..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_rests_on_all_signers_whichever_are_found_first_and_no_is_final_only_if_it_must_be(
        voices in voices(), at_hand in any::<bool>(),
    ) {
        let (_, judgement) = asked(&quorum_of(voices.len()), |text| {
            let id = text.split(' ').next().unwrap();
            let at = KEYS.iter().position(|(known, _)| *known == id).unwrap();
            let Some((first, all)) = &voices[at] else {
                return silent();
            };
            let keys = if text.contains("all") { all } else { first };
            let keys: Vec<usize> = keys.iter().copied().collect();
            signed_by(&keys, 1, at_hand)
        });
        let keys = |all: &BTreeSet<usize>| -> BTreeSet<_> { all.iter().map(|digit| key(*digit)).collect() };
        let heard: Vec<_> = voices.iter().flatten().map(|(_, all)| keys(all)).collect();
        let heard: Vec<_> = heard.iter().map(|keys| (keys, 1)).collect();
        let (can_speak, silent) = (independent(&heard).len(), voices.len() - heard.len());
        prop_assert_eq!(judgement.result.is_ok(), can_speak == voices.len());
        if let Err(denial) = &judgement.result {
            let is_possible = can_speak + silent >= voices.len();
            prop_assert_eq!(denial.refusal.code.judged(), !is_possible, "{:?}", denial);
        }
    }

    #[test]
    fn a_quorum_is_of_roots_that_have_keys_of_their_own(
        one in prop::collection::btree_set(0..4_usize, 1..4),
        two in prop::collection::btree_set(0..4_usize, 1..4),
        needed in 1..4_usize,
        is_beside in any::<bool>(),
    ) {
        let policy = if is_beside { quorum_of(2) } else { policy(2, "") };
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

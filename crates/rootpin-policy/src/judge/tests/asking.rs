//! Whether a source is asked again, and whether what it said is still fresh.

use super::one_voice::{asked, quorum_of, signed_by};
use super::*;

#[test]
fn a_source_without_a_statement_is_asked_once_more_and_one_that_failed_is_not() {
    let policy = policy(1, "");
    for (failed, asks) in [
        (Code::NoStatement, ["one of 2", "one of 2 again"]),
        (Code::SourceUnreachable, ["one of 2", "two of 1"]),
        (Code::BadSignature, ["one of 2", "two of 1"]),
    ] {
        let (asked, judgement) = pull(&policy, |text: &str| match text {
            "one of 2" => Heard::Root(Err(Refusal::new(failed, "a", "b", "c"))),
            _ => Heard::Root(Ok(statement(&[("1", "good")], false))),
        });
        assert_eq!(
            (code(&judgement), &asked[..]),
            ("signed", &asks.map(str::to_owned)[..])
        );
    }
}

#[test]
fn signatures_of_a_digest_never_age_and_a_list_of_tags_does_after_its_recheck() {
    for (policy, at_last) in [
        (quorum_of(1), Basis::Roots),
        (policy(1, ""), Basis::Doubtful),
    ] {
        for (seconds, wanted) in [(60, Basis::Roots), (61, at_last)] {
            let (_, judgement) = asked(&policy, |_| match signed_by(&[1], 1, false) {
                Heard::Root(Ok(statement)) => Heard::Root(Ok(Statement {
                    contact: now() - jiff::SignedDuration::from_secs(seconds),
                    ..statement
                })),
                heard => heard,
            });
            assert_eq!((code(&judgement), judgement.basis), ("signed", wanted));
        }
    }
}

//! The procedure over what is only supposed, for `policy simulate` and `policy diff`.

use super::*;
use crate::{Supposed, Supposing, Supposition};

/// What has to be supposed, and what the policy would say.
fn supposed(
    policy: &Policy,
    question: Question,
    says: impl Fn(&str) -> Supposed,
) -> (Vec<String>, Supposition) {
    let mut judge = Supposing::start(policy, question, now());
    let (mut asked, mut answer) = (Vec::new(), None);
    loop {
        match judge.next(answer.take()) {
            Ok(supposition) => return (asked, supposition),
            Err(ask) => {
                let Need::Root(root, ..) = ask.need else {
                    panic!("{ask:?}");
                };
                assert!(!asked.contains(&root.id), "{} is wanted twice", root.id);
                answer = Some(says(&root.id));
                asked.push(root.id.clone());
            }
        }
    }
}

#[test]
fn what_a_root_is_supposed_to_say_counts_as_its_statement_and_as_no_other_root_s() {
    let policy = policy(2, "");
    let says = |content| Supposed::Says(Arc::new(collection(&[("1", content)])));
    let resolve = Question::of(
        Action::Resolve(name("r.example/team/app:1")),
        String::new(),
        String::new(),
    );
    let pull = Question::pull(name("r.example/team/app:1"), digest("good"));
    for question in [pull, resolve] {
        for (two, wanted) in [
            (says("good"), "signed"),
            (says("bad"), "digest-mismatch"),
            (Supposed::Heard(silent()), "source-unreachable"),
        ] {
            let (asked, supposition) = supposed(&policy, question.clone(), |root| {
                if root == "one" {
                    says("good")
                } else {
                    two.clone()
                }
            });
            let code = match &supposition.result {
                Ok((ground, rule)) => {
                    assert!(rule.starts_with("[[rule]]"), "{rule}");
                    ground
                }
                Err(denial) => denial.refusal.code.as_str(),
            };
            assert_eq!(code, wanted, "{question:?}");
            assert_eq!(asked, ["one", "two"]);
        }
    }
}

//! Many questions at once: what a source costs is bounded, and none waits for another one's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::load_support::{Load, Source, codes, peak, times};

const REPOSITORIES: usize = 10;

#[test]
fn hundreds_of_questions_at_once_ask_each_source_a_few_times_and_none_waits_for_anothers() {
    let Some(load) = Load::new("l-thousand", REPOSITORIES) else {
        return;
    };
    let daemon = load.world.start();
    let answers = load.ask(200, 100, 10);
    assert_eq!(answers.len(), 200);
    let codes = codes(&answers);
    for source in [Source::Healthy, Source::Slow, Source::Dead, Source::Hostile] {
        let of_it: BTreeSet<_> = codes
            .keys()
            .filter(|(of, _)| *of == source)
            .map(|(_, code)| *code)
            .collect();
        let wanted = source == Source::Healthy;
        assert_eq!(of_it.contains("allowed"), wanted, "{codes:?}");
        assert_eq!(of_it.contains("digest-mismatch"), wanted, "{codes:?}");
    }
    // A source that drips takes the time of who asks it first, and nobody else's.
    let longest = |source| *times(&answers, |one| one.source == source).last().unwrap();
    let (slow, healthy) = (longest(Source::Slow), longest(Source::Healthy));
    assert!(slow > Duration::from_secs(5), "{slow:?}");
    assert!(
        healthy + Duration::from_secs(1) < slow,
        "a healthy source's answer took {healthy:?}, a slow one's {slow:?}"
    );
    // root, timestamp, snapshot, targets, targets/releases, and a look for the next root.
    let asked = load.world.notary.questions();
    assert!(
        asked <= REPOSITORIES * 6,
        "{asked} requests for {REPOSITORIES} repositories"
    );
    let slow = load.slow.connections();
    assert!(
        (1..=8).contains(&slow),
        "{slow} connections to the slow source"
    );
    // Nonsense is an answer: what was mended counts from the next question on. So each question
    // asks, one after another, and takes no more than a file may have.
    let hostile = times(&answers, |one| one.source == Source::Hostile).len();
    let connections = load.hostile.connections();
    assert!(
        connections <= hostile + 10,
        "{connections} connections for {hostile} questions"
    );
    let peak = peak(&daemon);
    assert!(
        peak < 128 << 10,
        "{peak} KiB; the unit's MemoryHigh is 256 MiB"
    );
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn each_of_ten_thousand_questions_gets_its_own_answer_and_nothing_is_let_in_that_nobody_signed() {
    let Some(load) = Load::new("l-ten-thousand", REPOSITORIES) else {
        return;
    };
    let daemon = load.world.start();
    let begun = Instant::now();
    let answers = load.ask(10_000, 200, 10);
    let looks = usize::try_from(begun.elapsed().as_secs() / 5).unwrap() + 1;
    assert_eq!(answers.len(), 10_000);
    let codes = codes(&answers);
    let mut too_late = 0;
    for answer in &answers {
        assert!(answer.own, "an answer of another question: {answer:?}");
        let good = answer.source == Source::Healthy && answer.signed;
        // On a machine that is busy with other work a few may take longer than they may.
        if good && answer.code == "over-limit" {
            too_late += 1;
            continue;
        }
        assert_eq!(answer.code == "allowed", good, "{answer:?}");
    }
    assert!(too_late <= 100, "{codes:?}");
    let asked = load.world.notary.questions();
    // The first look, and one more for bytes that are not signed at most every five seconds: the
    // next root and the timestamp.
    assert!(
        asked <= REPOSITORIES * (6 + 2 * looks),
        "{asked} requests for {REPOSITORIES} repositories: {codes:?}"
    );
    let slow = load.slow.connections();
    assert!(slow <= 24, "{slow} connections to the slow source");
    let hostile = times(&answers, |one| one.source == Source::Hostile).len();
    let connections = load.hostile.connections();
    assert!(
        connections <= 2 * hostile,
        "{connections} connections for {hostile} questions"
    );
    let peak = peak(&daemon);
    assert!(peak < 128 << 10, "{peak} KiB");
    assert_eq!(daemon.stop().0, 0);
}

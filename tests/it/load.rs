//! Many questions at once: what a source costs is bounded, and none waits for another one's.

use std::collections::BTreeSet;
use std::time::Duration;

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
        let allowed = of_it.iter().all(|code| *code == "allowed");
        assert_eq!(allowed, source == Source::Healthy, "{codes:?}");
        assert!(
            source == Source::Healthy || !of_it.contains("allowed"),
            "{codes:?}"
        );
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

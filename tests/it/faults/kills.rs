//! kill -9, at every step of a question.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rootpin::state::Store;

use super::scene::{Scene, V1};
use crate::world::{ended, start};

/// `ROOTPIN_KILLS` says how often: 500 takes some minutes.
#[test]
fn after_each_of_100_kills_under_load_the_state_opens_and_no_floor_is_lower() {
    let Some(mut scene) = Scene::new("f-kills", "kill -9, again and again, under load") else {
        return;
    };
    let rounds: usize = std::env::var("ROOTPIN_KILLS").map_or(100, |count| count.parse().unwrap());
    let descriptor = format!("{{\"digest\":\"{}\"}}", scene.image.index.digest);
    let mut floors: BTreeMap<String, u64> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let (mut answered, mut cut) = (0, 0);
    for round in 0..rounds {
        let began = Instant::now();
        let daemon = scene.world.start();
        slowest = slowest.max(began.elapsed());
        let before = scene.world.notary.questions();
        let mut askers: Vec<_> = (0..4)
            .map(|_| {
                let mut verifier = scene.world.verifier_command(V1, &scene.image.index.digest);
                start(&mut verifier, descriptor.as_bytes())
            })
            .collect();
        // Other rounds are cut at other steps of the question, and while what it found is written;
        // or when all is answered.
        while scene.world.notary.questions() < before + round % 12 {
            let asked = scene
                .world
                .notary
                .is_asked_within(Duration::from_millis(50));
            if !scene.world.runtime.block_on(asked) {
                if askers
                    .iter_mut()
                    .all(|asker| asker.try_wait().unwrap().is_some())
                {
                    break;
                }
            } else if round % 3 == 0 {
                scene.publish();
            }
        }
        daemon.signal("-KILL");
        assert_eq!(daemon.end().0, -9);
        for asker in askers {
            let asker = ended(asker.wait_with_output().unwrap());
            match asker.code {
                0 => answered += 1,
                1 if asker.out.contains("could not judge") => cut += 1,
                // It met a publication under way.
                1 if asker.out.contains(": role-missing: ") => {}
                _ => panic!("{asker:?}"),
            }
        }
        scene.publish();
        let seen = Store::open(&scene.world.path("state"))
            .unwrap_or_else(|error| panic!("round {round}: {error}"))
            .show()
            .unwrap();
        let now: BTreeMap<_, _> = seen
            .repositories
            .iter()
            .flat_map(|one| &one.floors)
            .map(|floor| (floor.role.clone(), floor.version))
            .collect();
        for (role, version) in &floors {
            assert!(
                now.get(role).is_some_and(|found| found >= version),
                "round {round}: {role} was {version}, is {now:?}"
            );
        }
        floors = now;
    }
    assert!(answered > 0 && cut > 0, "{answered} answered, {cut} cut");
    assert!(
        floors.get("timestamp").is_some_and(|version| *version > 10),
        "{floors:?}"
    );
    let _daemon = scene.world.start();
    scene.well();
    assert!(
        slowest < Duration::from_secs(5) + scene.busy(),
        "ready after {slowest:?}"
    );
    scene.told("the engine's message: “could not judge”; metric `rootpin_start_seconds` changes");
    let back = scene.back_within(5);
    scene.end(
        "allowed, where the answer was out; else the pull is refused: no answer",
        back,
    );
}

use std::net::SocketAddr;

use super::*;
use crate::operate::prove::path;

fn accepted() -> ImageOutcome {
    ImageOutcome::Accepted {
        let_through: None,
        asked: true,
    }
}

fn refused() -> ImageOutcome {
    ImageOutcome::Refused {
        door: "gate".to_owned(),
        code: "no-statement".to_owned(),
    }
}

fn failed() -> ImageOutcome {
    ImageOutcome::Failed("connection refused".to_owned())
}

fn result(
    asks_by_name: bool,
    control: ControlImage,
    signed: ImageOutcome,
    unsigned: ImageOutcome,
    known: ImageOutcome,
) -> DoorState {
    let at: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let mut path = path::of_resolver(at);
    (path.asks_by_name, path.control) = (asks_by_name, control);
    let images = [
        (Canary::Signed, signed),
        (Canary::Unsigned, unsigned),
        (Canary::Known, known),
    ];
    verdict(
        &path,
        images
            .map(|(canary, fate)| (canary, fate, Duration::ZERO))
            .into(),
        Leniency::default(),
    )
    .result
}

#[test]
fn only_a_path_that_stops_the_one_and_takes_the_other_is_shut() {
    let required =
        |signed, unsigned, known| result(false, ControlImage::Required, signed, unsigned, known);
    assert_eq!(required(accepted(), refused(), refused()), DoorState::Shut);
    assert_eq!(required(accepted(), refused(), accepted()), DoorState::Shut);
    assert_eq!(
        required(accepted(), accepted(), accepted()),
        DoorState::Open
    );
    // Whatever else happened, it came in.
    assert_eq!(required(refused(), accepted(), failed()), DoorState::Open);
    let audit = ImageOutcome::Accepted {
        let_through: Some("no-statement".to_owned()),
        asked: true,
    };
    assert_eq!(required(accepted(), audit, accepted()), DoorState::Open);
    for (signed, unsigned) in [
        (refused(), refused()),
        (failed(), refused()),
        (ImageOutcome::Untried, refused()),
        (accepted(), failed()),
        (accepted(), ImageOutcome::Untried),
        (failed(), failed()),
    ] {
        assert_eq!(
            required(signed.clone(), unsigned.clone(), ImageOutcome::Untried),
            DoorState::Unknown,
            "{signed:?} {unsigned:?}"
        );
    }
}

#[test]
fn known_layers_are_a_hole_where_somebody_should_be_asked_for_the_name() {
    let by_name = |known| result(true, ControlImage::Required, accepted(), refused(), known);
    assert_eq!(by_name(refused()), DoorState::Shut);
    assert_eq!(by_name(accepted()), DoorState::Open);
    assert_eq!(by_name(failed()), DoorState::Unknown);
}

#[test]
fn a_path_that_nothing_may_come_in_by_needs_no_control() {
    for control in [ControlImage::Optional, ControlImage::None] {
        assert_eq!(
            result(
                false,
                control,
                if control == ControlImage::None {
                    ImageOutcome::Untried
                } else {
                    refused()
                },
                refused(),
                ImageOutcome::Untried
            ),
            DoorState::Shut
        );
        assert_eq!(
            result(false, control, accepted(), accepted(), accepted()),
            DoorState::Open
        );
    }
    assert_eq!(
        result(
            false,
            ControlImage::Optional,
            failed(),
            refused(),
            ImageOutcome::Untried
        ),
        DoorState::Unknown
    );
}

#[test]
fn who_stopped_an_image_is_told_by_the_daemon_and_else_by_the_engine_s_words() {
    let name = "127.0.0.1:1/rootpin-prove-0123456789abcdef0123456789abcdef/0-pull:unsigned"
        .parse::<rootpin_trust::image::ImageRef>()
        .unwrap();
    let image = Canary::Unsigned.image(&name.repository);
    let offer = Offer {
        name,
        canary: Canary::Unsigned,
        image,
    };
    let tried = |outcome: Result<(), &str>| TriedImage {
        outcome: Some(outcome.map_err(|words| ProofFailure::Said(words.to_owned()))),
        took: Duration::ZERO,
    };
    let asked = |outcome: &str, let_through| Asked {
        door: "gate".to_owned(),
        digest: offer.image.digest().to_string(),
        outcome: outcome.to_owned(),
        code: "no-statement".to_owned(),
        let_through,
        ..Asked::default()
    };
    let fate = |outcome, asked: &[Asked]| super::fate(&offer, &tried(outcome), asked);
    assert_eq!(
        fate(
            Err("no"),
            &[asked("allowed", true), asked("refused", false)]
        ),
        refused()
    );
    assert_eq!(
        fate(Err("no"), &[asked("refused", true)]),
        ImageOutcome::Failed("no".to_owned()),
        "audit mode let it pass"
    );
    assert!(matches!(
        fate(Err("no"), &[asked("unjudged", false)]),
        ImageOutcome::Failed(_)
    ));
    assert_eq!(fate(Err("no"), &[]), ImageOutcome::Failed("no".to_owned()));
    assert_eq!(
        fate(Err("x: rootpin: refused layer"), &[]),
        ImageOutcome::Stopped("x: rootpin: refused layer".to_owned())
    );
    assert!(matches!(
        fate(Err("x: rootpin: could not judge layer"), &[]),
        ImageOutcome::Failed(_)
    ));
    let other = Asked {
        digest: "sha256:00".to_owned(),
        ..asked("refused", false)
    };
    assert_eq!(
        fate(Err("no"), std::slice::from_ref(&other)),
        ImageOutcome::Failed("no".to_owned())
    );
    // An engine that doesn't mind what it is told has let it in.
    assert_eq!(fate(Ok(()), &[asked("refused", false)]), accepted());
    assert_eq!(
        fate(Ok(()), &[asked("refused", true)]),
        ImageOutcome::Accepted {
            let_through: Some("no-statement".to_owned()),
            asked: true
        }
    );
}

#[test]
fn a_note_gives_the_cause_and_local_content_only_where_the_policy_lets_it() {
    let mut path = path::of_resolver("127.0.0.1:1".parse().unwrap());
    (path.asks_by_name, path.control) = (false, ControlImage::Optional);
    let note = |asked, local| {
        let leniency = Leniency {
            local,
            audit: false,
        };
        let images = vec![(
            Canary::Unsigned,
            ImageOutcome::Accepted {
                let_through: None,
                asked,
            },
            Duration::ZERO,
        )];
        verdict(&path, images, leniency).note
    };
    assert_eq!(
        note(false, false),
        "an unsigned image came in: no door was asked"
    );
    assert_eq!(
        note(true, false),
        "an unsigned image came in: a door was asked, and did not stop it"
    );
    assert_eq!(
        note(false, true),
        "an unsigned image came in, as local content: the policy's [local] lets it"
    );
}

#[test]
fn grpc_past_the_plugin_is_open_where_dockerd_answers_it_and_shut_where_it_does_not() {
    let docker = std::sync::Arc::new(crate::engines::DockerdClient::at(
        "/none".as_ref(),
        Duration::ZERO,
    ));
    let paths = path::of_docker("main", &docker, true, Some(Vec::new()));
    let path = paths.iter().find(|path| path.name == "main/grpc").unwrap();
    let found = |fate: ImageOutcome| {
        let images = vec![(Canary::Unsigned, fate, Duration::ZERO)];
        let verdict = verdict(path, images, Leniency::default());
        (verdict.result, verdict.note)
    };
    assert_eq!(
        found(ImageOutcome::Accepted {
            let_through: None,
            asked: false
        }),
        (DoorState::Open, GRPC_BYPASS.to_owned())
    );
    assert_eq!(found(ImageOutcome::NoWay), (DoorState::Shut, String::new()));
    let (state, note) = found(ImageOutcome::LeftToGate);
    assert_eq!(state, DoorState::Shut);
    assert!(
        note.contains("whose gate judges each layer"),
        "it is said: {note}"
    );
    assert_eq!(found(failed()).0, DoorState::Unknown);
    assert!(
        path::of_docker("main", &docker, false, None)
            .iter()
            .all(|path| path.name != "main/grpc"),
        "no plugin, nothing to get past"
    );
}

#[test]
fn in_audit_mode_no_call_that_leaves_no_trace_is_said_to_have_asked_no_door() {
    let docker = std::sync::Arc::new(crate::engines::DockerdClient::at(
        "/none".as_ref(),
        Duration::ZERO,
    ));
    let unasked = ImageOutcome::Accepted {
        let_through: None,
        asked: false,
    };
    let leniency = |audit| Leniency {
        local: false,
        audit,
    };
    for path in &path::of_docker("main", &docker, true, None) {
        let note = |audit| {
            let images = vec![(Canary::Unsigned, unasked.clone(), Duration::ZERO)];
            let verdict = verdict(path, images, leniency(audit));
            assert_eq!(verdict.result, DoorState::Open, "{}", path.name);
            verdict.note
        };
        let no_door = "an unsigned image came in: no door was asked";
        assert_eq!(note(false), no_door, "{}", path.name);
        if path.name == "main/pull" {
            assert_eq!(note(true), no_door);
        } else {
            assert!(
                note(true).contains("the policy's mode is audit"),
                "{}",
                path.name
            );
        }
    }
}

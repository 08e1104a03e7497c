//! The outcome of a path, and the verdict on its door.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::path::{ControlImage, Path};
use super::{Offer, ProofFailure, TriedImage};
use crate::canary::Canary;
use crate::control::wire::prove_response::Asked;
use crate::engines::{GRPC_BYPASS, GRPC_GATED};

/// How one image fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageOutcome {
    /// It came in.
    Accepted {
        /// The code of a refusal that audit mode let pass.
        let_through: Option<String>,
        /// Whether any door was asked for it.
        asked: bool,
    },
    /// One of our doors stopped it, as the daemon tells.
    Refused {
        /// The door.
        door: String,
        /// The refusal's code.
        code: String,
    },
    /// One of our doors stopped it, as the engine's words tell: what it was asked about had no
    /// name.
    Stopped(String),
    /// It did not come in, and that was nobody of ours.
    Failed(String),
    /// The engine has no such way.
    NoWay,
    /// It was not tried: the gate, which other paths prove, judges what comes in so.
    LeftToGate,
    /// It was not tried: it means nothing on this path, or nothing without the control.
    Untried,
}

/// What is known of a path's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoorState {
    /// What nobody signed was stopped, and what somebody signed was not.
    Shut,
    /// What nobody signed came in.
    Open,
    /// Neither was shown.
    Unknown,
}

/// A path with all that is known of it.
#[derive(Debug, Clone)]
pub struct PathVerdict {
    /// The path's stable name.
    pub path: String,
    /// What is known.
    pub result: DoorState,
    /// Why, or what there is to say besides.
    pub note: String,
    /// Every image, and how long it took.
    pub images: Vec<(Canary, ImageOutcome, Duration)>,
}

/// What the policy in force lets in although nobody signed it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leniency {
    /// Local content: `[local] content = "allow"`.
    pub(super) local: bool,
    /// Whatever a door refuses: its mode is audit.
    pub(super) audit: bool,
}

/// How a door's refusal begins, among an engine's own words.
const REFUSED: &str = "rootpin: refused ";
/// What is to be said of most paths.
const KNOWN: &str = "but not to an unsigned image whose layers are all here already: nobody is asked for the name on this path";

impl DoorState {
    /// `shut`, `open` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shut => "shut",
            Self::Open => "open",
            Self::Unknown => "unknown",
        }
    }
}

/// How an image fared, by what the engine said and what the daemon was asked.
pub(super) fn fate(offer: &Offer, tried: &TriedImage, asked: &[Asked]) -> ImageOutcome {
    let (name, digest) = (offer.name.to_string(), offer.image.digest().to_string());
    let of_it = || {
        asked
            .iter()
            .filter(|one| one.name == name || one.digest == digest)
    };
    let mut noes = of_it().filter(|one| one.outcome != "allowed");
    match &tried.outcome {
        None => ImageOutcome::Untried,
        Some(Ok(())) => {
            let let_through = noes.find(|one| one.let_through).map(|one| one.code.clone());
            ImageOutcome::Accepted {
                let_through,
                asked: of_it().next().is_some(),
            }
        }
        Some(Err(ProofFailure::NoWay)) => ImageOutcome::NoWay,
        Some(Err(ProofFailure::Gated)) => ImageOutcome::LeftToGate,
        Some(Err(ProofFailure::Said(words))) => match noes.find(|one| !one.let_through) {
            Some(no) if no.outcome == "unjudged" => {
                ImageOutcome::Failed(format!("{} could not judge: {}", no.door, no.code))
            }
            Some(no) => ImageOutcome::Refused {
                door: no.door.clone(),
                code: no.code.clone(),
            },
            None if words.contains(REFUSED) => ImageOutcome::Stopped(words.clone()),
            None => ImageOutcome::Failed(words.clone()),
        },
    }
}

/// What all of it says of the path.
pub(super) fn verdict(
    path: &Path,
    images: Vec<(Canary, ImageOutcome, Duration)>,
    leniency: Leniency,
) -> PathVerdict {
    let of = |wanted: Canary| {
        images
            .iter()
            .find(|(canary, ..)| *canary == wanted)
            .map_or(&ImageOutcome::Untried, |(_, fate, _)| fate)
    };
    let (result, note) = judged(
        path,
        of(Canary::Signed),
        of(Canary::Unsigned),
        of(Canary::Known),
        leniency,
    );
    PathVerdict {
        path: path.name.clone(),
        result,
        note,
        images,
    }
}

fn judged(
    path: &Path,
    signed: &ImageOutcome,
    unsigned: &ImageOutcome,
    known: &ImageOutcome,
    leniency: Leniency,
) -> (DoorState, String) {
    if let Some(verdict) = of_unsigned(path, unsigned, known, leniency) {
        return verdict;
    }
    if let Some(verdict) = of_signed(path, signed) {
        return verdict;
    }
    match known {
        ImageOutcome::Accepted { .. } => (DoorState::Shut, KNOWN.to_owned()),
        ImageOutcome::Failed(why) if path.asks_by_name => (
            DoorState::Unknown,
            format!("the image of known layers failed by itself: {why}"),
        ),
        _ => (DoorState::Shut, String::new()),
    }
}

/// The verdict of the unsigned image, unless the path stopped it.
fn of_unsigned(
    path: &Path,
    unsigned: &ImageOutcome,
    known: &ImageOutcome,
    leniency: Leniency,
) -> Option<(DoorState, String)> {
    match (unsigned, known) {
        (ImageOutcome::Accepted { .. }, _) if path.is_grpc() => {
            Some((DoorState::Open, GRPC_BYPASS.to_owned()))
        }
        (
            ImageOutcome::Accepted {
                let_through: Some(code),
                ..
            },
            _,
        ) => Some((
            DoorState::Open,
            format!(
                "an unsigned image was refused ({code}) and let through: the policy's mode is audit"
            ),
        )),
        (ImageOutcome::Accepted { .. }, _)
            if path.control == ControlImage::Optional && leniency.local =>
        {
            Some((
                DoorState::Open,
                "an unsigned image came in, as local content: the policy's [local] lets it"
                    .to_owned(),
            ))
        }
        (ImageOutcome::Accepted { asked: false, .. }, _)
            if leniency.audit && path.leaves_no_trace() =>
        {
            Some((
                DoorState::Open,
                "an unsigned image came in: the policy's mode is audit; which door judged a call of this kind is not recorded"
                    .to_owned(),
            ))
        }
        (ImageOutcome::Accepted { asked: false, .. }, _) => Some((
            DoorState::Open,
            "an unsigned image came in: no door was asked".to_owned(),
        )),
        (ImageOutcome::Accepted { asked: true, .. }, _) => Some((
            DoorState::Open,
            "an unsigned image came in: a door was asked, and did not stop it".to_owned(),
        )),
        (
            _,
            ImageOutcome::Accepted {
                let_through: None, ..
            },
        ) if path.asks_by_name => Some((
            DoorState::Open,
            "an unsigned image of known layers came in: nobody is asked for the name".to_owned(),
        )),
        (ImageOutcome::Failed(why), _) => Some((
            DoorState::Unknown,
            format!("the unsigned image failed by itself: {why}"),
        )),
        (ImageOutcome::Untried, _) => Some((DoorState::Unknown, "it was not tried".to_owned())),
        (ImageOutcome::NoWay, _) => Some((DoorState::Shut, String::new())),
        (ImageOutcome::LeftToGate, _) => {
            Some((DoorState::Shut, format!("{GRPC_BYPASS}: {GRPC_GATED}")))
        }
        (ImageOutcome::Refused { .. } | ImageOutcome::Stopped(_), _) => None,
    }
}

/// The verdict where the signed image, as a control, did not come in as it should.
fn of_signed(path: &Path, signed: &ImageOutcome) -> Option<(DoorState, String)> {
    match (path.control, signed) {
        (ControlImage::None, _) | (_, ImageOutcome::Accepted { .. }) => None,
        (ControlImage::Optional, ImageOutcome::Refused { .. } | ImageOutcome::Stopped(_)) => {
            Some((DoorState::Shut, "for everything, signed or not".to_owned()))
        }
        (_, ImageOutcome::Refused { code, door }) => Some((
            DoorState::Unknown,
            format!("the signed image was refused too, by {door}: {code}"),
        )),
        (_, ImageOutcome::Stopped(words)) => Some((
            DoorState::Unknown,
            format!("the signed image was refused too: {words}"),
        )),
        (_, ImageOutcome::Failed(why)) => Some((
            DoorState::Unknown,
            format!("the signed image failed by itself: {why}"),
        )),
        (_, ImageOutcome::Untried | ImageOutcome::NoWay | ImageOutcome::LeftToGate) => Some((
            DoorState::Unknown,
            "the signed image was not tried".to_owned(),
        )),
    }
}

impl PathVerdict {
    /// Whether known layers come in, for which nobody is asked on this path.
    #[must_use]
    pub fn lets_known_layers_in(&self) -> bool {
        self.note == KNOWN
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let gate = "gate".to_owned();
        let image = |(canary, fate, took): &(Canary, ImageOutcome, Duration)| {
            let (outcome, door, code, why) = match fate {
                ImageOutcome::Accepted { let_through, .. } => {
                    ("accepted", None, let_through.as_ref(), None)
                }
                ImageOutcome::Refused { door, code } => ("refused", Some(door), Some(code), None),
                ImageOutcome::Stopped(words) => ("refused", None, None, Some(words)),
                ImageOutcome::Failed(why) => ("failed", None, None, Some(why)),
                ImageOutcome::NoWay => ("no-way", None, None, None),
                ImageOutcome::LeftToGate => ("untried", Some(&gate), None, None),
                ImageOutcome::Untried => ("untried", None, None, None),
            };
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let image = json!({ "outcome": outcome, "door": door, "code": code, "why": why, "milliseconds": milliseconds });
            (canary.tag().to_owned(), image)
        };
        let images: serde_json::Map<_, _> = self.images.iter().map(image).collect();
        let note = Some(&self.note).filter(|note| !note.is_empty());
        json!({ "path": self.path, "result": self.result.as_str(), "note": note, "images": images })
    }
}

impl fmt::Display for ImageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted {
                let_through: None, ..
            } => f.write_str("accepted"),
            Self::Accepted {
                let_through: Some(code),
                ..
            } => write!(f, "let through ({code})"),
            Self::Refused { door, code } => write!(f, "refused by {door}: {code}"),
            Self::Stopped(_) => f.write_str("refused"),
            Self::Failed(_) => f.write_str("failed"),
            Self::NoWay => f.write_str("no such way"),
            Self::LeftToGate => f.write_str("left to the gate"),
            Self::Untried => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests;

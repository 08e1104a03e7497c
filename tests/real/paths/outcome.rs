//! What came of a path, told by what the name stands for afterwards, whether a container can be
//! made of it, and what the doors recorded.

use std::fmt;

use super::case::{Case, Danger, Tried, Try};
use super::host::{Policy, Record};
use super::until;

/// A cell of the table.
pub(crate) enum Outcome {
    /// There is no such path.
    None,
    /// It came in, and these doors were asked.
    Allowed(Vec<String>),
    /// This door was the first that refused.
    Refused(String),
    /// The signed image came in instead.
    SetRight,
    /// It came in, and its name was taken away again.
    Removed,
    /// It came in, and was told.
    Reported,
    /// It is there, and no door said anything.
    Open,
}

/// Runs the path and looks.
///
/// # Errors
/// Something failed that no door decided.
pub(crate) fn of(case: &Case, images: &Try<'_>) -> Result<Outcome, String> {
    let Some(tried) = case.run(images) else {
        return Ok(Outcome::None);
    };
    let (lab, column, name) = (images.host.lab, images.column, &tried.name);
    if case.danger == Danger::Unpacked {
        return match (first_refusal(images, &tried), &tried.said) {
            (Some(door), _) => Ok(Outcome::Refused(door)),
            (None, Ok(_)) => Ok(Outcome::Open),
            // All that was missing is the program, or the network that it would run in: the lab's
            // dockerds have none.
            (None, Err(words))
                if words.contains("/none") || words.contains("network bridge not found") =>
            {
                Ok(Outcome::Open)
            }
            (None, said) => Err(format!("no door refused, and all the same: {said:?}")),
        };
    }
    let strange = || {
        column
            .stands_for(lab, name)
            .is_some_and(|found| match case.danger {
                Danger::None => false,
                Danger::Name => found != column.identity(&images.signed),
                Danger::Base => !column.is_built_on(lab, name, &images.signed),
                Danger::Anything | Danger::Unpacked => true,
            })
    };
    let reported = strange()
        && first_refusal(images, &tried).is_none()
        && until(|| is_reported(images, &tried).then_some(())).is_some();
    if reported && case.policy == Policy::Remove && until(|| (!strange()).then_some(())).is_some() {
        return Ok(Outcome::Removed);
    }
    let created = column
        .stands_for(lab, name)
        .map(|_| column.create(lab, name));
    let usable = matches!(created, Some(Ok(_)));
    match first_refusal(images, &tried) {
        // Whatever a door said.
        _ if usable && strange() => Ok(if reported {
            Outcome::Reported
        } else {
            Outcome::Open
        }),
        Some(door) => Ok(Outcome::Refused(door)),
        None if !usable || tried.said.is_err() => Err(format!(
            "no door refused, and all the same: {:?}; then {created:?}",
            tried.said
        )),
        None if case.danger == Danger::None => Ok(Outcome::Allowed(doors(images, &tried))),
        None => Ok(Outcome::SetRight),
    }
}

/// Records of doors that can stop something: all of them, because no other cell runs now.
fn asked(images: &Try<'_>, tried: &Tried) -> Vec<Record> {
    let mut records = images.host.records().split_off(tried.records_before);
    records.retain(|record| record.door() != "sweep");
    records
}

fn first_refusal(images: &Try<'_>, tried: &Tried) -> Option<String> {
    asked(images, tried)
        .iter()
        .find(|record| !record.allowed())
        .map(|record| record.door().to_owned())
}

fn is_reported(images: &Try<'_>, tried: &Tried) -> bool {
    let records = images.host.records().split_off(tried.records_before);
    records
        .iter()
        .any(|record| record.door() == "sweep" && record.name() == tried.name && !record.allowed())
}

/// Each once, in the order in which they were asked.
fn doors(images: &Try<'_>, tried: &Tried) -> Vec<String> {
    let mut doors: Vec<String> = Vec::new();
    for record in asked(images, tried) {
        if !doors.iter().any(|door| door == record.door()) {
            doors.push(record.door().to_owned());
        }
    }
    doors
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("—"),
            Self::Allowed(doors) if doors.is_empty() => f.write_str("**open**"),
            Self::Allowed(doors) => write!(f, "allowed · {}", doors.join(", ")),
            Self::Refused(door) => write!(f, "refused · {door}"),
            Self::SetRight => f.write_str("set right · resolver"),
            Self::Removed => f.write_str("removed · sweep"),
            Self::Reported => f.write_str("reported · sweep"),
            Self::Open => f.write_str("**open**"),
        }
    }
}

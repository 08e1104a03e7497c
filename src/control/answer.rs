//! The daemon's answer to a client, and the lack of one.

use std::time::Duration;

use serde_json::Value;
use tonic::{Code, Response, Status};

use super::wire::Report;
use crate::problem::Problem;

/// The most bytes that a client takes. A survey of a host with ten thousand repositories has a fifth
/// of it.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// What a message has beside its text.
const AROUND: usize = 64;

/// A report as the daemon sends it.
pub(super) fn report(json: &Value, exit_code: u32) -> Result<Response<Report>, Status> {
    within(json.to_string(), exit_code, MAX_MESSAGE - AROUND)
}

/// The client would refuse more without a word of what helps.
fn within(json: String, exit_code: u32, most: usize) -> Result<Response<Report>, Status> {
    if json.len() > most {
        let found = json.len().div_ceil(1 << 20);
        let wanted = MAX_MESSAGE >> 20;
        let problem = Problem::hinted(
            format!("the daemon's answer has {found} MiB, and a message at most {wanted} MiB"),
            "stop rootpind, and have the files read without it: `rootpin state show --state DIR`, or `rootpin audit --policy DIR --state DIR`",
        );
        return Err(status(Code::OutOfRange, &problem));
    }
    Ok(Response::new(Report { json, exit_code }))
}

/// What was asked for can't be done.
pub(super) fn failed(problem: &Problem) -> Status {
    status(Code::FailedPrecondition, problem)
}

/// A status with a problem. Its text says all of it; its details are the hint, for [`said`].
pub(super) fn status(code: Code, problem: &Problem) -> Status {
    let hint = problem.hint.clone().unwrap_or_default();
    Status::with_details(code, problem.to_string(), hint.into_bytes().into())
}

/// The daemon may hang at any point of an answer.
pub(super) async fn in_time<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    tokio::time::timeout(time, answer)
        .await
        .unwrap_or_else(|_| {
            Err(Problem::hinted(
                format!("the daemon does not answer within {time:?}"),
                "see `journalctl -u rootpind`; `systemctl restart rootpind` starts it anew",
            ))
        })
}

/// The problem that a status is.
pub(super) fn said(status: &Status) -> Problem {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => {
            let what = format!(
                "the daemon went away before it answered: {}",
                status.message()
            );
            Problem::hinted(what, "see `journalctl -u rootpind`")
        }
        _ => {
            let hint = str::from_utf8(status.details()).ok();
            Problem::of_text(status.message(), hint.filter(|hint| !hint.is_empty()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_a_client_would_not_take_is_said_with_its_size_and_what_helps() {
        let text = |length: usize| "x".repeat(length);
        let answer = within(text(100), 1, 100).unwrap().into_inner();
        assert_eq!((answer.json.len(), answer.exit_code), (100, 1));
        let status = within(text(101), 1, 100).unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
        let problem = said(&status);
        assert_eq!(
            problem.what,
            "the daemon's answer has 1 MiB, and a message at most 64 MiB"
        );
        assert!(problem.hint.unwrap().contains("--state DIR"));
    }

    #[test]
    fn a_hint_reaches_the_client_apart_from_the_words_of_others() {
        let problem = Problem::hinted("it said: no; hint: run mine", "make it");
        assert_eq!(said(&failed(&problem)), problem);
        let forged = Problem::new("it said: no; hint: run mine");
        assert_eq!(said(&failed(&forged)), forged);
    }

    #[test]
    fn the_longest_answer_fits_into_the_message_that_a_client_takes() {
        use prost::Message as _;
        let json = "x".repeat(MAX_MESSAGE - AROUND);
        let answer = within(json, u32::MAX, MAX_MESSAGE - AROUND).unwrap();
        assert!(answer.into_inner().encoded_len() <= MAX_MESSAGE);
    }
}

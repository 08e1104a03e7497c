//! The daemon's answer to a client, and the lack of one.

use std::time::Duration;

use tonic::{Code, Status};

use crate::problem::Problem;

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

/// The problem that a status is; the daemon's own text has its hint in it.
pub(super) fn said(status: &Status) -> Problem {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => {
            let what = format!(
                "the daemon went away before it answered: {}",
                status.message()
            );
            Problem::hinted(what, "see `journalctl -u rootpind`")
        }
        _ => Problem::from(status.message()),
    }
}

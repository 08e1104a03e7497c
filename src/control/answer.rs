//! The daemon's answer to a client, and the lack of one.

use std::time::Duration;

use tonic::{Code, Status};

/// The daemon may hang at any point of an answer.
pub(super) async fn in_time<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| {
        Err(format!(
            "the daemon does not answer within {time:?}; hint: see `journalctl -u rootpind`; `systemctl restart rootpind` starts it anew"
        ))
    })
}

pub(super) fn said(status: &Status) -> String {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => {
            format!(
                "the daemon went away before it answered: {}; hint: see `journalctl -u rootpind`",
                status.message()
            )
        }
        _ => status.message().to_owned(),
    }
}

//! Says what takes long, to people who wait.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::cli::output::Output;
use crate::publish::Activity;

/// How long a command stays silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does some work, and says from time to time what takes so long.
pub(super) async fn with_progress<T>(
    output: Output,
    activity: &Activity,
    work: impl Future<Output = T>,
) -> T {
    let say = move |what: &str| output.progress(what);
    Box::pin(say_every(PATIENCE, activity, say, work)).await
}

async fn say_every<T>(
    every: Duration,
    activity: &Activity,
    say: impl Fn(&str) + Send + 'static,
    work: impl Future<Output = T>,
) -> T {
    let (done, over) = mpsc::channel::<()>();
    let activity = activity.clone();
    // From a thread of its own: what takes long may be computing, which keeps this one busy.
    let speaker = thread::spawn(move || {
        while over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            say(&activity.now());
        }
    });
    let result = Box::pin(work).await;
    drop(done);
    let _ = speaker.join();
    result
}

/// Asks a person something; no progress is shown meanwhile.
pub(super) fn quietly<T>(activity: &Activity, question: impl FnOnce() -> T) -> T {
    let was = activity.set("");
    let result = question();
    activity.set(was);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_said_though_it_never_waits_for_anything_and_not_while_somebody_is_asked()
     {
        let (activity, (told, tells)) = (Activity::default(), mpsc::channel());
        let say = move |what: &str| drop(told.send(what.to_owned()));
        let work = async {
            activity.set("signing");
            // All that was said before.
            let computing = || tells.iter().find(|what| what == "signing");
            assert!(computing().is_some());
            quietly(&activity, || {
                assert!(tells.iter().any(|what| what.is_empty()));
            });
            assert!(computing().is_some());
        };
        say_every(Duration::from_millis(1), &activity, say, work).await;
    }
}

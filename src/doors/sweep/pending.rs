//! Names that were written and are to be looked at: as many as can be told apart, and then all of
//! them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A host's clients write few names at a time. From here on it is cheaper to look at everything
/// once.
const MAX_NAMES: usize = 1000;

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Work {
    #[default]
    Nothing,
    /// These records: namespace and name.
    Names(BTreeSet<(String, String)>),
    /// Every record, because it is not known which.
    All,
}

/// Work that came in since the last was taken. However fast it comes, it takes no more room than a
/// thousand names.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    work: Mutex<Work>,
    woken: Notify,
}

impl Pending {
    /// This record was written.
    pub(crate) fn add(&self, namespace: String, name: String) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let names = match &mut *work {
            Work::All => return,
            Work::Names(names) => names,
            nothing @ Work::Nothing => {
                *nothing = Work::Names(BTreeSet::new());
                self.woken.notify_one();
                let Work::Names(names) = nothing else { return };
                names
            }
        };
        names.insert((namespace, name));
        if names.len() > MAX_NAMES {
            *work = Work::All;
        }
    }

    /// Events may have been missed.
    pub(crate) fn look(&self) {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Work::All;
        self.woken.notify_one();
    }

    /// Waits until there is some, and takes all of it.
    pub(super) async fn take(&self) -> Work {
        loop {
            let work =
                std::mem::take(&mut *self.work.lock().unwrap_or_else(PoisonError::into_inner));
            if work != Work::Nothing {
                return work;
            }
            self.woken.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_taken_together_and_each_once() {
        let pending = Pending::default();
        for _ in 0..3 {
            pending.add("a".to_owned(), "x:1".to_owned());
        }
        pending.add("b".to_owned(), "x:1".to_owned());
        let Work::Names(names) = pending.take().await else {
            panic!("no names")
        };
        assert_eq!(names.len(), 2);
        assert_eq!(*pending.work.lock().unwrap(), Work::Nothing);
    }

    #[tokio::test]
    async fn a_storm_becomes_one_look_at_everything_and_takes_no_room() {
        let pending = Pending::default();
        for number in 0..100_000 {
            pending.add("a".to_owned(), format!("x:{number}"));
        }
        assert_eq!(pending.take().await, Work::All);
        pending.add("a".to_owned(), "y:1".to_owned());
        pending.look();
        assert_eq!(pending.take().await, Work::All);
    }

    #[tokio::test]
    async fn what_comes_while_somebody_waits_wakes_them() {
        let pending = std::sync::Arc::new(Pending::default());
        let waiting = tokio::spawn({
            let pending = std::sync::Arc::clone(&pending);
            async move { pending.take().await }
        });
        tokio::task::yield_now().await;
        pending.add("a".to_owned(), "x:1".to_owned());
        assert!(matches!(waiting.await.unwrap(), Work::Names(names) if names.len() == 1));
    }
}

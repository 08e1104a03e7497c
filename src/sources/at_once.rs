//! Several requests at once: a slow network then costs the time of the slowest one.

use std::future::poll_fn;
use std::task::Poll;

/// Requests of one search that wait for their answers at the same time. Registries limit connections.
pub(super) const AT_ONCE: usize = 8;

/// The outputs of all futures, in their order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let futures = futures.into_iter();
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => is_pending = true,
                }
            }
        }
        if is_pending {
            return Poll::Pending;
        }
        let outputs = running.iter_mut().filter_map(|(_, output)| output.take());
        Poll::Ready(outputs.collect())
    })
    .await
}

/// The same, of which no more than [`AT_ONCE`] are under way at a time: each may have much to read.
pub(crate) async fn few_at_once<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs = Vec::with_capacity(futures.len());
    let mut futures = futures.into_iter();
    loop {
        let some: Vec<F> = futures.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return outputs;
        }
        outputs.extend(all(some).await);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn of_many_futures_few_are_under_way_at_a_time_and_their_outputs_stay_in_order() {
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        let one = |number: usize| {
            let (under_way, most) = (&under_way, &most);
            async move {
                under_way.set(under_way.get() + 1);
                most.set(most.get().max(under_way.get()));
                tokio::task::yield_now().await;
                under_way.set(under_way.get() - 1);
                number
            }
        };
        let count = 3 * AT_ONCE + 1;
        let outputs = few_at_once((0..count).map(one).collect()).await;
        assert_eq!(outputs, (0..count).collect::<Vec<_>>());
        assert_eq!(most.get(), AT_ONCE);
        assert!(few_at_once((0..0).map(one).collect()).await.is_empty());
    }
}

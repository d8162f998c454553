//! Group commit: callers hand in one item each, one loop takes what is queued and makes one store call of it. There is no
//! linger: the next group forms while the current one commits (10 to 50 times the throughput of one by one, no added latency
//! when idle). The loop owns the queue; callers hold a cheap handle.

use std::{future::Future, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::{drain::Drain, limits};

struct Item<I, O, E> {
    input: I,
    answer: oneshot::Sender<Result<O, Arc<E>>>,
}

/// Why a call through a group got no answer of its own.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E: std::error::Error + 'static> {
    /// As many callers wait as may: come back later.
    #[error("too many calls are waiting")]
    Overloaded,
    /// The loop has stopped; nothing was written for this call.
    #[error("the service is stopping")]
    Stopping,
    /// The group's store call failed; nobody's item was written.
    #[error("the group's call failed")]
    Failed(#[source] Arc<E>),
}

/// A handle for calling through a group. Clones share the group.
pub struct Grouped<I, O, E>(mpsc::Sender<Item<I, O, E>>);

/// A place in a group's queue, kept for one call.
#[must_use = "a place that is not used is given back"]
pub struct Place<I, O, E>(mpsc::OwnedPermit<Item<I, O, E>>);

impl<I, O, E> Clone for Grouped<I, O, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I, O, E> Grouped<I, O, E>
where
    I: Send + 'static,
    O: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Starts the loop: `call` gets at most `limits::GROUP_ROWS_MAX` inputs and must answer each, in order. At most `waiting_max`
    /// callers wait. The loop ends after the drain's stop signal, once what was queued is written.
    pub fn start<F, Fut>(drain: &Drain, waiting_max: usize, mut call: F) -> Self
    where
        F: FnMut(Vec<I>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<O>, E>> + Send,
    {
        let (tx, mut rx) = mpsc::channel::<Item<I, O, E>>(waiting_max);
        let stop = drain.clone();
        drain.spawn(async move {
            let mut items = Vec::with_capacity(limits::GROUP_ROWS_MAX);
            loop {
                tokio::select! {
                    biased;
                    taken = rx.recv_many(&mut items, limits::GROUP_ROWS_MAX) => if taken == 0 { return },
                    () = stop.stopping(), if !rx.is_closed() => {
                        // From here on nobody gets in; the next turns write what is queued, then `recv_many` returns 0.
                        rx.close();
                        continue;
                    }
                }
                answer_group(&mut items, &mut call).await;
            }
        });
        Self(tx)
    }

    /// Takes a place in the queue before the input is there: who does costly work for the call does it only when there is one.
    /// A stopping loop waits for the places that are taken.
    ///
    /// # Errors
    /// `Overloaded` at once when the queue is full; `Stopping`.
    pub fn reserve(&self) -> Result<Place<I, O, E>, CallError<E>> {
        self.0.clone().try_reserve_owned().map(Place).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => CallError::Stopping,
        })
    }

    /// Hands in one item and waits for its answer.
    ///
    /// # Errors
    /// Those of `reserve`; `Failed`.
    pub async fn call(&self, input: I) -> Result<O, CallError<E>> {
        self.reserve()?.call(input).await
    }
}

impl<I, O, E> Place<I, O, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    /// Hands in the item and waits for its answer.
    ///
    /// # Errors
    /// `Failed`; `Stopping` when the loop has died.
    pub async fn call(self, input: I) -> Result<O, CallError<E>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Item { input, answer });
        match answered.await {
            Ok(result) => result.map_err(CallError::Failed),
            Err(_) => Err(CallError::Stopping),
        }
    }
}

async fn answer_group<I, O, E, F, Fut>(items: &mut Vec<Item<I, O, E>>, call: &mut F)
where
    F: FnMut(Vec<I>) -> Fut,
    Fut: Future<Output = Result<Vec<O>, E>>,
{
    let (inputs, answers): (Vec<I>, Vec<_>) = items.drain(..).map(|item| (item.input, item.answer)).unzip();
    // A caller that has gone away (closed connection) does not want its answer: failing to send it is no error.
    match call(inputs).await {
        Ok(outputs) => {
            debug_assert_eq!(outputs.len(), answers.len(), "one answer for each input");
            for (answer, output) in answers.into_iter().zip(outputs) {
                drop(answer.send(Ok(output)));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                drop(answer.send(Err(error.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("never")]
    struct Never;

    #[tokio::test]
    async fn a_place_is_kept_while_the_queue_is_full_and_the_loop_stops() {
        let drain = Drain::new();
        let group = Grouped::start(&drain, 1, |inputs: Vec<u32>| async { Ok::<_, Never>(inputs) });
        let place = group.reserve().expect("there is one place");
        assert!(matches!(group.call(1).await, Err(CallError::Overloaded)));
        drain.stop();
        while !matches!(group.reserve(), Err(CallError::Stopping)) {
            tokio::task::yield_now().await;
        }
        assert_eq!(place.call(2).await.expect("its place was kept"), 2);
    }
}

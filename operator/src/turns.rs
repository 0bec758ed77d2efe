//! Whose turn it is. What is due is reconciled in the order in which it became due: kube's own
//! limit of how many run at once has no order, and where enough nodes do not answer, which
//! takes seconds each time, others would never have a turn.

use std::error::Error;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::kind::Kind;
use crate::watch::due::Request;

/// Reconciles of one kind that run at once: they wait for the API server and for
/// nodes, hardly ever for the processor.
const PLACES: usize = 32;

/// Takes due objects of one kind and reconciles them. Cancelled, it takes no more and
/// returns when the running ones are done.
pub async fn run<K, C, F, E>(
    store: Store<DeserializeGuard<K>>,
    due: Receiver<Request<K>>,
    context: Arc<C>,
    cancel: CancellationToken,
    reconcile: impl Fn(Arc<DeserializeGuard<K>>, Arc<C>) -> F,
    after_error: impl Fn(Arc<DeserializeGuard<K>>, &E, Arc<C>) -> Action,
) where
    K: Kind,
    F: Future<Output = Result<Action, E>>,
    E: Error + 'static,
{
    let due = ReceiverStream::new(due).map(Ok::<_, std::convert::Infallible>);
    let places = Semaphore::new(PLACES);
    let (objects, reconcile) = (&store, &reconcile);
    let turn = async |object: Arc<DeserializeGuard<K>>, context| {
        let place = tokio::select! {
            place = places.acquire() => place,
            () = cancel.cancelled() => return Ok(Action::await_change()),
        };
        // as it is now, if it still is
        let object = objects.get(&ObjectRef::from_obj(&*object));
        match (place, object) {
            // large, and not to be there for each that waits
            (Ok(_place), Some(object)) => Box::pin(reconcile(object, context)).await,
            _ => Ok(Action::await_change()),
        }
    };
    let results = applier(
        |object, context| Box::pin(turn(object, context)),
        after_error,
        context,
        store.clone(),
        due.take_until(cancel.cancelled()),
        Config::default(),
    );
    // errors were logged where they were handled: in `after_error`
    results.for_each(|_| std::future::ready(())).await;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use kube::core::DeserializeGuard;
    use kube::runtime::controller::Action;
    use kube::{Resource as _, ResourceExt as _};
    use serde_json::json;
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::{PLACES, run};
    use crate::api::TranscoderPool;
    use crate::names::Component;
    use crate::transcoder_pool::build::tests::pool;
    use crate::watch::due;
    use crate::watch::due::tests::store;

    type Turns = Mutex<HashMap<String, usize>>;

    /// A turn of one whose node does not answer takes 2 s and comes again soon.
    async fn turn(
        pool: Arc<DeserializeGuard<TranscoderPool>>,
        turns: Arc<Turns>,
    ) -> Result<Action, Infallible> {
        let name = pool.name_any();
        let silent = name.starts_with("silent");
        let (takes, again) = if silent { (2000, 1800) } else { (50, 9000) };
        sleep(Duration::from_millis(takes)).await;
        *turns.lock().unwrap().entry(name).or_default() += 1;
        Ok(Action::requeue(Duration::from_millis(again)))
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_turn_beside_more_that_do_not_answer_than_there_are_places() {
        let kinds = ["silent", "well"];
        let named = kinds
            .iter()
            .flat_map(|kind| (0..4 * PLACES).map(move |n| format!("{kind}-{n}")));
        let names: Vec<_> = named.collect();
        let pools = names.iter().map(|name| {
            let mut pool = pool(json!({"orchestrator": {"ref": {"name": "o"}}}));
            pool.meta_mut().name = Some(name.clone());
            pool
        });
        let store = store(pools.collect());
        let (queues, receivers) = due::queues();
        let (turns, cancel) = (Arc::new(Turns::default()), CancellationToken::new());
        let applied = run(
            store,
            receivers.pools,
            Arc::clone(&turns),
            cancel.clone(),
            turn,
            |_, never, _| match *never {},
        );
        let minute = async {
            for name in &names {
                queues.push(Component::Pool, "ns", name).await;
            }
            sleep(Duration::from_secs(60)).await;
            cancel.cancel();
        };
        tokio::join!(applied, minute);
        let turns = turns.lock().unwrap();
        // a round takes 4 * 2 s
        let least = names
            .iter()
            .map(|name| turns.get(name).copied().unwrap_or(0));
        assert!(least.min() >= Some(4), "{turns:?}");
    }
}

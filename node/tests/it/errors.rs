//! What a failure that an orchestrator reports means to its gateway.

use crate::client::{assert_complete, reply};
use crate::clips;
use crate::node::{Node, SECRET};
use crate::wire::Transcoder;

/// Two orchestrators with a transcoder each, in front of them a gateway.
struct Network {
    gateway: Node,
    _orchestrators: [Node; 2],
    transcoders: [Transcoder; 2],
}

impl Network {
    async fn start() -> Self {
        let orchestrators = [(); 2].map(|()| Node::orchestrator("max_sessions = 1"));
        let register = |node: &Node| Transcoder::register(node.addr, SECRET);
        let transcoders = [
            register(&orchestrators[0]).await.unwrap(),
            register(&orchestrators[1]).await.unwrap(),
        ];
        let gateway = Node::gateway(&orchestrators.each_ref().map(|node| node.addr), "");
        gateway.wait_until_ready();
        Self {
            gateway,
            _orchestrators: orchestrators,
            transcoders,
        }
    }

    /// The next task, and which transcoder got it.
    async fn task(&mut self) -> (usize, i64) {
        let [one, other] = &mut self.transcoders;
        tokio::select! {
            notice = one.task() => (0, notice.task_id),
            notice = other.task() => (1, notice.task_id),
        }
    }

    fn retried(&self) -> f64 {
        self.gateway
            .metric("livepeer_gateway_attempts_retried_total")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_fails_alike_in_two_places_is_itself_at_fault() {
    let mut network = Network::start().await;
    let push = network.gateway.push(&clips::good(), 0);
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (which, task) = network.task().await;
        network.transcoders[which]
            .fail(task, "words of its own")
            .await;
        asked.push(which);
    }
    assert_ne!(asked[0], asked[1]);
    let said = reply(push);
    assert!(said.ends_with("words of its own\n\n422"), "{said}");
    assert_eq!(network.retried(), 1.0);

    // and the stream goes on where it was
    let push = network.gateway.push(&clips::good(), 1);
    let (which, task) = network.task().await;
    network.transcoders[which].deliver(task).await;
    assert_complete(push);
    assert_eq!(network.retried(), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_would_be_the_same_anywhere_is_not_tried_elsewhere() {
    let mut network = Network::start().await;
    let push = network.gateway.push(&clips::good(), 0);
    let (which, task) = network.task().await;
    network.transcoders[which]
        .fail(task, "Unsupported input codec")
        .await;
    let said = reply(push);
    let words = "Unsupported input codec\nits video has a codec that is not transcoded\n\n422";
    assert!(said.ends_with(words), "{said}");
    assert_eq!(network.retried(), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_alone_fails_at_a_segment_is_avoided_by_its_stream() {
    let mut network = Network::start().await;
    let push = network.gateway.push(&clips::good(), 0);
    let (bad, task) = network.task().await;
    network.transcoders[bad]
        .fail(task, "words of its own")
        .await;
    let (good, task) = network.task().await;
    assert_ne!(good, bad);
    network.transcoders[good].deliver(task).await;
    assert_complete(push);

    let push = network.gateway.push(&clips::good(), 1);
    let (which, task) = network.task().await;
    assert_eq!(which, good);
    network.transcoders[which].deliver(task).await;
    assert_complete(push);
    assert_eq!(network.retried(), 1.0);
}

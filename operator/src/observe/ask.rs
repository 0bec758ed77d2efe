//! Questions over the network: a node's status, an orchestrator's answer to a gateway,
//! a gateway's ingest.

use std::time::Duration;

use futures::StreamExt;
use livepeer_settings::status::NodeStatus;
use reqwest::redirect::Policy;
use tokio::time::{Instant, timeout_at};

/// A node that does not answer by then is as good as silent: the listener does nothing
/// but answer, and the next look comes soon.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// All nodes of a resource together: a thousand silent ones must not take the whole time
/// of a reconcile, or its status would never be written.
const ASK_ALL_LIMIT: Duration = Duration::from_secs(10);
/// Nodes that are asked at once; a pool may have a thousand.
const ASKED_AT_ONCE: usize = 16;
/// Largest status that is read: a thousand registered transcoders take 200 kB.
const MAX_STATUS_BYTES: usize = 1 << 20;

/// The client that asks. What answers may be anything that somebody gave our labels: it
/// cannot send the operator, which stands inside the cluster, to another address.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(ASK_TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        // kept, they would be one a pod
        .pool_max_idle_per_host(0)
        .build()
}

/// The answers, in order; `None` for what was not answered by the common limit.
pub async fn all<A>(
    questions: impl Iterator<Item = impl Future<Output = Option<A>>>,
) -> Vec<Option<A>> {
    let ends = Instant::now() + ASK_ALL_LIMIT;
    futures::stream::iter(questions)
        .map(|question| async move { timeout_at(ends, question).await.ok().flatten() })
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await
}

/// `GET /status` of a node's probe listener; `None` when it does not answer.
pub async fn node(http: &reqwest::Client, authority: &str) -> Option<NodeStatus> {
    let url = format!("http://{authority}/status");
    match read(http, &url).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::debug!(url, %error, "status is not readable"))
            .ok(),
        Err(error) => {
            tracing::debug!(url, %error, "node does not answer");
            None
        }
    }
}

async fn read(http: &reqwest::Client, url: &str) -> Result<Vec<u8>, reqwest::Error> {
    let mut reply = http.get(url).send().await?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reply.chunk().await? {
        if bytes.len() + chunk.len() > MAX_STATUS_BYTES {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Does anything speak HTTP there? A gateway answers some status to every path.
pub async fn http_answers(http: &reqwest::Client, authority: &str) -> Result<(), String> {
    let url = format!("http://{authority}/");
    http.get(&url)
        .send()
        .await
        .map(drop)
        .map_err(|error| format!("{authority}: {}", root_cause(&error)))
}

/// The innermost words of an error: the ones that say what happened.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// go-livepeer's words (and ours) for having no session left: it works, and is busy or
/// without transcoders, which its capacity tells apart (server/rpc.go `getOrchestrator`).
fn says_full(status: &tonic::Status) -> bool {
    status.message().contains("OrchestratorCapped")
}

/// `GetOrchestrator`, as a gateway off-chain asks it.
pub async fn orchestrator_answers(authority: &str) -> Result<(), String> {
    let asked = async {
        let channel = livepeer_proto::dial::connect(&format!("https://{authority}"))
            .await
            .map_err(|error| root_cause(&error))?;
        let mut client = livepeer_proto::net::orchestrator_client::OrchestratorClient::new(channel);
        client
            .get_orchestrator(livepeer_proto::net::OrchestratorRequest::default())
            .await
            .map(drop)
            .or_else(|status| {
                if says_full(&status) {
                    Ok(())
                } else {
                    Err(status.message().to_owned())
                }
            })
    };
    let limit: Duration = ASK_TIMEOUT;
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => answer.map_err(|why| format!("{authority}: {why}")),
        Err(_) => Err(format!(
            "{authority}: no answer within {} s",
            limit.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;
    use livepeer_settings::Role;
    use livepeer_settings::status::NodeStatus;
    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    use super::{ASK_ALL_LIMIT, ASK_TIMEOUT, all, client, http_answers, node, says_full};

    #[tokio::test]
    async fn nobody_sends_the_operator_elsewhere() {
        let status = serde_json::to_string(&NodeStatus::starting(Role::Gateway)).unwrap();
        let routes = Router::new()
            .route("/elsewhere", get(async || status))
            .route("/status", get(async || Redirect::temporary("/elsewhere")))
            .route("/", get(async || Redirect::temporary("http://192.0.2.1/")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await });
        // another test of this process may have done it
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client().unwrap();
        assert_eq!(node(&client, &address).await, None);
        assert_eq!(
            http_answers(&client, &address).await,
            Ok(()),
            "it speaks HTTP"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_silent_nodes_do_not_take_the_time_of_a_reconcile() {
        let began = Instant::now();
        let silent = async || {
            sleep(ASK_TIMEOUT).await;
            None::<u32>
        };
        let answers = all((0..1000).map(|_| silent())).await;
        assert_eq!(answers.len(), 1000);
        assert!(began.elapsed() <= ASK_ALL_LIMIT + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_in_the_order_of_the_questions() {
        let answers = all((0..40_u64).map(async |at| {
            sleep(Duration::from_millis(40 - at)).await;
            (at % 2 == 0).then_some(at)
        }));
        let wanted: Vec<_> = (0..40).map(|at| (at % 2 == 0).then_some(at)).collect();
        assert_eq!(answers.await, wanted);
    }

    #[test]
    fn an_orchestrator_without_a_free_session_still_answers() {
        assert!(says_full(&tonic::Status::unknown(
            "Invalid orchestrator request: OrchestratorCapped"
        )));
        assert!(!says_full(&tonic::Status::unknown(
            "Invalid orchestrator request: bad signature"
        )));
    }
}

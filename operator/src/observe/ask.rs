//! Questions over the network: a node's status, an orchestrator's answer to a gateway,
//! a gateway's ingest.

use std::time::Duration;

use livepeer_settings::status::NodeStatus;

use super::ASK_TIMEOUT;

/// Largest status that is read: a thousand registered transcoders take 200 kB.
const MAX_STATUS_BYTES: usize = 1 << 20;

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
    use super::says_full;

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

//! When a part of the cluster is up, and waiting for it with a deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client};
use tokio::time::Instant;

use super::command::{inside, output};
use super::config::NODE_NAME;
use super::gpus::GPUS;
use super::paths;

/// How often a condition is looked at; the first look is at once.
const POLL: Duration = Duration::from_millis(100);

/// Waits until `check` succeeds; at the deadline, says why it last did not.
pub async fn until<T, F, C>(deadline: Instant, what: &str, mut check: C) -> Result<T>
where
    F: Future<Output = Result<T>>,
    C: FnMut() -> F,
{
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("{what} was not ready in time")));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The API server answers, and has made what every namespace starts with.
pub async fn api_server(client: &Client) -> Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new())?;
    client.request_text(request).await?;
    Ok(())
}

/// containerd answers.
pub(crate) async fn containerd() -> Result<()> {
    output(ctr(&["version"])).await.map(drop)
}

/// The node is ready with its devices, DNS answers, and pods may be made.
pub(crate) async fn node(client: &Client) -> Result<()> {
    let node = Api::<Node>::all(client.clone()).get(NODE_NAME).await?;
    let status = node.status.context("the node has no status")?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !ready {
        bail!("the node is not Ready");
    }
    let devices = status
        .allocatable
        .iter()
        .flatten()
        .find(|(name, _)| name.as_str() == "nvidia.com/gpu")
        .and_then(|(_, quantity)| quantity.0.parse::<usize>().ok());
    if devices.is_none_or(|count| count > GPUS) {
        bail!("the kubelet does not know the GPUs yet");
    }
    // Pods are refused until the controller manager has made their service account.
    Api::<ServiceAccount>::namespaced(client.clone(), "default")
        .get("default")
        .await?;
    let mut ready = inside("bash");
    ready.args(["-c", "exec 3<>/dev/tcp/127.0.0.1/8181; printf 'GET /ready HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3 | grep -q 200"]);
    output(ready)
        .await
        .context("CoreDNS is not ready")
        .map(drop)
}

/// `ctr` on the cluster's containerd, in the kubelet's namespace of images.
pub(crate) fn ctr(args: &[&str]) -> tokio::process::Command {
    let mut command = inside(paths::tool("ctr"));
    command
        .arg("--address")
        .arg(paths::state("containerd.sock"))
        .args(["--namespace", "k8s.io"])
        .args(args);
    command
}

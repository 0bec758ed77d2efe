//! A namespace a test: made with Pod Security `restricted`, shown when the test fails, and
//! removed either way. What a run leaves that was cut off is removed before the next.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, health};

/// The controller manager makes the service account, without which no pod is admitted.
const ACCOUNT_DEADLINE: Duration = Duration::from_secs(20);
/// As long as streams may hold up the end of a namespace's pods, and a little more.
pub(crate) const GONE: Duration = Duration::from_secs(360);
/// Label of these namespaces.
const OF_A_TEST: &str = "livepeer-e2e/test";
/// Lines of each container's log that a failure shows.
const LOG_LINES: &str = "--tail=60";

/// Runs a test's body in a namespace of its own, whose name starts with `prefix`.
pub async fn in_namespace<T, F, B>(cluster: &Cluster, prefix: &str, body: B) -> Result<T>
where
    F: Future<Output = Result<T>>,
    B: FnOnce(String) -> F,
{
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let wanted = serde_json::from_value(json!({
        "metadata": {
            "generateName": format!("{prefix}-"),
            "labels": {"pod-security.kubernetes.io/enforce": "restricted", OF_A_TEST: ""}
        }
    }))?;
    let made = namespaces.create(&PostParams::default(), &wanted).await?;
    let name = made.metadata.name.context("a namespace without a name")?;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), &name);
    health::until(
        Instant::now() + ACCOUNT_DEADLINE,
        "the service account",
        || async { Ok(accounts.get("default").await?) },
    )
    .await?;

    let outcome = body(name.clone()).await;
    let outcome = match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(error.context(diagnose(cluster, &name).await)),
    };
    match namespaces.delete(&name, &DeleteParams::background()).await {
        Ok(_) => {}
        // the body deleted it
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(error.into()),
    }
    outcome
}

/// Removes what a run left that was cut off: its pods hold the processor time that those of
/// the next would wait for. Only for who has the cluster alone.
pub async fn clear_away(cluster: &Cluster) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let ours = ListParams::default().labels(OF_A_TEST);
    for left in namespaces.list(&ours).await? {
        let name = left.name_any();
        tracing::info!(name, "removing the namespace of a run that was cut off");
        namespaces
            .delete(&name, &DeleteParams::background())
            .await?;
    }
    let deadline = Instant::now() + GONE;
    health::until(deadline, "the end of older namespaces", || async {
        let left = namespaces.list(&ours).await?.items;
        let names: Vec<_> = left.iter().map(|left| left.name_any()).collect();
        ensure!(names.is_empty(), "{names:?}");
        Ok(())
    })
    .await
}

/// What a person would look at: objects, events, logs.
async fn diagnose(cluster: &Cluster, namespace: &str) -> String {
    let mut text = format!("--- namespace {namespace} at the failure\n");
    let pods = cluster
        .kubectl(&["-n", namespace, "get", "pods", "-o", "name"])
        .await
        .unwrap_or_default();
    let mut commands = vec![
        vec!["-n", namespace, "get", "all,pvc,livepeer", "-o", "wide"],
        vec!["-n", namespace, "get", "livepeer", "-o", "yaml"],
        vec!["-n", namespace, "events"],
    ];
    for pod in pods.lines() {
        commands.push(vec![
            "-n",
            namespace,
            "logs",
            pod,
            "--all-containers",
            "--prefix",
            LOG_LINES,
        ]);
    }
    for command in commands {
        let shown = match cluster.kubectl(&command).await {
            Ok(shown) => shown,
            Err(error) => format!("{error:#}"),
        };
        text += &format!("$ kubectl {}\n{shown}\n", command.join(" "));
    }
    text
}

//! The cluster itself is a real one: what the product's tests take for granted, tested here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use livepeer_e2e::cluster::faults::Signal;
use livepeer_e2e::cluster::{Cluster, Daemon, GPUS, health};
use livepeer_e2e::demo;
use livepeer_e2e::namespace::in_namespace;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{cluster, cluster_alone};

/// Scheduling, starting and probing a pod, on a machine that also compiles.
const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "docker.io/library/debian:bookworm-slim";
/// A server in what Debian's smallest base has: answers every connection with a line.
const SERVER: &str = r#"use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die;
while (my $c = $s->accept) { print $c "hello from $ENV{HOSTNAME}\n"; close $c }"#;

fn pod(name: &str, command: &[&str]) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                "command": command,
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}
                }
            }]
        }
    })
}

fn server() -> Value {
    let mut server = pod("server", &["perl", "-e", SERVER]);
    server["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    server
}

async fn create<K>(client: &Client, namespace: &str, object: Value) -> Result<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let object = serde_json::from_value(object)?;
    Ok(Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &object)
        .await?)
}

/// Waits until a pod satisfies a condition, which is shown if it never does.
async fn pod_until(
    client: &Client,
    namespace: &str,
    name: &str,
    what: &str,
    condition: impl Fn(&Pod) -> bool,
) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    health::until(Instant::now() + LIMIT, what, || async {
        let pod = pods.get(name).await?;
        ensure!(condition(&pod), "{name}: {:?}", pod.status);
        Ok(pod)
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn restarts(pod: &Pod) -> i32 {
    pod.status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref()?.first())
        .map_or(0, |container| container.restart_count)
}

async fn read_line(address: std::net::SocketAddr) -> Result<String> {
    let mut text = String::new();
    TcpStream::connect(address)
        .await?
        .read_to_string(&mut text)
        .await?;
    Ok(text)
}

#[tokio::test]
async fn a_service_is_reached_by_name_from_a_pod_and_by_a_forward_from_outside() -> Result<()> {
    let cluster = cluster().await?;
    in_namespace(&cluster, "service", async |namespace| {
        let client = cluster.client();
        create::<Pod>(&client, &namespace, server()).await?;
        let service = json!({
            "metadata": {"name": "server"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}
        });
        create::<Service>(&client, &namespace, service.clone()).await?;
        pod_until(&client, &namespace, "server", "the server", is_ready).await?;

        let ask = "exec 3<>/dev/tcp/server/80 && cat <&3";
        create::<Pod>(&client, &namespace, {
            let mut asker = pod("asker", &["bash", "-c", ask]);
            asker["spec"]["restartPolicy"] = json!("OnFailure");
            asker
        })
        .await?;
        let done = |pod: &Pod| phase(pod) == "Succeeded";
        pod_until(&client, &namespace, "asker", "the asker's end", done).await?;
        let said = cluster
            .kubectl(&["-n", &namespace, "logs", "asker"])
            .await?;
        ensure!(
            said.contains("hello from server"),
            "the asker heard {said:?}"
        );

        let forward = cluster.forward(&namespace, "svc/server", 80).await?;
        let heard = read_line(forward.address).await?;
        ensure!(
            heard == "hello from server\n",
            "outside, {heard:?} was heard"
        );
        let kept = cluster.forward_kept(&namespace, "pod/asker", 80, 0).await?;
        let again = cluster
            .forward_kept(&namespace, "svc/server", 80, kept.port())
            .await?;
        ensure!(again == kept, "{again} is not {kept}");
        ensure!(read_line(again).await? == heard, "the older forward stays");

        let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
        services.delete("server", &DeleteParams::default()).await?;
        create::<Service>(&client, &namespace, service).await?;
        let deadline = Instant::now() + Duration::from_secs(20);
        health::until(deadline, "the Service that was made again", || async {
            ensure!(read_line(again).await? == heard, "something else answers");
            Ok(())
        })
        .await?;
        let uid = cluster
            .kubectl(&["-n", &namespace, "exec", "server", "--", "id", "-u"])
            .await?;
        ensure!(uid.trim() == "65532");
        Ok(())
    })
    .await
}

/// A kept forward to a Service without pods: what counts is who listens, not where it leads.
async fn kept(cluster: &Cluster, namespace: &str) -> Result<SocketAddr> {
    let service = json!({"metadata": {"name": "server"}, "spec": {"ports": [{"port": 80}]}});
    create::<Service>(&cluster.client(), namespace, service).await?;
    let address = cluster.forward_kept(namespace, "svc/server", 80, 0).await?;
    ensure!(listens(address).await, "nothing listens on {address}");
    Ok(address)
}

async fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

#[tokio::test]
async fn a_demo_that_is_removed_or_was_listens_no_more_and_others_do() -> Result<()> {
    let cluster = cluster_alone().await?;
    in_namespace(&cluster, "beside", async |namespace| {
        let beside = kept(&cluster, &namespace).await?;
        demo::remove(&cluster).await?;
        for is_gone in [false, true] {
            cluster
                .kubectl(&["create", "namespace", demo::NAMESPACE])
                .await?;
            let address = kept(&cluster, demo::NAMESPACE).await?;
            if is_gone {
                cluster
                    .kubectl(&["delete", "namespace", demo::NAMESPACE])
                    .await?;
                ensure!(listens(address).await, "{address} went with its namespace");
            }
            demo::remove(&cluster).await?;
            ensure!(!listens(address).await, "{address} is still listened on");
        }
        ensure!(listens(beside).await, "another's forward was ended");
        cluster.end_forwards(&namespace).await?;
        ensure!(!listens(beside).await, "{beside} is still listened on");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_claim_gets_a_volume_that_the_pods_group_can_write_and_that_goes_with_it() -> Result<()> {
    let cluster = cluster().await?;
    in_namespace(&cluster, "claim", async |namespace| {
        let client = cluster.client();
        let claim = json!({
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        });
        create::<PersistentVolumeClaim>(&client, &namespace, claim).await?;
        let mut writer = pod("writer", &["bash", "-c", "echo kept > /data/file && cat /data/file"]);
        writer["spec"]["restartPolicy"] = json!("Never");
        writer["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        writer["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "data", "mountPath": "/data"}]);
        create::<Pod>(&client, &namespace, writer).await?;
        let ended = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed");
        let writer = pod_until(&client, &namespace, "writer", "the writer's end", ended).await?;
        ensure!(phase(&writer) == "Succeeded", "{:?}", writer.status);

        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        let volume = claims.get("data").await?.spec.and_then(|spec| spec.volume_name);
        let volume = volume.context("the claim is not bound")?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        pods.delete("writer", &DeleteParams::default()).await?;
        claims.delete("data", &DeleteParams::default()).await?;
        let volumes: Api<PersistentVolume> = Api::all(client);
        health::until(Instant::now() + LIMIT, "the volume's removal", || async {
            ensure!(volumes.get_opt(&volume).await?.is_none(), "{volume} is still there");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn the_kubelet_allocates_the_stand_ins_devices_and_sees_them_fail() -> Result<()> {
    let cluster = cluster().await?;
    in_namespace(&cluster, "gpu", async |namespace| {
        let client = cluster.client();
        let mut user = pod(
            "user",
            &["bash", "-c", "echo devices $NVIDIA_VISIBLE_DEVICES"],
        );
        user["spec"]["restartPolicy"] = json!("Never");
        user["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
        create::<Pod>(&client, &namespace, user).await?;
        let done = |pod: &Pod| phase(pod) == "Succeeded";
        pod_until(&client, &namespace, "user", "the user's end", done).await?;
        let said = cluster.kubectl(&["-n", &namespace, "logs", "user"]).await?;
        ensure!(
            said.starts_with("devices gpu-"),
            "the container saw {said:?}"
        );

        for healthy in [GPUS - 1, GPUS] {
            cluster.gpu_devices(healthy).await?;
            let nodes: Api<Node> = Api::all(client.clone());
            health::until(Instant::now() + LIMIT, "the node's devices", || async {
                let node = nodes.list(&ListParams::default()).await?.items.remove(0);
                let allocatable = node.status.and_then(|status| status.allocatable);
                let count = allocatable.and_then(|mut all| all.remove("nvidia.com/gpu"));
                let count = count.context("no devices")?.0;
                ensure!(count == healthy.to_string(), "{count} devices");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn containers_are_killed_and_cut_off_from_outside() -> Result<()> {
    let cluster = cluster().await?;
    in_namespace(&cluster, "fault", async |namespace| {
        let client = cluster.client();
        create::<Pod>(&client, &namespace, server()).await?;
        pod_until(&client, &namespace, "server", "the server", is_ready).await?;
        cluster
            .signal(&namespace, "server", "main", Signal::KILL)
            .await?;
        let back = |pod: &Pod| restarts(pod) == 1 && is_ready(pod);
        pod_until(&client, &namespace, "server", "the restart", back).await?;

        cluster.cut_network(&namespace, "server", "main").await?;
        let cut = |pod: &Pod| !is_ready(pod);
        pod_until(&client, &namespace, "server", "the cut", cut).await?;
        cluster
            .restore_network(&namespace, "server", "main")
            .await?;
        pod_until(&client, &namespace, "server", "the way back", is_ready).await?;

        cluster.pause(&namespace, "server", "main").await?;
        let forward = cluster.forward(&namespace, "pod/server", 8080).await?;
        let silent = tokio::time::timeout(Duration::from_millis(500), read_line(forward.address));
        ensure!(silent.await.is_err(), "a paused server answered");
        cluster.resume(&namespace, "server", "main").await?;
        ensure!(read_line(forward.address).await?.starts_with("hello"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_audit_log_tells_who_asked_for_what() -> Result<()> {
    let cluster = cluster().await?;
    in_namespace(&cluster, "audit", async |namespace| {
        let mark = cluster.audit_mark()?;
        create::<Pod>(&cluster.client(), &namespace, pod("idle", &["sleep", "60"])).await?;
        health::until(Instant::now() + LIMIT, "the audit event", || async {
            let events = cluster.audit_since(mark)?;
            let ours = events.iter().find(|event| {
                event.is_mutating()
                    && event.object_ref.as_ref().is_some_and(|object| {
                        object.resource == "pods"
                            && object.subresource.is_empty()
                            && object.namespace == namespace
                    })
            });
            let event = ours.context("not written yet")?;
            ensure!(
                event.user.username == "admin" && event.code() == 201,
                "{event:?}"
            );
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn pods_serve_on_while_the_api_server_is_away() -> Result<()> {
    let cluster = cluster_alone().await?;
    in_namespace(&cluster, "away", async |namespace| {
        let client = cluster.client();
        create::<Pod>(&client, &namespace, server()).await?;
        pod_until(&client, &namespace, "server", "the server", is_ready).await?;
        let forward = cluster.forward(&namespace, "pod/server", 8080).await?;
        cluster.kill_daemon(Daemon::KubeApiserver).await?;
        ensure!(read_line(forward.address).await?.starts_with("hello"));
        cluster.start_daemon(Daemon::KubeApiserver).await?;
        pod_until(&client, &namespace, "server", "the server", is_ready).await?;
        Ok(())
    })
    .await
}

//! The NetworkPolicies that the operator makes, evaluated as a CNI plugin would, against
//! the labels and ports of the pods that are really there. Whether they are enforced
//! depends on the cluster's network; this one's does not.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ListParams, PostParams};
use livepeer_e2e::install;
use livepeer_e2e::network::Network;
use serde_json::json;

use crate::support::{OPERATOR, network};

type Labels = BTreeMap<String, String>;

/// One end of a connection.
#[derive(Clone)]
struct End {
    name: String,
    namespace: String,
    labels: Labels,
    namespace_labels: Labels,
    /// Ports by name, as its containers declare them.
    ports: BTreeMap<String, i32>,
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_let_through_what_the_product_needs_and_nothing_else() -> Result<()> {
    network("policy", |network| async move {
        network.smallest("a", 1).await?;
        let policies = policies(&network).await?;
        ensure!(policies.len() == 3, "{} policies", policies.len());
        let of = async |component| pod(&network, component).await;
        let (gateway, orchestrator, pool) = (
            of("gateway").await?,
            of("orchestrator").await?,
            of("pool").await?,
        );
        let operator = operator(&network).await?;
        let stranger = other(&network, "stranger", ("app", "theirs")).await?;
        // the operator is installed with its label in `scrapeFrom`
        let scraper = other(&network, "scraper", install::SCRAPER).await?;
        let mut namesake = scraper.clone();
        namesake.name = "scraper elsewhere".to_owned();
        namesake.namespace.clone_from(&operator.namespace);
        namesake
            .namespace_labels
            .clone_from(&operator.namespace_labels);
        let https = port(&orchestrator, "https")?;
        let http = port(&gateway, "http")?;

        let may = |from: &End, to: &End, port: i32| {
            leaves(&policies, from, to, "TCP", port) && enters(&policies, from, to, "TCP", port)
        };
        let mut wrong = Vec::new();
        let mut check = |from: &End, to: &End, port: i32, wanted: bool| {
            if may(from, to, port) != wanted {
                wrong.push(format!(
                    "{} to {}:{port}, wanted: {wanted}",
                    from.name, to.name
                ));
            }
        };
        for node in [&gateway, &orchestrator, &pool] {
            let probe = self::port(node, "probe")?;
            check(&operator, node, probe, true);
            check(&scraper, node, probe, true);
            check(&stranger, node, probe, false);
            check(&namesake, node, probe, false);
            check(&pool, node, probe, false);
        }
        check(&pool, &orchestrator, https, true);
        check(&gateway, &orchestrator, https, true);
        check(&stranger, &orchestrator, https, true);
        check(&operator, &orchestrator, https, true);
        check(&stranger, &gateway, http, true);
        check(&operator, &gateway, http, true);
        check(&pool, &gateway, http, false);
        check(&pool, &stranger, 443, false);
        check(&pool, &stranger, https, false);
        for from in [&stranger, &operator, &scraper, &gateway, &orchestrator] {
            check(from, &pool, https, false);
        }
        for (protocol, port, wanted) in [("UDP", 53, true), ("TCP", 53, true), ("UDP", 443, false)]
        {
            if leaves(&policies, &pool, &stranger, protocol, port) != wanted {
                wrong.push(format!("pool to any {protocol} {port}, wanted: {wanted}"));
            }
        }
        ensure!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    })
    .await
}

async fn policies(network: &Network) -> Result<Vec<NetworkPolicy>> {
    let api: Api<NetworkPolicy> = Api::namespaced(network.cluster.client(), &network.namespace);
    Ok(api.list(&ListParams::default()).await?.items)
}

async fn pod(network: &Network, component: &str) -> Result<End> {
    let mut pods = network.pods(component, "a").await?;
    end(
        network,
        pods.pop()
            .with_context(|| format!("no pod of {component}"))?,
    )
    .await
}

async fn operator(network: &Network) -> Result<End> {
    let pods: Api<Pod> = Api::namespaced(network.cluster.client(), OPERATOR);
    let pod = pods.list(&ListParams::default()).await?.items.pop();
    end(network, pod.context("no pod of the operator")?).await
}

/// A pod of somebody else's in the same namespace; the API server fills it in, and nobody
/// needs to run it.
async fn other(network: &Network, name: &str, (label, value): (&str, &str)) -> Result<End> {
    let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
    let pod = json!({
        "metadata": {"name": name, "labels": {label: value}},
        "spec": {
            "nodeSelector": {"no": "such"},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "i", "securityContext":
                {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    });
    let pod = pods
        .create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await?;
    end(network, pod).await
}

async fn end(network: &Network, pod: Pod) -> Result<End> {
    let namespace = pod
        .metadata
        .namespace
        .context("a pod without a namespace")?;
    let namespaces: Api<Namespace> = Api::all(network.cluster.client());
    let containers = pod.spec.context("a pod without a spec")?.containers;
    let ports = containers
        .into_iter()
        .flat_map(|container| container.ports.unwrap_or_default())
        .filter_map(|port| Some((port.name?, port.container_port)))
        .collect();
    Ok(End {
        name: pod.metadata.name.unwrap_or_default(),
        labels: pod.metadata.labels.unwrap_or_default(),
        namespace_labels: namespaces
            .get(&namespace)
            .await?
            .metadata
            .labels
            .unwrap_or_default(),
        namespace,
        ports,
    })
}

fn port(end: &End, name: &str) -> Result<i32> {
    let port = end.ports.get(name).copied();
    port.with_context(|| format!("{} has no port {name}", end.name))
}

/// May `from` send there? A pod that no policy selects for egress may do anything.
fn leaves(policies: &[NetworkPolicy], from: &End, to: &End, protocol: &str, port: i32) -> bool {
    let selecting = || selecting(policies, from, "Egress");
    selecting().count() == 0
        || selecting()
            .flat_map(|spec| spec.egress.iter().flatten())
            .any(|rule| {
                ports_match(rule.ports.as_deref(), to, protocol, port)
                    && peers_match(rule.to.as_deref(), &from.namespace, to)
            })
}

/// May `to` receive it?
fn enters(policies: &[NetworkPolicy], from: &End, to: &End, protocol: &str, port: i32) -> bool {
    let selecting = || selecting(policies, to, "Ingress");
    selecting().count() == 0
        || selecting()
            .flat_map(|spec| spec.ingress.iter().flatten())
            .any(|rule| {
                ports_match(rule.ports.as_deref(), to, protocol, port)
                    && peers_match(rule.from.as_deref(), &to.namespace, from)
            })
}

/// The policies of a direction that select a pod.
fn selecting<'a>(
    policies: &'a [NetworkPolicy],
    pod: &'a End,
    direction: &'a str,
) -> impl Iterator<Item = &'a NetworkPolicySpec> {
    policies
        .iter()
        .filter(|policy| policy.metadata.namespace.as_deref() == Some(&pod.namespace))
        .filter_map(|policy| policy.spec.as_ref())
        .filter(move |spec| {
            let types = spec.policy_types.as_deref().unwrap_or_default();
            types.iter().any(|word| word == direction)
                && spec
                    .pod_selector
                    .as_ref()
                    .is_none_or(|selector| selects(selector, &pod.labels))
        })
}

/// Absent or empty means every port.
fn ports_match(ports: Option<&[NetworkPolicyPort]>, to: &End, protocol: &str, port: i32) -> bool {
    let Some(ports @ [_, ..]) = ports else {
        return true;
    };
    ports.iter().any(|allowed| {
        let number = match &allowed.port {
            None => Some(port),
            Some(IntOrString::Int(number)) => Some(*number),
            Some(IntOrString::String(name)) => to.ports.get(name).copied(),
        };
        allowed.protocol.as_deref().unwrap_or("TCP") == protocol && number == Some(port)
    })
}

/// Absent or empty means everybody. No address block lets a pod of this cluster in here.
fn peers_match(peers: Option<&[NetworkPolicyPeer]>, home: &str, other: &End) -> bool {
    let Some(peers @ [_, ..]) = peers else {
        return true;
    };
    peers.iter().any(|peer| {
        let here = match &peer.namespace_selector {
            Some(selector) => selects(selector, &other.namespace_labels),
            None => peer.ip_block.is_none() && other.namespace == home,
        };
        let pods = peer.pod_selector.as_ref();
        here && pods.is_none_or(|selector| selects(selector, &other.labels))
    })
}

/// Only `matchLabels`: an expression would need an evaluation of its own.
fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(selector.match_expressions.is_none(), "not evaluated here");
    selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value))
}

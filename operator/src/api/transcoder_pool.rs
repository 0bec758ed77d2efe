//! `TranscoderPool`: transcoders of one kind for one orchestrator.

use std::collections::BTreeSet;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::gpu::Gpu;
use super::node::NodeSpec;
use super::reference::{ObjectRef, SecretKeyRef};
use super::status::PoolStatus;

/// Desired state of a pool of transcoders.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "livepeer.org",
    version = "v1alpha1",
    kind = "TranscoderPool",
    namespaced,
    status = "PoolStatus",
    derive = "PartialEq",
    doc = "A pool of equal Livepeer transcoders that register with one orchestrator. kubectl scale works on it.",
    shortname = "lppool",
    category = "livepeer",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Sessions", type_ = "integer", json_path = ".status.sessions"),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".status.capacity"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TranscoderPoolSpec {
    #[serde(flatten)]
    pub node: NodeSpec,
    /// The orchestrator to work for. Rolls the pods.
    pub orchestrator: PoolOrchestrator,
    /// Number of transcoders. Set by kubectl scale and autoscalers too. Default: 1. Live.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
    /// Sessions that one transcoder takes at once. Default: what its self-test measured.
    /// Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sessions: Option<u32>,
    /// The device of each transcoder. Default: the CPU. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// Either an Orchestrator in this namespace or one elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.ref) != has(self.external)").message("exactly one of ref and external must be set"))]
pub struct PoolOrchestrator {
    /// An Orchestrator in this namespace; the credential is made by the operator. Rolls
    /// the pods.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<ObjectRef>,
    /// An orchestrator that this operator does not run. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalOrchestrator>,
}

/// An orchestrator that this operator does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalOrchestrator {
    /// Where it listens, https://host:port. Rolls the pods.
    #[schemars(length(max = 512), regex(pattern = r"^https://[^/?#@\s]+$"))]
    pub address: String,
    /// The secret that it expects of its transcoders. A change of the Secret's data is live;
    /// of the reference rolls the pods.
    pub credential_secret_ref: SecretKeyRef,
}

fn default_replicas() -> u32 {
    1
}

impl TranscoderPool {
    /// The Orchestrator of this namespace that it works for.
    #[must_use]
    pub fn orchestrator_name(&self) -> Option<&str> {
        let reference = self.spec.orchestrator.reference.as_ref()?;
        Some(&reference.name)
    }

    /// The Orchestrators of this namespace that take its credential: the one of its spec,
    /// and those that its pods, which may be older, were last seen to work for.
    #[must_use]
    pub fn orchestrators(&self) -> BTreeSet<&str> {
        let mut names = self.works_for();
        names.retain(|name| !is_address(name));
        names
    }

    /// Addresses of orchestrators elsewhere that its older pods were last seen to work for.
    #[must_use]
    pub fn addresses_left(&self) -> BTreeSet<&str> {
        let mut addresses = self.works_for();
        addresses.retain(|address| is_address(address) && self.wanted() != Some(address));
        addresses
    }

    /// What its spec names: an Orchestrator, or the address of one elsewhere.
    #[must_use]
    pub fn wanted(&self) -> Option<&str> {
        let external = self.spec.orchestrator.external.as_ref();
        self.orchestrator_name()
            .or(external.map(|external| external.address.as_str()))
    }

    /// What its spec names, and what its status says of pods that may be older.
    #[must_use]
    pub fn works_for(&self) -> BTreeSet<&str> {
        let seen = self.status.iter().flat_map(|status| &status.orchestrators);
        seen.map(String::as_str).chain(self.wanted()).collect()
    }
}

/// No name of an object has a colon.
fn is_address(orchestrator: &str) -> bool {
    orchestrator.contains("://")
}

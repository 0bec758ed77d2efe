//! `Orchestrator`: sells transcoding, with its own engine or with the transcoders of
//! the `TranscoderPool`s that refer to it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exposure::Exposure;
use super::gpu::Gpu;
use super::node::NodeSpec;
use super::quantity::Quantity;
use super::status::NodeStatusFields;

/// Desired state of an orchestrator.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "livepeer.org",
    version = "v1alpha1",
    kind = "Orchestrator",
    namespaced,
    status = "NodeStatusFields",
    derive = "PartialEq",
    doc = "A Livepeer orchestrator: takes segments from gateways and has them transcoded, by its own engine or by the TranscoderPools that refer to it.",
    shortname = "lporch",
    category = "livepeer",
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
#[x_kube(validation = Rule::new("!has(self.gpu) || self.transcoding == 'Embedded'").message("gpu needs transcoding: Embedded; with Pools, set gpu in the TranscoderPool"))]
pub struct OrchestratorSpec {
    #[serde(flatten)]
    pub node: NodeSpec,
    /// Who transcodes: Pools (the TranscoderPools that refer to this orchestrator) or
    /// Embedded (its own engine, in its own pod). Default: Pools. Rolls the pod.
    #[serde(default)]
    pub transcoding: Transcoding,
    /// Address that gateways are told to use, https://host:port. Default: the address
    /// of the load balancer, else that of the Service inside the cluster. Rolls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https://[^/?#@\s]+$"))]
    pub service_uri: Option<String>,
    /// How gateways reach it. Live.
    #[serde(default)]
    pub exposure: Exposure,
    /// Sessions at once. Default: what its engine or its transcoders offer. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sessions: Option<u32>,
    /// The device of the embedded engine. Default: the CPU. Rolls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// The volume with its certificate and key, which outlives the resource. Fixed: make a new Orchestrator instead.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cannot be changed once the claim exists"))]
    pub storage: Storage,
}

/// Who transcodes for an orchestrator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Transcoding {
    #[default]
    Pools,
    Embedded,
}

/// The claim `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the claim, in bytes: a quantity such as 1Gi. Default: 1Gi. Fixed.
    #[serde(default = "default_size")]
    pub size: Quantity,
    /// StorageClass of the claim. Default: the cluster's. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: default_size(),
            storage_class_name: None,
        }
    }
}

/// A certificate, a key and, later, tickets: megabytes.
fn default_size() -> Quantity {
    Quantity("1Gi".to_owned())
}

//! `podTemplate`: what a person may add to the pods. Containers, volumes and security
//! settings are not here: those are the operator's to keep restricted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Quantity;

/// Additions to the pods. Every field rolls the pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations to add. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodMetadata>,
    /// Requests and limits of the node's container; each one that is absent has a default.
    /// Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels that a node of the cluster must have. Default: none. Rolls the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, !format.qualifiedName().validate(k).hasValue() && !format.labelValue().validate(self[k]).hasValue())").message("node labels have keys and values of at most 63 letters, digits, -, _ and ., the first and the last a letter or digit; before a key may stand a DNS name and /"))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate. With `gpu.count`, the taint named like its resource
    /// is tolerated without being listed; for any of `nvidia.com/`, so is `nvidia.com/gpu`.
    /// Rolls the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Scheduling constraints, as in a pod. Default: none. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods spread over nodes and zones. Without a labelSelector, the pods of this
    /// resource are meant. Default: none. Rolls the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// PriorityClass of the pods. Default: the cluster's. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// Metadata to add to the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels to add. Those of app.kubernetes.io and livepeer.org are the operator's. Rolls
    /// the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('livepeer.org/'))").message("labels of app.kubernetes.io and livepeer.org are set by the operator"))]
    #[x_kube(validation = Rule::new("self.all(k, !format.qualifiedName().validate(k).hasValue() && !format.labelValue().validate(self[k]).hasValue())").message("labels have keys and values of at most 63 letters, digits, -, _ and ., the first and the last a letter or digit; before a key may stand a DNS name and /"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add. Those of livepeer.org are the operator's. Rolls the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 32,
        "additionalProperties" = {"type": "string", "maxLength": 8192}
    ))]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('livepeer.org/'))").message("annotations of livepeer.org are set by the operator"))]
    #[x_kube(validation = Rule::new("self.all(k, !format.qualifiedName().validate(k.lowerAscii()).hasValue())").message("annotations have keys of at most 63 letters, digits, -, _ and ., the first and the last a letter or digit; before a key may stand a DNS name and /"))]
    pub annotations: BTreeMap<String, String>,
}

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || !quantity(string(self.requests[k])).isGreaterThan(quantity(string(self.limits[k]))))").message("a request must not be above the limit of the same resource"))]
pub struct Resources {
    /// What the scheduler reserves, as quantities: cpu in cores (250m is a quarter), memory
    /// in bytes; of each resource at most its limit. Default: 100m and 128Mi where segments
    /// only pass through, 250m and 512Mi where an engine runs. Rolls the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may use at most, as quantities. The engine sizes its workers from
    /// the memory limit and the CPU limit. Default: memory 2Gi where segments only pass
    /// through, 4Gi where an engine runs; no limit of cpu. Rolls the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Quantity>,
}

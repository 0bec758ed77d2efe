//! `gpu`: which device the engine runs on. Absent means the CPU.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The extended resource of NVIDIA's device plugin.
pub const DEFAULT_RESOURCE: &str = "nvidia.com/gpu";
/// What every extended resource of that plugin starts with.
pub const NVIDIA: &str = "nvidia.com/";

/// A GPU for each pod: either a number of units of an extended resource, or a
/// ResourceClaimTemplate (DRA). The pod never falls back to the CPU: `GpuReady` says
/// when the device does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.count) != has(self.claimTemplateName)").message("exactly one of count and claimTemplateName must be set"))]
#[x_kube(validation = Rule::new("!has(self.resource) || has(self.count)").message("resource needs count"))]
pub struct Gpu {
    /// Extended resource to ask for, MIG profiles such as `nvidia.com/mig-1g.10gb`
    /// included. Default: nvidia.com/gpu. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(
            pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
        )
    )]
    pub resource: Option<String>,
    /// Units of the resource for each pod; this or claimTemplateName. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub count: Option<u32>,
    /// A ResourceClaimTemplate (resource.k8s.io/v1) in this namespace; each pod gets a
    /// claim of its own made from it. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim_template_name: Option<String>,
    /// RuntimeClass of the pods, where the GPU needs one (often `nvidia`). Default: none.
    /// Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
}

impl Gpu {
    /// The extended resource, when it is one.
    #[must_use]
    pub fn resource(&self) -> Option<(&str, u32)> {
        let count = self.count?;
        Some((self.resource.as_deref().unwrap_or(DEFAULT_RESOURCE), count))
    }
}

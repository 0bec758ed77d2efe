//! `exposure`: how a role is reached from outside its pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients reach this resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// Type of the Service: ClusterIP (inside the cluster only), NodePort or
    /// LoadBalancer. Default: ClusterIP. Live; but an Orchestrator without serviceUri takes
    /// the address of a load balancer once it has one, which replaces its pod.
    #[serde(default, rename = "type")]
    pub service_type: ServiceType,
}

/// Types of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

impl ServiceType {
    /// The word in a Service's `spec.type`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

//! `Gateway`: takes streams in, has them transcoded, serves the renditions.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::exposure::Exposure;
use super::node::NodeSpec;
use super::profile::Profile;
use super::reference::{ObjectRef, SecretKeyRef};
use super::status::NodeStatusFields;

/// Desired state of a gateway.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "livepeer.org",
    version = "v1alpha1",
    kind = "Gateway",
    namespaced,
    status = "NodeStatusFields",
    derive = "PartialEq",
    doc = "A Livepeer gateway: takes streams in over HTTP, has orchestrators transcode them, and serves the renditions as HLS. Use the short name lpgw where the Gateway API is installed.",
    shortname = "lpgw",
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
pub struct GatewaySpec {
    #[serde(flatten)]
    pub node: NodeSpec,
    /// Who transcodes for this gateway. Live.
    pub orchestrators: Orchestrators,
    /// How streams come in. Rolls the pod.
    pub ingest: Ingest,
    /// How viewers and pushers reach it. Live.
    #[serde(default)]
    pub exposure: Exposure,
    /// Renditions to make of each stream whose push does not ask for others. Default:
    /// P240p30fps16x9 and P360p30fps16x9. Live, for streams that start after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 10),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub profiles: Vec<Profile>,
}

/// Where orchestrators come from: exactly one of the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.refs) != has(self.addresses)").message("exactly one of refs and addresses must be set"))]
pub struct Orchestrators {
    /// Orchestrators in this namespace, each by name. Live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub refs: Vec<ObjectRef>,
    /// Orchestrators elsewhere, each https://host:port. Live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(max = 512), regex(pattern = r"^https://[^/?#@\s]+$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub addresses: Vec<String>,
}

/// How streams come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ingest {
    /// Segments pushed over HTTP, `PUT /live/<stream>/<n>.ts`. Rolls the pod.
    pub http: HttpIngest,
}

/// Who may push: exactly one member says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tokenSecretRef) != has(self.allowUnauthenticated)").message("exactly one of tokenSecretRef and allowUnauthenticated must be set"))]
pub struct HttpIngest {
    /// A token that each push must carry as `Authorization: Bearer`. A change of the
    /// Secret's data is live; of the reference rolls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyRef>,
    /// True lets anyone push who reaches the port. Rolls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self").message("must be true, or absent"))]
    pub allow_unauthenticated: Option<bool>,
}

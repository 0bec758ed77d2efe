//! The fields that every kind has, because every kind runs the node's image.

use kube::KubeSchema;
use livepeer_settings::{LogLevel as NodeLogLevel, duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::pod_template::PodTemplate;
use super::reference::PullSecretRef;

/// Fields shared by all kinds; flattened into each spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// Image of the node. Default: the one that the operator was installed with.
    /// Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9][-a-zA-Z0-9._/:@]*$')").message("must be an image reference such as registry.example/livepeer/node:1.0"))]
    pub image: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never. Default: the cluster's own
    /// rule. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets with credentials of the image's registry. Default: none. Rolls the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub image_pull_secrets: Vec<PullSecretRef>,
    /// How much the pods log: error, warn, info, debug or trace. Default: info. Live.
    #[serde(default)]
    pub log_level: LogLevel,
    /// True stops reconciling: pods and other children stay as they are, changes of the
    /// spec and of children by hand included. Default: false. Live.
    #[serde(default)]
    pub paused: bool,
    /// How the pods stop. Rolls the pods.
    #[serde(default)]
    pub drain: Drain,
    /// Additions to the pods. Rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// When the kubelet pulls the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    /// The word in a container's `imagePullPolicy`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for NodeLogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// What a pod does when it is told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long running sessions may go on after a pod was told to stop; the pod's
    /// grace period is this and 20 s. A whole number with ms, s, m or h; at most 24h.
    /// Default: 5m. Rolls the pods.
    #[serde(default = "default_deadline")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,8}(ms|s|m|h)$')").message("must be one whole number with ms, s, m or h, such as 30s, 5m or 90s (not 1m30s)"))]
    #[x_kube(validation = Rule::new("!self.matches('^[0-9]{1,8}(ms|s|m|h)$') || duration(self) <= duration('24h')").message("must be at most 24h"))]
    pub deadline: String,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            deadline: default_deadline(),
        }
    }
}

fn default_deadline() -> String {
    duration::print(livepeer_settings::Drain::default().deadline)
}

impl Drain {
    /// The deadline; an error names the text, for specs older than the rule.
    pub fn deadline(&self) -> Result<Duration, duration::DurationError> {
        duration::parse(&self.deadline)
    }
}

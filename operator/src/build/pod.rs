//! The pod template of a node: one container, restricted.
//!
//! It passes the `restricted` Pod Security Standard: own user, no privileges, no
//! capabilities, a read-only root, no token of the API server, and scratch space that
//! is bounded. What a person adds (`podTemplate`) cannot take that back. A list that is
//! written empty stays empty: an entry that somebody adds by hand is removed.

use std::time::Duration;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use livepeer_settings::{Drain, Role};
use serde_json::{Map, Value, json};

use super::resources::{self, Defaults, GPU_CLAIM};
use super::{Maker, Surroundings, settings};
use crate::api::gpu::{DEFAULT_RESOURCE, Gpu, NVIDIA};
use crate::api::node::NodeSpec;
use crate::api::pod_template::PodTemplate;
use crate::apply::child::hash;
use crate::names::{ANNOTATION_SETTINGS, ANNOTATION_TEMPLATE, Part};

/// User and group of the node: not root, nobody else's.
const USER: i64 = 64935;
/// Bound of [`settings::SCRATCH_FOLDER`].
pub(crate) const SCRATCH: &str = "256Mi";
/// The node's container; others may have been put beside it.
pub(crate) const CONTAINER: &str = "node";
/// What a pod gets on top of lame-duck time and drain deadline to flush and exit.
const EXIT_MARGIN: Duration = Duration::from_secs(15);
/// Probes wait this long for an answer; the listener does nothing but answer.
const PROBE_TIMEOUT_SECONDS: u32 = 3;
/// A minute: one whose cores are all encoding answers late, and must not be restarted.
const LIVE_TRIES: u32 = 6;
/// 3 × 2 s: one slow answer on a busy node takes nobody out of service.
const READY_TRIES: u32 = 3;
/// Longer than the node holds `/startupz` (15 s), so that a healthy start is one probe.
const STARTUP_TIMEOUT_SECONDS: u32 = 18;
/// 40 × 15 s: a GPU's first self-test may take minutes. 40 s for one that does not even listen.
const STARTUP_TRIES: u32 = 40;

/// A folder in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub name: &'static str,
    pub path: &'static str,
    /// `None` for a claim that the StatefulSet makes.
    pub source: Option<Value>,
    pub read_only: bool,
}

/// What differs from role to role.
#[derive(Debug)]
pub struct NodePod<'a> {
    pub role: Role,
    pub node: &'a NodeSpec,
    pub drain_deadline: Duration,
    pub gpu: Option<&'a Gpu>,
    pub defaults: Defaults,
    pub rolling_hash: &'a str,
    pub mounts: Vec<Mount>,
    /// The port that clients reach, with its name; a transcoder has none.
    pub served: Option<(&'static str, u16)>,
}

impl Maker<'_> {
    /// The pod template and its hash, which an annotation carries to tell its pods from
    /// older ones.
    #[must_use]
    pub fn pod_template(&self, pod: &NodePod<'_>, surroundings: &Surroundings) -> (Value, String) {
        let template = pod.node.pod_template.as_ref();
        let metadata = template
            .and_then(|template| template.metadata.clone())
            .unwrap_or_default();
        let mut labels = metadata.labels;
        labels.extend(self.component.labels(self.owner_name));
        let mut annotations = metadata.annotations;
        annotations.insert(ANNOTATION_SETTINGS.to_owned(), pod.rolling_hash.to_owned());
        let mut built = json!({
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": self.pod_spec(pod, surroundings),
        });
        let template_hash = hash(&built);
        built["metadata"]["annotations"][ANNOTATION_TEMPLATE] = template_hash.clone().into();
        (built, template_hash)
    }

    fn pod_spec(&self, pod: &NodePod<'_>, surroundings: &Surroundings) -> Value {
        let grace = Drain::default().lame_duck + pod.drain_deadline + EXIT_MARGIN;
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": grace.as_secs(),
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [],
            "containers": [container(pod, surroundings)],
            "volumes": self.volumes(pod),
        });
        let fields = spec.as_object_mut().expect("made as an object above");
        if !pod.node.image_pull_secrets.is_empty() {
            fields.insert(
                "imagePullSecrets".into(),
                json!(pod.node.image_pull_secrets),
            );
        }
        add_gpu(fields, pod.gpu);
        if let Some(template) = &pod.node.pod_template {
            self.add_scheduling(fields, template);
        }
        spec
    }

    fn volumes(&self, pod: &NodePod<'_>) -> Value {
        let mut volumes = vec![
            self.settings_volume(pod.rolling_hash),
            json!({"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH}}),
        ];
        volumes.extend(pod.mounts.iter().filter_map(|mount| {
            let mut volume = mount.source.clone()?;
            volume["name"] = mount.name.into();
            Some(volume)
        }));
        Value::from(volumes)
    }

    fn settings_volume(&self, rolling_hash: &str) -> Value {
        let file = json!({"key": settings::key(rolling_hash), "path": settings::FILE});
        let map = json!({"name": self.name(Part::Settings), "items": [file]});
        json!({"name": settings::VOLUME, "configMap": map})
    }

    fn add_scheduling(&self, fields: &mut Map<String, Value>, template: &PodTemplate) {
        let PodTemplate {
            metadata: _,
            resources: _,
            node_selector,
            tolerations,
            affinity,
            topology_spread_constraints,
            priority_class_name,
        } = template;
        if !node_selector.is_empty() {
            fields.insert("nodeSelector".into(), json!(node_selector));
        }
        if !tolerations.is_empty() {
            let present = fields.entry("tolerations").or_insert(json!([]));
            let list = present
                .as_array_mut()
                .expect("made as a list here and in add_gpu");
            list.extend(tolerations.iter().map(|toleration| json!(toleration)));
        }
        if let Some(affinity) = affinity {
            fields.insert("affinity".into(), json!(affinity));
        }
        if !topology_spread_constraints.is_empty() {
            let constraints: Vec<_> = topology_spread_constraints
                .iter()
                .map(|constraint| self.spread(constraint.clone()))
                .collect();
            fields.insert("topologySpreadConstraints".into(), json!(constraints));
        }
        if let Some(class) = priority_class_name {
            fields.insert("priorityClassName".into(), json!(class));
        }
    }

    /// Without a selector a constraint would count no pod at all.
    fn spread(&self, mut constraint: TopologySpreadConstraint) -> TopologySpreadConstraint {
        constraint
            .label_selector
            .get_or_insert_with(|| LabelSelector {
                match_labels: Some(self.component.selector(self.owner_name)),
                match_expressions: None,
            });
        constraint
    }
}

fn container(pod: &NodePod<'_>, surroundings: &Surroundings) -> Value {
    let probe_port = pod.role.probe_port();
    let mut ports = vec![json!({"name": "probe", "containerPort": probe_port, "protocol": "TCP"})];
    if let Some((name, port)) = pod.served {
        ports.push(json!({"name": name, "containerPort": port, "protocol": "TCP"}));
    }
    let mut mounts = vec![
        json!({"name": settings::VOLUME, "mountPath": settings::FOLDER, "readOnly": true}),
        json!({"name": "scratch", "mountPath": settings::SCRATCH_FOLDER}),
    ];
    mounts.extend(pod.mounts.iter().map(|mount| {
        let mut built = json!({"name": mount.name, "mountPath": mount.path});
        if mount.read_only {
            built["readOnly"] = true.into();
        }
        built
    }));
    let image = pod.node.image.as_ref().unwrap_or(&surroundings.node_image);
    let template = pod.node.pod_template.as_ref();
    let mut built = json!({
        "name": CONTAINER,
        "image": image,
        "args": [pod.role.name(), "--settings", format!("{}/{}", settings::FOLDER, settings::FILE)],
        "env": [],
        "envFrom": [],
        "ports": ports,
        "resources": resources::build(template, pod.defaults, pod.gpu),
        "volumeMounts": mounts,
        "startupProbe": startup_probe(),
        "livenessProbe": probe("/livez", 10, LIVE_TRIES),
        // ready to the end: a pod that is deleted is found when there is no other
        "readinessProbe": probe("/servingz", 2, READY_TRIES),
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    if let Some(policy) = pod.node.image_pull_policy {
        built["imagePullPolicy"] = policy.word().into();
    }
    if pod.gpu.is_some() {
        // decoding and encoding need `video`, which images rarely ask for
        built["env"] =
            json!([{"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute,video,utility"}]);
    }
    built
}

/// The node answers when it is ready, so the next probe, for readiness, succeeds at once.
fn startup_probe() -> Value {
    let mut built = probe("/startupz", 1, STARTUP_TRIES);
    built["timeoutSeconds"] = STARTUP_TIMEOUT_SECONDS.into();
    // a process that has just begun does not listen yet, which would be a warning
    built["initialDelaySeconds"] = 1.into();
    built
}

fn probe(path: &str, period_seconds: u32, tries: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": "probe"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
        "failureThreshold": tries,
    })
}

fn add_gpu(fields: &mut Map<String, Value>, gpu: Option<&Gpu>) {
    let Some(gpu) = gpu else {
        return;
    };
    if let Some(class) = &gpu.runtime_class_name {
        fields.insert("runtimeClassName".into(), json!(class));
    }
    if let Some((resource, _)) = gpu.resource() {
        let tolerations: Vec<_> = taints(resource)
            .map(|key| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}))
            .collect();
        fields.insert("tolerations".into(), json!(tolerations));
    }
    if let Some(template) = &gpu.claim_template_name {
        let claim = json!({"name": GPU_CLAIM, "resourceClaimTemplateName": template});
        fields.insert("resourceClaims".into(), json!([claim]));
    }
}

/// Keys of the taints that keep other pods off nodes with the resource: its own name, and
/// for any of NVIDIA's the one that their nodes usually have, MIG or not.
fn taints(resource: &str) -> impl Iterator<Item = &str> {
    let usual = resource.starts_with(NVIDIA) && resource != DEFAULT_RESOURCE;
    std::iter::once(resource).chain(usual.then_some(DEFAULT_RESOURCE))
}

//! The fields of each kind: an edit, and the child in which its effect is. Edits are made in
//! this order, one upon the other.

use serde_json::{Value, json};

/// An edit of a spec, and where its effect is.
pub(super) struct Field {
    pub(super) edit: Value,
    /// Kind, API version and name of the child.
    pub(super) child: (&'static str, &'static str, &'static str),
    /// JSON pointer into the child.
    pub(super) at: &'static str,
    pub(super) effect: Effect,
}

pub(super) enum Effect {
    Is(Value),
    /// The settings files of pods of several templates; one of them holds each of these.
    Holds(&'static [&'static str]),
    /// The operator does not touch the child, whatever the edit says and a hand does.
    Paused,
}

/// The workloads.
const ORCHESTRATOR: (&str, &str, &str) = ("StatefulSet", "apps/v1", "a-orchestrator");
const POOL: (&str, &str, &str) = ("Deployment", "apps/v1", "a-pool");
const GATEWAY: (&str, &str, &str) = ("Deployment", "apps/v1", "a-gateway");
const SETTINGS: &str = "/data";

fn field(
    edit: Value,
    child: (&'static str, &'static str, &'static str),
    at: &'static str,
    effect: Effect,
) -> Field {
    Field {
        edit,
        child,
        at,
        effect,
    }
}

fn is(value: Value) -> Effect {
    Effect::Is(value)
}

/// What every kind has; `settings` is its ConfigMap.
fn shared(
    workload: (&'static str, &'static str, &'static str),
    settings: &'static str,
) -> Vec<Field> {
    let file = ("ConfigMap", "v1", settings);
    let pod = |edit: Value, at, effect| field(json!({ "podTemplate": edit }), workload, at, effect);
    vec![
        field(
            json!({"imagePullPolicy": "Never"}),
            workload,
            "/spec/template/spec/containers/0/imagePullPolicy",
            is(json!("Never")),
        ),
        field(
            json!({"imagePullSecrets": [{"name": "registry"}]}),
            workload,
            "/spec/template/spec/imagePullSecrets",
            is(json!([{"name": "registry"}])),
        ),
        field(
            json!({"image": "livepeer.local/node:other"}),
            workload,
            "/spec/template/spec/containers/0/image",
            is(json!("livepeer.local/node:other")),
        ),
        field(
            json!({"logLevel": "debug"}),
            file,
            SETTINGS,
            Effect::Holds(&["log_level = \"debug\""]),
        ),
        field(
            json!({"drain": {"deadline": "7m"}}),
            workload,
            "/spec/template/spec/terminationGracePeriodSeconds",
            is(json!(440)),
        ),
        pod(
            json!({"metadata": {"labels": {"team": "video"}}}),
            "/spec/template/metadata/labels/team",
            is(json!("video")),
        ),
        pod(
            json!({"metadata": {"annotations": {"note": "x"}}}),
            "/spec/template/metadata/annotations/note",
            is(json!("x")),
        ),
        pod(
            json!({"resources": {"limits": {"memory": "3Gi"}}}),
            "/spec/template/spec/containers/0/resources/limits/memory",
            is(json!("3Gi")),
        ),
        pod(
            json!({"resources": {"requests": {"cpu": "50m"}}}),
            "/spec/template/spec/containers/0/resources/requests/cpu",
            is(json!("50m")),
        ),
        pod(
            json!({"nodeSelector": {"disk": "ssd"}}),
            "/spec/template/spec/nodeSelector",
            is(json!({"disk": "ssd"})),
        ),
        pod(
            json!({"tolerations": [{"key": "k", "operator": "Exists"}]}),
            "/spec/template/spec/tolerations",
            is(json!([{"key": "k", "operator": "Exists"}])),
        ),
        pod(
            json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}),
            "/spec/template/spec/affinity",
            is(json!({"podAntiAffinity": {}})),
        ),
        pod(
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}),
            "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1instance",
            is(json!("a")),
        ),
        pod(
            json!({"priorityClassName": "system-node-critical"}),
            "/spec/template/spec/priorityClassName",
            is(json!("system-node-critical")),
        ),
        field(
            json!({"paused": true, "logLevel": "warn"}),
            file,
            SETTINGS,
            Effect::Paused,
        ),
        field(
            json!({"paused": false, "logLevel": "trace"}),
            file,
            SETTINGS,
            Effect::Holds(&["log_level = \"trace\""]),
        ),
    ]
}

fn gpu(workload: (&'static str, &'static str, &'static str)) -> Vec<Field> {
    let pod = |edit: Value, at, effect| field(json!({ "gpu": edit }), workload, at, effect);
    vec![
        pod(
            json!({"count": 2}),
            "/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu",
            is(json!("2")),
        ),
        pod(
            json!({"resource": "example.com/card"}),
            "/spec/template/spec/containers/0/resources/limits/example.com~1card",
            is(json!("2")),
        ),
        pod(
            json!({"runtimeClassName": "nvidia"}),
            "/spec/template/spec/runtimeClassName",
            is(json!("nvidia")),
        ),
        pod(
            json!({"count": null, "resource": null, "claimTemplateName": "card"}),
            "/spec/template/spec/resourceClaims",
            is(json!([{"name": "gpu", "resourceClaimTemplateName": "card"}])),
        ),
    ]
}

pub(super) fn orchestrator() -> Vec<Field> {
    let settings = ("ConfigMap", "v1", "a-orchestrator-settings");
    let mut fields = vec![
        field(
            json!({"maxSessions": 5}),
            settings,
            SETTINGS,
            Effect::Holds(&["max_sessions = 5"]),
        ),
        field(
            json!({"serviceUri": "https://o.example:1"}),
            settings,
            SETTINGS,
            Effect::Holds(&["service_uri = \"https://o.example:1/\""]),
        ),
        field(
            json!({"exposure": {"type": "NodePort"}}),
            ("Service", "v1", "a-orchestrator"),
            "/spec/type",
            is(json!("NodePort")),
        ),
        field(
            json!({"exposure": {"type": "LoadBalancer"}}),
            ("Service", "v1", "a-orchestrator"),
            "/spec/type",
            is(json!("LoadBalancer")),
        ),
        field(
            json!({"transcoding": "Embedded"}),
            settings,
            SETTINGS,
            Effect::Holds(&["transcoding = \"embedded\""]),
        ),
    ];
    fields.extend(shared(ORCHESTRATOR, "a-orchestrator-settings"));
    // last: a pod that waits for a claim is not told from one that is about to start
    fields.extend(gpu(ORCHESTRATOR));
    fields
}

pub(super) fn pool() -> Vec<Field> {
    let settings = ("ConfigMap", "v1", "a-pool-settings");
    let external = json!({"ref": null, "external": {"address": "https://192.0.2.1:1",
        "credentialSecretRef": {"name": "theirs", "key": "k"}}});
    let mut fields = vec![
        field(
            json!({"maxSessions": 5}),
            settings,
            SETTINGS,
            Effect::Holds(&["max_sessions = 5"]),
        ),
        field(json!({"replicas": 0}), POOL, "/spec/replicas", is(json!(0))),
        field(
            json!({"orchestrator": {"ref": {"name": "p"}}}),
            settings,
            SETTINGS,
            Effect::Holds(&["orchestrator = \"https://p-orchestrator."]),
        ),
        field(
            json!({"orchestrator": external}),
            settings,
            SETTINGS,
            Effect::Holds(&["orchestrator = \"https://192.0.2.1:1/\""]),
        ),
        field(
            json!({"orchestrator": {"external": {"credentialSecretRef": {"name": "others"}}}}),
            POOL,
            "/spec/template/spec/volumes/2/secret/secretName",
            is(json!("others")),
        ),
        field(
            json!({"orchestrator": {"external": {"credentialSecretRef": {"key": "l"}}}}),
            POOL,
            "/spec/template/spec/volumes/2/secret/items/0/key",
            is(json!("l")),
        ),
    ];
    fields.extend(gpu(POOL));
    fields.extend(shared(POOL, "a-pool-settings"));
    fields
}

/// A profile with all that it may have, as the gateway's settings spell it.
const PROFILE: [&str; 8] = [
    "name = \"p\"",
    "width = 320",
    "height = 180",
    "bitrate = 300000",
    "fps = 30000",
    "fpsDen = 1001",
    "profile = \"h264main\"",
    "gop = \"2\"",
];

pub(super) fn gateway() -> Vec<Field> {
    let settings = ("ConfigMap", "v1", "a-gateway-settings");
    let token =
        json!({"allowUnauthenticated": null, "tokenSecretRef": {"name": "ingest", "key": "token"}});
    let mut fields = vec![
        field(
            json!({"orchestrators": {"refs": [{"name": "o"}, {"name": "p"}]}}),
            settings,
            SETTINGS,
            Effect::Holds(&["https://p-orchestrator."]),
        ),
        field(
            json!({"orchestrators": {"refs": null, "addresses": ["https://192.0.2.1:1"]}}),
            settings,
            SETTINGS,
            Effect::Holds(&["https://192.0.2.1:1/"]),
        ),
        field(
            json!({"profiles": [{"name": "p", "width": 320, "height": 180, "bitrate": 300_000, "fps": 30_000, "fpsDen": 1001, "profile": "h264main", "gop": "2"}]}),
            settings,
            SETTINGS,
            Effect::Holds(&PROFILE),
        ),
        field(
            json!({"ingest": {"http": token}}),
            GATEWAY,
            "/spec/template/spec/volumes/2/secret/secretName",
            is(json!("ingest")),
        ),
        field(
            json!({"ingest": {"http": {"tokenSecretRef": {"key": "other"}}}}),
            GATEWAY,
            "/spec/template/spec/volumes/2/secret/items/0/key",
            is(json!("other")),
        ),
        field(
            json!({"exposure": {"type": "NodePort"}}),
            ("Service", "v1", "a-gateway"),
            "/spec/type",
            is(json!("NodePort")),
        ),
        field(
            json!({"exposure": {"type": "LoadBalancer"}}),
            ("Service", "v1", "a-gateway"),
            "/spec/type",
            is(json!("LoadBalancer")),
        ),
    ];
    fields.extend(shared(GATEWAY, "a-gateway-settings"));
    fields
}

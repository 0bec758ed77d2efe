//! Objects with every field set, of each kind as many as its unions need.

use serde_json::{Value, json};

/// The full objects of a kind. The API server accepts each of them.
pub(super) fn objects(kind: &str) -> Vec<Value> {
    let specs = match kind {
        "Orchestrator" => vec![
            json!({
                "transcoding": "Embedded",
                "serviceUri": "https://o.example:8935",
                "exposure": {"type": "NodePort"},
                "maxSessions": 4,
                "gpu": gpu(),
                "storage": {"size": "1Gi", "storageClassName": "fast"},
            }),
            json!({"transcoding": "Embedded", "gpu": {"claimTemplateName": "t"}}),
        ],
        "TranscoderPool" => vec![
            json!({
                "orchestrator": {"ref": {"name": "video"}},
                "replicas": 2,
                "maxSessions": 4,
                "gpu": gpu(),
            }),
            json!({
                "orchestrator": {"external": {
                    "address": "https://o.example:8935",
                    "credentialSecretRef": {"name": "s", "key": "k"},
                }},
                "gpu": {"claimTemplateName": "t"},
            }),
        ],
        _ => vec![
            json!({
                "orchestrators": {"refs": [{"name": "video"}]},
                "ingest": {"http": {"tokenSecretRef": {"name": "s", "key": "k"}}},
                "exposure": {"type": "ClusterIP"},
                "profiles": [{"name": "p", "width": 640, "height": 360, "bitrate": 1_000_000, "fps": 30,
                    "fpsDen": 1, "profile": "h264main", "gop": "2"}],
            }),
            json!({
                "orchestrators": {"addresses": ["https://o.example:8935"]},
                "ingest": {"http": {"allowUnauthenticated": true}},
            }),
        ],
    };
    specs.into_iter().map(|spec| object(kind, spec)).collect()
}

fn gpu() -> Value {
    json!({"resource": "nvidia.com/gpu", "count": 1, "runtimeClassName": "nvidia"})
}

/// Adds what all kinds share.
fn object(kind: &str, mut spec: Value) -> Value {
    let shared = json!({
        "image": "registry.example/livepeer/node:1.0",
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": [{"name": "pull"}],
        "logLevel": "info",
        "paused": true,
        "drain": {"deadline": "5m"},
        "podTemplate": {
            "metadata": {"labels": {"team": "video", "example.com/tier_1.x": ""}, "annotations": {"Example.com/A": "b c"}},
            "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
            "nodeSelector": {"example.com/disk": "ssd"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]}}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
            "priorityClassName": "high",
        },
    });
    let fields = spec.as_object_mut().expect("made as an object above");
    fields.extend(shared.as_object().expect("made as an object above").clone());
    json!({
        "apiVersion": "livepeer.org/v1alpha1",
        "kind": kind,
        "metadata": {"name": "case"},
        "spec": spec,
    })
}

//! Every field of the custom resources, changed, and its effect seen: in the child that
//! the operator makes of it, as the API server stored it. [`nodes`] sees what the nodes
//! make of fields, `reconcile.rs` the capacity and the replicas.

mod nodes;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use livepeer_e2e::cluster::health;
use livepeer_e2e::network::{Network, REACTS, gateway};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::network;

/// An edit of a spec, and where its effect is.
struct Field {
    edit: Value,
    /// Kind, API version and name of the child.
    child: (&'static str, &'static str, &'static str),
    /// JSON pointer into the child.
    at: &'static str,
    effect: Effect,
}

enum Effect {
    Is(Value),
    /// A text that holds this.
    Holds(&'static str),
}

/// The workloads.
const ORCHESTRATOR: (&str, &str, &str) = ("StatefulSet", "apps/v1", "a-orchestrator");
const POOL: (&str, &str, &str) = ("Deployment", "apps/v1", "a-pool");
const GATEWAY: (&str, &str, &str) = ("Deployment", "apps/v1", "a-gateway");
const SETTINGS: &str = "/data/settings.toml";

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
            Effect::Holds("log_level = \"debug\""),
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
            json!({"paused": true, "logLevel": "trace"}),
            file,
            SETTINGS,
            Effect::Holds("log_level = \"debug\""),
        ),
        field(
            json!({"paused": false}),
            file,
            SETTINGS,
            Effect::Holds("log_level = \"trace\""),
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

/// Makes the edits one after another; each effect must follow.
async fn check(network: &Network, kind: &str, fields: Vec<Field>) -> Result<()> {
    for Field {
        edit,
        child: (child_kind, version, name),
        at,
        effect,
    } in fields
    {
        network
            .edit(kind, "a", edit.clone())
            .await
            .with_context(|| format!("{kind}: {edit}"))?;
        let api = network.child(child_kind, version);
        let what = format!("{kind} {edit} at {at}");
        health::until(Instant::now() + REACTS, &what, || async {
            let child = serde_json::to_value(api.get(name).await?)?;
            let found = child.pointer(at).unwrap_or(&Value::Null);
            match &effect {
                Effect::Is(value) => ensure!(found == value, "{found}"),
                Effect::Holds(text) => ensure!(
                    found.as_str().is_some_and(|found| found.contains(text)),
                    "{found}"
                ),
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_orchestrator_has_its_effect() -> Result<()> {
    network("fields-o", |network| async move {
        a_runtime_class_is_there(&network).await?;
        // of a class that nobody provides: its pod fits nowhere, so every edit comes at once
        let storage = json!({"storage": {"size": "2Gi", "storageClassName": "quick"}});
        network.apply("Orchestrator", "a", storage).await?;
        claimed_as_said_and_never_changed(&network).await?;
        let settings = ("ConfigMap", "v1", "a-orchestrator-settings");
        let mut fields = vec![
            field(
                json!({"maxSessions": 5}),
                settings,
                SETTINGS,
                Effect::Holds("max_sessions = 5"),
            ),
            field(
                json!({"serviceUri": "https://o.example:1"}),
                settings,
                SETTINGS,
                Effect::Holds("service_uri = \"https://o.example:1/\""),
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
                Effect::Holds("transcoding = \"embedded\""),
            ),
        ];
        fields.extend(shared(ORCHESTRATOR, "a-orchestrator-settings"));
        // last: a pod that waits for a claim is not told from one that is about to start
        fields.extend(gpu(ORCHESTRATOR));
        check(&network, "Orchestrator", fields).await
    })
    .await
}

/// A rehearsal of one that is not there would be refused, and a refusal fails the test.
async fn a_runtime_class_is_there(network: &Network) -> Result<()> {
    let classes: Api<RuntimeClass> = Api::all(network.cluster.client());
    let class = json!({"metadata": {"name": "nvidia"}, "handler": "runc"});
    let made = classes
        .create(&Default::default(), &serde_json::from_value(class)?)
        .await;
    match made {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// `storage` is fixed: its effect is the claim, and an edit is refused.
async fn claimed_as_said_and_never_changed(network: &Network) -> Result<()> {
    let claims = network.child("PersistentVolumeClaim", "v1");
    health::until(Instant::now() + REACTS, "the claim", || async {
        let spec = claims.get("data-a-orchestrator-0").await?.data["spec"].clone();
        let size = &spec["resources"]["requests"]["storage"];
        ensure!(
            size == "2Gi" && spec["storageClassName"] == "quick",
            "{spec}"
        );
        Ok(())
    })
    .await?;
    for change in [json!({"size": "3Gi"}), json!({"storageClassName": null})] {
        let edit = json!({ "storage": change });
        let edited = network.edit("Orchestrator", "a", edit.clone()).await;
        let refusal = edited.err().with_context(|| format!("{edit} was taken"))?;
        ensure!(
            format!("{refusal:#}").contains("cannot be changed"),
            "{refusal:#}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_pool_has_its_effect() -> Result<()> {
    network("fields-p", |network| async move {
        for name in ["o", "p"] {
            network.apply("Orchestrator", name, json!({})).await?;
        }
        network
            .apply(
                "TranscoderPool",
                "a",
                json!({"orchestrator": {"ref": {"name": "o"}}}),
            )
            .await?;
        let settings = ("ConfigMap", "v1", "a-pool-settings");
        let secrets: Api<k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(network.cluster.client(), &network.namespace);
        for name in ["theirs", "others"] {
            let secret = json!({"metadata": {"name": name}, "stringData": {"k": "x"}});
            secrets
                .create(&Default::default(), &serde_json::from_value(secret)?)
                .await?;
        }
        let external = json!({"ref": null, "external": {"address": "https://192.0.2.1:1",
            "credentialSecretRef": {"name": "theirs", "key": "k"}}});
        let mut fields = vec![
            field(
                json!({"maxSessions": 5}),
                settings,
                SETTINGS,
                Effect::Holds("max_sessions = 5"),
            ),
            field(json!({"replicas": 0}), POOL, "/spec/replicas", is(json!(0))),
            field(
                json!({"orchestrator": {"ref": {"name": "p"}}}),
                settings,
                SETTINGS,
                Effect::Holds("orchestrator = \"https://p-orchestrator."),
            ),
            field(
                json!({"orchestrator": external}),
                settings,
                SETTINGS,
                Effect::Holds("orchestrator = \"https://192.0.2.1:1/\""),
            ),
            field(
                json!({"orchestrator": {"external": {"credentialSecretRef": {"name": "others"}}}}),
                POOL,
                "/spec/template/spec/volumes/2/secret/secretName",
                is(json!("others")),
            ),
        ];
        fields.extend(gpu(POOL));
        fields.extend(shared(POOL, "a-pool-settings"));
        check(&network, "TranscoderPool", fields).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_gateway_has_its_effect() -> Result<()> {
    network("fields-g", |network| async move {
        for name in ["o", "p"] {
            network.apply("Orchestrator", name, json!({})).await?;
        }
        network.apply("Gateway", "a", gateway(&["o"])).await?;
        let settings = ("ConfigMap", "v1", "a-gateway-settings");
        let token = json!({"allowUnauthenticated": null, "tokenSecretRef": {"name": "ingest", "key": "token"}});
        let mut fields = vec![
            field(json!({"orchestrators": {"refs": [{"name": "o"}, {"name": "p"}]}}), settings, SETTINGS, Effect::Holds("https://p-orchestrator.")),
            field(json!({"orchestrators": {"refs": null, "addresses": ["https://192.0.2.1:1"]}}), settings, SETTINGS, Effect::Holds("https://192.0.2.1:1/")),
            field(json!({"profiles": [{"name": "p", "width": 320, "height": 180, "bitrate": 300_000, "fps": 25, "gop": "2"}]}), settings, SETTINGS, Effect::Holds("bitrate = 300000")),
            field(json!({"ingest": {"http": token}}), GATEWAY, "/spec/template/spec/volumes/2/secret/secretName", is(json!("ingest"))),
            field(json!({"exposure": {"type": "NodePort"}}), ("Service", "v1", "a-gateway"), "/spec/type", is(json!("NodePort"))),
            field(json!({"exposure": {"type": "LoadBalancer"}}), ("Service", "v1", "a-gateway"), "/spec/type", is(json!("LoadBalancer"))),
        ];
        fields.extend(shared(GATEWAY, "a-gateway-settings"));
        check(&network, "Gateway", fields).await
    })
    .await
}

//! `docs/fields.md` against the schema and the builders: it lists every field, no field
//! that is not there, and says of each truly whether it is live or replaces pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use livepeer_operator::api::reference::SecretKeyRef;
use livepeer_operator::api::schema::definitions;
use livepeer_operator::apply::Owner;
use livepeer_operator::build::{Built, Surroundings};
use livepeer_operator::transcoder_pool::fetch::Credential;
use livepeer_operator::{gateway, orchestrator, transcoder_pool};
use serde_json::{Value, json};

use crate::definitions::repository;

const KINDS: [&str; 3] = ["Orchestrator", "TranscoderPool", "Gateway"];

/// Types of Kubernetes itself, and references: one field, whatever is in them.
const WHOLE: [&str; 5] = [
    "affinity",
    "tokenSecretRef",
    "credentialSecretRef",
    "ref",
    "topologySpreadConstraints",
];

/// The schemas of the kinds' specs.
fn specs() -> Vec<Value> {
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    definitions()
        .into_iter()
        .map(|(_, definition)| definition.pointer(spec).unwrap().clone())
        .collect()
}

/// Fields of a spec, each to its leaf.
fn fields(kind: &str) -> BTreeSet<String> {
    let at = KINDS.iter().position(|known| *known == kind).unwrap();
    let mut found = BTreeSet::new();
    collect(&specs()[at], "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if below.get("properties").is_some() && !WHOLE.contains(&name.as_str()) {
            collect(below, &path, found);
        } else {
            found.insert(path);
        }
    }
}

/// Fields and their effect, as the documentation has them for a kind.
fn documented(kind: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(repository().join("docs/fields.md")).unwrap();
    let mut found = BTreeMap::new();
    let mut here = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            here = heading.starts_with("All kinds") || heading.contains(kind);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, names, effect, ..] = cells[..] else {
            continue;
        };
        if here && names.starts_with('`') {
            for name in names.split(", ") {
                found.insert(name.trim_matches('`').to_owned(), effect.to_owned());
            }
        }
    }
    found
}

#[test]
fn the_documentation_lists_every_preset() {
    let text = std::fs::read_to_string(repository().join("docs/fields.md")).unwrap();
    let (_, list) = text.split_once("\nPresets: ").unwrap();
    let (list, _) = list.split_once("`. ").unwrap();
    let names: Vec<_> = list
        .split(',')
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    assert_eq!(names, livepeer_settings::profile::PRESETS);
}

#[test]
fn the_documentation_lists_every_field_and_no_other() {
    for kind in KINDS {
        let documented: BTreeSet<_> = documented(kind).into_keys().collect();
        assert_eq!(documented, fields(kind), "{kind}");
    }
}

/// A spec before a change of the field, and after it.
fn change(kind: &str, field: &str) -> (Value, Value) {
    let mut before = match kind {
        "Orchestrator" => json!({"transcoding": "Embedded"}),
        "TranscoderPool" if field.starts_with("orchestrator.external") => json!({
            "orchestrator": {"external": {"address": "https://a:1", "credentialSecretRef": {"name": "s", "key": "k"}}}}),
        "TranscoderPool" => json!({"orchestrator": {"ref": {"name": "video"}}}),
        _ => {
            json!({"orchestrators": {"refs": [{"name": "video"}]}, "ingest": {"http": {"allowUnauthenticated": true}}})
        }
    };
    if field.starts_with("gpu") {
        before["gpu"] = json!({"count": 1});
    }
    let mut after = before.clone();
    // the member of a union that goes when another comes
    for (comes, goes) in [
        ("gpu.claimTemplateName", "gpu.count"),
        ("orchestrators.addresses", "orchestrators.refs"),
        (
            "ingest.http.tokenSecretRef",
            "ingest.http.allowUnauthenticated",
        ),
        (
            "ingest.http.allowUnauthenticated",
            "ingest.http.tokenSecretRef",
        ),
    ] {
        if field == comes {
            merge(&mut after, &nested(goes, Value::Null));
        }
    }
    if field == "ingest.http.allowUnauthenticated" {
        before["ingest"]["http"] = json!({"tokenSecretRef": other("ingest.http.tokenSecretRef")});
    }
    merge(&mut after, &nested(field, other(field)));
    (before, after)
}

/// A value that the field has not by default.
fn other(field: &str) -> Value {
    match field {
        "image" => json!("x"),
        "imagePullPolicy" => json!("Always"),
        "imagePullSecrets" => json!([{"name": "s"}]),
        "logLevel" => json!("debug"),
        "paused" | "ingest.http.allowUnauthenticated" => json!(true),
        "drain.deadline" => json!("1m"),
        "podTemplate.metadata.labels"
        | "podTemplate.metadata.annotations"
        | "podTemplate.nodeSelector" => json!({"a": "b"}),
        "podTemplate.resources.requests" | "podTemplate.resources.limits" => json!({"cpu": "2"}),
        "podTemplate.tolerations" => json!([{"operator": "Exists"}]),
        "podTemplate.affinity" => json!({"podAffinity": {}}),
        "podTemplate.topologySpreadConstraints" => {
            json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}])
        }
        "podTemplate.priorityClassName" => json!("high"),
        "transcoding" => json!("Pools"),
        "serviceUri" | "orchestrator.external.address" => json!("https://b:1"),
        "exposure.type" => json!("NodePort"),
        "maxSessions" | "replicas" => json!(7),
        "storage.size" => json!("2Gi"),
        "storage.storageClassName" => json!("fast"),
        "gpu.count" => json!(2),
        "gpu.resource" => json!("example.com/card"),
        "gpu.claimTemplateName" => json!("t"),
        "gpu.runtimeClassName" => json!("nvidia"),
        "orchestrator.ref" => json!({"name": "other"}),
        "orchestrator.external.credentialSecretRef" | "ingest.http.tokenSecretRef" => {
            json!({"name": "t", "key": "k"})
        }
        "orchestrators.refs" => json!([{"name": "video"}, {"name": "more"}]),
        "orchestrators.addresses" => json!(["https://o:1"]),
        "profiles" => json!([{"name": "P144p30fps16x9"}]),
        unknown => panic!("{unknown}: say here how it is changed"),
    }
}

/// `a.b` and a value: `{"a": {"b": value}}`.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.')
        .fold(value, |below, name| json!({ name: below }))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        match (value, target.as_object_mut()) {
            (Value::Null, Some(object)) => drop(object.remove(key)),
            _ => merge(&mut target[key], value),
        }
    }
}

#[test]
fn the_documentation_says_truly_what_is_live_and_what_replaces_pods() {
    for kind in KINDS {
        for (field, effect) in documented(kind) {
            let (before, after) = change(kind, &field);
            assert_ne!(before, after, "{kind} {field}");
            let rolls = built(kind, &before).template_hash != built(kind, &after).template_hash;
            let said = match effect.split([' ', ',', ';']).next() {
                Some("rolls") => true,
                // the API server refuses the change
                Some("live" | "fixed") => false,
                other => panic!("{kind} {field}: {other:?}"),
            };
            assert_eq!(said, rolls, "{kind} {field}: {effect}");
        }
    }
}

#[test]
fn kubectl_explain_says_of_each_field_whether_it_is_live_and_what_its_default_is() {
    for (kind, schema) in KINDS.into_iter().zip(specs()) {
        for (field, effect) in documented(kind) {
            let pointer = format!("/properties/{}", field.replace('.', "/properties/"));
            let described = schema.pointer(&pointer).unwrap();
            let text = described["description"].as_str().unwrap_or_default();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let word = match effect.split([' ', ',', ';']).next() {
                Some("rolls") => "rolls the pod",
                Some("live") => "live",
                _ => "fixed",
            };
            assert!(
                text.to_lowercase().contains(word),
                "{kind} {field}, {word}: {text}"
            );
            let default = match &described["default"] {
                Value::Null | Value::Object(_) => continue,
                Value::String(word) => word.clone(),
                other => other.to_string(),
            };
            let default = format!("Default: {default}.");
            assert!(text.contains(&default), "{kind} {field}, {default}: {text}");
        }
    }
}

fn built(kind: &str, spec: &Value) -> Built {
    let owner = Owner {
        namespace: "ns".into(),
        reference: OwnerReference {
            api_version: "livepeer.org/v1alpha1".into(),
            kind: kind.into(),
            name: "a".into(),
            uid: "u".into(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        selector: String::new(),
    };
    let surroundings = Surroundings {
        node_image: "example/node:1".into(),
        operator_namespace: "livepeer-system".into(),
        scrape_from: Vec::new(),
    };
    let object = json!({"apiVersion": "livepeer.org/v1alpha1", "kind": kind,
        "metadata": {"name": "a", "namespace": "ns", "uid": "u"}, "spec": spec});
    match kind {
        "Orchestrator" => {
            let object = serde_json::from_value(object).unwrap();
            let fetched = orchestrator::fetch::Fetched {
                key: vec![7; 32],
                key_is_new: false,
                pools: Vec::new(),
                service: None,
                announced: None,
            };
            let valid = orchestrator::validate::validate(&object, &owner, &fetched).unwrap();
            orchestrator::build::build(&owner, &valid, &fetched, &surroundings)
        }
        "TranscoderPool" => {
            let secret = object
                .pointer("/spec/orchestrator/external/credentialSecretRef")
                .cloned();
            let credential = match secret {
                Some(secret) => Credential::External {
                    secret: serde_json::from_value::<SecretKeyRef>(secret).unwrap(),
                    hash: "h".into(),
                },
                None => Credential::Derived {
                    orchestrator: "video".into(),
                    secret: "secret".into(),
                },
            };
            let object = serde_json::from_value(object).unwrap();
            let valid = transcoder_pool::validate::validate(&object, &owner).unwrap();
            let fetched = transcoder_pool::fetch::Fetched {
                credential,
                left: BTreeMap::new(),
                left_elsewhere: Vec::new(),
            };
            transcoder_pool::build::build(&owner, &valid, &fetched, &surroundings)
        }
        _ => {
            let object: livepeer_operator::api::Gateway = serde_json::from_value(object).unwrap();
            let refs = &object.spec.orchestrators.refs;
            let fetched = gateway::fetch::Fetched {
                present: refs
                    .iter()
                    .map(|reference| reference.name.clone())
                    .collect(),
                ..gateway::fetch::Fetched::default()
            };
            let valid = gateway::validate::validate(&object, &owner, &fetched).unwrap();
            gateway::build::build(&owner, &valid, &fetched, &surroundings)
        }
    }
}

//! The CustomResourceDefinitions, made from the types and then finished here.
//!
//! What the derive cannot say is added in one pass: bounds for the embedded upstream
//! types (affinity and the like have none), list types, the rule on `metadata.name`
//! that follows from the children's names. `nullable` and the integer formats that
//! Kubernetes does not know are taken out, empty lists too (they keep Argo CD out of
//! sync).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{Gateway, Orchestrator, TranscoderPool};
use crate::names::Component;

/// Bound of a string that has none of its own: the longest name in Kubernetes.
const MAX_STRING: u64 = 253;
/// Bound of prose: messages and descriptions of conditions (metav1.Condition).
const MAX_PROSE: u64 = 32_768;
/// Bound of a list that has none of its own.
const MAX_ITEMS: u64 = 32;
/// Bound of a map that has none of its own.
const MAX_PROPERTIES: u64 = 32;

/// All definitions, with the file name of each, as they are installed.
#[must_use]
pub fn definitions() -> Vec<(&'static str, Value)> {
    vec![
        (
            "orchestrators.yaml",
            finish(&Orchestrator::crd(), Component::Orchestrator),
        ),
        (
            "transcoderpools.yaml",
            finish(&TranscoderPool::crd(), Component::Pool),
        ),
        ("gateways.yaml", finish(&Gateway::crd(), Component::Gateway)),
    ]
}

fn finish(definition: &CustomResourceDefinition, component: Component) -> Value {
    let mut document = serde_json::to_value(definition).expect("a definition is plain JSON");
    let versions = document
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut)
        .expect("the derive makes a list of versions");
    for version in versions {
        let root = version
            .pointer_mut("/schema/openAPIV3Schema")
            .expect("the derive makes a schema");
        finish_schema(root);
        bound_name(root, component);
    }
    drop_empty(&mut document);
    document
}

/// Children's names must be legal: a DNS label that starts with a letter (Services are
/// RFC 1035 labels), short enough for the longest suffix.
fn bound_name(root: &mut Value, component: Component) {
    let longest = component.max_name_length();
    let rules = [
        json!({
            "rule": format!("size(self.metadata.name) <= {longest}"),
            "message": format!("metadata.name may have at most {longest} characters: names of its children are made from it"),
        }),
        json!({
            "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "message": "metadata.name must start with a letter and have only a-z, 0-9 and -: Services are named after it",
        }),
    ];
    match root
        .get_mut("x-kubernetes-validations")
        .and_then(Value::as_array_mut)
    {
        Some(present) => present.extend(rules),
        None => root["x-kubernetes-validations"] = Value::from(rules.to_vec()),
    }
}

/// Applies the rules of this module to one schema and everything below it.
fn finish_schema(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("nullable");
    finish_integer(object);
    finish_bounds(object);
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(finish_schema);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(below) {
            finish_schema(below);
        }
    }
}

/// Rust's unsigned formats are not OpenAPI's, and their bounds come as `0.0`.
fn finish_integer(object: &mut Map<String, Value>) {
    if object.get("type") != Some(&json!("integer")) {
        return;
    }
    if let Some(format) = object.get_mut("format")
        && format
            .as_str()
            .is_some_and(|format| format.starts_with("uint"))
    {
        *format = json!("int64");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(value) = object.get_mut(bound)
            && let Some(number) = value.as_f64()
        {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "bounds are whole and small"
            )]
            let whole = number as i64;
            *value = json!(whole);
        }
    }
}

fn finish_bounds(object: &mut Map<String, Value>) {
    let described_as_prose = object
        .get("description")
        .and_then(Value::as_str)
        .is_some_and(|text| text.starts_with("message is a human readable"));
    match object.get("type").and_then(Value::as_str) {
        Some("string") if !object.contains_key("enum") && !object.contains_key("format") => {
            let bound = if described_as_prose {
                MAX_PROSE
            } else {
                MAX_STRING
            };
            object.entry("maxLength").or_insert(json!(bound));
        }
        Some("array") => {
            object.entry("maxItems").or_insert(json!(MAX_ITEMS));
            object
                .entry("x-kubernetes-list-type")
                .or_insert(json!("atomic"));
        }
        Some("object") if object.contains_key("additionalProperties") => {
            object
                .entry("maxProperties")
                .or_insert(json!(MAX_PROPERTIES));
        }
        _ => {
            if object.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                object.entry("maxLength").or_insert(json!(MAX_STRING));
            }
        }
    }
}

fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(drop_empty);
            object.retain(|_, below| below.as_array().is_none_or(|list| !list.is_empty()));
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

//! The generated CustomResourceDefinitions: fresh, bounded, explained.

use std::path::{Path, PathBuf};

use livepeer_operator::api::schema::definitions;
use livepeer_operator::api::{Gateway, Orchestrator, TranscoderPool};
use livepeer_operator::crds::{File, plain, templates};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is a folder of the repository")
        .to_owned()
}

fn assert_fresh(folder: &str, files: &[File]) {
    for file in files {
        let path = repository().join(folder).join(file.name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == file.text,
            "{} is stale: run `make crds`",
            path.display()
        );
    }
}

#[test]
fn generated_files_are_fresh_everywhere() {
    let plain = plain().unwrap();
    assert_fresh("crds", &plain);
    assert_fresh("config/crd", &plain);
    assert_fresh("charts/livepeer/templates/crds", &templates().unwrap());
}

#[test]
fn make_crds_writes_every_folder_that_must_be_fresh() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    for arguments in [
        "crds crds",
        "crds config/crd",
        "crds --helm charts/livepeer/templates/crds",
    ] {
        assert!(
            makefile.contains(&format!("-- {arguments}\n")),
            "{arguments}"
        );
    }
}

/// Calls `check` with every schema below `schema` and its path.
fn walk(schema: &Value, path: &str, check: &mut impl FnMut(&Value, &str)) {
    check(schema, path);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{path}.{name}"), check);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(key) {
            walk(below, &format!("{path}.{key}"), check);
        }
    }
}

fn each_schema(mut check: impl FnMut(&Value, &str)) {
    for (_, definition) in definitions() {
        for version in definition["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            walk(&version["schema"]["openAPIV3Schema"], "", &mut check);
        }
    }
}

#[test]
fn every_string_list_and_map_is_bounded_and_every_list_has_a_type() {
    each_schema(|schema, path| match schema["type"].as_str() {
        Some("string") => {
            let bounded = schema.get("maxLength").is_some()
                || schema.get("enum").is_some()
                || schema.get("format").is_some();
            assert!(
                bounded || ["", ".apiVersion", ".kind"].contains(&path),
                "{path}"
            );
        }
        Some("array") => {
            assert!(schema.get("maxItems").is_some(), "{path}");
            assert!(schema.get("x-kubernetes-list-type").is_some(), "{path}");
        }
        Some("object") => {
            let map = schema.get("additionalProperties").is_some();
            assert!(!map || schema.get("maxProperties").is_some(), "{path}");
        }
        _ => {}
    });
}

#[test]
fn every_field_of_ours_explains_itself() {
    each_schema(|schema, path| {
        let inside_map_or_list =
            path.ends_with(".items") || path.ends_with(".additionalProperties");
        let plain = ["", ".metadata", ".apiVersion", ".kind", ".status"].contains(&path);
        let upstream = [
            "affinity",
            "tolerations",
            "topologySpreadConstraints",
            "conditions",
        ]
        .iter()
        .any(|name| path.contains(name));
        if !inside_map_or_list && !plain && !upstream {
            assert!(schema.get("description").is_some(), "{path}");
        }
    });
}

#[test]
fn nothing_in_a_definition_is_an_empty_list_or_unknown_to_kubernetes() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Object(object) => object
                .iter()
                .for_each(|(key, below)| check(below, &format!("{path}.{key}"))),
            Value::Array(list) => {
                assert!(!list.is_empty(), "{path}");
                list.iter().for_each(|below| check(below, path));
            }
            Value::String(text) => assert!(
                !path.ends_with(".format") || !text.starts_with("uint"),
                "{path}"
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    for (name, definition) in definitions() {
        check(&definition, name);
    }
}

#[test]
fn every_default_is_what_the_types_default_to() {
    for (name, definition) in definitions() {
        let names = &definition["spec"]["names"];
        let types = match names["kind"].as_str() {
            Some("Orchestrator") => least::<Orchestrator>("Orchestrator", json!({})),
            Some("TranscoderPool") => {
                let spec = json!({"orchestrator": {"ref": {"name": "o"}}});
                least::<TranscoderPool>("TranscoderPool", spec)
            }
            Some("Gateway") => {
                let http = json!({"allowUnauthenticated": true});
                let spec =
                    json!({"orchestrators": {"refs": [{"name": "o"}]}, "ingest": {"http": http}});
                least::<Gateway>("Gateway", spec)
            }
            _ => panic!("{name}: say here what the least is that a person may write"),
        };
        let mut compared = 0;
        for version in definition["spec"]["versions"].as_array().unwrap() {
            walk(
                &version["schema"]["openAPIV3Schema"],
                "",
                &mut |schema, path| {
                    if let Some(default) = schema.get("default") {
                        assert_eq!(
                            types.pointer(&path.replace('.', "/")),
                            Some(default),
                            "{name} {path}"
                        );
                        compared += 1;
                    }
                },
            );
        }
        assert!(compared > 0, "{name}");
    }
}

/// What a type makes of the least that a person may write, where the API server has filled
/// in nothing.
fn least<K: DeserializeOwned + Serialize>(kind: &str, spec: Value) -> Value {
    let written = json!({"apiVersion": "livepeer.org/v1alpha1", "kind": kind,
        "metadata": {"name": "a"}, "spec": spec, "status": {}});
    let read: K = serde_json::from_value(written).expect("the least is enough");
    serde_json::to_value(read).expect("a resource is JSON")
}

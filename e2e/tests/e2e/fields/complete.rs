//! The table of fields against the generated schema: a field that no test changes on the
//! cluster fails here. Needs no cluster.

use std::collections::BTreeSet;

use livepeer_operator::api::schema::definitions;
use serde_json::Value;

use super::table::{Field, gateway, orchestrator, pool};

/// Types of Kubernetes itself: one field, whatever is in them.
const WHOLE: [&str; 3] = ["affinity", "tolerations", "topologySpreadConstraints"];

/// Fields whose effect a test of their own sees.
const ELSEWHERE: [(&str, &str); 3] = [
    // `super::claimed_as_said_and_never_changed`
    ("Orchestrator", "storage.size"),
    ("Orchestrator", "storage.storageClassName"),
    // `super::nodes`: a push without a token is taken, then refused
    ("Gateway", "ingest.http.allowUnauthenticated"),
];

#[test]
fn every_field_of_the_schema_is_changed_by_a_test_and_its_effect_seen() {
    let tables: [(&str, Vec<Field>); 3] = [
        ("Orchestrator", orchestrator()),
        ("TranscoderPool", pool()),
        ("Gateway", gateway()),
    ];
    for ((kind, table), (_, definition)) in tables.into_iter().zip(definitions()) {
        assert_eq!(definition["spec"]["names"]["kind"], kind);
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
        let spec = definition.pointer(spec).unwrap();
        let mut there = BTreeSet::new();
        list(spec, "", None, &mut there);
        let mut changed = BTreeSet::new();
        for field in table {
            list(spec, "", Some(&field.edit), &mut changed);
        }
        for (of, field) in ELSEWHERE {
            if of == kind {
                assert!(changed.insert(field.to_owned()), "{kind} {field} twice");
            }
        }
        assert_eq!(there, changed, "{kind}");
    }
}

/// The fields of a schema, each to its leaf; of an edit, when there is one, those that it
/// gives a value.
fn list(schema: &Value, path: &str, edit: Option<&Value>, found: &mut BTreeSet<String>) {
    let whole = WHOLE.iter().any(|name| path.ends_with(name));
    if let Some(fields) = schema["properties"].as_object().filter(|_| !whole) {
        for (name, below) in fields {
            let edit = edit.map(|edit| &edit[name]);
            if edit.is_some_and(Value::is_null) {
                continue;
            }
            let dot = if path.is_empty() { "" } else { "." };
            list(below, &format!("{path}{dot}{name}"), edit, found);
        }
    } else if !whole && schema["items"].get("properties").is_some() {
        let path = format!("{path}[]");
        match edit {
            None => list(&schema["items"], &path, None, found),
            Some(members) => {
                for member in members.as_array().into_iter().flatten() {
                    list(&schema["items"], &path, Some(member), found);
                }
            }
        }
    } else {
        found.insert(path.to_owned());
    }
}

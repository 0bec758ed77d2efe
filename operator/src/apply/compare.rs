//! Does a live object hold everything that we want? Pure, on JSON.
//!
//! The API server fills in defaults, so *holds* means: each field that we set has our
//! value. Lists must match element by element, and some maps key by key, because an
//! extra entry there changes what the object does (a second port, a credential).

use serde_json::{Map, Value};

use crate::api::quantity;

/// Maps in which an entry that we did not set is a change: data of Secrets and
/// ConfigMaps, and selectors.
const EXACT_MAPS: [&str; 5] = ["data", "matchLabels", "nodeSelector", "limits", "requests"];

/// Fields whose values are quantities.
const QUANTITIES: [&str; 4] = ["limits", "requests", "sizeLimit", "storage"];

/// The path of the first place where `live` does not hold `wanted`.
#[must_use]
pub fn difference(wanted: &Value, live: &Value) -> Option<String> {
    first_difference(wanted, live, "")
}

fn first_difference(wanted: &Value, live: &Value, path: &str) -> Option<String> {
    if is_empty(wanted) && is_empty(live) {
        return None;
    }
    let differs = || Some(path.to_owned());
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => object_difference(wanted, live, path),
        // others may own or finalise an object too
        (Value::Array(wanted), Value::Array(live)) if path.starts_with("/metadata/") => wanted
            .iter()
            .any(|item| !live.iter().any(|other| difference(item, other).is_none()))
            .then(|| path.to_owned()),
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => wanted
            .iter()
            .zip(live)
            .enumerate()
            .find_map(|(at, (wanted, live))| {
                first_difference(wanted, live, &format!("{path}/{at}"))
            }),
        (Value::String(wanted), Value::String(live)) if is_quantity(path) => {
            if quantity::same_value(wanted, live) {
                None
            } else {
                differs()
            }
        }
        _ => {
            if wanted == live {
                None
            } else {
                differs()
            }
        }
    }
}

fn object_difference(
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
    path: &str,
) -> Option<String> {
    let extra = is_exact(path, wanted)
        .then(|| live.keys().find(|key| !wanted.contains_key(*key)))
        .flatten();
    if let Some(key) = extra {
        return Some(format!("{path}/{key}"));
    }
    wanted.iter().find_map(|(key, value)| {
        let below = format!("{path}/{key}");
        first_difference(value, live.get(key).unwrap_or(&Value::Null), &below)
    })
}

/// A JSON merge patch that makes lists and exact maps of `live` hold nothing but what
/// is wanted. Server-side apply alone cannot: entries that others own stay.
#[must_use]
pub fn prune(wanted: &Value, live: &Value) -> Option<Value> {
    prune_below(wanted, live, "")
}

fn prune_below(wanted: &Value, live: &Value, path: &str) -> Option<Value> {
    if path.starts_with("/metadata") || first_difference(wanted, live, path).is_none() {
        return None;
    }
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let mut patch: Map<String, Value> = wanted
                .iter()
                .filter_map(|(key, value)| {
                    let below = prune_below(value, live.get(key)?, &format!("{path}/{key}"))?;
                    Some((key.clone(), below))
                })
                .collect();
            if is_exact(path, wanted) {
                let extra = live.keys().filter(|key| !wanted.contains_key(*key));
                patch.extend(extra.map(|key| (key.clone(), Value::Null)));
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(_), Value::Array(_)) => Some(wanted.clone()),
        _ => None,
    }
}

/// A Service's selector is a plain map; other selectors hold `matchLabels`.
fn is_exact(path: &str, wanted: &Map<String, Value>) -> bool {
    let last = path.rsplit('/').next().unwrap_or("");
    EXACT_MAPS.contains(&last) || (last == "selector" && wanted.values().all(Value::is_string))
}

fn is_quantity(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or("");
    let above = parts.next().unwrap_or("");
    QUANTITIES.contains(&last) || QUANTITIES.contains(&above)
}

/// The API server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{difference, prune};
    use serde_json::json;

    #[test]
    fn defaults_that_the_server_filled_in_are_no_difference() {
        let wanted = json!({"spec": {"ports": [{"port": 1}], "empty": []}});
        let live =
            json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}});
        assert_eq!(difference(&wanted, &live), None);
    }

    #[test]
    fn a_quantity_that_the_server_rewrote_is_no_difference() {
        let wanted = json!({"resources": {"limits": {"cpu": "1000m"}}});
        let live = json!({"resources": {"limits": {"cpu": "1"}}});
        assert_eq!(difference(&wanted, &live), None);
    }

    #[test]
    fn a_changed_value_is_named_by_its_path() {
        let wanted = json!({"spec": {"containers": [{"image": "a"}]}});
        let live = json!({"spec": {"containers": [{"image": "b"}]}});
        assert_eq!(
            difference(&wanted, &live).unwrap(),
            "/spec/containers/0/image"
        );
    }

    #[test]
    fn an_extra_key_in_data_or_an_extra_port_is_a_difference() {
        assert!(
            difference(
                &json!({"data": {"a": "1"}}),
                &json!({"data": {"a": "1", "b": "2"}})
            )
            .is_some()
        );
        assert!(
            difference(
                &json!({"spec": {"ports": [1]}}),
                &json!({"spec": {"ports": [1, 2]}})
            )
            .is_some()
        );
        assert!(
            difference(
                &json!({"spec": {"selector": {"a": "1"}}}),
                &json!({"spec": {"selector": {"a": "1", "b": "2"}}})
            )
            .is_some()
        );
    }

    #[test]
    fn labels_and_owners_that_others_added_are_no_difference() {
        let wanted = json!({"metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u"}]}});
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2"},
            "ownerReferences": [{"uid": "v"}, {"uid": "u", "kind": "K"}]}});
        assert_eq!(difference(&wanted, &live), None);
    }

    #[test]
    fn pruning_removes_keys_and_replaces_lists_and_touches_nothing_else() {
        let wanted =
            json!({"data": {"a": "1"}, "spec": {"ports": [{"port": 1}], "type": "X", "same": [1]}});
        let live = json!({"data": {"a": "1", "b": "2"}, "spec": {"ports": [{"port": 2}], "type": "Y", "same": [1]}});
        assert_eq!(
            prune(&wanted, &live).unwrap(),
            json!({"data": {"b": null}, "spec": {"ports": [{"port": 1}]}})
        );
        assert_eq!(prune(&wanted, &wanted), None);
    }
}

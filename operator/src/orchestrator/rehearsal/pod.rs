//! The pod of a rehearsal, from the StatefulSet that it is for. Pure.
//!
//! It is the StatefulSet's pod as far as it can be beside the one that serves: nothing
//! selects it, its volume is empty, and it asks for no more than what the running pod has
//! not got, since that will be free.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use crate::api::quantity::beyond;
use crate::apply::Owner;
use crate::build::pod::{CONTAINER, SCRATCH};
use crate::names::{Component, LABEL_COMPONENT, Part, REHEARSAL};

/// It only reads files, so nothing is lost when it is told to stop.
const GRACE_SECONDS: u32 = 1;
/// Where nothing is missing: without a request the limit would be the request.
const LEAST: [(&str, &str); 2] = [("cpu", "1m"), ("memory", "1Mi")];

/// The pod for the StatefulSet `set`; `running` is one that will have gone by then.
#[must_use]
pub fn build(owner: &Owner, set: &Value, running: Option<&Pod>) -> Value {
    let template = &set["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = name(owner).into();
    metadata["namespace"] = owner.namespace.clone().into();
    metadata["ownerReferences"] = json!([owner.reference]);
    metadata["labels"][LABEL_COMPONENT] = REHEARSAL.into();
    let mut spec = template["spec"].clone();
    spec["restartPolicy"] = "OnFailure".into();
    spec["terminationGracePeriodSeconds"] = GRACE_SECONDS.into();
    let claims = set["spec"]["volumeClaimTemplates"].as_array();
    for claim in claims.into_iter().flatten() {
        let name = &claim["metadata"]["name"];
        let empty = json!({"name": name, "emptyDir": {"sizeLimit": SCRATCH}});
        push(&mut spec["volumes"], empty);
    }
    apart(&mut spec);
    let container = &mut spec["containers"][0];
    let held = held(running, |resources| resources.requests.as_ref());
    container["resources"] = resources(&container["resources"], &held);
    // reads and checks all that the role would, and ends
    push(&mut container["args"], "--print-settings".into());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// The name of the rehearsal of `owner`.
#[must_use]
pub fn name(owner: &Owner) -> String {
    Component::Orchestrator.child(&owner.reference.name, Part::Rehearsal)
}

/// Drops what keeps pods of one resource apart, and a claim on a device that there may be
/// only one of: the pod that serves is in the way, and will not be.
fn apart(spec: &mut Value) {
    let Some(fields) = spec.as_object_mut() else {
        return;
    };
    fields.remove("topologySpreadConstraints");
    fields.remove("resourceClaims");
    if let Some(affinity) = fields.get_mut("affinity").and_then(Value::as_object_mut) {
        affinity.remove("podAntiAffinity");
    }
}

/// Whether the pod that comes in place of `running` wants nothing that this one has not got:
/// what has room for the one has room for the other.
#[must_use]
pub fn wants_no_more(set: &Value, running: Option<&Pod>) -> bool {
    let wanted = &set["spec"]["template"]["spec"]["containers"][0]["resources"];
    let more = |wanted: &Value, held: &BTreeMap<String, String>| {
        let mut wanted = wanted.as_object().into_iter().flatten();
        wanted.any(|(name, amount)| {
            let held = held.get(name).map_or("0", String::as_str);
            amount
                .as_str()
                .is_some_and(|amount| beyond(amount, held).is_some())
        })
    };
    let requests = held(running, |resources| resources.requests.as_ref());
    let limits = held(running, |resources| resources.limits.as_ref());
    running.is_some() && !more(&wanted["requests"], &requests) && !more(&wanted["limits"], &limits)
}

/// The requests, or the limits, of the running pod.
fn held(
    running: Option<&Pod>,
    of: impl Fn(&ResourceRequirements) -> Option<&BTreeMap<String, Quantity>>,
) -> BTreeMap<String, String> {
    let containers = running
        .and_then(|pod| pod.spec.as_ref())
        .map(|spec| &spec.containers);
    containers
        .into_iter()
        .flatten()
        .filter(|container| container.name == CONTAINER)
        .filter_map(|container| of(container.resources.as_ref()?))
        .flatten()
        .map(|(name, amount)| (name.clone(), amount.0.clone()))
        .collect()
}

/// The limits of memory and processor are those of the real pod. A request is what it asks
/// for and the running one has not got: if that is nowhere, the real one will fit nowhere.
fn resources(wanted: &Value, held: &BTreeMap<String, String>) -> Value {
    let more = |name: &str, amount: &Value| {
        let held = held.get(name).map_or("0", String::as_str);
        beyond(amount.as_str()?, held)
    };
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for (name, least) in LEAST {
        let limit = &wanted["limits"][name];
        let request = &wanted["requests"][name];
        // as the API server fills it in
        let request = if request.is_null() { limit } else { request };
        let request = more(name, request).unwrap_or_else(|| least.to_owned());
        requests.insert(name.to_owned(), request.into());
        if !limit.is_null() {
            limits.insert(name.to_owned(), limit.clone());
        }
    }
    for (name, amount) in wanted["requests"].as_object().into_iter().flatten() {
        if requests.contains_key(name) {
            continue;
        }
        // of extended resources request and limit must be the same
        if let Some(more) = more(name, amount) {
            requests.insert(name.clone(), more.clone().into());
            limits.insert(name.clone(), more.into());
        }
    }
    json!({"requests": requests, "limits": limits})
}

#[cfg(test)]
mod tests;

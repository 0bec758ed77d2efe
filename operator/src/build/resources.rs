//! Requests and limits of the node's container.
//!
//! Every pod has a memory limit: the engine sizes its workers from it, and the byte
//! budget of bodies in flight follows from it. There is no default CPU limit: it would
//! throttle an encoder in the middle of a segment.

use std::collections::BTreeMap;

use livepeer_settings::memory::Workers;
use serde_json::{Value, json};

use crate::api::gpu::Gpu;
use crate::api::pod_template::{PodTemplate, Resources};
use crate::api::quantity::Quantity;

/// What a pod gets where the person said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    pub cpu_request: &'static str,
    pub memory_request: &'static str,
    pub memory_limit: &'static str,
    /// What shares the memory with bodies in flight.
    pub workers: Workers,
}

/// A role that moves segments: its memory holds bodies in flight, 300 MB each at worst.
pub const RELAY: Defaults = Defaults {
    cpu_request: "100m",
    memory_request: "128Mi",
    memory_limit: "2Gi",
    workers: Workers::None,
};

/// A relay that looks into segments.
pub const GATEWAY: Defaults = Defaults {
    workers: Workers::Probing,
    ..RELAY
};

/// A role with an engine: decoders and encoders of several renditions.
pub const ENGINE: Defaults = Defaults {
    cpu_request: "250m",
    memory_request: "512Mi",
    memory_limit: "4Gi",
    workers: Workers::Transcoding,
};

/// The container's `resources`.
#[must_use]
pub fn build(template: Option<&PodTemplate>, defaults: Defaults, gpu: Option<&Gpu>) -> Value {
    let chosen = chosen(template);
    let mut requests = chosen.requests;
    let mut limits = chosen.limits;
    let memory_limit = memory_limit(&requests, &limits, defaults);
    limits.insert("memory".to_owned(), memory_limit.clone());
    requests.entry("memory".to_owned()).or_insert_with(|| {
        // a request above the limit would be refused
        let wanted = quantity(defaults.memory_request);
        if memory_limit.bytes() < wanted.bytes() {
            memory_limit.clone()
        } else {
            wanted
        }
    });
    if !requests.contains_key("cpu") && !limits.contains_key("cpu") {
        requests.insert("cpu".to_owned(), quantity(defaults.cpu_request));
    }
    if let Some((resource, count)) = gpu.and_then(Gpu::resource) {
        limits.insert(resource.to_owned(), Quantity(count.to_string()));
        requests.insert(resource.to_owned(), Quantity(count.to_string()));
    }
    let mut resources = json!({"requests": texts(&requests), "limits": texts(&limits)});
    if gpu.is_some_and(|gpu| gpu.claim_template_name.is_some()) {
        resources["claims"] = json!([{"name": GPU_CLAIM}]);
    }
    resources
}

/// Name of the pod's claim when `gpu.claimTemplateName` is set.
pub const GPU_CLAIM: &str = "gpu";

/// Bytes that bodies in flight may take in a container with these resources.
#[must_use]
pub fn max_buffered_bytes(template: Option<&PodTemplate>, defaults: Defaults) -> u64 {
    let Resources { requests, limits } = chosen(template);
    let limit = memory_limit(&requests, &limits, defaults);
    let bytes = limit.bytes();
    let bytes = bytes.unwrap_or_else(|| defaults.workers.usual_memory_limit());
    defaults.workers.bodies(bytes)
}

/// The one that was set; else the default, or the request where that is more: a limit
/// below the request would be refused.
fn memory_limit(
    requests: &BTreeMap<String, Quantity>,
    limits: &BTreeMap<String, Quantity>,
    defaults: Defaults,
) -> Quantity {
    if let Some(limit) = limits.get("memory") {
        return limit.clone();
    }
    let usual = quantity(defaults.memory_limit);
    match requests.get("memory") {
        Some(request) if request.bytes() > usual.bytes() => request.clone(),
        Some(_) | None => usual,
    }
}

fn chosen(template: Option<&PodTemplate>) -> Resources {
    template
        .and_then(|template| template.resources.clone())
        .unwrap_or_default()
}

fn quantity(text: &str) -> Quantity {
    Quantity(text.to_owned())
}

fn texts(quantities: &BTreeMap<String, Quantity>) -> BTreeMap<&str, &str> {
    quantities
        .iter()
        .map(|(name, quantity)| (name.as_str(), quantity.0.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{ENGINE, GATEWAY, RELAY, build, max_buffered_bytes, quantity};
    use crate::api::gpu::Gpu;
    use crate::api::pod_template::PodTemplate;
    use serde_json::{Value, json};

    fn template(resources: Value) -> PodTemplate {
        serde_json::from_value(json!({"resources": resources})).unwrap()
    }

    #[test]
    fn a_pod_has_requests_and_a_memory_limit_and_no_cpu_limit() {
        let resources = build(None, ENGINE, None);
        assert_eq!(
            resources,
            json!({"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "4Gi"}})
        );
    }

    #[test]
    fn what_the_person_set_stays_and_a_small_limit_lowers_the_default_request() {
        let template = template(json!({"limits": {"memory": "64Mi", "cpu": 2}}));
        assert_eq!(
            build(Some(&template), RELAY, None),
            json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi", "cpu": "2"}})
        );
    }

    #[test]
    fn a_request_above_the_default_limit_raises_it() {
        let large = template(json!({"requests": {"memory": "8Gi"}}));
        let resources = build(Some(&large), ENGINE, None);
        assert_eq!(resources["requests"]["memory"], "8Gi");
        assert_eq!(resources["limits"]["memory"], "8Gi");
        let small = template(json!({"requests": {"memory": "1Gi"}}));
        assert_eq!(build(Some(&small), ENGINE, None)["limits"]["memory"], "4Gi");
    }

    #[test]
    fn a_gpu_is_asked_for_as_resource_or_as_claim() {
        let gpu: Gpu = serde_json::from_value(json!({"count": 2})).unwrap();
        let resources = build(None, ENGINE, Some(&gpu));
        assert_eq!(resources["limits"]["nvidia.com/gpu"], "2");
        let gpu: Gpu = serde_json::from_value(json!({"claimTemplateName": "t"})).unwrap();
        let resources = build(None, ENGINE, Some(&gpu));
        assert_eq!(resources["claims"], json!([{"name": "gpu"}]));
        assert!(resources["limits"].get("nvidia.com/gpu").is_none());
    }

    #[test]
    fn bodies_in_flight_get_their_part_of_the_memory_limit() {
        let template = template(json!({"limits": {"memory": "1Gi"}}));
        assert_eq!(max_buffered_bytes(Some(&template), RELAY), 512 << 20);
        assert_eq!(max_buffered_bytes(Some(&template), ENGINE), 128 << 20);
    }

    /// The node's test of what fits goes by them.
    #[test]
    fn the_default_limits_are_those_that_memory_is_divided_for() {
        for defaults in [RELAY, GATEWAY, ENGINE] {
            let usual = defaults.workers.usual_memory_limit();
            assert_eq!(quantity(defaults.memory_limit).bytes(), Some(usual));
        }
    }
}

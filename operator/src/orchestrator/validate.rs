//! Turns a spec into the node's settings and checks them as the node will. Pure.

use livepeer_settings::{Role, Settings};
use url::Url;

use super::PORT;
use super::fetch::Fetched;
use crate::api::exposure::ServiceType;
use crate::api::orchestrator::{Orchestrator, OrchestratorSpec, Transcoding};
use crate::apply::Owner;
use crate::build::{resources, service, settings};
use crate::kind::ReconcileError;
use crate::names::Component;
use crate::validate::{check, https, invalid, url};

/// A spec that can be built.
#[derive(Debug)]
pub struct Valid<'a> {
    pub spec: &'a OrchestratorSpec,
    pub settings: Settings,
    pub defaults: resources::Defaults,
}

pub fn validate<'a>(
    orchestrator: &'a Orchestrator,
    owner: &Owner,
    fetched: &Fetched,
) -> Result<Valid<'a>, ReconcileError> {
    let spec = &orchestrator.spec;
    let embedded = spec.transcoding == Transcoding::Embedded;
    if spec.gpu.is_some() && !embedded {
        return Err(invalid("gpu needs transcoding: Embedded"));
    }
    let deadline = spec
        .node
        .drain
        .deadline()
        .map_err(|error| invalid(error.to_string()))?;
    let defaults = if embedded {
        resources::ENGINE
    } else {
        resources::RELAY
    };
    let inside = service::inside(
        Component::Orchestrator,
        &owner.reference.name,
        &owner.namespace,
        PORT,
    );
    let mut settings = settings::common(
        Role::Orchestrator,
        spec.node.log_level.into(),
        deadline,
        spec.gpu.is_some(),
    );
    // not the claim, which another machine may get
    settings.engine.cache_dir = embedded.then(|| settings::SCRATCH_FOLDER.into());
    let node = &mut settings.orchestrator;
    node.addr = settings::any_address(PORT);
    node.service_uri = Some(service_uri(spec, fetched, &inside)?);
    node.transcoder_uri = Some(https(&inside)?);
    node.transcoding = match spec.transcoding {
        Transcoding::Pools => livepeer_settings::Transcoding::Pools,
        Transcoding::Embedded => livepeer_settings::Transcoding::Embedded,
    };
    node.max_sessions = spec.max_sessions;
    node.credentials_dir = (!embedded).then(|| settings::CREDENTIALS_FOLDER.into());
    node.data_dir = Some(settings::DATA_FOLDER.into());
    node.max_buffered_bytes =
        resources::max_buffered_bytes(spec.node.pod_template.as_ref(), defaults);
    check(&settings)?;
    Ok(Valid {
        spec,
        settings,
        defaults,
    })
}

/// What gateways are told: the spec's word, else the load balancer's address, else the Service
/// inside the cluster. An address that is gone stays announced until there is another: gateways
/// know no better one, and the pod would be replaced for it, and again when it is back.
fn service_uri(
    spec: &OrchestratorSpec,
    fetched: &Fetched,
    inside: &str,
) -> Result<Url, ReconcileError> {
    if let Some(uri) = &spec.service_uri {
        return url("serviceUri", uri);
    }
    match spec.exposure.service_type {
        ServiceType::ClusterIP | ServiceType::NodePort => https(inside),
        exposure @ ServiceType::LoadBalancer => {
            match service::endpoint(exposure, inside, fetched.service.as_ref(), None) {
                Some(outside) => https(&outside),
                None => fetched.announced.clone().map_or_else(|| https(inside), Ok),
            }
        }
    }
}

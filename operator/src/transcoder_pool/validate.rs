//! Turns a pool's spec into its transcoders' settings and checks them. Pure.

use livepeer_settings::{Role, Settings};

use crate::api::transcoder_pool::{TranscoderPool, TranscoderPoolSpec};
use crate::apply::Owner;
use crate::build::network_policy::Destination;
use crate::build::{resources, service, settings};
use crate::kind::ReconcileError;
use crate::names::Component;
use crate::orchestrator::PORT;
use crate::validate::{check, https, invalid, url};

/// A spec that can be built.
#[derive(Debug)]
pub struct Valid<'a> {
    pub spec: &'a TranscoderPoolSpec,
    pub settings: Settings,
    pub destination: Destination,
}

/// File of a credential for an orchestrator elsewhere, under [`settings::CREDENTIALS_FOLDER`].
/// One for an Orchestrator is called like it: pods that work for another one keep theirs.
pub const CREDENTIAL_FILE: &str = "credential";

pub fn validate<'a>(pool: &'a TranscoderPool, owner: &Owner) -> Result<Valid<'a>, ReconcileError> {
    let spec = &pool.spec;
    let (address, destination, file) = match (pool.orchestrator_name(), &spec.orchestrator.external)
    {
        (Some(name), None) => {
            let inside = service::inside(Component::Orchestrator, name, &owner.namespace, PORT);
            let destination = Destination::Orchestrator {
                name: name.to_owned(),
                port: PORT,
            };
            (https(&inside)?, destination, name)
        }
        (None, Some(external)) => {
            let address = url("orchestrator.external.address", &external.address)?;
            let destination = Destination::External(address.clone());
            (address, destination, CREDENTIAL_FILE)
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid(
                "exactly one of orchestrator.ref and orchestrator.external must be set",
            ));
        }
    };
    let deadline = spec
        .node
        .drain
        .deadline()
        .map_err(|error| invalid(error.to_string()))?;
    let mut settings = settings::common(
        Role::Transcoder,
        spec.node.log_level.into(),
        deadline,
        spec.gpu.is_some(),
    );
    settings.engine.cache_dir = Some(settings::SCRATCH_FOLDER.into());
    settings.transcoder.orchestrator = address;
    settings.transcoder.credential_file =
        Some(format!("{}/{file}", settings::CREDENTIALS_FOLDER).into());
    settings.transcoder.max_sessions = spec.max_sessions;
    settings.transcoder.max_buffered_bytes =
        resources::max_buffered_bytes(spec.node.pod_template.as_ref(), resources::ENGINE);
    check(&settings)?;
    Ok(Valid {
        spec,
        settings,
        destination,
    })
}

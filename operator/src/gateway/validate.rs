//! Turns a gateway's spec into its settings and checks them. Pure.

use livepeer_settings::{ProfileSettings, Role, Settings};

use super::PORT;
use super::fetch::Fetched;
use crate::api::gateway::{Gateway, GatewaySpec};
use crate::api::profile::Profile;
use crate::apply::Owner;
use crate::build::{resources, service, settings};
use crate::kind::ReconcileError;
use crate::names::Component;
use crate::orchestrator;
use crate::validate::{check, https, invalid, url};

/// A spec that can be built.
#[derive(Debug)]
pub struct Valid<'a> {
    pub spec: &'a GatewaySpec,
    pub settings: Settings,
}

/// File of the ingest token in the pod, under [`settings::INGEST_FOLDER`].
pub const TOKEN_FILE: &str = "token";

pub fn validate<'a>(
    gateway: &'a Gateway,
    owner: &Owner,
    fetched: &Fetched,
) -> Result<Valid<'a>, ReconcileError> {
    let spec = &gateway.spec;
    let deadline = spec
        .node
        .drain
        .deadline()
        .map_err(|error| invalid(error.to_string()))?;
    let mut settings = settings::common(Role::Gateway, spec.node.log_level.into(), deadline, false);
    let node = &mut settings.gateway;
    node.http_addr = settings::any_address(PORT);
    let present = fetched.present.iter().map(|name| {
        https(&service::inside(
            Component::Orchestrator,
            name,
            &owner.namespace,
            orchestrator::PORT,
        ))
    });
    let listed = spec
        .orchestrators
        .addresses
        .iter()
        .map(|address| url("orchestrators.addresses", address));
    let kept = fetched.kept.iter().cloned().map(Ok);
    node.orchestrators = present
        .chain(kept)
        .chain(listed)
        .collect::<Result<_, _>>()?;
    if !spec.profiles.is_empty() {
        node.profiles = profiles(&spec.profiles)?;
    }
    if spec.ingest.http.token_secret_ref.is_some() {
        node.ingest_token_file = Some(format!("{}/{TOKEN_FILE}", settings::INGEST_FOLDER).into());
    }
    node.max_buffered_bytes =
        resources::max_buffered_bytes(spec.node.pod_template.as_ref(), resources::GATEWAY);
    check(&settings)?;
    Ok(Valid { spec, settings })
}

/// Checked one by one, so that a refusal names the field of the spec and not that of the
/// node's settings.
fn profiles(spec: &[Profile]) -> Result<Vec<ProfileSettings>, ReconcileError> {
    let settings = |(at, profile): (usize, &Profile)| {
        let settings = profile.settings();
        match settings.check() {
            Ok(()) => Ok(settings),
            Err(error) => Err(invalid(format!(
                "spec.profiles[{at}].{}: {error}",
                error.key
            ))),
        }
    };
    spec.iter().enumerate().map(settings).collect()
}

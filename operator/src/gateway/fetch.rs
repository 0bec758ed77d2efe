//! What a gateway depends on: the Orchestrators that it names, and its ingest token. While
//! none of those is there, also the ones that it has.

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use livepeer_settings::Settings;
use url::Url;

use crate::api::Gateway;
use crate::apply::Owner;
use crate::apply::child::hash;
use crate::context::Context;
use crate::kind::ReconcileError;
use crate::names::Component;
use crate::observe::written;
use crate::reason::Reason;
use crate::transcoder_pool::fetch::secret_value;
use crate::validate::check;

/// What was read.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Names in `orchestrators.refs` that exist.
    pub present: Vec<String>,
    /// Names in `orchestrators.refs` that do not.
    pub missing: Vec<String>,
    /// Those that its settings have, while none that it names exists: its streams are there,
    /// and one that was deleted drains.
    pub kept: Vec<Url>,
    /// Hash of the ingest token, so that a new one reaches the pod at once.
    pub token_hash: Option<String>,
    /// Why there is no ingest token although the spec names one.
    pub token_problem: Option<String>,
}

pub async fn fetch(
    context: &Context,
    owner: &Owner,
    gateway: &Gateway,
) -> Result<Fetched, ReconcileError> {
    let mut fetched = Fetched::default();
    for reference in &gateway.spec.orchestrators.refs {
        let there = context
            .stores
            .orchestrators
            .get(&ObjectRef::new(&reference.name).within(&owner.namespace))
            .is_some_and(|orchestrator| orchestrator.meta().deletion_timestamp.is_none());
        let names = if there {
            &mut fetched.present
        } else {
            &mut fetched.missing
        };
        names.push(reference.name.clone());
    }
    if fetched.present.is_empty() && !fetched.missing.is_empty() {
        let name = &owner.reference.name;
        let settings =
            written::fetch(&context.client, &owner.namespace, Component::Gateway, name).await?;
        fetched.kept = settings.as_ref().map(orchestrators).unwrap_or_default();
    }
    if let Some(reference) = &gateway.spec.ingest.http.token_secret_ref {
        match secret_value(context, &owner.namespace, reference).await {
            Ok(value) => fetched.token_hash = Some(hash(&hex::encode(value).into())),
            Err(ReconcileError::Told {
                reason: Reason::SecretNotFound,
                message,
            }) => fetched.token_problem = Some(message),
            Err(error) => return Err(error),
        }
    }
    Ok(fetched)
}

/// The orchestrators in a gateway's settings; what no node would take is left out.
fn orchestrators(settings: &toml::Table) -> Vec<Url> {
    let listed = settings
        .get("gateway")
        .and_then(|gateway| gateway.get("orchestrators")?.as_array());
    listed
        .into_iter()
        .flatten()
        .filter_map(|uri| uri.as_str()?.parse().ok())
        .filter(is_taken)
        .collect()
}

/// Whether a node takes the orchestrator in its settings.
fn is_taken(uri: &Url) -> bool {
    let mut settings = Settings::default();
    settings.gateway.orchestrators = vec![uri.clone()];
    check(&settings).is_ok()
}

#[cfg(test)]
mod tests {
    use super::written;
    use crate::build::settings::{common, render};
    use livepeer_settings::{LogLevel, Role};
    use std::time::Duration;
    use url::Url;

    fn orchestrators(file: &str) -> Vec<Url> {
        let settings = written::parse(file);
        settings
            .as_ref()
            .map(super::orchestrators)
            .unwrap_or_default()
    }

    #[test]
    fn what_a_gateway_has_is_read_from_the_settings_of_any_version() {
        let mut settings = common(Role::Gateway, LogLevel::Info, Duration::ZERO, false);
        settings.gateway.orchestrators = Vec::new();
        assert_eq!(orchestrators(&render(&settings)), []);
        let uris = [
            "https://video-orchestrator.ns.svc:8935",
            "https://192.0.2.1:1",
        ];
        let uris = uris.map(|uri| uri.parse::<Url>().unwrap());
        settings.gateway.orchestrators = uris.to_vec();
        let file = render(&settings);
        assert_eq!(orchestrators(&file), uris);
        assert_eq!(orchestrators(&format!("older = 1\n{file}")), uris);
    }

    #[test]
    fn what_a_hand_made_of_the_settings_is_no_orchestrator() {
        let listed = r#"["http://a:1", "https://b:1/path", "c", 4, "https://d:1"]"#;
        let file = format!("[gateway]\norchestrators = {listed}");
        assert_eq!(orchestrators(&file), ["https://d:1".parse().unwrap()]);
        for file in ["", "no", "gateway = 1", "[gateway]\norchestrators = 1"] {
            assert_eq!(orchestrators(file), [], "{file}");
        }
    }
}

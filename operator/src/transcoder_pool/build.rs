//! The children of a pool. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use livepeer_settings::Role;
use serde_json::{Value, json};

use super::fetch::{Credential, Fetched};
use super::validate::{CREDENTIAL_FILE, Valid};
use crate::apply::Owner;
use crate::apply::child::ChildKind;
use crate::build::network_policy::Destination;
use crate::build::pod::{Mount, NodePod};
use crate::build::resources::ENGINE;
use crate::build::{Built, Maker, Surroundings, settings};
use crate::names::{Component, Part};
use crate::orchestrator::PORT;

/// Revisions that `kubectl rollout undo` could want; the operator undoes the undoing.
const REVISION_HISTORY: u32 = 3;

#[must_use]
pub fn build(
    owner: &Owner,
    valid: &Valid<'_>,
    fetched: &Fetched,
    surroundings: &Surroundings,
) -> Built {
    let Valid {
        spec,
        settings,
        destination,
    } = valid;
    let mut maker = Maker::new(Component::Pool, &owner.reference.name, owner);
    let text = maker.add_settings(settings);
    let Fetched {
        credential,
        left,
        left_elsewhere,
    } = fetched;
    let mut ours = left.clone();
    let (volume, theirs) = match credential {
        Credential::Derived {
            orchestrator,
            secret,
        } => {
            ours.insert(orchestrator.clone(), secret.clone());
            (json!({"secretName": maker.name(Part::Credentials)}), None)
        }
        Credential::External { secret, hash } => {
            let items = json!([{"key": secret.key, "path": CREDENTIAL_FILE}]);
            let volume = json!({"secretName": secret.name, "items": items});
            (volume, Some(hash))
        }
    };
    let mounted = json!([text, ours, theirs]);
    if !ours.is_empty() {
        add_credentials(&mut maker, ours);
    }
    let destinations: Vec<_> = std::iter::once(destination.clone())
        .chain(left.keys().map(|name| Destination::Orchestrator {
            name: name.clone(),
            port: PORT,
        }))
        .chain(left_elsewhere.iter().cloned().map(Destination::External))
        .collect();
    let probe = Role::Transcoder.probe_port();
    maker.add_pool_policy(probe, &destinations, surroundings);
    maker.add_disruption_budget();
    let (template, template_hash) = maker.pod_template(
        &NodePod {
            role: Role::Transcoder,
            node: &spec.node,
            drain_deadline: settings.drain.deadline,
            gpu: spec.gpu.as_ref(),
            defaults: ENGINE,
            rolling_hash: &settings::rolling_hash(settings),
            mounts: vec![Mount {
                name: "credentials",
                path: settings::CREDENTIALS_FOLDER,
                source: Some(json!({"secret": volume})),
                read_only: true,
            }],
            served: None,
        },
        surroundings,
    );
    let set = deployment(&maker, spec.replicas, template, spec.gpu.is_some());
    maker.add(ChildKind::Deployment, Part::Main, set);
    maker.finish(settings, template_hash, &mounted)
}

/// One entry an orchestrator: the file's name says for whom it is.
fn add_credentials(maker: &mut Maker<'_>, secrets: BTreeMap<String, String>) {
    let data: BTreeMap<_, _> = secrets
        .into_iter()
        .map(|(orchestrator, secret)| (orchestrator, ByteString(secret.into_bytes())))
        .collect();
    let secret = json!({"type": "Opaque", "data": data});
    maker.add(ChildKind::Secret, Part::Credentials, secret);
}

/// A pool on CPUs replaces a pod after its successor is ready; one on GPUs first frees
/// the card that the successor needs.
fn deployment(maker: &Maker<'_>, replicas: u32, template: Value, gpu: bool) -> Value {
    let (surge, unavailable) = if gpu { (0, 1) } else { (1, 0) };
    json!({"spec": {
        "replicas": replicas,
        "revisionHistoryLimit": REVISION_HISTORY,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
        },
        "selector": {"matchLabels": maker.component.selector(maker.owner_name)},
        "template": template,
    }})
}

#[cfg(test)]
pub(crate) mod tests;

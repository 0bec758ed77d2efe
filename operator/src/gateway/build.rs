//! The children of a gateway. Pure.

use livepeer_settings::Role;
use serde_json::{Value, json};

use super::fetch::Fetched;
use super::validate::{TOKEN_FILE, Valid};
use super::{PORT, PORT_NAME};
use crate::apply::Owner;
use crate::apply::child::ChildKind;
use crate::build::pod::{Mount, NodePod};
use crate::build::resources::GATEWAY;
use crate::build::{Built, Maker, Surroundings, settings};
use crate::names::{Component, Part};

/// A stream has one owner; until replicas forward to it, there is one replica.
const REPLICAS: u32 = 1;
/// Revisions that are kept.
const REVISION_HISTORY: u32 = 3;

#[must_use]
pub fn build(
    owner: &Owner,
    valid: &Valid<'_>,
    fetched: &Fetched,
    surroundings: &Surroundings,
) -> Built {
    let Valid { spec, settings } = valid;
    let mut maker = Maker::new(Component::Gateway, &owner.reference.name, owner);
    let text = maker.add_settings(settings);
    maker.add_service(spec.exposure.service_type, PORT_NAME, PORT);
    maker.add_ingress_policy(PORT, Role::Gateway.probe_port(), surroundings);
    maker.add_disruption_budget();
    let token = spec
        .ingest
        .http
        .token_secret_ref
        .as_ref()
        .map(|secret| Mount {
            name: "ingest",
            path: settings::INGEST_FOLDER,
            source: Some(json!({"secret": {
                "secretName": secret.name,
                "items": [{"key": secret.key, "path": TOKEN_FILE}],
            }})),
            read_only: true,
        });
    let (template, template_hash) = maker.pod_template(
        &NodePod {
            role: Role::Gateway,
            node: &spec.node,
            drain_deadline: settings.drain.deadline,
            gpu: None,
            defaults: GATEWAY,
            rolling_hash: &settings::rolling_hash(settings),
            mounts: token.into_iter().collect(),
            served: Some((PORT_NAME, PORT)),
        },
        surroundings,
    );
    let deployment = deployment(&maker, template);
    maker.add(ChildKind::Deployment, Part::Main, deployment);
    maker.finish(settings, template_hash, &json!([text, fetched.token_hash]))
}

/// The successor is ready before the old pod is told to stop: it drains its streams
/// while new ones go to the new pod.
fn deployment(maker: &Maker<'_>, template: Value) -> Value {
    json!({"spec": {
        "replicas": REPLICAS,
        "revisionHistoryLimit": REVISION_HISTORY,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "selector": {"matchLabels": maker.component.selector(maker.owner_name)},
        "template": template,
    }})
}

#[cfg(test)]
pub(crate) mod tests;

//! The children of an orchestrator. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use livepeer_settings::Role;
use serde_json::{Value, json};

use super::fetch::{Fetched, KEY};
use super::validate::Valid;
use super::{PORT, PORT_NAME};
use crate::api::orchestrator::{Storage, Transcoding};
use crate::apply::Owner;
use crate::apply::child::ChildKind;
use crate::build::pod::{Mount, NodePod};
use crate::build::{Built, Maker, Surroundings, settings};
use crate::credential;
use crate::names::{Component, Part};

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
        defaults,
    } = valid;
    let mut maker = Maker::new(Component::Orchestrator, &owner.reference.name, owner);
    let text = maker.add_settings(settings);
    let key = json!({"type": "Opaque", "data": {KEY: ByteString(fetched.key.clone())}});
    let key = maker.add(ChildKind::Secret, Part::Key, key);
    key.only_copy = true;
    key.drawn = fetched.key_is_new;
    // with an engine of its own too: a pod of before, which takes what it has mounted, may
    // serve for hours, and what is revoked is revoked there
    let credentials = json!(credentials(fetched));
    let secret = json!({"type": "Opaque", "data": credentials});
    maker.add(ChildKind::Secret, Part::Credentials, secret);
    maker.add_peers_service(PORT_NAME, PORT);
    maker.add_service(spec.exposure.service_type, PORT_NAME, PORT);
    maker.add_ingress_policy(PORT, Role::Orchestrator.probe_port(), surroundings);
    maker.add_disruption_budget();

    let mut mounts = vec![Mount {
        name: "data",
        path: settings::DATA_FOLDER,
        source: None,
        read_only: false,
    }];
    if spec.transcoding == Transcoding::Pools {
        mounts.push(Mount {
            name: "credentials",
            path: settings::CREDENTIALS_FOLDER,
            source: Some(json!({"secret": {"secretName": maker.name(Part::Credentials)}})),
            read_only: true,
        });
    }
    let (template, template_hash) = maker.pod_template(
        &NodePod {
            role: Role::Orchestrator,
            node: &spec.node,
            drain_deadline: settings.drain.deadline,
            gpu: spec.gpu.as_ref(),
            defaults: *defaults,
            rolling_hash: &settings::rolling_hash(settings),
            mounts,
            served: Some((PORT_NAME, PORT)),
        },
        surroundings,
    );
    let set = stateful_set(&maker, template, &spec.storage);
    maker.add(ChildKind::StatefulSet, Part::Main, set);
    maker.finish(settings, template_hash, &json!([text, credentials]))
}

/// One entry a pool: the file's name says whose credential it is.
fn credentials(fetched: &Fetched) -> BTreeMap<String, ByteString> {
    fetched
        .pools
        .iter()
        .map(|pool| {
            let secret = credential::derive(&fetched.key, &pool.uid, &pool.epoch);
            (pool.name.clone(), ByteString(secret.into_bytes()))
        })
        .collect()
}

fn stateful_set(maker: &Maker<'_>, template: Value, storage: &Storage) -> Value {
    let selector = maker.component.selector(maker.owner_name);
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size.0}},
    });
    if let Some(class) = &storage.storage_class_name {
        claim["storageClassName"] = class.clone().into();
    }
    json!({"spec": {
        "replicas": 1,
        "serviceName": maker.name(Part::Peers),
        // ordered: a broken pod would have to be deleted by hand after a bad image
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "template": template,
        "volumeClaimTemplates": [{
            "metadata": {"name": "data", "labels": selector},
            "spec": claim,
        }],
    }})
}

#[cfg(test)]
pub(crate) mod tests;

//! What a pool depends on: its orchestrator, and the credential for it. While its pods are
//! being replaced after a change of the reference, also the orchestrators that it leaves.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource};
use url::Url;

use crate::api::TranscoderPool;
use crate::api::orchestrator::Transcoding;
use crate::api::reference::SecretKeyRef;
use crate::apply::Owner;
use crate::apply::child::hash;
use crate::context::Context;
use crate::credential::{self, PoolIdentity};
use crate::kind::ReconcileError;
use crate::orchestrator::fetch::{key, takes_transcoders};
use crate::reason::Reason;

/// The credential that the pods present.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Derived from the Orchestrator's key; the operator makes the Secret.
    Derived {
        orchestrator: String,
        secret: String,
    },
    /// In somebody's Secret; `hash` is of its value.
    External { secret: SecretKeyRef, hash: String },
}

/// Reads the credential. Not `Debug`: it holds a secret.
pub struct Fetched {
    pub credential: Credential,
    /// Credentials of pods that are older than the reference, by their Orchestrator.
    pub left: BTreeMap<String, String>,
    /// Where else such pods work.
    pub left_elsewhere: Vec<Url>,
}

pub async fn fetch(
    context: &Context,
    owner: &Owner,
    pool: &TranscoderPool,
) -> Result<Fetched, ReconcileError> {
    let credential = match (pool.orchestrator_name(), &pool.spec.orchestrator.external) {
        (Some(name), _) => Credential::Derived {
            orchestrator: name.to_owned(),
            secret: derived(context, owner, pool, name).await?,
        },
        (None, Some(external)) => {
            let secret = external.credential_secret_ref.clone();
            let value = secret_value(context, &owner.namespace, &secret).await?;
            let hash = hash(&hex::encode(value).into());
            Credential::External { secret, hash }
        }
        (None, None) => {
            let message = "one of orchestrator.ref and orchestrator.external must be set";
            return Err(ReconcileError::told(Reason::InvalidSpec, message));
        }
    };
    let mut left = BTreeMap::new();
    for name in pool.orchestrators() {
        if pool.orchestrator_name() == Some(name) {
            continue;
        }
        match derived(context, owner, pool, name).await {
            Ok(secret) => drop(left.insert(name.to_owned(), secret)),
            // it is gone itself: its pods have nobody to work for
            Err(ReconcileError::Told { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let elsewhere = pool.addresses_left().into_iter();
    Ok(Fetched {
        credential,
        left,
        // nothing but what was an address is put there
        left_elsewhere: elsewhere
            .filter_map(|address| address.parse().ok())
            .collect(),
    })
}

async fn derived(
    context: &Context,
    owner: &Owner,
    pool: &TranscoderPool,
    orchestrator: &str,
) -> Result<String, ReconcileError> {
    let found = context
        .stores
        .orchestrators
        .get(&ObjectRef::new(orchestrator).within(&owner.namespace));
    let there = found
        .as_ref()
        .is_some_and(|orchestrator| orchestrator.meta().deletion_timestamp.is_none());
    if !there {
        let namespace = &owner.namespace;
        let mut message =
            format!("Orchestrator {orchestrator} does not exist in namespace {namespace}");
        let others = pool.works_for().into_iter();
        let others: Vec<_> = others.filter(|one| *one != orchestrator).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            message = format!("{message}; pods that run go on working for {others}");
        }
        return Err(ReconcileError::told(Reason::OrchestratorNotFound, message));
    }
    let read = found.as_ref().and_then(|found| found.0.as_ref().ok());
    let embedded = read.is_some_and(|read| read.spec.transcoding == Transcoding::Embedded);
    if embedded && !takes_transcoders(&context.client, &owner.namespace, orchestrator).await? {
        return Err(ReconcileError::told(
            Reason::NotRegistered,
            format!(
                "Orchestrator {orchestrator} has transcoding: Embedded and takes no transcoders"
            ),
        ));
    }
    let key = key(context, &owner.namespace, orchestrator).await?;
    match (key, PoolIdentity::of(pool)) {
        (Some(key), Some(pool)) => Ok(credential::derive(&key, &pool.uid, &pool.epoch)),
        (None, _) | (_, None) => Err(ReconcileError::told(
            Reason::Starting,
            format!("Orchestrator {orchestrator} has no key yet"),
        )),
    }
}

/// The value of a key of somebody's Secret.
pub async fn secret_value(
    context: &Context,
    namespace: &str,
    reference: &SecretKeyRef,
) -> Result<Vec<u8>, ReconcileError> {
    let SecretKeyRef { name, key } = reference;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let missing = |message: String| ReconcileError::told(Reason::SecretNotFound, message);
    let secret = secrets.get_opt(name).await?.ok_or_else(|| {
        missing(format!(
            "Secret {name} does not exist in namespace {namespace}"
        ))
    })?;
    secret
        .data
        .and_then(|mut data| data.remove(key))
        .map(|value| value.0)
        .ok_or_else(|| missing(format!("Secret {name} has no key {key}")))
}

//! What a gateway depends on: the Orchestrators that it names, and its ingest token.

use kube::Resource;
use kube::runtime::reflector::ObjectRef;

use crate::api::Gateway;
use crate::apply::Owner;
use crate::apply::child::hash;
use crate::context::Context;
use crate::kind::ReconcileError;
use crate::reason::Reason;
use crate::transcoder_pool::fetch::secret_value;

/// What was read.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Names in `orchestrators.refs` that exist.
    pub present: Vec<String>,
    /// Names in `orchestrators.refs` that do not.
    pub missing: Vec<String>,
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

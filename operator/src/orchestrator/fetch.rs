//! What an orchestrator depends on: its key, and the pools that refer to it.

use std::sync::Arc;

use crate::api::exposure::ServiceType;
use crate::api::{Orchestrator, TranscoderPool};
use crate::apply::Owner;
use crate::build::service;
use crate::context::Context;
use crate::credential::PoolIdentity;
use crate::kind::ReconcileError;
use crate::names::{Component, Part};
use crate::observe::{self, written};
use k8s_openapi::api::core::v1::{PodSpec, Secret, Service};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};
use rand::RngExt;
use tokio::time::Instant;
use url::Url;

/// Key in the Secret.
pub const KEY: &str = "key";
/// As long as the output of the hash that it is used with.
const KEY_BYTES: usize = 32;

/// What was read. Not `Debug`: it holds the key.
pub struct Fetched {
    /// The key that credentials are derived from; drawn now when there was none.
    pub key: Vec<u8>,
    pub key_is_new: bool,
    /// Pools of this namespace whose pods work for this orchestrator, or shall, by name.
    pub pools: Vec<PoolIdentity>,
    /// Its Service, where the public address comes from it.
    pub service: Option<Service>,
    /// What gateways were told last, while its load balancer has no address.
    pub announced: Option<Url>,
}

pub async fn fetch(
    context: &Context,
    owner: &Owner,
    orchestrator: &Orchestrator,
) -> Result<Fetched, ReconcileError> {
    let name = &owner.reference.name;
    let written = key(context, &owner.namespace, name).await?;
    let key_is_new = written.is_none();
    let key = written.unwrap_or_else(|| rand::rng().random::<[u8; KEY_BYTES]>().to_vec());
    let service = match orchestrator.spec.exposure.service_type {
        ServiceType::ClusterIP => None,
        ServiceType::NodePort | ServiceType::LoadBalancer => {
            observe::service(
                &context.client,
                &owner.namespace,
                Component::Orchestrator,
                name,
            )
            .await?
        }
    };
    let exposure = orchestrator.spec.exposure.service_type;
    let announced = if service::pending(exposure, service.as_ref()).is_empty() {
        None
    } else {
        let settings = written::fetch(
            &context.client,
            &owner.namespace,
            Component::Orchestrator,
            name,
        );
        settings.await?.as_ref().and_then(service_uri)
    };
    let pools_there = context.stores.pools.state();
    let departed = context.departed.of(&owner.namespace, name, Instant::now());
    Ok(Fetched {
        key,
        key_is_new,
        pools: pools(&pools_there, &owner.namespace, name, &departed),
        service,
        announced,
    })
}

/// The key of the orchestrator called `name`, once its Secret was made.
pub async fn key(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Vec<u8>>, kube::Error> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = secrets
        .get_opt(&Component::Orchestrator.child(name, Part::Key))
        .await?;
    let key = secret.and_then(|secret| secret.data?.remove(KEY));
    Ok(key.map(|key| key.0).filter(|key| !key.is_empty()))
}

/// Whether the pod of the orchestrator called `name` takes transcoders, or one that comes in its
/// place: an edit to an engine of its own may be held, and then the pod of before drains.
pub async fn takes_transcoders(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<bool, kube::Error> {
    let component = Component::Orchestrator;
    let set = written::workload(client, namespace, component, name).await?;
    let pods = observe::list(client, namespace, component, name).await?;
    let credentials = component.child(name, Part::Credentials);
    let specs = written::specs(set.as_ref(), &pods);
    Ok(specs.iter().any(|pod| mounts(pod, &credentials)))
}

fn mounts(pod: &PodSpec, secret: &str) -> bool {
    let mut volumes = pod.volumes.iter().flatten();
    volumes.any(|volume| {
        let mounted = volume.secret.as_ref();
        mounted.and_then(|mounted| mounted.secret_name.as_deref()) == Some(secret)
    })
}

/// The service URI in an orchestrator's settings.
fn service_uri(settings: &toml::Table) -> Option<Url> {
    let uri = settings.get("orchestrator")?.get("service_uri")?.as_str()?;
    uri.parse().ok()
}

/// Those that refer to it, those whose older pods still work for it, and those that left a
/// moment ago under another name. Of one that cannot be read nobody knows for whom it works:
/// it keeps its credential everywhere, since one from another orchestrator's key is nobody's.
fn pools(
    all: &[Arc<DeserializeGuard<TranscoderPool>>],
    namespace: &str,
    name: &str,
    departed: &[(PoolIdentity, Instant)],
) -> Vec<PoolIdentity> {
    let mut pools: Vec<_> = all
        .iter()
        .filter(|pool| pool.namespace().as_deref() == Some(namespace))
        .filter(|pool| pool.meta().deletion_timestamp.is_none())
        .filter(|pool| match &pool.0 {
            Ok(read) => read.orchestrators().contains(name),
            Err(_) => true,
        })
        .filter_map(|pool| PoolIdentity::of(pool.as_ref()))
        .collect();
    for (left, _) in departed {
        if pools.iter().all(|pool| pool.name != left.name) {
            pools.push(left.clone());
        }
    }
    pools.sort_by(|left, right| left.name.cmp(&right.name));
    pools
}

#[cfg(test)]
mod tests {
    use super::{pools, takes_transcoders, written};
    use crate::apply::child::ChildKind;
    use crate::apply::tests::Table;
    use crate::build::settings::{common, render};
    use crate::build::tests::child;
    use crate::orchestrator::build::tests::made;
    use crate::transcoder_pool::build::tests::pool;
    use kube::Client;
    use kube::core::DeserializeGuard;
    use kube::core::error_boundary::InvalidObject;
    use livepeer_settings::{LogLevel, Role};
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_pool_has_a_credential_until_its_deletion_begins_and_also_while_it_cannot_be_read() {
        let read = pool(json!({"orchestrator": {"ref": {"name": "o"}}}));
        let unreadable = InvalidObject {
            error: "replicas: not a number".into(),
            metadata: read.metadata.clone(),
        };
        let taken = |pool, by| {
            let there = [Arc::new(DeserializeGuard(pool))];
            pools(&there, "ns", by, &[]).len() == 1
        };
        assert!(taken(Ok(read.clone()), "o"));
        assert!(!taken(Ok(read.clone()), "p"));
        assert!(taken(Err(unreadable), "o"));
        let mut leaving = read.clone();
        let now = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        leaving.metadata.deletion_timestamp = Some(now);
        assert!(!taken(Ok(leaving), "o"));
    }

    #[tokio::test]
    async fn transcoders_are_taken_until_the_statefulset_has_an_engine_of_its_own() {
        let takes = async |set: Option<&str>| {
            let built = set.map(|transcoding| made(json!({ "transcoding": transcoding }), &[]));
            let set = built.map(|built| child(&built, ChildKind::StatefulSet, "").clone());
            let set = set.map(|set| ("video-orchestrator", set));
            let client = Client::new(Table::of(set), "ns");
            takes_transcoders(&client, "ns", "video").await.unwrap()
        };
        assert!(takes(Some("Pools")).await, "the edit is held");
        assert!(!takes(Some("Embedded")).await);
        assert!(!takes(None).await);
    }

    #[test]
    fn what_was_announced_is_read_from_the_settings_of_any_version() {
        let service_uri = |file: &str| written::parse(file).as_ref().and_then(super::service_uri);
        let mut settings = common(Role::Orchestrator, LogLevel::Info, Duration::ZERO, false);
        assert_eq!(service_uri(&render(&settings)), None);
        let uri: url::Url = "https://192.0.2.1:8935".parse().unwrap();
        settings.orchestrator.service_uri = Some(uri.clone());
        let file = render(&settings);
        assert_eq!(service_uri(&file), Some(uri.clone()));
        assert_eq!(service_uri(&format!("older = 1\n{file}")), Some(uri));
        assert_eq!(service_uri("no = 1"), None);
        assert_eq!(service_uri("no"), None);
    }
}

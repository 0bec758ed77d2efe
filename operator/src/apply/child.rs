//! A child: an object that we want, with its kind, as JSON ready to be applied.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::names::ANNOTATION_APPLIED;

/// The kinds of objects that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildKind {
    Secret,
    ConfigMap,
    Service,
    NetworkPolicy,
    PodDisruptionBudget,
    StatefulSet,
    Deployment,
}

impl ChildKind {
    pub const ALL: [Self; 7] = [
        Self::Secret,
        Self::ConfigMap,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
        Self::Deployment,
    ];

    /// True for workloads, which come after what their pods mount.
    #[must_use]
    pub fn makes_pods(self) -> bool {
        match self {
            Self::StatefulSet | Self::Deployment => true,
            Self::Secret
            | Self::ConfigMap
            | Self::Service
            | Self::NetworkPolicy
            | Self::PodDisruptionBudget => false,
        }
    }

    /// What the client needs to address objects of this kind.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }
}

/// An object that we want.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    pub kind: ChildKind,
    pub name: String,
    /// The whole object; its last annotation is [`ANNOTATION_APPLIED`].
    pub object: Value,
    /// Hash of the object as it is wanted.
    pub hash: String,
    /// What is in it stands nowhere else: it is never deleted to be made again.
    pub only_copy: bool,
    /// What is in it was drawn for this turn: others that follow from it wait until it is written.
    pub drawn: bool,
    /// Wanted, and not to be written yet: what is there stays as it is.
    pub held: bool,
}

/// Kind and name, as people are told of it.
impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

impl Child {
    /// Takes an object from a builder; `owner` controls it.
    ///
    /// Secrets print nothing of themselves: `Debug` of a child is for tests only.
    #[must_use]
    pub fn new<K: Serialize>(
        kind: ChildKind,
        name: &str,
        object: &K,
        owner: &OwnerReference,
    ) -> Self {
        let resource = kind.api_resource();
        let mut object = serde_json::to_value(object).expect("a Kubernetes object is plain JSON");
        object["apiVersion"] = resource.api_version.into();
        object["kind"] = resource.kind.into();
        object["metadata"]["name"] = name.into();
        object["metadata"]["ownerReferences"] = json!([owner]);
        let hash = hash(&object);
        object["metadata"]["annotations"][ANNOTATION_APPLIED] = hash.clone().into();
        Self {
            kind,
            name: name.to_owned(),
            object,
            hash,
            only_copy: false,
            drawn: false,
            held: false,
        }
    }

    /// Adds to its data.
    pub fn add_data(&mut self, more: &BTreeMap<String, String>) {
        for (key, value) in more {
            self.object["data"][key] = value.as_str().into();
        }
        self.hash = hash(&json!([self.hash, more]));
        self.object["metadata"]["annotations"][ANNOTATION_APPLIED] = self.hash.as_str().into();
    }
}

/// 16 hexadecimal digits of SHA-256 over the JSON text; keys are sorted in it.
#[must_use]
pub fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    hex::encode(&digest[..8])
}

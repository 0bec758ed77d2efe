//! Builders that the kinds share: pods, settings, policies. All pure.
//!
//! Objects are written as JSON, close to the manifests that a reader knows; the tests
//! read each one back through the typed API, which finds misspelt fields.

pub mod network_policy;
pub mod pod;
pub mod resources;
pub mod service;
pub mod settings;

use livepeer_settings::Settings;
use serde_json::{Value, json};

use crate::apply::Owner;
use crate::apply::child::{Child, ChildKind, hash};
use crate::names::{Component, Part};

/// What the operator was told about its surroundings, for all resources alike.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Image of the node where a resource names none.
    pub node_image: String,
    /// Namespace of the operator: its requests pass the NetworkPolicies.
    pub operator_namespace: String,
    /// Who else may reach the probe port, as NetworkPolicy peers.
    pub scrape_from: Vec<Value>,
}

/// The children of a resource, and the hashes that tell the state of its pods.
#[derive(Debug, Clone)]
pub struct Built {
    pub children: Vec<Child>,
    /// What the nodes of the newest template are told.
    pub settings: Settings,
    /// Of the pod template, as its annotation has it.
    pub template_hash: String,
    /// Of the files that the pods mount.
    pub mounted_hash: String,
}

/// One resource's children: makes them with its names, labels and owner reference.
#[derive(Debug)]
pub struct Maker<'a> {
    pub component: Component,
    pub owner_name: &'a str,
    pub owner: &'a Owner,
    children: Vec<Child>,
}

impl<'a> Maker<'a> {
    #[must_use]
    pub fn new(component: Component, owner_name: &'a str, owner: &'a Owner) -> Self {
        Self {
            component,
            owner_name,
            owner,
            children: Vec::new(),
        }
    }

    /// The name of a part of this resource.
    #[must_use]
    pub fn name(&self, part: Part) -> String {
        self.component.child(self.owner_name, part)
    }

    /// Adds a child; `rest` is everything but its metadata.
    pub fn add(&mut self, kind: ChildKind, part: Part, mut rest: Value) -> &mut Child {
        rest["metadata"] = json!({
            "namespace": self.owner.namespace,
            "labels": self.component.labels(self.owner_name),
        });
        let child = Child::new(kind, &self.name(part), &rest, &self.owner.reference);
        self.children.push(child);
        self.children.last_mut().expect("it was just pushed")
    }

    /// The ConfigMap with the settings file, whose text it gives.
    pub fn add_settings(&mut self, settings: &Settings) -> String {
        let text = settings::render(settings);
        let key = settings::key(&settings::rolling_hash(settings));
        let data = json!({"data": {key: text}});
        self.add(ChildKind::ConfigMap, Part::Settings, data);
        text
    }

    /// Lets `kubectl drain` take one pod at a time, broken ones at any time.
    pub fn add_disruption_budget(&mut self) {
        let spec = json!({"spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": self.component.selector(self.owner_name)},
        }});
        self.add(ChildKind::PodDisruptionBudget, Part::Main, spec);
    }

    /// Everything that was added. `mounted` is what the pods see as files.
    #[must_use]
    pub fn finish(self, settings: &Settings, template_hash: String, mounted: &Value) -> Built {
        Built {
            children: self.children,
            settings: settings.clone(),
            template_hash,
            mounted_hash: hash(mounted),
        }
    }
}

#[cfg(test)]
pub mod tests;

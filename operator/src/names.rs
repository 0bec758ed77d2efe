//! Names and labels of everything that the operator makes, and the longest name a
//! custom resource may have because of them.
//!
//! One place, so that a longer suffix shortens the legal name (the rule in the CRD
//! is made from [`Component::max_name_length`]) instead of breaking at run time.

use std::collections::BTreeMap;

/// Domain of our annotations, labels and API group.
pub const GROUP: &str = "livepeer.org";

/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "livepeer-operator";

/// Longest DNS label: Service names, pod host names, label values (RFC 1035 §2.3.4).
const DNS_LABEL: usize = 63;

/// A StatefulSet labels its pods with `<name>-<hash>`; the hash has up to 10 characters.
const REVISION_SUFFIX: usize = "-0123456789".len();

/// A Deployment's pod is called `<name>-<template hash>-<5 characters>`, and its host
/// name is cut at 63.
const REPLICA_SUFFIX: usize = "-0123456789-01234".len();

/// What a custom resource turns into: the word in names and selectors, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    Orchestrator,
    Pool,
    Gateway,
}

/// A part beside the main object of a resource. The suffix is its name in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The workload, its Service, PDB and NetworkPolicy.
    Main,
    /// The headless Service of a StatefulSet.
    Peers,
    /// The ConfigMap with the settings files.
    Settings,
    /// The Secret that pools' credentials are derived from.
    Key,
    /// An orchestrator's Secret with one key a pool; a pool's Secret with its own.
    Credentials,
    /// The pod that tries a new template before the one that serves is replaced.
    Rehearsal,
}

impl Component {
    pub const ALL: [Self; 3] = [Self::Orchestrator, Self::Pool, Self::Gateway];

    /// The word in names and in the label `app.kubernetes.io/component`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Pool => "pool",
            Self::Gateway => "gateway",
        }
    }

    /// The parts that a resource of this kind may have.
    const fn parts(self) -> &'static [Part] {
        match self {
            Self::Orchestrator => &[
                Part::Main,
                Part::Peers,
                Part::Settings,
                Part::Key,
                Part::Credentials,
                Part::Rehearsal,
            ],
            Self::Pool => &[Part::Main, Part::Settings, Part::Credentials],
            Self::Gateway => &[Part::Main, Part::Settings],
        }
    }

    /// What Kubernetes appends to the workload's name in a place of 63 characters.
    const fn workload_suffix(self) -> usize {
        match self {
            Self::Orchestrator => REVISION_SUFFIX,
            Self::Pool | Self::Gateway => REPLICA_SUFFIX,
        }
    }

    /// The longest `metadata.name` for which every child has a legal name.
    #[must_use]
    pub fn max_name_length(self) -> usize {
        let longest_part = self
            .parts()
            .iter()
            .map(|part| self.suffix(*part).len())
            .max()
            .unwrap_or(0);
        let workload = self.suffix(Part::Main).len() + self.workload_suffix();
        DNS_LABEL - longest_part.max(workload)
    }

    fn suffix(self, part: Part) -> String {
        let part = match part {
            Part::Main => "",
            Part::Peers => "-peers",
            Part::Settings => "-settings",
            Part::Key => "-key",
            Part::Credentials => "-credentials",
            Part::Rehearsal => "-rehearsal",
        };
        format!("-{}{part}", self.word())
    }

    /// The name of a child of the resource called `owner`.
    #[must_use]
    pub fn child(self, owner: &str, part: Part) -> String {
        format!("{owner}{}", self.suffix(part))
    }

    /// Selector of the pods of `owner`. Immutable in Deployments, so for ever.
    #[must_use]
    pub fn selector(self, owner: &str) -> BTreeMap<String, String> {
        labels([
            (LABEL_NAME, APP_NAME),
            (LABEL_COMPONENT, self.word()),
            (LABEL_INSTANCE, owner),
        ])
    }

    /// Labels of every child of `owner`.
    #[must_use]
    pub fn labels(self, owner: &str) -> BTreeMap<String, String> {
        let mut all = self.selector(owner);
        all.insert(LABEL_MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
        all
    }

    /// The component that a label value names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|component| component.word() == word)
    }
}

pub const APP_NAME: &str = "livepeer";
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The component of a rehearsal: no selector of ours finds it.
pub const REHEARSAL: &str = "rehearsal";

/// On a child: hash of what was applied, so that a field we stopped setting is noticed
/// after a restart of the operator too.
pub const ANNOTATION_APPLIED: &str = "livepeer.org/applied";
/// On a pod template: hash of the settings that need a new process.
pub const ANNOTATION_SETTINGS: &str = "livepeer.org/rolling-settings";
/// On a pod template: hash of the template, to tell old pods from current ones.
pub const ANNOTATION_TEMPLATE: &str = "livepeer.org/template";
/// On a running pod: hash of its mounted files. Changing it makes the kubelet sync the
/// pod, volumes included, at once instead of within a minute.
pub const ANNOTATION_MOUNTED: &str = "livepeer.org/mounted";
/// On a `TranscoderPool`: raising it replaces the pool's credential.
pub const ANNOTATION_CREDENTIAL_EPOCH: &str = "livepeer.org/credential-epoch";

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Component, DNS_LABEL, Part};

    #[test]
    fn the_longest_name_is_bounded_by_the_statefulset_revision_label() {
        assert_eq!(Component::Orchestrator.max_name_length(), 38);
        assert_eq!(Component::Pool.max_name_length(), 41);
        assert_eq!(Component::Gateway.max_name_length(), 38);
    }

    #[test]
    fn every_child_of_the_longest_name_is_a_dns_label() {
        for component in Component::ALL {
            let owner = "x".repeat(component.max_name_length());
            for part in component.parts() {
                assert!(component.child(&owner, *part).len() <= DNS_LABEL);
            }
        }
    }

    #[test]
    fn an_orchestrator_and_a_gateway_of_one_name_share_no_child_and_no_selector() {
        let orchestrator = Component::Orchestrator.child("a", Part::Main);
        assert_ne!(orchestrator, Component::Gateway.child("a", Part::Main));
        assert_ne!(
            Component::Orchestrator.selector("a"),
            Component::Gateway.selector("a")
        );
    }
}

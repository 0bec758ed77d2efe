//! NetworkPolicies: who may reach a pod, and for a pool whom it may reach.
//!
//! Whether they are enforced depends on the cluster's CNI plugin.

use std::net::IpAddr;

use serde_json::{Value, json};
use url::{Host, Url};

use super::{Maker, Surroundings};
use crate::apply::child::ChildKind;
use crate::names::{Component, Part};

/// Label of the operator's own pods, as the chart and `config/` set it.
pub const OPERATOR_NAME: &str = "livepeer-operator";

/// Where a pool's orchestrator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An Orchestrator of this namespace.
    Orchestrator { name: String, port: u16 },
    /// An address elsewhere.
    External(Url),
}

impl Maker<'_> {
    /// `served` is open to everybody; `probe` to the operator and to scrapers.
    pub fn add_ingress_policy(&mut self, served: u16, probe: u16, surroundings: &Surroundings) {
        let spec = json!({"spec": {
            "podSelector": {"matchLabels": self.component.selector(self.owner_name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [tcp(served)]}, probe_rule(probe, surroundings)],
        }});
        self.add(ChildKind::NetworkPolicy, Part::Main, spec);
    }

    /// Nothing but probes and scrapes in; nothing but DNS and its orchestrators out.
    pub fn add_pool_policy(&mut self, probe: u16, to: &[Destination], surroundings: &Surroundings) {
        let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, tcp(53)]});
        let egress: Vec<_> = std::iter::once(dns)
            .chain(to.iter().map(egress_rule))
            .collect();
        let spec = json!({"spec": {
            "podSelector": {"matchLabels": self.component.selector(self.owner_name)},
            "policyTypes": ["Egress", "Ingress"],
            "ingress": [probe_rule(probe, surroundings)],
            "egress": egress,
        }});
        self.add(ChildKind::NetworkPolicy, Part::Main, spec);
    }
}

fn tcp(port: u16) -> Value {
    json!({"protocol": "TCP", "port": port})
}

fn probe_rule(port: u16, surroundings: &Surroundings) -> Value {
    let mut from = vec![json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": surroundings.operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": OPERATOR_NAME}},
    })];
    from.extend(surroundings.scrape_from.iter().cloned());
    json!({"ports": [tcp(port)], "from": from})
}

fn egress_rule(to: &Destination) -> Value {
    match to {
        Destination::Orchestrator { name, port } => json!({
            "ports": [tcp(*port)],
            "to": [{"podSelector": {"matchLabels": Component::Orchestrator.selector(name)}}],
        }),
        Destination::External(address) => {
            let ports = [tcp(address.port_or_known_default().unwrap_or(443))];
            // a policy cannot name a host: for one, the port alone is the limit
            match address.host() {
                Some(Host::Ipv4(ip)) => json!({"ports": ports, "to": [block(IpAddr::V4(ip), 32)]}),
                Some(Host::Ipv6(ip)) => json!({"ports": ports, "to": [block(IpAddr::V6(ip), 128)]}),
                Some(Host::Domain(_)) | None => json!({"ports": ports}),
            }
        }
    }
}

fn block(ip: IpAddr, bits: u8) -> Value {
    json!({"ipBlock": {"cidr": format!("{ip}/{bits}")}})
}

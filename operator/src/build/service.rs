//! Services, and where a resource is reached through them.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::Maker;
use crate::api::exposure::ServiceType;
use crate::apply::child::ChildKind;
use crate::names::{Component, Part};

impl Maker<'_> {
    /// The Service for clients.
    pub fn add_service(&mut self, exposure: ServiceType, port_name: &str, port: u16) {
        let spec = json!({"spec": {
            "type": exposure.word(),
            "selector": self.component.selector(self.owner_name),
            "ports": [port_of(port_name, port)],
        }});
        self.add(ChildKind::Service, Part::Main, spec);
    }

    /// The headless Service that a StatefulSet needs for its pods' names.
    pub fn add_peers_service(&mut self, port_name: &str, port: u16) {
        let spec = json!({"spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": self.component.selector(self.owner_name),
            "ports": [port_of(port_name, port)],
        }});
        self.add(ChildKind::Service, Part::Peers, spec);
    }
}

fn port_of(name: &str, port: u16) -> Value {
    json!({"name": name, "port": port, "protocol": "TCP", "targetPort": name})
}

/// Address of the Service of `owner` inside the cluster.
#[must_use]
pub fn inside(component: Component, owner: &str, namespace: &str, port: u16) -> String {
    let service = component.child(owner, Part::Main);
    format!("{service}.{namespace}.svc:{port}")
}

/// Address for clients, as `service` and its pods say now; `None` while a load balancer
/// has none, and of several always the same. A node port answers on every node: the one of a
/// pod is named.
#[must_use]
pub fn endpoint(
    exposure: ServiceType,
    inside: &str,
    service: Option<&Service>,
    host_ip: Option<&str>,
) -> Option<String> {
    match exposure {
        ServiceType::ClusterIP => Some(inside.to_owned()),
        ServiceType::NodePort => {
            let port = service?.spec.as_ref()?.ports.as_ref()?.first()?.node_port?;
            Some(authority(host_ip?, port))
        }
        ServiceType::LoadBalancer => {
            let service = service?;
            let port = service.spec.as_ref()?.ports.as_ref()?.first()?.port;
            let status = service.status.as_ref()?.load_balancer.as_ref()?;
            let ingresses = status.ingress.iter().flatten();
            // whoever provides them promises no order
            let hosts = ingresses
                .filter_map(|ingress| ingress.hostname.as_deref().or(ingress.ip.as_deref()));
            Some(authority(hosts.min()?, port))
        }
    }
}

/// What to add to a message while `service` waits for its load balancer: nobody outside the
/// cluster reaches it meanwhile. Where there is no provider of them, it waits for ever.
#[must_use]
pub fn pending(exposure: ServiceType, service: Option<&Service>) -> &'static str {
    let waits =
        exposure == ServiceType::LoadBalancer && endpoint(exposure, "", service, None).is_none();
    if waits {
        "; its load balancer has no address yet"
    } else {
        ""
    }
}

/// `host:port`, an IPv6 address in brackets.
#[must_use]
pub fn authority(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::{endpoint, pending};
    use crate::api::exposure::ServiceType;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    #[test]
    fn the_endpoint_follows_the_exposure() {
        let service: Service = serde_json::from_value(json!({
            "spec": {"ports": [{"port": 8935, "nodePort": 30001}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
        }))
        .unwrap();
        let of = |exposure| {
            endpoint(
                exposure,
                "o.ns.svc:8935",
                Some(&service),
                Some("2001:db8::1"),
            )
        };
        assert_eq!(of(ServiceType::ClusterIP).unwrap(), "o.ns.svc:8935");
        assert_eq!(of(ServiceType::NodePort).unwrap(), "[2001:db8::1]:30001");
        assert_eq!(of(ServiceType::LoadBalancer).unwrap(), "192.0.2.1:8935");
        let mut several = service.clone();
        let ingresses = |hosts: [&str; 2]| {
            let ingresses = hosts.map(|host| json!({"ip": host}));
            serde_json::from_value(json!({"loadBalancer": {"ingress": ingresses}})).unwrap()
        };
        for hosts in [["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]] {
            several.status = Some(ingresses(hosts));
            let found = endpoint(ServiceType::LoadBalancer, "x", Some(&several), None);
            assert_eq!(found.unwrap(), "192.0.2.1:8935");
        }
        let waits = Service::default();
        let of = |service| endpoint(ServiceType::LoadBalancer, "x", Some(service), None);
        assert_eq!(of(&waits), None);
        let told = |exposure, service| !pending(exposure, Some(service)).is_empty();
        assert!(told(ServiceType::LoadBalancer, &waits));
        assert!(!told(ServiceType::LoadBalancer, &service));
        assert!(!told(ServiceType::NodePort, &waits));
        assert!(!told(ServiceType::ClusterIP, &waits));
    }
}

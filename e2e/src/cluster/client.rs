//! The Kubernetes client of the local cluster: always its own kubeconfig, never the ambient one.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::control::Named;
use super::paths;

/// A client with the administrator's rights.
pub(crate) async fn connect() -> Result<Client> {
    // Several crates bring rustls; whichever installs the provider first, it is the same one.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let kubeconfig = Kubeconfig::read_from(paths::kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The address that a Service or pod has now.
pub(crate) async fn address_of(client: &Client, named: &Named) -> Result<SocketAddr> {
    let Named {
        namespace,
        target,
        port,
    } = named;
    let address = match target.split_once('/') {
        Some(("svc", name)) => {
            let services: Api<Service> = Api::namespaced(client.clone(), namespace);
            let service = services.get(name).await?;
            service.spec.and_then(|spec| spec.cluster_ip)
        }
        Some(("pod", name)) => {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let pod = pods.get(name).await?;
            pod.status.and_then(|status| status.pod_ip)
        }
        _ => bail!("a target is svc/NAME or pod/NAME, not {target}"),
    };
    let address = address.with_context(|| format!("{target} has no address yet"))?;
    let ip = address
        .parse()
        .with_context(|| format!("{target} has the address {address}"))?;
    Ok(SocketAddr::new(ip, *port))
}

//! The Kubernetes client of the local cluster: always its own kubeconfig, never the ambient one.

use anyhow::Result;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

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

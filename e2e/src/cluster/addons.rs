//! What the cluster gets besides its programs: the DNS Service, the StorageClass, the pause image.

use anyhow::{Context as _, Result};
use kube::Client;

use super::command::output;
use super::health::ctr;
use super::{command, paths};

/// Applies `addons.yaml` with our own kubectl.
pub(crate) async fn apply(_: &Client) -> Result<()> {
    let kubeconfig = paths::kubeconfig().display().to_string();
    let file = paths::state("config")
        .join("addons.yaml")
        .display()
        .to_string();
    command::run(
        paths::tool("kubectl"),
        &[
            "--kubeconfig",
            &kubeconfig,
            "apply",
            "--server-side",
            "-f",
            &file,
        ],
    )
    .await
    .context("cannot apply the addons")?;
    Ok(())
}

/// Imports the image that holds a pod's namespaces; there is no registry to pull it from.
pub(crate) async fn load_pause_image() -> Result<()> {
    let archive = paths::tool("pause.tar").display().to_string();
    output(ctr(&["images", "import", &archive])).await?;
    Ok(())
}

//! Writes the configuration files: the templates of `e2e/cluster/config` with this cluster's
//! paths and names put in, and one kubeconfig a component.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::namespaces::NODE_IP;
use super::{paths, pki, provisioner};

/// The node's name; it resolves nowhere, and need not.
pub(crate) const NODE_NAME: &str = "livepeer-e2e";
/// The API server, seen from inside the cluster's network namespace.
const API_INSIDE: &str = "https://127.0.0.1:6443";

const CONTAINERD: &str = include_str!("../../cluster/config/containerd.toml");
const KUBELET: &str = include_str!("../../cluster/config/kubelet.yaml");
const PROXY: &str = include_str!("../../cluster/config/kube-proxy.yaml");
const CNI: &str = include_str!("../../cluster/config/cni.conflist");
const COREFILE: &str = include_str!("../../cluster/config/Corefile");
const AUDIT: &str = include_str!("../../cluster/config/audit-policy.yaml");
const ADDONS: &str = include_str!("../../cluster/config/addons.yaml");

/// Writes them all. The certificates must be there.
pub(crate) fn create() -> Result<()> {
    let folder = paths::state("config");
    fs::create_dir_all(folder.join("cni"))?;
    for (name, template) in [
        ("containerd.toml", CONTAINERD),
        ("kubelet.yaml", KUBELET),
        ("kube-proxy.yaml", PROXY),
        ("cni/10-livepeer-e2e.conflist", CNI),
        ("Corefile", COREFILE),
        ("audit-policy.yaml", AUDIT),
        ("addons.yaml", ADDONS),
    ] {
        fs::write(folder.join(name), fill(template))?;
    }
    for component in [
        "controller-manager",
        "scheduler",
        "proxy",
        "coredns",
        "kubelet",
        "admin",
    ] {
        write_kubeconfig(
            &folder.join(format!("{component}.kubeconfig")),
            component,
            API_INSIDE,
        )?;
    }
    Ok(())
}

/// Puts this cluster's values into a template.
fn fill(template: &str) -> String {
    template
        .replace("@STATE@", paths::STATE)
        .replace("@CGROUP@", paths::CGROUP)
        .replace("@NODE_IP@", NODE_IP)
        .replace("@NODE_NAME@", NODE_NAME)
        .replace("@PROVISIONER@", provisioner::NAME)
}

/// Writes a kubeconfig that names the certificates by path and the server by address.
pub(crate) fn write_kubeconfig(path: &Path, component: &str, server: &str) -> Result<()> {
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: livepeer-e2e
    cluster: {{server: \"{server}\", certificate-authority: {ca}}}
users:
  - name: {component}
    user: {{client-certificate: {certificate}, client-key: {key}}}
contexts:
  - name: livepeer-e2e
    context: {{cluster: livepeer-e2e, user: {component}}}
current-context: livepeer-e2e
",
        ca = pki::path("ca.crt").display(),
        certificate = pki::path(&format!("{component}.crt")).display(),
        key = pki::path(&format!("{component}.key")).display(),
    );
    pki::write(path, &text)
}

#[cfg(test)]
mod tests {
    use super::{ADDONS, AUDIT, CNI, CONTAINERD, COREFILE, KUBELET, PROXY, fill};

    #[test]
    fn every_placeholder_is_filled() {
        for template in [CONTAINERD, KUBELET, PROXY, CNI, COREFILE, AUDIT, ADDONS] {
            let filled = fill(template);
            assert!(!filled.contains('@'), "left over in {filled}");
        }
    }
}

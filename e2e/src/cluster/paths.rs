//! Where the cluster keeps things: one state directory, one runtime directory, the tools.
//!
//! Everything the cluster writes lies under [`STATE`] and [`RUN`], so that taking it down is
//! removing two trees. The names are fixed because there is one cluster a machine.

use std::path::{Path, PathBuf};

/// What outlives a process but not the cluster: etcd, images, volumes, logs, certificates.
pub(crate) const STATE: &str = "/var/lib/livepeer-e2e";
/// The two namespaces, bind-mounted so that they live without a process.
pub(crate) const RUN: &str = "/run/livepeer-e2e";
/// Serialises cluster-up and cluster-down; it stays, for a lock file must not be unlinked.
pub(crate) const LOCK: &str = "/run/lock/livepeer-e2e.lock";
/// The cluster's own cgroup, parent of the kubelet's `kubepods`.
pub(crate) const CGROUP: &str = "livepeer-e2e";

/// Directories that programs insist on and that are bind-mounted from the state directory,
/// inside the cluster's mount namespace only: (place, folder below the state directory).
pub(crate) const BINDS: [(&str, &str); 3] = [
    ("/var/lib/kubelet", "kubelet"),
    ("/var/lib/cni", "cni"),
    ("/var/log", "log"),
];

/// A path below the state directory.
pub(crate) fn state(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}

/// The file that holds the cluster's network namespace.
pub(crate) fn net_namespace() -> PathBuf {
    Path::new(RUN).join("net")
}

/// The file that holds the cluster's mount namespace.
pub(crate) fn mount_namespace() -> PathBuf {
    Path::new(RUN).join("mnt")
}

/// The built programs: a link that `cluster-up` sets to the directory of its tools.
pub(crate) fn tool(name: &str) -> PathBuf {
    state("tools").join(name)
}

/// The socket on which the keeper takes requests.
pub(crate) fn control_socket() -> PathBuf {
    state("control.sock")
}

/// The administrator's kubeconfig, for use outside the cluster's network namespace.
pub(crate) fn kubeconfig() -> PathBuf {
    state("admin.kubeconfig")
}

#[cfg(test)]
mod tests {
    use super::{CGROUP, RUN, STATE};

    #[test]
    fn the_scripts_look_for_the_cluster_where_it_is() {
        let state = format!("state={STATE}\n");
        let down = include_str!("../../cluster/down.sh");
        for script in [
            down,
            include_str!("../../cluster/kubectl"),
            include_str!("../../cluster/helm"),
        ] {
            assert!(script.contains(&state), "{script}");
        }
        for trace in [format!("run={RUN}\n"), format!("/sys/fs/cgroup/{CGROUP} ")] {
            assert!(down.contains(&trace), "{trace}");
        }
    }
}

//! Faults: kill, freeze and cut off what runs in a pod; take a program of the cluster away.
//!
//! They act from outside, on processes and links, as a crash or a broken switch would; the API
//! is only asked which container is meant.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::control::{self, Request};
use super::daemons::Daemon;
use super::{Cluster, command, namespaces};

impl Cluster {
    /// Every process of a container, its first one in front.
    pub async fn pids(&self, namespace: &str, pod: &str, container: &str) -> Result<Vec<Pid>> {
        let pod = Api::<Pod>::namespaced(self.client(), namespace)
            .get(pod)
            .await?;
        let id = pod
            .status
            .and_then(|status| status.container_statuses)
            .into_iter()
            .flatten()
            .find(|status| status.name == container)
            .and_then(|status| status.container_id)
            .with_context(|| format!("container {container} does not run"))?;
        let id = id.trim_start_matches("containerd://");
        let task =
            format!("cat /run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/init.pid");
        let init: i32 = namespaces::shell(&task).await?.trim().parse()?;
        let space = pid_namespace(init).context("the container has just ended")?;
        let others = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|&pid| pid != init && pid_namespace(pid) == Some(space));
        Ok(std::iter::once(init)
            .chain(others)
            .filter_map(Pid::from_raw)
            .collect())
    }

    /// Sends a signal to the first process of a container, as `kill` on the node would.
    pub async fn signal(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        signal: Signal,
    ) -> Result<()> {
        let pids = self.pids(namespace, pod, container).await?;
        let &first = pids.first().context("the container has no process")?;
        kill_process(first, signal)?;
        Ok(())
    }

    /// Stops every process of a container, as if the machine had frozen.
    pub async fn pause(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        self.signal_all(namespace, pod, container, Signal::STOP)
            .await
    }

    /// Lets a paused container go on.
    pub async fn resume(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        self.signal_all(namespace, pod, container, Signal::CONT)
            .await
    }

    async fn signal_all(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        signal: Signal,
    ) -> Result<()> {
        for pid in self.pids(namespace, pod, container).await? {
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// Cuts a pod's network: its link goes down on the node's side, and packets are lost
    /// without a word.
    pub async fn cut_network(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        let link = self.link(namespace, pod, container).await?;
        self.set_link(&link, "down").await
    }

    /// Brings a cut pod back.
    pub async fn restore_network(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        let link = self.link(namespace, pod, container).await?;
        self.set_link(&link, "up").await
    }

    /// The node's end of a pod's link.
    pub async fn link(&self, namespace: &str, pod: &str, container: &str) -> Result<String> {
        let pids = self.pids(namespace, pod, container).await?;
        let first = pids.first().context("the container has no process")?;
        let pid = first.as_raw_nonzero().to_string();
        let show = ["-t", &pid, "-n", "ip", "-o", "link", "show", "eth0"];
        let own = command::run("nsenter", &show).await?;
        // "2: eth0@if7: <...>": 7 is the index of the other end, on the node.
        let index = own
            .split_once("@if")
            .and_then(|(_, rest)| rest.split_once(':'))
            .map(|(index, _)| index.to_owned())
            .with_context(|| format!("no peer in {own}"))?;
        let links = namespaces::shell("ip -o link show type veth").await?;
        let name = link_name(&links, &index);
        Ok(name
            .with_context(|| format!("no link {index} on the node"))?
            .to_owned())
    }

    /// Takes a link of the node `up` or `down`.
    pub async fn set_link(&self, link: &str, state: &str) -> Result<()> {
        namespaces::shell(&format!("ip link set {link} {state}"))
            .await
            .map(drop)
    }

    /// Kills a program of the cluster and leaves it away, such as the API server.
    pub async fn kill_daemon(&self, daemon: Daemon) -> Result<()> {
        control::ask(&Request::Kill { daemon }).await.map(drop)
    }

    /// Starts a killed program again.
    pub async fn start_daemon(&self, daemon: Daemon) -> Result<()> {
        control::ask(&Request::Start { daemon }).await.map(drop)
    }
}

/// The name of the link with an index, in the output of `ip -o link`.
fn link_name<'a>(links: &'a str, index: &str) -> Option<&'a str> {
    links.lines().find_map(|line| {
        let (number, rest) = line.split_once(": ")?;
        let (name, _) = rest.split_once('@')?;
        (number == index).then_some(name)
    })
}

fn pid_namespace(pid: i32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/pid"))
        .ok()
        .map(|meta| meta.ino())
}

#[cfg(test)]
mod tests {
    use super::link_name;

    #[test]
    fn the_peer_is_found_by_its_index() {
        let links = "5: vetha@if2: <BROADCAST> mtu 1500\n17: vethb@if2: <BROADCAST> mtu 1500\n";
        assert_eq!(link_name(links, "17"), Some("vethb"));
        assert_eq!(link_name(links, "7"), None);
    }
}

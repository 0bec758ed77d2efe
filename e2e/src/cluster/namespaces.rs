//! The cluster's own network and mount namespaces.
//!
//! Bridge, links, routes, nftables rules and pod addresses exist only in the one; container
//! root file systems, volumes, `/run/netns` and `/run/containerd` only in the other. So they
//! cannot clash with the machine's, and go away with the namespaces. Both are held by bind
//! mounts below [`paths::RUN`], which makes them independent of any process.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::command::{inside, output, run};
use super::paths;

/// The node's address: the bridge's, since a node's address may not be loopback.
pub(crate) const NODE_IP: &str = "10.88.0.1";

/// Makes both namespaces and what every program in them expects.
pub(crate) async fn create() -> Result<()> {
    fs::create_dir_all(paths::RUN)?;
    // A mount namespace can only be pinned on a private mount: one that it would not copy.
    mount_bind(paths::RUN, paths::RUN).context("cannot bind the runtime directory")?;
    mount_change(paths::RUN, MountPropagationFlags::PRIVATE)?;
    for file in [paths::net_namespace(), paths::mount_namespace()] {
        fs::write(file, "")?;
    }
    for (place, folder) in paths::BINDS {
        fs::create_dir_all(paths::state(folder))?;
        fs::create_dir_all(place)?;
    }
    pin().await?;
    shell(&inner_script())
        .await
        .context("cannot prepare the cluster's namespaces")?;
    Ok(())
}

/// Makes and pins both. Where this machine is itself in a mount namespace that is not the first,
/// as in a container, a kernel may refuse: it pins only those whose number is above that of the
/// one that they are made in (`fs/namespace.c`, `mnt_ns_loop`), and since 6.18 each processor
/// deals out numbers of its own. So each is tried.
async fn pin() -> Result<()> {
    let processors = sched_getaffinity(None)?;
    let usable = (0..CpuSet::MAX_CPU).filter(|processor| processors.is_set(*processor));
    let mut refused = None;
    for processor in usable {
        let made = run(
            "taskset",
            &[
                "--cpu-list".to_owned(),
                processor.to_string(),
                "unshare".to_owned(),
                format!("--net={}", paths::net_namespace().display()),
                format!("--mount={}", paths::mount_namespace().display()),
                "--propagation=private".to_owned(),
                "true".to_owned(),
            ],
        )
        .await;
        match made {
            Ok(_) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.unwrap_or_else(|| anyhow!("no processor may be used"));
    Err(refused.context("cannot make the cluster's namespaces"))
}

/// What is done once inside: a private `/run`, the bind mounts, loopback and the bridge.
fn inner_script() -> String {
    let mut script = String::new();
    for (place, folder) in paths::BINDS {
        script += &format!("mount --bind {} {place}\n", paths::state(folder).display());
    }
    script += "mount -t tmpfs -o mode=755 tmpfs /run\n";
    script += "mkdir -p /run/lock /run/netns\n";
    script += "ip link set lo up\n";
    // An address of its own: else the bridge takes the lowest of its ports', and with a pod
    // that goes, the others lose their way to the node until ARP notices.
    script += "ip link add cni0 address 02:00:0a:58:00:01 type bridge\n";
    script += &format!("ip addr add {NODE_IP}/16 dev cni0\n");
    script += "ip link set cni0 up\n";
    // Without a default route, addresses of Services would be unreachable before any rule
    // sees them. Nothing lies behind it: pods cannot leave the namespace.
    script += "ip route add default dev cni0\n";
    script += "sysctl -q -w net.ipv4.ip_forward=1\n";
    // A Service's answer from a pod of the same bridge must pass the rules on its way back.
    script += "sysctl -q -w net.bridge.bridge-nf-call-iptables=1\n";
    script
}

fn mounts() -> Vec<String> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect()
}

/// Lets go of both namespaces. The kernel removes them once no process is left inside.
pub(crate) fn remove() -> Result<()> {
    for mounted in mounts().iter().rev() {
        if Path::new(mounted).starts_with(paths::RUN) {
            unmount(mounted.as_str(), UnmountFlags::DETACH)
                .with_context(|| format!("cannot unmount {mounted}"))?;
        }
    }
    if Path::new(paths::RUN).exists() {
        fs::remove_dir_all(paths::RUN)?;
    }
    for (place, _) in paths::BINDS {
        // Only ours if empty: another container runtime may use the same directory.
        if place != "/var/log" {
            fs::remove_dir(place).ok();
        }
    }
    Ok(())
}

/// Runs a shell line inside and answers with its output; for probes and the sweep.
pub(crate) async fn shell(script: &str) -> Result<String> {
    let mut command = inside("sh");
    command.args(["-ec", script]);
    output(command).await
}

//! Removes every trace of a cluster, whatever state it is in: also one whose keeper was killed.
//!
//! It looks for what is there instead of what was noted down: processes by their network
//! namespace and cgroup, mounts by their place.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::{br_netfilter, namespaces, paths, sysctls};

/// Killed processes go at once, unless the kernel waits for a disk.
const KILL_DEADLINE: Duration = Duration::from_secs(20);
/// The keeper stops eight programs, each within two seconds.
const KEEPER_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Takes the cluster down. The lock must be held.
pub(crate) async fn sweep() -> Result<()> {
    if let Some(keeper) = keeper() {
        kill_process(keeper, Signal::TERM).ok();
        wait_while(KEEPER_DEADLINE, || self::keeper().is_some())
            .await
            .ok();
        if let Some(keeper) = self::keeper() {
            kill_process(keeper, Signal::KILL).ok();
        }
    }
    wait_while(KILL_DEADLINE, || {
        let left = processes();
        for &pid in &left {
            kill_process(pid, Signal::KILL).ok();
        }
        !left.is_empty()
    })
    .await?;
    namespaces::remove()?;
    wait_while(KILL_DEADLINE, || {
        cgroups()
            .iter()
            .rev()
            .any(|folder| fs::remove_dir(folder).is_err())
    })
    .await?;
    sysctls::restore();
    br_netfilter::unload().await;
    if Path::new(paths::STATE).exists() {
        fs::remove_dir_all(paths::STATE)?;
    }
    Ok(())
}

async fn wait_while(limit: Duration, mut busy: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while busy() {
        if Instant::now() >= deadline {
            bail!("processes or cgroups of the cluster did not go");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The keeper, if it runs: the pid that it wrote, unless another program has it by now.
fn keeper() -> Option<Pid> {
    let pid = fs::read_to_string(paths::state("keeper.pid")).ok()?;
    let pid: i32 = pid.trim().parse().ok()?;
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = cmdline
        .split(|&byte| byte == 0)
        .any(|arg| arg == b"cluster-keeper");
    if ours { Pid::from_raw(pid) } else { None }
}

/// Every process that lives in the cluster's network or mount namespace or in its cgroup.
fn processes() -> Vec<Pid> {
    let held = [paths::net_namespace(), paths::mount_namespace()]
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|meta| (meta.dev(), meta.ino()))
        .collect::<Vec<_>>();
    let inside = |pid: i32| {
        ["net", "mnt"].iter().any(|kind| {
            fs::metadata(format!("/proc/{pid}/ns/{kind}"))
                .is_ok_and(|meta| held.contains(&(meta.dev(), meta.ino())))
        })
    };
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut found: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own && inside(pid))
        .collect();
    for folder in cgroups() {
        let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// The cluster's cgroups in every hierarchy, parents first.
fn cgroups() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = roots()
        .into_iter()
        .map(|root| root.join(paths::CGROUP))
        .filter(|folder| folder.exists())
        .collect();
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        let children = fs::read_dir(&folder).into_iter().flatten().flatten();
        found.extend(
            children
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
        next += 1;
    }
    found
}

/// Where cgroup hierarchies are mounted, version 1 or 2.
fn roots() -> Vec<PathBuf> {
    fs::read_to_string("/proc/mounts")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            matches!(fields.next()?, "cgroup" | "cgroup2").then(|| PathBuf::from(place))
        })
        .collect()
}

/// Makes the cluster's cgroup in every hierarchy; the kubelet wants its root to exist.
pub(crate) fn create_cgroups() -> Result<()> {
    for root in roots() {
        fs::create_dir_all(root.join(paths::CGROUP))?;
    }
    Ok(())
}

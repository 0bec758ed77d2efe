//! The programs of the cluster: which, with what arguments, in what order, when each is up.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::config::NODE_NAME;
use super::namespaces::NODE_IP;
use super::{command, paths, pki};

/// One program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    Etcd,
    KubeApiserver,
    Containerd,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    Coredns,
}

impl Daemon {
    /// The order of starting; stopping goes backwards.
    pub(crate) const ALL: [Self; 8] = [
        Self::Etcd,
        Self::Containerd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Coredns,
        Self::Kubelet,
        Self::KubeProxy,
    ];

    /// The program's name, which is its log's too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Containerd => "containerd",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Coredns => "coredns",
        }
    }

    fn args(self) -> Vec<String> {
        let config = |name: &str| paths::state("config").join(name).display().to_string();
        let kubeconfig =
            |who: &str| format!("--kubeconfig={}", config(&format!("{who}.kubeconfig")));
        match self {
            Self::Etcd => etcd_args(),
            Self::KubeApiserver => apiserver_args(&config("audit-policy.yaml")),
            Self::Containerd => vec!["--config".to_owned(), config("containerd.toml")],
            Self::KubeControllerManager => {
                controller_manager_args(kubeconfig("controller-manager"))
            }
            Self::KubeScheduler => vec![kubeconfig("scheduler"), "--leader-elect=false".to_owned()],
            Self::Kubelet => vec![
                format!("--config={}", config("kubelet.yaml")),
                kubeconfig("kubelet"),
                format!("--hostname-override={NODE_NAME}"),
                format!("--node-ip={NODE_IP}"),
            ],
            Self::KubeProxy => vec![format!("--config={}", config("kube-proxy.yaml"))],
            Self::Coredns => vec!["-conf".to_owned(), config("Corefile")],
        }
    }
}

fn etcd_args() -> Vec<String> {
    vec![
        format!("--data-dir={}", paths::state("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        // The state does not outlive the machine: no need to wait for the disk.
        "--unsafe-no-fsync=true".to_owned(),
    ]
}

fn apiserver_args(audit_policy: &str) -> Vec<String> {
    let pki = |flag: &str, name: &str| format!("--{flag}={}", pki::path(name).display());
    vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--advertise-address={NODE_IP}"),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        // The node's name resolves nowhere, so logs and exec go to its address.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        pki("client-ca-file", "ca.crt"),
        pki("tls-cert-file", "apiserver.crt"),
        pki("tls-private-key-file", "apiserver.key"),
        pki("kubelet-certificate-authority", "ca.crt"),
        pki("kubelet-client-certificate", "apiserver-kubelet.crt"),
        pki("kubelet-client-key", "apiserver-kubelet.key"),
        pki("service-account-key-file", "service-accounts.pub"),
        pki("service-account-signing-key-file", "service-accounts.key"),
        format!("--audit-policy-file={audit_policy}"),
        format!("--audit-log-path={}", audit_log().display()),
        // One file: a test that counts requests must not lose some to a rotation.
        "--audit-log-maxsize=10000".to_owned(),
    ]
}

fn controller_manager_args(kubeconfig: String) -> Vec<String> {
    vec![
        kubeconfig,
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--root-ca-file={}", pki::path("ca.crt").display()),
        format!(
            "--cluster-signing-cert-file={}",
            pki::path("ca.crt").display()
        ),
        format!(
            "--cluster-signing-key-file={}",
            pki::path("ca.key").display()
        ),
        format!(
            "--service-account-private-key-file={}",
            pki::path("service-accounts.key").display()
        ),
    ]
}

/// Where the API server writes its audit log, one JSON object a line.
pub(crate) fn audit_log() -> std::path::PathBuf {
    paths::state("audit.log")
}

/// The log of a program.
pub(crate) fn log(name: &str) -> std::path::PathBuf {
    paths::state("logs").join(format!("{name}.log"))
}

/// The running programs. Their owner is the keeper: when it goes, it stops them.
#[derive(Default)]
pub(crate) struct Daemons {
    running: BTreeMap<Daemon, Child>,
}

impl Daemons {
    /// Starts a program in the cluster's namespaces, its output going to its log.
    pub(crate) fn start(&mut self, daemon: Daemon) -> Result<()> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log(daemon.name()))?;
        let mut command: Command = command::inside(paths::tool(daemon.name()));
        let child = command
            .args(daemon.args())
            .env_clear()
            // containerd finds its shim there; kube-proxy nft, the CNI plugins ip.
            .env(
                "PATH",
                format!(
                    "{}:/usr/sbin:/usr/bin:/sbin:/bin",
                    paths::state("tools").display()
                ),
            )
            .env("HOME", paths::STATE)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", daemon.name()))?;
        self.running.insert(daemon, child);
        Ok(())
    }

    /// Sends a signal to a program that runs.
    pub(crate) fn signal(&mut self, daemon: Daemon, signal: Signal) -> Result<()> {
        let Some(pid) = self.running.get(&daemon).and_then(Child::id) else {
            bail!("{} does not run", daemon.name());
        };
        let pid = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("not a pid")?, signal)?;
        Ok(())
    }

    /// Ends a program and waits for it: asks first, then kills.
    pub(crate) async fn stop(&mut self, daemon: Daemon, grace: Duration) -> Result<()> {
        if !grace.is_zero() {
            self.signal(daemon, Signal::TERM).ok();
        }
        let Some(mut child) = self.running.remove(&daemon) else {
            return Ok(());
        };
        if tokio::time::timeout(grace, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(())
    }

    /// The programs that were started and have ended by themselves.
    pub(crate) fn ended(&mut self) -> Vec<&'static str> {
        self.running
            .iter_mut()
            .filter_map(|(daemon, child)| match child.try_wait() {
                Ok(None) => None,
                Ok(Some(_)) | Err(_) => Some(daemon.name()),
            })
            .collect()
    }
}

/// The API server, inside the cluster's network namespace.
pub(crate) const API_SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);

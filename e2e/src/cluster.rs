//! A real single-node Kubernetes on this machine, in namespaces of its own.
//!
//! etcd, API server (audit log, `Node,RBAC`), controller manager, scheduler, containerd,
//! kubelet, kube-proxy and CoreDNS, all built from Go modules; a default StorageClass that
//! provisions; a stand-in that registers GPUs. One a machine; nothing of it is on the
//! machine's own network, and the ambient `KUBECONFIG` is never read.
//!
//! [`Cluster`] is what tests and commands use. Faults (killing, cutting off) are in
//! [`faults`], what the API server was asked in [`audit`].

pub mod audit;
pub mod faults;
pub mod health;

mod addons;
mod br_netfilter;
mod client;
pub(crate) mod command;
mod config;
mod control;
mod daemons;
mod forwarder;
mod gpus;
mod keeper;
mod lifecycle;
mod namespaces;
mod paths;
mod pki;
mod provisioner;
mod sweep;
mod sysctls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kube::Client;
use tokio::net::UnixStream;
use tokio::process::Command;

use control::{Named, Reply, Request};
pub use daemons::Daemon;
pub use gpus::GPUS;
pub use keeper::run as keep;

/// Takes the machine's cluster down, whatever state it is in.
pub async fn down() -> Result<()> {
    lifecycle::down().await
}

/// The running cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// A port of 127.0.0.1 that leads into the cluster, for as long as this value lives.
pub struct Forward {
    /// Where to connect.
    pub address: SocketAddr,
    _held: UnixStream,
}

impl Cluster {
    /// Brings the cluster up unless a healthy one is; answers whether it had to. `program` is
    /// the binary `livepeer-e2e`, a copy of which stays as the cluster's long-lived process.
    pub async fn ensure_up(program: &Path) -> Result<(Self, bool)> {
        let started = lifecycle::up(program).await?;
        Ok((Self::connect().await?, started))
    }

    /// The cluster that is up; an error if none is, or if it is not healthy.
    pub async fn connect() -> Result<Self> {
        lifecycle::is_up().await?;
        let client = client::connect().await?;
        Ok(Self { client })
    }

    /// A client with the administrator's rights, through a forward on 127.0.0.1.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        paths::kubeconfig()
    }

    /// kubectl of the cluster's version with its kubeconfig, ready for arguments.
    pub fn kubectl_command() -> Command {
        let mut command = Command::new(paths::tool("kubectl"));
        command.env("KUBECONFIG", paths::kubeconfig());
        command
    }

    /// Runs kubectl and answers with its output; fails with what it printed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = Self::kubectl_command();
        command.args(args);
        command::output(command).await
    }

    /// Runs helm on the cluster; fails with what it printed.
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(paths::tool("helm"));
        command.env("KUBECONFIG", paths::kubeconfig()).args(args);
        command::output(command).await
    }

    /// A built tool (`ctr`, `helm`, ...) by its path.
    pub fn tool(&self, name: &str) -> PathBuf {
        paths::tool(name)
    }

    /// Imports a docker or OCI archive into the node's images, unless that very file was.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = std::path::absolute(archive)?;
        let written = archive.metadata()?.modified()?;
        let since = written.duration_since(std::time::SystemTime::UNIX_EPOCH)?;
        let name = archive.file_name().context("an archive is a file")?;
        let folder = paths::state("loaded");
        let mark = folder.join(format!("{}-{}", name.display(), since.as_nanos()));
        if mark.exists() {
            return Ok(());
        }
        // Through standard input: the node's mount namespace has a /run of its own.
        let mut import = health::ctr(&["images", "import", "-"]);
        import.stdin(std::fs::File::open(archive)?);
        command::output_with_input(import).await?;
        std::fs::create_dir_all(&folder)?;
        std::fs::write(mark, "")?;
        Ok(())
    }

    /// Forwards a free port of 127.0.0.1 to `svc/NAME` or `pod/NAME`, for as long as the
    /// answer lives. A Service is reached by its cluster address, so over all its endpoints.
    pub async fn forward(&self, namespace: &str, target: &str, port: u16) -> Result<Forward> {
        let named = Named {
            namespace: namespace.to_owned(),
            target: target.to_owned(),
            port,
        };
        let request = Request::Forward {
            target: client::address_of(&self.client, &named).await?,
            port: 0,
            keep: false,
            named: None,
        };
        match control::ask(&request).await? {
            (Reply::Forwarded { address }, held) => Ok(Forward {
                address,
                _held: held,
            }),
            (reply, _) => bail!("unexpected reply {reply:?}"),
        }
    }

    /// The same until cluster-down or [`Self::end_forwards`], on the given port (0: any), also to what is made again
    /// under that name; for the demo.
    pub async fn forward_kept(
        &self,
        namespace: &str,
        target: &str,
        port: u16,
        listen: u16,
    ) -> Result<SocketAddr> {
        let named = Named {
            namespace: namespace.to_owned(),
            target: target.to_owned(),
            port,
        };
        let request = Request::Forward {
            target: client::address_of(&self.client, &named).await?,
            port: listen,
            keep: true,
            named: Some(named),
        };
        match control::ask(&request).await?.0 {
            Reply::Forwarded { address } => Ok(address),
            reply => bail!("unexpected reply {reply:?}"),
        }
    }

    /// Ends the forwards that are kept to a namespace.
    pub async fn end_forwards(&self, namespace: &str) -> Result<()> {
        let namespace = namespace.to_owned();
        control::ask(&Request::EndForwards { namespace })
            .await
            .map(drop)
    }

    /// A command that will run inside the cluster's network and mount namespaces.
    pub fn inside(&self, program: &str) -> Command {
        command::inside(program)
    }

    /// How many of the node's [`GPUS`] are healthy from now on.
    pub async fn gpu_devices(&self, healthy: usize) -> Result<()> {
        control::ask(&Request::Gpus { healthy }).await.map(drop)
    }
}

//! The processes of one combination: how each role of each program is started, when it
//! is ready, and how it ends. Plain processes on loopback, in the order orchestrator,
//! transcoder, gateway.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::exchange::Role;
use crate::profiles::Profile;
use crate::settings;

/// How long a process may take until it serves: go-livepeer opens a database and, as
/// an orchestrator, calls itself first.
const READY: Duration = Duration::from_secs(40);

/// How often readiness is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long a process may take to end after SIGTERM: go-livepeer's own grace is 10 s.
const END: Duration = Duration::from_secs(20);

/// Whose program plays a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Theirs,
    Ours,
}

/// The programs of both makers, and what all combinations ask of them.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) livepeer: PathBuf,
    pub(crate) livepeer_node: PathBuf,
    pub(crate) livepeer_engine: PathBuf,
    pub(crate) profiles: &'static [Profile],
}

/// The addresses of one combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// What the orchestrator advertises: its own address, or the recorder's.
    pub(crate) service: SocketAddr,
    pub(crate) orchestrator: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) rtmp: SocketAddr,
    /// Admin listeners: go-livepeer's CLI port, our probe port.
    pub(crate) orchestrator_admin: SocketAddr,
    pub(crate) transcoder_admin: SocketAddr,
    pub(crate) gateway_admin: SocketAddr,
}

impl Addresses {
    /// Free ports of 127.0.0.1; `recorder` is where the orchestrator shall be found.
    pub(crate) fn choose(recorder: Option<SocketAddr>) -> Result<Self> {
        // All are held until all are known, so that no two are the same.
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<Result<_, _>>()
            .context("find free ports")?;
        let free: Vec<SocketAddr> = held
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?;
        let [orchestrator, gateway, rtmp, first, second, third] = free[..] else {
            bail!("six ports were asked for");
        };
        Ok(Self {
            service: recorder.unwrap_or(orchestrator),
            orchestrator,
            gateway,
            rtmp,
            orchestrator_admin: first,
            transcoder_admin: second,
            gateway_admin: third,
        })
    }
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    role: Role,
    maker: Maker,
    child: Child,
}

impl Peer {
    /// Starts one role with its files under `folder` and its log beside them.
    pub(crate) fn start(
        role: Role,
        maker: Maker,
        setup: &Setup,
        addresses: &Addresses,
        folder: &Path,
    ) -> Result<Self> {
        let own = folder.join(role.to_string());
        std::fs::create_dir_all(&own)?;
        let mut command = match maker {
            Maker::Theirs => {
                let mut command = Command::new(&setup.livepeer);
                command.args(settings::their_flags(role, addresses, &own, setup)?);
                command
            }
            Maker::Ours => {
                let file = own.join("settings.toml");
                let text = settings::our_settings(role, addresses, &own, setup)?;
                std::fs::write(&file, text)?;
                let mut command = Command::new(&setup.livepeer_node);
                command.arg(role.to_string()).arg("--settings").arg(file);
                command
            }
        };
        let log = File::create(folder.join(format!("{role}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {maker:?} {role}"))?;
        Ok(Self { role, maker, child })
    }

    /// Waits until `address` accepts connections, or the process has ended.
    pub(crate) async fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + READY;
        while TcpStream::connect(address).await.is_err() {
            self.wait_on(deadline, "listen").await?;
        }
        Ok(())
    }

    /// Waits until this orchestrator says that a transcoder has registered.
    pub(crate) async fn has_transcoder(&mut self, admin: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + READY;
        let list = match self.maker {
            Maker::Theirs => "RegisteredTranscoders",
            Maker::Ours => "transcoders",
        };
        loop {
            let status = reqwest::get(format!("http://{admin}/status")).await;
            if let Ok(reply) = status
                && let Ok(status) = reply.json::<serde_json::Value>().await
                && status[list].as_array().is_some_and(|list| !list.is_empty())
            {
                return Ok(());
            }
            self.wait_on(deadline, "have a transcoder").await?;
        }
    }

    async fn wait_on(&mut self, deadline: Instant, what: &str) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{:?} {} ended early: {status}", self.maker, self.role);
        }
        if Instant::now() > deadline {
            bail!("{:?} {} did not {what} in time", self.maker, self.role);
        }
        sleep(POLL).await;
        Ok(())
    }

    /// The most memory that the process and its children have had resident, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.child.id().map_or(0, crate::memory::peak_of_tree)
    }

    /// Ends the process with SIGTERM and waits for it.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus> {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(process) = rustix::process::Pid::from_raw(id)
        {
            // Already ended is as good.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        tokio::time::timeout(END, self.child.wait())
            .await
            .with_context(|| format!("{:?} {} ignores SIGTERM", self.maker, self.role))?
            .context("wait")
    }
}

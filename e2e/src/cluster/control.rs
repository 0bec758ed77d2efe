//! How commands and tests talk to the keeper: one JSON request and one JSON reply a
//! connection, each on a line, over a unix socket that only root can open.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::daemons::Daemon;
use super::paths;

/// What the keeper can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Is everything up?
    Status,
    /// Forward a port of 127.0.0.1 (0: any) to an address of the cluster. Without `keep` it
    /// lasts as long as the connection that asked. With `named` the address is that name's at
    /// the time of each connection.
    Forward {
        target: SocketAddr,
        port: u16,
        keep: bool,
        #[serde(default)]
        named: Option<Named>,
    },
    /// End the forwards that are kept to a namespace: when the answer comes, nothing listens
    /// there any more.
    EndForwards { namespace: String },
    /// That many of the stand-in's devices are healthy from now on.
    Gpus { healthy: usize },
    /// Kill a program of the cluster.
    Kill { daemon: Daemon },
    /// Start one that was killed.
    Start { daemon: Daemon },
}

/// A Service or pod, which may be made again with another address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) namespace: String,
    /// `svc/NAME` or `pod/NAME`.
    pub(crate) target: String,
    pub(crate) port: u16,
}

/// What the keeper answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Done,
    Forwarded { address: SocketAddr },
    Failed { message: String },
}

/// Asks the keeper. The connection comes back too: a forward lasts as long as it is held.
pub(crate) async fn ask(request: &Request) -> Result<(Reply, UnixStream)> {
    let mut stream = UnixStream::connect(paths::control_socket())
        .await
        .context("the local cluster is not up (make cluster-up)")?;
    send(&mut stream, request).await?;
    let reply = receive(&mut stream)
        .await?
        .context("the cluster's keeper closed the connection")?;
    if let Reply::Failed { message } = reply {
        bail!("{message}");
    }
    Ok((reply, stream))
}

/// Writes one message.
pub(crate) async fn send(stream: &mut UnixStream, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    Ok(())
}

/// Reads one message; `None` at the end of the connection.
pub(crate) async fn receive<T: for<'de> Deserialize<'de>>(
    stream: &mut UnixStream,
) -> Result<Option<T>> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

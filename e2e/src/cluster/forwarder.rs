//! Forwards ports of 127.0.0.1 to addresses inside the cluster's network namespace.
//!
//! A socket belongs to the namespace that it was made in. So one thread moves into the
//! cluster's, with a runtime of its own, and makes the outgoing connections; the listeners
//! were made before, outside. NodePorts cannot do this: kube-proxy's nftables mode has none
//! on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::paths;

/// Forwards waiting for the thread to take them up; it does so at once.
const QUEUE: usize = 16;
/// Connections of one forward; a bound so that a test that leaks them notices.
const CONNECTIONS: usize = 4096;

/// A question for the address that a name has now; none when it has none.
pub(crate) type Question = oneshot::Sender<Option<SocketAddr>>;

/// Where connections go.
#[derive(Clone)]
pub(crate) enum Target {
    Fixed(SocketAddr),
    /// Whoever knows is outside: nobody in the cluster's namespace reaches the API server's
    /// forward.
    Asked(mpsc::Sender<Question>),
}

struct Forward {
    listener: StdListener,
    target: Target,
    cancel: CancellationToken,
}

/// The thread inside the cluster's network namespace, and the way to it.
pub(crate) struct Forwarder {
    forwards: mpsc::Sender<Forward>,
}

impl Forwarder {
    /// Starts the thread; it ends when the forwarder is dropped.
    pub(crate) fn start() -> Result<Self> {
        let namespace = File::open(paths::net_namespace())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (forwards, queue) = mpsc::channel(QUEUE);
        let (entered, entering) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name("forwarder".to_owned())
            .spawn(move || {
                let moved =
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
                let inside = moved.is_ok();
                entered.send(moved).ok();
                if inside {
                    runtime.block_on(serve(queue));
                }
            })?;
        entering
            .recv()
            .context("the forwarder's thread ended")?
            .context("cannot enter the cluster's network namespace")?;
        Ok(Self { forwards })
    }

    /// Listens on 127.0.0.1 (port 0: any) and forwards to `target` until cancelled.
    pub(crate) async fn forward(
        &self,
        port: u16,
        target: Target,
        cancel: CancellationToken,
    ) -> Result<SocketAddr> {
        let listener = listen(port)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let forward = Forward {
            listener,
            target,
            cancel,
        };
        if self.forwards.send(forward).await.is_err() {
            anyhow::bail!("the forwarder's thread ended");
        }
        Ok(address)
    }
}

/// Listens on 127.0.0.1, if nothing else does.
pub(crate) fn listen(port: u16) -> Result<StdListener> {
    StdListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))
}

async fn serve(mut queue: mpsc::Receiver<Forward>) {
    let mut forwards = JoinSet::new();
    loop {
        tokio::select! {
            next = queue.recv() => match next {
                Some(forward) => { forwards.spawn(accept(forward)); }
                None => break,
            },
            Some(_) = forwards.join_next() => {}
        }
    }
}

async fn accept(forward: Forward) {
    let Forward {
        listener,
        target,
        cancel,
    } = forward;
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(copy(client, target.clone()));
                }
            }
        }
    }
}

async fn address(target: Target) -> Option<SocketAddr> {
    match target {
        Target::Fixed(address) => Some(address),
        Target::Asked(who) => {
            let (question, answer) = oneshot::channel();
            who.send(question).await.ok()?;
            answer.await.ok().flatten()
        }
    }
}

/// One connection. A target that refuses shows as a connection that closes at once.
async fn copy(mut client: TcpStream, target: Target) {
    let Some(target) = address(target).await else {
        return;
    };
    client.set_nodelay(true).ok();
    match TcpStream::connect(target).await {
        Ok(mut server) => {
            server.set_nodelay(true).ok();
            tokio::io::copy_bidirectional(&mut client, &mut server)
                .await
                .ok();
        }
        Err(error) => tracing::debug!(%target, %error, "cannot forward"),
    }
}

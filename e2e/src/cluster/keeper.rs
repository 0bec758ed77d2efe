//! The long-lived process of a cluster: it owns the programs, the forwards, the provisioner
//! and the device plugin, and takes requests on the control socket.
//!
//! A cluster is up as long as its keeper is. When the keeper stops it stops the programs; what
//! it could not, `sweep` removes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use rustix::process::Signal;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::control::{self, Named, Reply, Request};
use super::daemons::{API_SERVER, Daemon, Daemons};
use super::forwarder::{self, Forwarder, Question, Target};
use super::{addons, client, config, gpus, health, namespaces, paths, pki, provisioner};

/// Requests that may wait for the loop; each asker waits for its reply, so few are enough.
const QUEUE: usize = 16;
/// From nothing to a ready node. A loaded machine of two cores took 25 seconds.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(180);
/// A forward that was cancelled closes its listener on a thread of its own, at once.
const CLOSES: Duration = Duration::from_secs(2);
/// A program asked to stop at the end gets no more than this.
const STOP_GRACE: Duration = Duration::from_secs(2);

struct Asked {
    request: Request,
    reply: oneshot::Sender<Reply>,
    /// Cancelled when the asker closes its connection.
    gone: CancellationToken,
}

/// A forward that nobody holds.
struct Kept {
    /// Where its name is; none of one to a fixed address.
    namespace: Option<String>,
    cancel: CancellationToken,
}

struct Keeper {
    daemons: Daemons,
    forwarder: Forwarder,
    /// Forwards that nobody holds, by their port.
    kept: HashMap<u16, Kept>,
    /// Each answers for the name of a kept forward, and ends with it.
    namers: JoinSet<()>,
    healthy_gpus: watch::Sender<usize>,
    client: Client,
}

/// Builds the cluster and keeps it until cancelled.
pub async fn run(cancel: CancellationToken) -> Result<()> {
    namespaces::create().await?;
    pki::create()?;
    config::create()?;
    std::fs::create_dir_all(paths::state("logs"))?;
    let mut daemons = Daemons::default();
    let started = tokio::select! {
        started = start(&mut daemons) => started,
        () = cancel.cancelled() => Err(anyhow::anyhow!("stopped while starting")),
    };
    let served = match started {
        Ok((forwarder, client)) => serve(&mut daemons, forwarder, client, &cancel).await,
        Err(error) => Err(error),
    };
    for daemon in Daemon::ALL.into_iter().rev() {
        daemons.stop(daemon, STOP_GRACE).await?;
    }
    served
}

/// Starts the programs in order, each when what it needs is there.
async fn start(daemons: &mut Daemons) -> Result<(Forwarder, Client)> {
    let deadline = Instant::now() + START_DEADLINE;
    let forwarder = Forwarder::start()?;
    let api = forwarder
        .forward(0, Target::Fixed(API_SERVER), CancellationToken::new())
        .await?;
    config::write_kubeconfig(&paths::kubeconfig(), "admin", &format!("https://{api}"))?;
    for daemon in [Daemon::Etcd, Daemon::Containerd, Daemon::KubeApiserver] {
        daemons.start(daemon)?;
    }
    let client = client::connect().await?;
    health::until(deadline, "the API server", || health::api_server(&client)).await?;
    addons::apply(&client).await?;
    health::until(deadline, "containerd", health::containerd).await?;
    addons::load_pause_image().await?;
    for daemon in [
        Daemon::KubeControllerManager,
        Daemon::KubeScheduler,
        Daemon::Coredns,
        Daemon::Kubelet,
        Daemon::KubeProxy,
    ] {
        daemons.start(daemon)?;
    }
    Ok((forwarder, client))
}

/// Runs the in-process parts and answers requests until cancelled.
async fn serve(
    daemons: &mut Daemons,
    forwarder: Forwarder,
    client: Client,
    cancel: &CancellationToken,
) -> Result<()> {
    let (healthy_gpus, healthy) = watch::channel(gpus::GPUS);
    let mut tasks = JoinSet::new();
    tasks.spawn(gpus::run(healthy, cancel.clone()));
    tasks.spawn(provisioner::run(client.clone(), cancel.clone()));
    let (asked, mut asking) = mpsc::channel(QUEUE);
    let listener = UnixListener::bind(paths::control_socket())?;
    let mut keeper = Keeper {
        daemons: std::mem::take(daemons),
        forwarder,
        kept: HashMap::new(),
        namers: JoinSet::new(),
        healthy_gpus,
        client,
    };
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tasks.spawn(converse(stream, asked.clone()));
            }
            Some(Asked { request, reply, gone }) = asking.recv() => {
                let answer = keeper.answer(request, gone).await;
                reply.send(answer.unwrap_or_else(|error| Reply::Failed {
                    message: format!("{error:#}"),
                })).ok();
            }
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
    *daemons = keeper.daemons;
    Ok(())
}

/// One connection: a request, its reply, and then the wait for the asker to go.
async fn converse(mut stream: UnixStream, asked: mpsc::Sender<Asked>) {
    let Ok(Some(request)) = control::receive(&mut stream).await else {
        return;
    };
    let (reply, replied) = oneshot::channel();
    let gone = CancellationToken::new();
    let _guard = gone.clone().drop_guard();
    let question = Asked {
        request,
        reply,
        gone,
    };
    if asked.send(question).await.is_err() {
        return;
    }
    let Ok(reply) = replied.await else { return };
    if control::send(&mut stream, &reply).await.is_ok() {
        // Nothing more is sent: this returns when the asker closes its end.
        control::receive::<Request>(&mut stream).await.ok();
    }
}

/// Says which address the name has, until nobody can ask any more.
async fn answer_for(client: Client, named: Named, mut questions: mpsc::Receiver<Question>) {
    while let Some(question) = questions.recv().await {
        let found = client::address_of(&client, &named).await;
        if let Err(error) = &found {
            tracing::debug!(target = named.target, %error, "has no address");
        }
        question.send(found.ok()).ok();
    }
}

impl Keeper {
    async fn answer(&mut self, request: Request, gone: CancellationToken) -> Result<Reply> {
        match request {
            Request::Status => {
                let ended = self.daemons.ended();
                if !ended.is_empty() {
                    bail!("ended by themselves: {}", ended.join(", "));
                }
                health::node(&self.client).await?;
            }
            Request::Forward {
                target,
                port,
                keep,
                named,
            } => {
                let namespace = named.as_ref().map(|named| named.namespace.clone());
                let target = match named {
                    Some(named) => self.asked(named),
                    None => Target::Fixed(target),
                };
                let address = if keep {
                    self.keep(port, target, namespace).await?
                } else {
                    self.forwarder.forward(port, target, gone).await?
                };
                return Ok(Reply::Forwarded { address });
            }
            Request::EndForwards { namespace } => self.end_kept(&namespace).await?,
            Request::Gpus { healthy } => {
                self.healthy_gpus
                    .send(healthy.min(gpus::GPUS))
                    .context("the device plugin ended")?;
            }
            Request::Kill { daemon } => {
                self.daemons.signal(daemon, Signal::KILL)?;
                self.daemons.stop(daemon, STOP_GRACE).await?;
            }
            Request::Start { daemon } => self.daemons.start(daemon)?,
        }
        Ok(Reply::Done)
    }

    /// A target whose address is looked up for each connection.
    fn asked(&mut self, named: Named) -> Target {
        while self.namers.try_join_next().is_some() {}
        let (ask, questions) = mpsc::channel(QUEUE);
        self.namers
            .spawn(answer_for(self.client.clone(), named, questions));
        Target::Asked(ask)
    }

    /// A forward until the end, or that of its namespace. It takes the place of an older one of its port: what that one
    /// led to may be gone.
    async fn keep(
        &mut self,
        port: u16,
        target: Target,
        namespace: Option<String>,
    ) -> Result<SocketAddr> {
        let mut deadline = Instant::now();
        if let Some(older) = self.kept.remove(&port) {
            older.cancel.cancel();
            deadline += CLOSES;
        }
        let cancel = CancellationToken::new();
        let address = health::until(deadline, "the forward", || {
            self.forwarder.forward(port, target.clone(), cancel.clone())
        })
        .await?;
        self.kept.insert(address.port(), Kept { namespace, cancel });
        Ok(address)
    }

    /// Ends what is kept to a namespace, and waits until nothing listens there any more.
    async fn end_kept(&mut self, namespace: &str) -> Result<()> {
        let deadline = Instant::now() + CLOSES;
        let ended = self
            .kept
            .extract_if(|_, kept| kept.namespace.as_deref() == Some(namespace));
        for (port, kept) in ended {
            kept.cancel.cancel();
            let free = || async { forwarder::listen(port).map(drop) };
            health::until(deadline, "the end of the forward", free).await?;
        }
        Ok(())
    }
}

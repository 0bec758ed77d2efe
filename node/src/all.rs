//! `livepeer-node all`: gateway, orchestrator and transcoder in one process, off-chain,
//! over the real wire on loopback. The shortest way to a rendition: no settings, no
//! chain, no cluster.
//!
//! The gateway stops first: a stream that ends while the process drains still needs
//! the other two. Whatever the settings say, the gateway uses the orchestrator beside
//! it, and that one the transcoder beside it; and they share the memory of one machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use livepeer_media::engine::container_memory;
use livepeer_settings::{Drain, Settings, Transcoding};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::orchestrator::Orchestrator;
use crate::process::Process;
use crate::{engine_config, gateway, transcoder};

/// How often it is looked whether everything is up, to say so.
const LOOK: Duration = Duration::from_millis(50);
/// The part of the memory that the bodies of one role may take: three hold them here, two of
/// them have an engine with files of its own, and the workers want the rest.
const BODIES_DIVISOR: u64 = 12;

/// Runs the roles side by side; the first to fail ends all.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let settings = Arc::clone(&process.settings.borrow());
    let memory = container_memory();
    let joint = Arc::new(joined(&settings, settings.orchestrator.addr, memory));
    let beside = beside_transcoder(&joint);
    let (sender, receiver) = watch::channel(joint);
    let end = CancellationToken::new();
    let _ended = end.clone().drop_guard();
    let mut side = JoinSet::new();
    side.spawn(announce(process.health.clone(), settings, end.clone()));

    // of their own, so that SIGTERM reaches them when the gateway is done
    let behind = Process {
        settings: receiver.clone(),
        lifecycle: Lifecycle::default(),
        health: process.health.clone(),
        beside,
        file: process.file.clone(),
    };
    let secret = hex::encode(rand::random::<[u8; 32]>());
    let orchestrator = Orchestrator::start(behind.clone(), Some(&secret))
        .await
        .context("orchestrator")?;
    let addr = orchestrator.addr();
    let join = move |settings: &Settings| Arc::new(joined(settings, addr, memory));
    sender.send_replace(join(&process.settings.borrow()));
    side.spawn(follow(process.settings.clone(), sender, join, end));

    let front = gateway::run(Process {
        settings: receiver,
        ..process.clone()
    });
    let working = async {
        let orchestrator = async {
            orchestrator.serve().await;
            Ok(())
        };
        let transcoder = async {
            let ended = transcoder::run(behind.clone(), Some(secret)).await;
            ended.context("transcoder")
        };
        // not both: the orchestrator would serve on without anybody to transcode
        tokio::try_join!(orchestrator, transcoder).map(|((), ())| ())
    };
    tokio::pin!(front, working);
    tokio::select! {
        result = &mut front => result.context("gateway")?,
        result = &mut working => return result,
    }
    let drain = Drain {
        lame_duck: Duration::ZERO,
        deadline: process.settings.borrow().drain.deadline,
    };
    tokio::select! {
        result = &mut working => return result,
        () = behind.lifecycle.wind_down(&drain) => {}
        () = process.lifecycle.stop().cancelled_owned() => behind.lifecycle.stop_now(),
    }
    working.await
}

/// The settings with every role pointed at the one beside it; the orchestrator listens
/// on `addr`, and all of them share `memory`.
pub(crate) fn joined(settings: &Settings, addr: SocketAddr, memory: Option<u64>) -> Settings {
    let local = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let uri = Url::parse(&format!("https://{}", SocketAddr::new(local, addr.port())))
        .expect("a socket address is a valid authority");
    let mut joined = settings.clone();
    joined.orchestrator.transcoding = Transcoding::Pools;
    joined.gateway.orchestrators = vec![uri.clone()];
    joined.transcoder.orchestrator = uri;
    // they have a secret of their own
    joined.orchestrator.credentials_dir = None;
    joined.transcoder.credential_file = None;
    let bodies = [
        &mut joined.gateway.max_buffered_bytes,
        &mut joined.orchestrator.max_buffered_bytes,
        &mut joined.transcoder.max_buffered_bytes,
    ];
    for bodies in bodies {
        *bodies = memory.map_or(*bodies, |memory| (*bodies).min(memory / BODIES_DIVISOR));
    }
    joined
}

/// Bytes that the transcoder's engine leaves to the other two roles: their bodies, and the
/// workers that look into segments, with their files.
fn beside_transcoder(settings: &Settings) -> u64 {
    let probing = engine_config::probing(&settings.engine, settings.gateway.max_buffered_bytes);
    let workers = probing.workers.unwrap_or(0) as u64;
    let bodies = settings
        .gateway
        .max_buffered_bytes
        .saturating_add(settings.orchestrator.max_buffered_bytes);
    let held = bodies.saturating_add(probing.files);
    held.saturating_add(workers.saturating_mul(probing.memory_limit.unwrap_or(0)))
}

/// Passes changes of the settings on.
async fn follow(
    mut settings: watch::Receiver<Arc<Settings>>,
    joint: watch::Sender<Arc<Settings>>,
    join: impl Fn(&Settings) -> Arc<Settings>,
    end: CancellationToken,
) {
    loop {
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return },
            () = end.cancelled() => return,
        }
        let changed = join(&settings.borrow_and_update());
        joint.send_replace(changed);
    }
}

/// Says once, when every role is up, where to push and where to look.
async fn announce(health: Health, settings: Arc<Settings>, end: CancellationToken) {
    while !health.reasons().is_empty() {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = end.cancelled() => return,
        }
    }
    let addr = settings.gateway.http_addr;
    tracing::info!(
        push = format!("http://{addr}/live/<stream>/<seq>.ts"),
        page = format!("http://{addr}/"),
        "all roles are ready"
    );
}

#[cfg(test)]
mod tests {
    use super::{beside_transcoder, joined};
    use crate::engine_config;
    use livepeer_media::engine::Limits;
    use livepeer_settings::{Settings, Transcoding};

    #[test]
    fn every_role_is_pointed_at_the_one_beside_it() {
        let mut settings = Settings::default();
        settings.orchestrator.transcoding = Transcoding::Embedded;
        settings.gateway.orchestrators.clear();
        let joined = joined(&settings, "0.0.0.0:1234".parse().unwrap(), None);
        assert_eq!(joined.orchestrator.transcoding, Transcoding::Pools);
        assert_eq!(
            joined.gateway.orchestrators[0].as_str(),
            "https://127.0.0.1:1234/"
        );
        assert_eq!(
            joined.transcoder.orchestrator,
            joined.gateway.orchestrators[0]
        );
    }

    #[test]
    fn what_three_roles_in_one_process_may_take_fits_into_its_memory() {
        let settings = Settings::default();
        for memory in [4 << 30, 8 << 30, 64 << 30] {
            let joined = joined(&settings, settings.orchestrator.addr, Some(memory));
            let (bodies, beside) = (
                joined.transcoder.max_buffered_bytes,
                beside_transcoder(&joined),
            );
            let config = engine_config::build(&joined.engine, None, bodies, beside);
            let limits = Limits::divide(2, Some(memory), &config);
            assert!(limits.fits && limits.workers == 2, "{memory}: {limits:?}");
        }
    }
}

//! One process: the pieces that every role gets, and the order of start and stop.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use livepeer_settings::{Role, Settings};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::Arguments;
use crate::health::{self, Health};
use crate::lifecycle::{LAST_GRACE, Lifecycle, StopSignals};
use crate::listen::{self, Setting};
use crate::logging::LevelHandle;
use crate::{all, gateway, logging, orchestrator, reload, transcoder};

/// What a role is given; cheap to clone.
#[derive(Clone)]
pub struct Process {
    /// The settings in force; live fields change, the others never do.
    pub settings: watch::Receiver<Arc<Settings>>,
    pub lifecycle: Lifecycle,
    pub health: Health,
    /// Bytes of memory that other roles of this process may take.
    pub beside: u64,
    /// Where the settings come from, for messages.
    pub file: Option<Arc<Path>>,
}

/// Runs the role until it is told to stop or fails.
pub fn run(arguments: &Arguments, settings: Settings) -> anyhow::Result<()> {
    let level = logging::start(settings.log_level, arguments.log_json);
    // runtimes give 1024 (systemd.exec(5), `LimitNOFILE=`) and a gateway's viewers take more
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the process")?
        .block_on(supervise(arguments.clone(), settings, level))
}

async fn supervise(
    arguments: Arguments,
    settings: Settings,
    level: LevelHandle,
) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let role = arguments.role();
    let lifecycle = Lifecycle::default();
    let health = Health::new(role, lifecycle.clone());
    let probes = listen::bind(Setting {
        key: "probe_addr",
        addr: settings.probe_addr(role),
        usual: Settings::default().probe_addr(role),
        file: arguments.settings.as_deref(),
    })
    .await?;
    tracing::info!(
        role = role.name(),
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );

    let drain = settings.drain.clone();
    let (sender, receiver) = watch::channel(Arc::new(settings));
    let process = Process {
        settings: receiver,
        lifecycle: lifecycle.clone(),
        health: health.clone(),
        beside: 0,
        file: arguments.settings.as_deref().map(Arc::from),
    };
    let mut side = JoinSet::new();
    let probes_end = lifecycle.stop().child_token();
    side.spawn(health::serve(probes, health, probes_end.clone()));
    let follow = reload::follow(arguments, sender, level, lifecycle.stop());
    side.spawn(async {
        follow.await;
        Ok(())
    });

    let result = {
        let work = run_role(role, process);
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => result,
            name = signals.next() => {
                tracing::info!(signal = name, "stopping");
                let wind_down = async {
                    tokio::select! {
                        () = lifecycle.wind_down(&drain) => {}
                        name = signals.next() => tracing::warn!(signal = name, "second signal: stopping at once"),
                    }
                    lifecycle.stop_now();
                    tokio::time::sleep(LAST_GRACE).await;
                };
                tokio::select! {
                    result = &mut work => result,
                    () = wind_down => {
                        tracing::warn!("time is up, ending with work unfinished");
                        Ok(())
                    }
                }
            }
        }
    };
    lifecycle.stop_now();
    let ends = async {
        while let Some(ended) = side.join_next().await {
            if let Err(error) = ended.context("a task panicked")? {
                tracing::warn!(error = %error, "probe listener failed");
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    // not for a request to the probes that is never whole
    if let Ok(ended) = tokio::time::timeout(LAST_GRACE, ends).await {
        ended?;
    }
    tracing::info!(role = role.name(), "stopped");
    result
}

async fn run_role(role: Role, process: Process) -> anyhow::Result<()> {
    match role {
        Role::Gateway => gateway::run(process).await.context("gateway"),
        Role::Orchestrator => orchestrator::run(process).await.context("orchestrator"),
        Role::Transcoder => transcoder::run(process, None).await.context("transcoder"),
        Role::All => all::run(process).await,
    }
}

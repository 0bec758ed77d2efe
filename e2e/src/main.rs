//! Commands around the local cluster: `cluster-up`, `cluster-down`, `kubectl`, images, forwards.
//!
//! Run through the Makefile or `e2e/cluster/kubectl`; the tests use the library directly.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use livepeer_e2e::cluster::{self, Cluster};
use livepeer_e2e::faults::{self, Fault};
use livepeer_e2e::namespace;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(about = "The local Kubernetes of the test bench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the local Kubernetes up, or find it up
    ClusterUp,
    /// Take it down: processes, mounts, links, rules, namespaces, files
    ClusterDown,
    /// Succeeds if a healthy cluster is up
    ClusterStatus,
    /// Remove the namespaces of tests that were cut off; not while others run
    ClearAway,
    /// The cluster's long-lived process; cluster-up starts it
    #[command(hide = true)]
    ClusterKeeper,
    /// kubectl, with the cluster's own kubeconfig
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Import image archives into the node
    LoadImage { archives: Vec<PathBuf> },
    /// Forward a port of 127.0.0.1, until cluster-down, and print its address
    Forward {
        namespace: String,
        /// svc/NAME or pod/NAME
        target: String,
        port: u16,
        /// The local port; 0 takes any
        #[arg(long, default_value_t = 0)]
        listen: u16,
    },
    /// Install the operator, make the smallest network, send a clip through it
    Demo {
        /// Where the clip, the renditions and the contact sheet go
        #[arg(long, default_value = "out/demo")]
        out: PathBuf,
    },
    /// Strike what serves a stream, again and again, and print what it costs
    Faults {
        /// Times each
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Only these
        faults: Vec<Fault>,
    },
    /// How many of the stand-in's GPUs are healthy
    Gpus { healthy: usize },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::new("info,kube_client=off"))
        .init();
    match Args::parse().command {
        Command::ClusterUp => {
            let program = std::env::current_exe()?;
            let (cluster, started) = Cluster::ensure_up(&program).await?;
            let state = if started { "up" } else { "up already" };
            say(&format!(
                "cluster {state}: {}",
                cluster.kubeconfig().display()
            ));
        }
        Command::ClusterDown => cluster::down().await?,
        Command::ClusterStatus => Cluster::connect().await.map(drop)?,
        Command::ClearAway => namespace::clear_away(&Cluster::connect().await?).await?,
        Command::ClusterKeeper => keep().await?,
        Command::Kubectl { args } => {
            let status = Cluster::kubectl_command().args(args).status().await?;
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(ExitCode::from(code.unwrap_or(1)));
        }
        Command::LoadImage { archives } => {
            let cluster = Cluster::connect().await?;
            for archive in archives {
                let name = archive.display().to_string();
                cluster.load_image(&archive).await.context(name)?;
            }
        }
        Command::Forward {
            namespace,
            target,
            port,
            listen,
        } => {
            let cluster = Cluster::connect().await?;
            let address = cluster
                .forward_kept(&namespace, &target, port, listen)
                .await?;
            say(&address.to_string());
        }
        Command::Demo { out } => livepeer_e2e::demo::run(&Cluster::connect().await?, &out).await?,
        Command::Faults { runs, faults } => {
            let faults = match &faults[..] {
                [] => Fault::all(),
                some => some,
            };
            let lost = faults::report(&Cluster::connect().await?, faults, runs).await?;
            return Ok(ExitCode::from(u8::from(lost)));
        }
        Command::Gpus { healthy } => Cluster::connect().await?.gpu_devices(healthy).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(line: &str) {
    println!("{line}");
}

/// Keeps the cluster until SIGTERM or SIGINT.
async fn keep() -> Result<()> {
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut kept = std::pin::pin!(cluster::keep(cancel.clone()));
    tokio::select! {
        ended = &mut kept => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    cancel.cancel();
    kept.await
}

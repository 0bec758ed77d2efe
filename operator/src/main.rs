//! The operator's program: `run` in a cluster, `crds` to write the definitions.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use livepeer_operator::build::Surroundings;
use livepeer_operator::crds;
use livepeer_operator::run::{Options, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What `--help` tells for who reads a pod's last state. 64 is not among them: by it the
/// operator knows a node that refuses its settings.
const EXIT_STATUSES: &str = "\
Exit status:
  0  told to stop, or the files are written
  1  could not start or go on: a port in use, no API server; or stopped by a second signal
  2  arguments refused; the last lines name them";

/// The Livepeer operator for Kubernetes.
#[derive(Parser)]
#[command(version, after_help = EXIT_STATUSES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile the custom resources of a cluster.
    Run(Run),
    /// Write the CustomResourceDefinitions as YAML, one file a kind.
    Crds {
        /// Folder to write to.
        #[arg(default_value = "crds")]
        folder: PathBuf,
        /// Write the Helm chart's templates instead of plain files.
        #[arg(long)]
        helm: bool,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Image of the node where a resource names none.
    #[arg(long)]
    node_image: String,
    /// Namespace of the operator: its lease is there, and NetworkPolicies let it in.
    #[arg(long, default_value = "livepeer-system")]
    namespace: String,
    /// Name of this process among its replicas; default: its host name.
    #[arg(long)]
    identity: Option<String>,
    /// A namespace to look after, several times for several; none means all.
    #[arg(long = "watch-namespace")]
    watch_namespaces: Vec<String>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Who may reach the nodes' probe port beside the operator: a JSON list of
    /// NetworkPolicy peers.
    #[arg(long, default_value = "[]")]
    scrape_from: String,
    /// What is logged, as tracing filters are written.
    #[arg(long, default_value = "info")]
    log: String,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crds { folder, helm } => {
            let files = if helm {
                crds::templates()?
            } else {
                crds::plain()?
            };
            Ok(crds::write(&folder, &files)?)
        }
        Command::Run(arguments) => start(arguments),
    }
}

#[tokio::main]
async fn start(arguments: Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log).context("--log is not a filter")?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .init();
    // runtimes give 1024 (systemd.exec(5), `LimitNOFILE=`), and each pod is asked by a connection
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let cancel = CancellationToken::new();
    let options = options(arguments)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = run(options, cancel.clone());
    tokio::pin!(running);
    let mut stopping = false;
    loop {
        tokio::select! {
            result = &mut running => return Ok(result?),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stopping {
            anyhow::bail!("stopped by a second signal");
        }
        tracing::info!("told to stop");
        stopping = true;
        cancel.cancel();
    }
}

fn options(arguments: Run) -> anyhow::Result<Options> {
    let Run {
        node_image,
        namespace,
        identity,
        watch_namespaces,
        listen,
        scrape_from,
        log: _,
    } = arguments;
    let identity = match identity {
        Some(identity) => identity,
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .context("host name cannot be read; give --identity")?
            .trim()
            .to_owned(),
    };
    Ok(Options {
        watch_namespaces,
        identity,
        listen,
        surroundings: Surroundings {
            node_image,
            operator_namespace: namespace.clone(),
            scrape_from: serde_json::from_str(&scrape_from)
                .context("--scrape-from is not a JSON list of NetworkPolicy peers")?,
        },
        namespace,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_help_tells_the_exit_statuses_that_there_are() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.contains("  1  could not start"), "{help}");
        let error = Arguments::command().try_get_matches_from(["livepeer-operator", "no"]);
        let status = error.unwrap_err().exit_code();
        assert!(
            help.contains(&format!("  {status}  arguments refused")),
            "{help}"
        );
    }
}

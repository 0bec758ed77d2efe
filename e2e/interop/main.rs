//! livepeer-interop: runs our roles together with real go-livepeer's, in every
//! combination, and records what they say to each other for the golden tests.
//!
//! Wants a folder with a built `livepeer` (go-livepeer v0.9.1), our two programs, and
//! ffmpeg and ffprobe in the path. Not part of `make test`: go-livepeer is not built
//! there. The messages it recorded are (`node/proto/tests/golden`).

#![allow(
    clippy::print_stdout,
    reason = "a command line tool: its report goes to standard output"
)]

mod capture;
mod clip;
mod decode;
mod exchange;
mod memory;
mod peers;
mod profiles;
mod push;
mod record;
mod run;
mod settings;
mod tap;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::clip::SEGMENTS;
use crate::profiles::{LIGHT, PROFILES};
use crate::run::{COMBINATIONS, Report};

#[derive(Parser)]
#[command(about = "Runs our roles together with real go-livepeer's")]
struct Arguments {
    /// The folder of go-livepeer's `livepeer`
    theirs: PathBuf,
    /// The folder of our `livepeer-node` and `livepeer-engine`
    ours: PathBuf,
    /// Only these combinations (default: all)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only the two smaller renditions, for a machine that is busy with other things
    #[arg(long)]
    light: bool,
    /// Record the exchanges here, a folder a combination
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
    /// Keep logs and files here (default: a temporary folder, kept after a failure)
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("TLS was set up before main"))?;
    let arguments = Arguments::parse();
    let profiles = if arguments.light { LIGHT } else { &PROFILES };
    let setup = run::setup(&arguments.theirs, &arguments.ours, profiles)?;
    for name in &arguments.only {
        ensure!(
            COMBINATIONS.iter().any(|known| known.name == name),
            "no combination {name:?}"
        );
    }
    let mut temporary = tempfile::Builder::new().prefix("interop-").tempdir()?;
    let folder = arguments
        .folder
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let clips = folder.join("clip");
    std::fs::create_dir_all(&clips)?;
    let clip = clip::make(&clips).await.context("make the clip")?;

    let mut failed = 0;
    println!("{}", heading());
    for combination in &COMBINATIONS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|name| name == combination.name)
        {
            continue;
        }
        let captures = arguments.captures.as_deref();
        let passed = match run::run(combination, &setup, &clip, &folder, captures).await {
            Ok(report) => {
                println!("{}", line(&report));
                for complaint in &report.complaints {
                    println!("    {complaint}");
                }
                report.passed()
            }
            Err(error) => {
                println!("{:<20} did not run: {error:#}", combination.name);
                false
            }
        };
        failed += usize::from(!passed);
    }
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    temporary.disable_cleanup(true);
    println!("{failed} failed; logs in {}", folder.display());
    Ok(ExitCode::FAILURE)
}

fn heading() -> String {
    format!(
        "{:<20} {:>7} {:>9} {:>9} {:>10} {:>24}  {}",
        "combination",
        "replies",
        "total s",
        "slowest s",
        "bytes",
        "peak MiB gw/orch/trans",
        "refusal without video"
    )
}

fn line(report: &Report) -> String {
    let [gateway, orchestrator, transcoder] = report.memory;
    format!(
        "{:<20} {:>7} {:>9.1} {:>9.2} {:>10} {:>24}  {}",
        report.name,
        format!("{}/{SEGMENTS}", report.complete),
        report.total.as_secs_f64(),
        report.slowest.as_secs_f64(),
        report.bytes,
        format!("{gateway}/{orchestrator}/{transcoder}"),
        report.refusal
    )
}

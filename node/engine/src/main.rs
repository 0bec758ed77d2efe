//! `livepeer-engine`: the sandboxed worker that decodes and encodes.
//!
//! Started by the supervisor in `livepeer-media`, never by hand: descriptor 0 is the socket that
//! jobs come through. It holds no credential, no address and no path; it alone links libav.

mod device;
mod pipeline;
mod plan;
mod sandbox;
mod threads;
mod timeline;
mod worker;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use livepeer_media::Device;
use livepeer_media::message::{self, Reply};

/// Runs transcoding jobs for a supervisor on descriptor 0.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to work on.
    #[arg(long, value_enum, default_value_t = DeviceArgument::Cpu)]
    device: DeviceArgument,
    /// Bytes of memory that this process may use.
    #[arg(long)]
    memory_limit: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeviceArgument {
    Cpu,
    Nvidia,
}

impl From<DeviceArgument> for Device {
    fn from(device: DeviceArgument) -> Self {
        match device {
            DeviceArgument::Cpu => Self::Cpu,
            DeviceArgument::Nvidia => Self::Nvidia,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    livepeer_ffmpeg::process::bound_heap();
    livepeer_ffmpeg::silence_log();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            last_words(&error_chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), worker::WorkerError> {
    sandbox::tie_to_parent()?;
    // Standard output and error are /dev/null; everything beyond was left open by mistake.
    livepeer_ffmpeg::process::close_inherited(3).map_err(worker::WorkerError::Inherited)?;
    std::panic::set_hook(Box::new(|panic| {
        last_words(&panic.to_string());
        std::process::abort();
    }));
    worker::run(
        rustix::stdio::stdin(),
        arguments.device.into(),
        arguments.memory_limit,
    )
}

/// Tells the supervisor why this process ends, if it still listens.
fn last_words(text: &str) {
    let text = message::bounded(text);
    let _ = message::send(rustix::stdio::stdin(), &Reply::Fatal { text }, &[]);
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

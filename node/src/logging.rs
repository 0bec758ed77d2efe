//! Logs and the few words that are not logs.
//!
//! Logs go to standard error as fields. The level can be changed while the process
//! runs. `last_words` also writes the file that Kubernetes shows as a container's
//! termination message, so that `kubectl describe` tells why a pod would not start.

use std::io::{IsTerminal, Write};
use std::path::Path;

use livepeer_settings::LogLevel;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Where a container leaves its last message (`terminationMessagePath`'s default).
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Changes the level of a running process.
#[derive(Clone)]
pub struct LevelHandle(Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Logs at `level` from now on.
    pub fn set(&self, level: LogLevel) {
        if self.0.reload(filter(level)).is_err() {
            tracing::warn!(level = level.name(), "log level cannot be changed");
        }
    }
}

/// Starts logging, once a process.
#[must_use]
pub fn start(level: LogLevel, json: bool) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    // only fails when a test of this process has set one already
    let _ = Registry::default().with(filter).with(lines).try_init();
    LevelHandle(handle)
}

/// Our own crates at the level, foreign ones only from `warn` up: at `debug` theirs
/// would drown ours and print headers.
fn filter(level: LogLevel) -> EnvFilter {
    let foreign = match level {
        LogLevel::Error => "error",
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug | LogLevel::Trace => "warn",
    };
    let own = level.name();
    EnvFilter::new(format!(
        "{foreign},livepeer_node={own},livepeer_media={own},livepeer_proto={own}"
    ))
}

/// Text that was asked for, on standard output.
pub fn print(text: &str) {
    // a reader that went away is no fault of ours
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Why the process ends, on standard error and, in a container, where Kubernetes
/// looks for it.
pub fn last_words(text: &str) {
    let text = text.trim_end();
    let _ = writeln!(std::io::stderr(), "livepeer-node: {text}");
    if Path::new(TERMINATION_LOG).exists() {
        let _ = std::fs::write(TERMINATION_LOG, text);
    }
}

//! Follows the settings file while the process runs.
//!
//! A mounted ConfigMap is replaced by swapping a symbolic link, which file
//! notifications miss on some file systems; a look a second costs nothing and misses
//! nothing. A file that does not parse, or that changes what is not live, is refused
//! and said so once; what is in force stays in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use livepeer_settings::Settings;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::Arguments;
use crate::logging::LevelHandle;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Follows `arguments`' file until `stop`, sending what changed in live fields.
pub async fn follow(
    arguments: Arguments,
    settings: watch::Sender<Arc<Settings>>,
    level: LevelHandle,
    stop: CancellationToken,
) {
    let Some(path) = arguments.settings.clone() else {
        // who follows the settings would take the sender's end for that of the process
        return stop.cancelled().await;
    };
    // nothing yet: the file may have changed since the process read it
    let mut seen = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        let text = read(&path).await;
        if text == seen || text.is_none() {
            continue;
        }
        seen = text;
        match arguments.settings() {
            Ok(new) => apply(&settings, &level, new),
            Err(refused) => {
                tracing::error!(
                    reason = refused.0,
                    "changed settings refused, the old stay in force"
                );
            }
        }
    }
}

async fn read(path: &PathBuf) -> Option<Vec<u8>> {
    tokio::fs::read(path).await.ok()
}

fn apply(settings: &watch::Sender<Arc<Settings>>, level: &LevelHandle, new: Settings) {
    let old = Arc::clone(&settings.borrow());
    let merged = merge(&old, &new);
    if merged.without_live_fields() != new.without_live_fields() {
        tracing::warn!("settings changed that need a restart; only the live ones take effect now");
    }
    if merged != *old {
        level.set(merged.log_level);
        settings.send_replace(Arc::new(merged));
        tracing::info!("settings changed");
    }
}

/// `old` with the live fields of `new`.
fn merge(old: &Settings, new: &Settings) -> Settings {
    let mut merged = old.clone();
    merged.log_level = new.log_level;
    merged
        .gateway
        .orchestrators
        .clone_from(&new.gateway.orchestrators);
    merged.gateway.profiles.clone_from(&new.gateway.profiles);
    merged.gateway.max_streams = new.gateway.max_streams;
    merged.orchestrator.max_sessions = new.orchestrator.max_sessions;
    merged.transcoder.max_sessions = new.transcoder.max_sessions;
    merged
}

#[cfg(test)]
mod tests {
    use super::merge;
    use livepeer_settings::Settings;

    #[test]
    fn live_fields_are_taken_and_the_rest_is_kept() {
        let old = Settings::default();
        let mut new = Settings::default();
        new.transcoder.max_sessions = Some(2);
        new.gateway.http_addr.set_port(1);
        let merged = merge(&old, &new);
        assert_eq!(merged.transcoder.max_sessions, Some(2));
        assert_eq!(merged.gateway.http_addr, old.gateway.http_addr);
    }

    #[test]
    fn what_merges_is_exactly_what_is_called_live() {
        let mut new = Settings {
            log_level: livepeer_settings::LogLevel::Trace,
            ..Settings::default()
        };
        new.gateway.orchestrators.clear();
        new.gateway.profiles.clear();
        new.gateway.max_streams = 1;
        new.orchestrator.max_sessions = Some(1);
        new.transcoder.max_sessions = Some(1);
        assert_eq!(new.without_live_fields(), Settings::default());
        assert_eq!(merge(&Settings::default(), &new), new);
    }
}

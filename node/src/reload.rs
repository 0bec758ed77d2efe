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
    let merged = old.with_live_fields(&new);
    if merged.without_live_fields() != new.without_live_fields() {
        tracing::warn!("settings changed that need a restart; only the live ones take effect now");
    }
    if merged != *old {
        level.set(merged.log_level);
        settings.send_replace(Arc::new(merged));
        tracing::info!("settings changed");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use clap::Parser as _;
    use livepeer_settings::{LogLevel, Settings};
    use tokio::sync::watch;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::follow;
    use crate::cli::Arguments;
    use crate::logging;

    /// Longer than many looks at the file.
    const LONG: Duration = Duration::from_secs(60);

    /// The settings that a gateway read, and what follows them from then on.
    fn followed(
        file: Option<&Path>,
        stop: &CancellationToken,
    ) -> (
        watch::Receiver<Arc<Settings>>,
        impl Future<Output = ()> + use<>,
    ) {
        let mut arguments = Arguments::parse_from(["livepeer-node", "gateway"]);
        arguments.settings = file.map(Path::to_owned);
        let read = arguments.settings().unwrap();
        let (sender, receiver) = watch::channel(Arc::new(read));
        let level = logging::start(LogLevel::Error, false);
        (receiver, follow(arguments, sender, level, stop.clone()))
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_file_the_settings_end_with_the_process_and_not_before() {
        let stop = CancellationToken::new();
        let (mut settings, following) = followed(None, &stop);
        tokio::pin!(following);
        let changed = async {
            tokio::select! {
                () = &mut following => unreachable!("nobody told it to stop"),
                changed = settings.changed() => changed,
            }
        };
        assert!(
            timeout(LONG, changed).await.is_err(),
            "neither changed nor over"
        );
        stop.cancel();
        timeout(LONG, following).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_was_swapped_before_it_is_followed_is_applied() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, "[gateway]\nmax_streams = 1\n").unwrap();
        let stop = CancellationToken::new();
        let (mut settings, following) = followed(Some(&file), &stop);
        std::fs::write(&file, "[gateway]\nmax_streams = 2\n").unwrap();
        tokio::select! {
            () = following => unreachable!("nobody told it to stop"),
            changed = timeout(LONG, settings.changed()) => changed.unwrap().unwrap(),
        }
        assert_eq!(settings.borrow().gateway.max_streams, 2);
    }
}

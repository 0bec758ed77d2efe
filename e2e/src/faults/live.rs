//! The stream: a segment every two seconds, whatever became of the one before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::SEGMENT;
use crate::cluster::Forward;
use crate::network::Network;
use crate::stream::{Clip, Pusher, Reply};

/// Renditions of the stream.
pub(super) const RENDITIONS: usize = 2;
/// No reply is waited for longer than this: far above what counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running stream; ends when dropped.
pub(super) struct Live {
    state: Arc<State>,
    /// Segments sent so far.
    count: watch::Receiver<usize>,
    task: JoinSet<()>,
    clip: Clip,
    /// Its streams before this one: a gateway that restarts may have met the last of them.
    renewed: usize,
}

struct State {
    pusher: Pusher,
    gateway: String,
    _forward: Forward,
    begun: Mutex<Vec<Instant>>,
    replies: Mutex<Vec<Reply>>,
}

impl Live {
    /// Starts pushing.
    pub(super) fn start(pusher: Pusher, forward: Forward, clip: &Clip) -> Self {
        Self::start_anew(pusher, forward, clip, 0)
    }

    fn start_anew(pusher: Pusher, forward: Forward, clip: &Clip, renewed: usize) -> Self {
        let profiles = json!([
            {"name": "240p", "width": 426, "height": 240, "bitrate": 400_000},
            {"name": "144p", "width": 256, "height": 144, "bitrate": 200_000},
        ]);
        let state = Arc::new(State {
            pusher: pusher.with_profiles(&profiles),
            gateway: format!("http://{}", forward.address),
            _forward: forward,
            begun: Mutex::default(),
            replies: Mutex::default(),
        });
        let (sender, count) = watch::channel(0);
        let mut task = JoinSet::new();
        let stream = name(renewed);
        task.spawn(push(Arc::clone(&state), stream, clip.clone(), sender));
        Self {
            state,
            count,
            task,
            clip: clip.clone(),
            renewed,
        }
    }

    /// How many segments were sent.
    pub(super) fn sent(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits for the next segment to be sent; its number.
    pub(super) async fn next(&mut self) -> Result<usize> {
        self.count.borrow_and_update();
        self.count.changed().await.context("the stream ended")?;
        Ok(*self.count.borrow() - 1)
    }

    /// Waits until segments `..end` have their replies.
    pub(super) async fn until(&mut self, end: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE + SEGMENT * u32::try_from(end)?;
        while self
            .replies()
            .iter()
            .filter(|reply| reply.seq < end)
            .count()
            < end
        {
            ensure!(
                Instant::now() < deadline,
                "no reply to a segment before {end}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The replies so far, in order.
    pub(super) fn replies(&self) -> Vec<Reply> {
        let mut replies = lock(&self.state.replies).clone();
        replies.sort_by_key(|reply| reply.seq);
        replies
    }

    /// When segment `seq` was sent.
    pub(super) fn begun(&self, seq: usize) -> Option<Instant> {
        lock(&self.state.begun).get(seq).copied()
    }

    /// Begins a new stream, through a forward that knows where the gateway is now.
    pub(super) async fn renew(&mut self, network: &Network, gateway: &str) -> Result<()> {
        self.task.shutdown().await;
        let (pusher, forward) = network.pusher(gateway).await?;
        *self = Self::start_anew(pusher, forward, &self.clip, self.renewed + 1);
        self.until(3).await
    }

    /// The playlists that are there have no gap.
    pub(super) async fn check_playlists(&self) -> Result<()> {
        let base = format!("{}/stream/{}", self.state.gateway, name(self.renewed));
        let multivariant = text(&format!("{base}.m3u8")).await?;
        let media: Vec<&str> = multivariant
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        ensure!(media.len() == RENDITIONS + 1, "{multivariant}");
        for path in media {
            let playlist = text(&join(&base, path)).await?;
            ensure!(playlist.contains("#EXTINF"), "{path} is empty: {playlist}");
            let gap = gap(&playlist, self.clip.segments.len());
            ensure!(gap.is_none(), "{path} has a gap at {gap:?}: {playlist}");
        }
        Ok(())
    }
}

/// The entry of a media playlist before which there is a gap. Every `clip` segments the clip
/// begins anew, and with it the clock: there, and only there, belongs a discontinuity.
fn gap(playlist: &str, clip: usize) -> Option<&str> {
    let (mut before, mut marked) = (None, false);
    for line in playlist.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            marked = true;
        } else if line.starts_with("#EXT-X-GAP") {
            return Some(line);
        } else if !line.is_empty() && !line.starts_with('#') {
            let file = line.rsplit('/').next().unwrap_or(line);
            // of a stream that began anew the name is no number
            let Some(seq) = file.split('.').next().and_then(|seq| seq.parse().ok()) else {
                return Some(line);
            };
            let anew = seq > 0 && seq % clip == 0;
            if marked != anew || before.is_some_and(|before: usize| before + 1 != seq) {
                return Some(line);
            }
            (before, marked) = (Some(seq), false);
        }
    }
    None
}

/// Name of a stream.
fn name(renewed: usize) -> String {
    format!("live-{renewed}")
}

/// `path` as found in the playlist at `base`.m3u8.
fn join(base: &str, path: &str) -> String {
    let folder = base.rsplit_once('/').map_or(base, |(folder, _)| folder);
    match path.strip_prefix('/') {
        Some(_) => {
            let origin = base.split("/stream/").next().unwrap_or(base);
            format!("{origin}{path}")
        }
        None => format!("{folder}/{path}"),
    }
}

async fn text(url: &str) -> Result<String> {
    Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
}

/// Pushes until it is dropped.
async fn push(state: Arc<State>, stream: String, clip: Clip, count: watch::Sender<usize>) {
    let mut pushes = JoinSet::new();
    let mut tick = tokio::time::interval(SEGMENT);
    for seq in 0.. {
        tick.tick().await;
        lock(&state.begun).push(Instant::now());
        let (state, stream, data) = (Arc::clone(&state), stream.clone(), clip.segment(seq));
        pushes.spawn(async move {
            let reply = state.pusher.push(&stream, seq, data, SEGMENT).await;
            lock(&state.replies).push(reply);
        });
        count.send_replace(seq + 1);
        while pushes.try_join_next().is_some() {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{gap, join};

    #[test]
    fn a_clip_that_begins_anew_is_no_gap_and_everything_else_is() {
        let head = "#EXTM3U\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n";
        let list = |names: &[&str]| {
            let entry = |name: &&str| match name.strip_prefix('!') {
                Some(name) => format!("#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\n/s/{name}.ts\n"),
                None => format!("#EXTINF:2.000,\n/s/{name}.ts\n"),
            };
            head.to_owned() + &names.iter().map(entry).collect::<String>()
        };
        let found = |names: &[&str]| gap(&list(names), 3).map(str::to_owned);
        assert_eq!(found(&["0", "1", "2", "!3", "4"]), None);
        assert_eq!(found(&["!6", "7"]), None);
        for (bad, at) in [
            (["1", "3", "4"], "/s/3.ts"),
            (["1", "!2", "!3"], "/s/2.ts"),
            (["1", "2", "3"], "/s/3.ts"),
            (["1", "2", "!1-0"], "/s/1-0.ts"),
        ] {
            assert_eq!(found(&bad).as_deref(), Some(at), "{bad:?}");
        }
    }

    #[test]
    fn a_path_of_a_playlist_is_found_from_the_playlist() {
        let base = "http://127.0.0.1:1/stream/live";
        assert_eq!(
            join(base, "live/a.m3u8"),
            "http://127.0.0.1:1/stream/live/a.m3u8"
        );
        assert_eq!(
            join(base, "/stream/b.m3u8"),
            "http://127.0.0.1:1/stream/b.m3u8"
        );
    }
}

//! All streams of a gateway: opened by their first segment, ended when none has come
//! for a while, forgotten a while after that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::stream::{Stream, StreamStart};

/// A stream without a push for this long is over (go-livepeer
/// `httpPushTimeout`).
const IDLE: Duration = Duration::from_secs(60);
/// The same while the process is about to stop: two segments and a margin.
const DRAIN_IDLE: Duration = Duration::from_secs(4);
/// How long the playlists of every stream that is over stay, for viewers to reach its
/// end, while there is room.
const ENDED_KEPT: Duration = Duration::from_secs(60);
/// So many of those that ended last stay longer, for a person to look at.
const LAST_ENDED: usize = 4;
/// How long those stay.
const LAST_ENDED_KEPT: Duration = Duration::from_secs(15 * 60);
/// Pushes of one stream at once. A client sends one after another; a few overlap when
/// transcoding is slower than real time.
const MAX_IN_FLIGHT: u32 = 8;

/// Why a push cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("too many segments of this stream in flight")]
    Segments,
    #[error("too many streams")]
    Streams,
    #[error("draining: no new streams")]
    Draining,
}

/// The streams by manifest id; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<String, Slot>,
    draining: bool,
}

#[derive(Debug, Default)]
struct Slot {
    stream: Option<Arc<Stream>>,
    in_flight: u32,
}

impl Slot {
    fn live(&self, now: Instant) -> Option<&Arc<Stream>> {
        self.stream
            .as_ref()
            .filter(|stream| stream.ended_for(now).is_none())
    }
}

/// A push that is let in; dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Entrance {
    streams: Streams,
    manifest_id: String,
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut inner = self.streams.inner();
        if let Some(slot) = inner.slots.get_mut(&self.manifest_id) {
            slot.in_flight = slot.in_flight.saturating_sub(1);
            if slot.in_flight == 0 && slot.stream.is_none() {
                inner.slots.remove(&self.manifest_id);
            }
        }
    }
}

impl Streams {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a push in, before its body is read.
    pub(super) fn enter(&self, manifest_id: &str, max_streams: u32) -> Result<Entrance, Full> {
        let now = Instant::now();
        let mut inner = self.inner();
        let slot = inner.slots.get(manifest_id);
        if slot.and_then(|slot| slot.live(now)).is_none() {
            if inner.draining {
                return Err(Full::Draining);
            }
            if inner.live(now) >= max_streams as usize {
                return Err(Full::Streams);
            }
        }
        let slot = inner.slots.entry(manifest_id.to_owned()).or_default();
        if slot.in_flight >= MAX_IN_FLIGHT {
            return Err(Full::Segments);
        }
        slot.in_flight += 1;
        Ok(Entrance {
            streams: self.clone(),
            manifest_id: manifest_id.to_owned(),
        })
    }

    /// The stream of that push: the one that is there, or a new one.
    pub(super) fn open(&self, _entrance: &Entrance, start: StreamStart) -> Arc<Stream> {
        let now = Instant::now();
        let mut inner = self.inner();
        let slot = inner.slots.entry(start.manifest_id.clone()).or_default();
        if let Some(stream) = slot.live(now) {
            return Arc::clone(stream);
        }
        tracing::info!(
            manifest_id = start.manifest_id,
            renditions = start.profiles.len(),
            "stream begins"
        );
        let stream = Arc::new(Stream::new(start, now));
        slot.stream = Some(Arc::clone(&stream));
        stream
    }

    /// The stream of that id, over or not.
    pub(super) fn get(&self, manifest_id: &str) -> Option<Arc<Stream>> {
        self.inner().slots.get(manifest_id)?.stream.clone()
    }

    /// Streams that are not over, and pushes that may yet become one.
    pub(super) fn active(&self) -> usize {
        self.inner().live(Instant::now())
    }

    /// All streams, those over included, by name.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        let inner = self.inner();
        let mut all: Vec<_> = inner
            .slots
            .values()
            .filter_map(|slot| slot.stream.clone())
            .collect();
        all.sort_by(|one, other| one.manifest_id.cmp(&other.manifest_id));
        all
    }

    /// Forgets streams that are over, the longest over first, until at most `bytes` are
    /// kept in all; those that are live keep what they have.
    pub(super) fn make_room(&self, bytes: u64) {
        let now = Instant::now();
        let mut inner = self.inner();
        let mut kept = 0;
        let mut over = Vec::new();
        for (id, slot) in &inner.slots {
            let Some(stream) = &slot.stream else { continue };
            kept += stream.bytes();
            if let Some(ago) = stream.ended_for(now) {
                over.push((ago, id.clone(), stream.bytes()));
            }
        }
        over.sort();
        while kept > bytes
            && let Some((_, id, freed)) = over.pop()
        {
            inner.forget(&id);
            kept = kept.saturating_sub(freed);
        }
    }

    /// From now on no new stream is taken, and idle ones end sooner.
    pub(super) fn drain(&self) {
        self.inner().draining = true;
    }

    /// Ends those that are idle and forgets those that ended long ago. Gives those
    /// that ended now.
    pub(super) fn sweep(&self, now: Instant) -> Vec<Arc<Stream>> {
        let mut inner = self.inner();
        let draining = inner.draining;
        let mut ended = Vec::new();
        inner.slots.retain(|_, slot| {
            let Some(stream) = &slot.stream else {
                return slot.in_flight > 0;
            };
            let limit = if draining {
                DRAIN_IDLE.max(stream.last_duration() * 2)
            } else {
                IDLE
            };
            match stream.ended_for(now) {
                Some(ago) => ago < LAST_ENDED_KEPT || slot.in_flight > 0,
                None => {
                    if slot.in_flight == 0 && stream.idle(now) > limit {
                        stream.end(now);
                        ended.push(Arc::clone(stream));
                    }
                    true
                }
            }
        });
        inner.forget_all_but_the_last(now);
        ended
    }
}

impl Inner {
    /// Forgets a stream, but not the pushes that may begin it anew.
    fn forget(&mut self, manifest_id: &str) {
        if let Some(slot) = self.slots.get_mut(manifest_id) {
            slot.stream = None;
            if slot.in_flight == 0 {
                self.slots.remove(manifest_id);
            }
        }
    }

    /// Forgets streams that have been over for a while, except those that ended last.
    fn forget_all_but_the_last(&mut self, now: Instant) {
        let mut over: Vec<(Duration, String)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.in_flight == 0)
            .filter_map(|(id, slot)| Some((slot.stream.as_ref()?.ended_for(now)?, id.clone())))
            .collect();
        over.sort();
        for (ago, id) in over.into_iter().skip(LAST_ENDED) {
            if ago >= ENDED_KEPT {
                self.forget(&id);
            }
        }
    }

    fn live(&self, now: Instant) -> usize {
        let live = |slot: &&Slot| slot.in_flight > 0 || slot.live(now).is_some();
        self.slots.values().filter(live).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ENDED_KEPT, Full, IDLE, LAST_ENDED, LAST_ENDED_KEPT, MAX_IN_FLIGHT, Streams};
    use crate::gateway::hls::timeline::Segment;
    use crate::gateway::stream::{Stream, StreamStart};
    use livepeer_media::Format;
    use tokio::time::{Instant, advance};

    fn start(manifest_id: &str) -> StreamStart {
        StreamStart {
            manifest_id: manifest_id.into(),
            profiles: Vec::new(),
            format: Format::MpegTs,
            timeout_multiplier: 1,
            resolution: None,
        }
    }

    fn open(streams: &Streams, manifest_id: &str) {
        let entrance = streams.enter(manifest_id, 10).unwrap();
        streams.open(&entrance, start(manifest_id));
    }

    fn publish(stream: &Stream, bytes: usize) {
        let now = Instant::now();
        let (key, _) = stream.begin(0, &[0; 32], None, now);
        let segment = Segment {
            hash: [0; 32],
            changed: false,
            duration: Duration::from_secs(2),
            files: vec![bytes::Bytes::from(vec![0; bytes])],
        };
        stream.finish(key, Some(segment), u64::MAX, now);
    }

    // server/push_test.go: ShouldRemoveSessionAfterTimeout, ResetWatchdog
    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_ends_and_is_forgotten_later() {
        let streams = Streams::default();
        open(&streams, "a");
        advance(IDLE).await;
        assert!(streams.sweep(Instant::now()).is_empty());
        advance(Duration::from_secs(1)).await;
        assert_eq!(streams.sweep(Instant::now()).len(), 1);
        assert_eq!(streams.active(), 0);
        assert!(streams.get("a").is_some(), "viewers may reach the end");
        advance(LAST_ENDED_KEPT).await;
        streams.sweep(Instant::now());
        assert!(streams.get("a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn of_streams_that_are_over_the_last_few_stay_longer() {
        let streams = Streams::default();
        for id in 0..=LAST_ENDED {
            open(&streams, &id.to_string());
            streams.get(&id.to_string()).unwrap().end(Instant::now());
            advance(Duration::from_secs(1)).await;
        }
        streams.sweep(Instant::now());
        assert!(streams.get("0").is_some(), "viewers may reach the end");
        advance(ENDED_KEPT).await;
        streams.sweep(Instant::now());
        assert!(streams.get("0").is_none());
        assert!(streams.get("1").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_are_over_make_room_for_the_live_ones_oldest_first() {
        let streams = Streams::default();
        for id in ["live", "first", "last"] {
            open(&streams, id);
            publish(&streams.get(id).unwrap(), 100);
        }
        for id in ["first", "last"] {
            streams.get(id).unwrap().end(Instant::now());
            advance(Duration::from_secs(1)).await;
        }
        let kept = || ["live", "first", "last"].map(|id| streams.get(id).is_some());
        streams.make_room(300);
        assert_eq!(kept(), [true, true, true]);
        streams.make_room(299);
        assert_eq!(kept(), [true, false, true]);
        streams.make_room(50);
        assert_eq!(kept(), [true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_over_may_begin_anew() {
        let streams = Streams::default();
        open(&streams, "a");
        let old = streams.get("a").unwrap();
        old.end(Instant::now());
        open(&streams, "a");
        assert!(!std::sync::Arc::ptr_eq(&old, &streams.get("a").unwrap()));
    }

    #[tokio::test]
    async fn streams_and_segments_of_one_are_bounded() {
        let streams = Streams::default();
        open(&streams, "a");
        assert_eq!(streams.enter("b", 1).unwrap_err(), Full::Streams);
        let entrances: Vec<_> = (0..MAX_IN_FLIGHT)
            .map(|_| streams.enter("a", 1).unwrap())
            .collect();
        assert_eq!(streams.enter("a", 1).unwrap_err(), Full::Segments);
        drop(entrances);
        assert!(streams.enter("a", 1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn while_draining_known_streams_go_on_and_new_ones_are_refused() {
        let streams = Streams::default();
        open(&streams, "a");
        streams.drain();
        assert_eq!(streams.enter("b", 10).unwrap_err(), Full::Draining);
        let entrance = streams.enter("a", 10).unwrap();
        advance(Duration::from_secs(5)).await;
        assert!(
            streams.sweep(Instant::now()).is_empty(),
            "a push is in flight"
        );
        drop(entrance);
        assert_eq!(streams.sweep(Instant::now()).len(), 1);
    }

    #[test]
    fn a_push_that_never_became_a_stream_leaves_nothing() {
        let streams = Streams::default();
        drop(streams.enter("a", 10).unwrap());
        assert_eq!(streams.active(), 0);
        assert!(streams.inner().slots.is_empty());
    }
}

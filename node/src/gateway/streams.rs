//! All streams of a gateway: opened by their first segment, ended when none has come
//! for a while, forgotten a while after that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use livepeer_proto::headers::MAX_SEGMENT_BYTES;
use tokio::time::Instant;

use super::stream::{Stream, StreamStart};
use livepeer_media::budget::Budget;

/// A stream without a push for this long is over (go-livepeer
/// `httpPushTimeout`).
const IDLE: Duration = Duration::from_secs(60);
/// The same while the process is about to stop: two segments, at least this. Never more than
/// [`IDLE`]: whatever a segment claims to last, it does not hold up the process for longer
/// than a stream that ended.
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
/// The part of the byte budget that one stream may have, segments in flight and those kept
/// for viewers together: a half, so that whatever it does, all others have as much as it.
/// Less would cost a large stream that is alone, and such a stream is the usual case.
const STREAM_DIVISOR: u64 = 2;

/// The most bytes of one stream. Never less than the largest segment, which would else be
/// refused by every small gateway for ever.
fn most_bytes(budget: &Budget) -> u64 {
    let whole = budget.limit();
    (whole / STREAM_DIVISOR).max(MAX_SEGMENT_BYTES).min(whole)
}

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
#[derive(Debug, Clone)]
pub(super) struct Streams(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// Of the whole gateway.
    budget: Budget,
    slots: HashMap<String, Slot>,
    draining: bool,
}

#[derive(Debug)]
struct Slot {
    stream: Option<Arc<Stream>>,
    in_flight: u32,
    /// The stream's part of the gateway's.
    budget: Budget,
}

impl Slot {
    fn new(budget: Budget) -> Self {
        Self {
            stream: None,
            in_flight: 0,
            budget,
        }
    }

    fn live(&self, now: Instant) -> Option<&Arc<Stream>> {
        self.stream
            .as_ref()
            .filter(|stream| stream.ended_for(now).is_none())
    }

    /// It has a stream that is not over, or a push that may yet become one.
    fn is_active(&self, now: Instant) -> bool {
        self.in_flight > 0 || self.live(now).is_some()
    }
}

/// A push that is let in; dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Entrance {
    streams: Streams,
    manifest_id: String,
    budget: Budget,
}

impl Entrance {
    /// For all bytes of this push and of its renditions.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }
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
    /// None yet; `budget` is the gateway's, of which each gets its part.
    pub(super) fn new(budget: Budget) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            budget,
            slots: HashMap::new(),
            draining: false,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a push in, before its body is read.
    pub(super) fn enter(&self, manifest_id: &str, max_streams: u32) -> Result<Entrance, Full> {
        let now = Instant::now();
        let mut inner = self.inner();
        let slot = inner.slots.get(manifest_id);
        // a stream is not new while its first segment is still on its way in
        if !slot.is_some_and(|slot| slot.is_active(now)) {
            if inner.draining {
                return Err(Full::Draining);
            }
            if inner.live(now) >= max_streams as usize {
                return Err(Full::Streams);
            }
        }
        let part = inner.budget.part(most_bytes(&inner.budget));
        let slot = inner
            .slots
            .entry(manifest_id.to_owned())
            .or_insert_with(|| Slot::new(part));
        if slot.in_flight >= MAX_IN_FLIGHT {
            return Err(Full::Segments);
        }
        slot.in_flight += 1;
        Ok(Entrance {
            streams: self.clone(),
            manifest_id: manifest_id.to_owned(),
            budget: slot.budget.clone(),
        })
    }

    /// The stream of that push: the one that is there, or a new one.
    pub(super) fn open(&self, entrance: &Entrance, start: StreamStart) -> Arc<Stream> {
        let now = Instant::now();
        let mut inner = self.inner();
        let slot = inner
            .slots
            .entry(start.manifest_id.clone())
            .or_insert_with(|| Slot::new(entrance.budget.clone()));
        if let Some(stream) = slot.live(now) {
            return Arc::clone(stream);
        }
        tracing::info!(
            manifest_id = start.manifest_id,
            client_ip = %start.client_ip,
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

    /// Streams that are not over and that somebody transcodes.
    pub(super) fn served(&self) -> u32 {
        let now = Instant::now();
        let inner = self.inner();
        let live = inner.slots.values().filter_map(|slot| slot.live(now));
        let served = live.filter(|stream| stream.is_served()).count();
        u32::try_from(served).unwrap_or(u32::MAX)
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
                (stream.last_duration() * 2).clamp(DRAIN_IDLE, IDLE)
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
        let slots = self.slots.values();
        slots.filter(|slot| slot.is_active(now)).count()
    }
}

#[cfg(test)]
mod tests;

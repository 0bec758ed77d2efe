//! Which segments of a stream are published, in which order, under which numbers.
//!
//! Pushes overlap and finish in any order; a playlist may only grow at its end. So a
//! finished segment waits for those before it: until they are through, have failed,
//! or have not come within [`HOLD_BACK`]. What is missing then is marked by a
//! discontinuity, as is a clock that does not go on, or a source of another format. A
//! sequence number that goes far back, or comes again with other bytes when the playlist is
//! past it, is a stream that started over: it continues behind a discontinuity.
//!
//! All renditions of a segment are published at once, so their playlists are always
//! aligned. Pure: the time comes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use livepeer_media::Shown;

use super::clock;
use super::playlist::{Entry, Window};
use crate::gateway::check::SourceFormat;

/// Segments listed in a media playlist, as go-livepeer does.
const WINDOW: usize = 6;
/// Segments kept for players that are behind the playlist they loaded.
const KEPT: usize = 12;
/// How long a finished segment waits for one that has not been pushed at all: as long
/// as a usual segment lasts.
const HOLD_BACK: Duration = Duration::from_secs(2);

/// Failed segments that are remembered, at most [`KEPT`] of them behind the last published
/// one: so many may be missing in a row before the playlist waits [`HOLD_BACK`] for them
/// although they have failed.
const FAILED: usize = 64;

/// A sequence number within one run of the stream. A restart begins the next run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gateway) struct Key {
    run: u32,
    seq: u64,
}

impl Key {
    /// File name: the sequence number, with the run where it would be ambiguous.
    fn name(self) -> String {
        match self.run {
            0 => self.seq.to_string(),
            run => format!("{run}-{}", self.seq),
        }
    }
}

/// What lies before this is too far behind `next` to be late.
fn far_back(next: Key) -> Key {
    Key {
        run: next.run,
        seq: next.seq.saturating_sub(KEPT as u64),
    }
}

/// A finished segment: the source and then the renditions in profile order.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Segment {
    /// Of the source; tells a repeated push from a stream that started over.
    pub(in crate::gateway) hash: [u8; 32],
    /// What its source is made of, where that is known: players must be told when it is not
    /// what that of the segment before was (RFC 8216 §4.3.2.3).
    pub(in crate::gateway) source: Option<SourceFormat>,
    pub(in crate::gateway) duration: Duration,
    /// Its place on the stream's clock, where it is known.
    pub(in crate::gateway) shown: Option<Shown>,
    pub(in crate::gateway) files: Vec<Bytes>,
}

impl Segment {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len() as u64).sum()
    }
}

#[derive(Debug)]
struct Published {
    key: Key,
    /// Media sequence number.
    number: u64,
    discontinuity: bool,
    /// Discontinuities of all segments before this one.
    discontinuities_before: u64,
    segment: Segment,
}

#[derive(Debug)]
struct Waiting {
    segment: Segment,
    since: Instant,
}

/// Pushes of one segment that are being worked on.
#[derive(Debug)]
struct Pending {
    /// A client may push it twice.
    count: u32,
    /// Of the bytes that came last.
    hash: [u8; 32],
}

/// The order and the window of one stream's segments.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Timeline {
    published: VecDeque<Published>,
    /// The last [`KEPT`] of all that were published, with their bytes' hashes: of `published`
    /// the oldest may be let go sooner.
    past: VecDeque<(Key, [u8; 32])>,
    /// Finished, not published yet.
    waiting: BTreeMap<Key, Waiting>,
    pending: BTreeMap<Key, Pending>,
    /// With the hashes of the bytes that failed.
    failed: BTreeMap<Key, [u8; 32]>,
    run: u32,
    /// What would follow the last published segment without a gap.
    next: Option<Key>,
    /// When that segment is shown.
    shown: Option<Shown>,
    /// What the source of the last published segment was made of, or of the last one of which
    /// that is known.
    source: Option<SourceFormat>,
    next_number: u64,
    discontinuities: u64,
    target_seconds: u64,
    /// Peak bits a second of each file of a segment.
    peaks: Vec<u64>,
    ended: bool,
}

impl Timeline {
    /// A push of `seq` with these bytes is being worked on; its end must be told with
    /// [`Timeline::finish`] and the key that this gives.
    pub(in crate::gateway) fn begin(&mut self, seq: u64, hash: &[u8; 32]) -> Key {
        if self.started_over(seq, hash) {
            self.run += 1;
        }
        let key = Key { run: self.run, seq };
        let pending = Pending {
            count: 0,
            hash: *hash,
        };
        let pending = self.pending.entry(key).or_insert(pending);
        pending.count += 1;
        pending.hash = *hash;
        key
    }

    fn started_over(&self, seq: u64, hash: &[u8; 32]) -> bool {
        let key = Key { run: self.run, seq };
        if let Some((_, published)) = self.past.iter().find(|(past, _)| *past == key) {
            return published != hash;
        }
        let Some(next) = self.next.filter(|next| key < *next) else {
            return false;
        };
        let failed = self.failed.get(&key);
        far_back(next) > key || failed.is_some_and(|failed| failed != hash)
    }

    /// The work on `key` is over: with a segment, or in vain.
    pub(in crate::gateway) fn finish(&mut self, key: Key, segment: Option<Segment>, now: Instant) {
        let (left, hash) = match self.pending.get_mut(&key) {
            Some(pending) => {
                pending.count -= 1;
                (pending.count, Some(pending.hash))
            }
            None => (0, None),
        };
        if left == 0 {
            self.pending.remove(&key);
        }
        let published = self.next.is_some_and(|next| key < next);
        match segment {
            // a late or repeated one: the playlist has gone past it
            Some(_) | None if published => {}
            Some(segment) => {
                let waiting = Waiting {
                    segment,
                    since: now,
                };
                self.waiting.entry(key).or_insert(waiting);
                self.failed.remove(&key);
            }
            None => {
                if left == 0 && !self.waiting.contains_key(&key) {
                    self.failed.extend(hash.map(|hash| (key, hash)));
                    if self.failed.len() > FAILED {
                        self.failed.pop_last();
                    }
                }
            }
        }
        self.settle(now);
    }

    /// Publishes what need not wait any longer.
    pub(in crate::gateway) fn settle(&mut self, now: Instant) {
        while let Some((key, waiting)) = self.waiting.first_key_value() {
            let key = *key;
            if !self.ended && self.must_wait(key, now.saturating_duration_since(waiting.since)) {
                return;
            }
            if let Some(waiting) = self.waiting.remove(&key) {
                self.publish(key, waiting.segment);
            }
        }
    }

    fn must_wait(&self, key: Key, waited: Duration) -> bool {
        let from = self.next.unwrap_or_default().min(key);
        if self.pending.range(from..key).next().is_some() {
            return true;
        }
        match self.next {
            Some(next) if next.run == key.run && next.seq < key.seq => {
                let missing = key.seq - next.seq;
                let known_failed = self.failed.range(next..key).count() as u64;
                known_failed < missing && waited < HOLD_BACK
            }
            Some(_) | None => false,
        }
    }

    fn publish(&mut self, key: Key, segment: Segment) {
        let jumps = self
            .shown
            .zip(segment.shown)
            .is_some_and(|(before, now)| !clock::goes_on(before, now));
        let before = self.source.as_ref().zip(segment.source.as_ref());
        let changed = before.is_some_and(|(before, now)| before != now);
        let follows = |next| next == key && !changed && !jumps;
        let discontinuity = self.next.is_some_and(|next| !follows(next));
        self.shown = segment.shown;
        if segment.source.is_some() {
            self.source.clone_from(&segment.source);
        }
        self.note_sizes(&segment);
        self.past.push_back((key, segment.hash));
        self.published.push_back(Published {
            key,
            number: self.next_number,
            discontinuity,
            discontinuities_before: self.discontinuities,
            segment,
        });
        self.discontinuities += u64::from(discontinuity);
        self.next_number += 1;
        let next = Key {
            run: key.run,
            seq: key.seq.saturating_add(1),
        };
        self.next = Some(next);
        self.failed = self.failed.split_off(&far_back(next));
        while self.published.len() > KEPT {
            self.published.pop_front();
        }
        while self.past.len() > KEPT {
            self.past.pop_front();
        }
    }

    /// Peak rates, and a target duration that changes only where the playlist would
    /// else be wrong: each duration rounded to whole seconds is at most the target.
    fn note_sizes(&mut self, segment: &Segment) {
        let seconds = segment.duration.as_secs_f64().max(0.001);
        self.peaks
            .resize(segment.files.len().max(self.peaks.len()), 0);
        for (peak, file) in self.peaks.iter_mut().zip(&segment.files) {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a positive rate far below 2^53"
            )]
            let rate = (file.len() as f64 * 8.0 / seconds).ceil() as u64;
            *peak = rate.max(*peak);
        }
        let whole = segment.duration.as_secs() + u64::from(segment.duration.subsec_nanos() > 0);
        let rounded =
            segment.duration.as_secs() + u64::from(segment.duration.subsec_millis() >= 500);
        if self.target_seconds == 0 {
            self.target_seconds = whole.max(1);
        }
        self.target_seconds = self.target_seconds.max(rounded);
    }

    /// The stream is over: publishes what waits and takes nothing more.
    pub(in crate::gateway) fn end(&mut self, now: Instant) {
        self.ended = true;
        self.settle(now);
    }

    /// Lets the oldest segments go until at most `bytes` are kept; the newest stays.
    pub(in crate::gateway) fn shrink_to(&mut self, bytes: u64) {
        while self.published.len() > 1 && self.bytes() > bytes {
            self.published.pop_front();
        }
    }

    /// Bytes of all segments kept.
    pub(in crate::gateway) fn bytes(&self) -> u64 {
        let published = self
            .published
            .iter()
            .map(|published| published.segment.bytes());
        let waiting = self.waiting.values().map(|waiting| waiting.segment.bytes());
        published.chain(waiting).sum()
    }

    /// Peak bits a second of file `index`.
    pub(in crate::gateway) fn peak(&self, index: usize) -> u64 {
        self.peaks.get(index).copied().unwrap_or(0)
    }

    /// How many segments have been published in all.
    pub(in crate::gateway) fn count(&self) -> u64 {
        self.next_number
    }

    /// The window that a media playlist shows now; `None` before the first segment.
    pub(in crate::gateway) fn window(&self) -> Option<Window> {
        let skip = self.published.len().saturating_sub(WINDOW);
        let first = self.published.get(skip)?;
        let entry = |published: &Published| Entry {
            name: published.key.name(),
            duration: published.segment.duration,
            discontinuity: published.discontinuity,
        };
        Some(Window {
            entries: self.published.iter().skip(skip).map(entry).collect(),
            media_sequence: first.number,
            discontinuity_sequence: first.discontinuities_before,
            target_seconds: self.target_seconds,
            ended: self.ended,
        })
    }

    /// The bytes of file `index` of the segment called `name`.
    pub(in crate::gateway) fn file(&self, name: &str, index: usize) -> Option<Bytes> {
        let published = self
            .published
            .iter()
            .find(|published| published.key.name() == name)?;
        published.segment.files.get(index).cloned()
    }
}

#[cfg(test)]
mod tests;

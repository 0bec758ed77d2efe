//! One stream: what it asks for, its sessions, its timeline, and when it was last
//! heard of. The first segment fixes profiles and container (go-livepeer
//! `server/mediaserver.go`); later ones change neither.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use livepeer_media::{Format, Probe, Profile, rendition_size};
use serde::Serialize;
use tokio::time::Instant;

use super::check::{SourceFormat, source_format};
use super::hls::playlist::{self, Variant};
use super::hls::timeline::{Key, Segment, Timeline};
use super::session::Sessions;
use super::tally::Tally;

/// Name of the ingested rendition.
pub(super) const SOURCE: &str = "source";

/// What the first segment of a stream fixes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StreamStart {
    pub(super) manifest_id: String,
    /// Who pushes it, for the log.
    pub(super) client_ip: IpAddr,
    pub(super) profiles: Vec<Profile>,
    pub(super) format: Format,
    pub(super) timeout_multiplier: u32,
    /// `Content-Resolution`.
    pub(super) resolution: Option<(u32, u32)>,
}

/// A stream; shared by the pushes and viewers of it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) manifest_id: String,
    pub(super) profiles: Arc<[Profile]>,
    pub(super) timeout_multiplier: u32,
    pub(super) sessions: Sessions,
    format: Format,
    resolution: Option<(u32, u32)>,
    started: Instant,
    state: Mutex<State>,
}

/// Work on a segment has begun; its end must be told with [`Stream::finish`].
#[derive(Debug)]
pub(super) struct Begun {
    key: Key,
    /// Codecs must be opened anew.
    pub(super) reinit: bool,
}

#[derive(Debug)]
struct State {
    timeline: Timeline,
    /// Of the last segment that began.
    source: Option<SourceFormat>,
    /// It is another than before, and no segment of it has come back yet.
    reinit: bool,
    size: Option<(u32, u32)>,
    fps: Option<f64>,
    in_flight: u32,
    last_heard: Instant,
    last_duration: Duration,
    /// Segments that nobody took since the last one that somebody did.
    lost: Tally,
    /// Segments without a picture.
    passed_by: Tally,
    ended: Option<Instant>,
}

/// A stream on the page and in `/api/streams`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamReport {
    manifest_id: String,
    playlist: String,
    renditions: Vec<String>,
    segments: u64,
    live: bool,
    seconds: u64,
}

impl StreamReport {
    /// There is something to play; until its first segment comes back there is nothing,
    /// and there may never be.
    pub(super) fn is_playable(&self) -> bool {
        self.segments > 0
    }
}

impl Stream {
    /// A stream of which nothing has come yet.
    pub(super) fn new(start: StreamStart, now: Instant) -> Self {
        let StreamStart {
            manifest_id,
            client_ip: _,
            mut profiles,
            format,
            timeout_multiplier,
            resolution,
        } = start;
        for profile in &mut profiles {
            profile.format = format;
        }
        Self {
            manifest_id,
            profiles: profiles.into(),
            timeout_multiplier,
            sessions: Sessions::default(),
            format,
            resolution,
            started: now,
            state: Mutex::new(State {
                timeline: Timeline::default(),
                source: None,
                reinit: false,
                size: None,
                fps: None,
                in_flight: 0,
                last_heard: now,
                last_duration: Duration::ZERO,
                lost: Tally::default(),
                passed_by: Tally::default(),
                ended: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on a segment begins.
    pub(super) fn begin(
        &self,
        seq: u64,
        hash: &[u8; 32],
        probe: Option<&Probe>,
        now: Instant,
    ) -> Begun {
        let mut state = self.state();
        state.in_flight += 1;
        state.last_heard = now;
        let key = state.timeline.begin(seq, hash);
        if let Some(video) = probe.and_then(|probe| probe.video.as_ref()) {
            state.size = Some((video.width, video.height)).filter(|size| size.0 > 0 && size.1 > 0);
            state.fps = Some(video.fps).filter(|fps| *fps > 0.0);
        }
        if let Some(format) = probe.and_then(source_format) {
            state.reinit |= state.source.as_ref().is_some_and(|old| *old != format);
            state.source = Some(format);
        }
        let reinit = state.reinit;
        Begun { key, reinit }
    }

    /// Work on a segment is over; `share` is how many bytes the stream may keep.
    pub(super) fn finish(&self, work: Begun, segment: Option<Segment>, share: u64, now: Instant) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.last_heard = now;
        if let Some(segment) = &segment {
            state.last_duration = segment.duration;
            // not for one of an earlier format, nor for one that opened nothing
            if work.reinit && segment.source == state.source {
                state.reinit = false;
            }
        }
        state.timeline.finish(work.key, segment, now);
        state.timeline.shrink_to(share);
    }

    /// Nobody took a segment. When it is time to say so: how many that were.
    pub(super) fn segment_lost(&self, now: Instant) -> Option<u32> {
        self.state().lost.add(now)
    }

    /// Somebody took one. How many were lost before it, if any.
    pub(super) fn segment_taken(&self) -> Option<u32> {
        self.state().lost.end()
    }

    /// A segment has no picture, and goes on as it is. When it is time to say so: how many did.
    pub(super) fn passed_by(&self, now: Instant) -> Option<u32> {
        self.state().passed_by.add(now)
    }

    /// Somebody transcodes it, or has: one of which every push failed is no stream to who
    /// counts them.
    pub(super) fn is_served(&self) -> bool {
        self.sessions.any() || self.state().timeline.count() > 0
    }

    /// Bytes of the segments that it keeps.
    pub(super) fn bytes(&self) -> u64 {
        self.state().timeline.bytes()
    }

    /// How long nothing has come; zero while there is work.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        let state = self.state();
        if state.in_flight > 0 {
            return Duration::ZERO;
        }
        now.saturating_duration_since(state.last_heard)
    }

    /// Duration of the newest segment.
    pub(super) fn last_duration(&self) -> Duration {
        self.state().last_duration
    }

    /// The stream is over: its playlists say so.
    pub(super) fn end(&self, now: Instant) {
        let mut state = self.state();
        if state.ended.is_none() {
            state.ended = Some(now);
            state.timeline.end(now);
        }
    }

    pub(super) fn ended_for(&self, now: Instant) -> Option<Duration> {
        self.state()
            .ended
            .map(|ended| now.saturating_duration_since(ended))
    }

    /// The multivariant playlist; `None` before the first segment.
    pub(super) fn multivariant(&self, now: Instant) -> Option<String> {
        let mut state = self.state();
        state.timeline.settle(now);
        if state.timeline.count() == 0 {
            return None;
        }
        let size = state.size.or(self.resolution);
        let source = Variant {
            name: SOURCE.to_owned(),
            bandwidth: state.timeline.peak(0),
            resolution: size,
            frame_rate: state.fps,
        };
        let renditions = self
            .profiles
            .iter()
            .enumerate()
            .map(|(index, profile)| Variant {
                name: profile.name.clone(),
                bandwidth: state.timeline.peak(index + 1).max(profile.bitrate.into()),
                resolution: size.map(|size| rendition_size(size, (profile.width, profile.height))),
                frame_rate: match profile.fps {
                    0 => state.fps,
                    fps => Some(f64::from(fps) / f64::from(profile.fps_den.max(1))),
                },
            });
        let variants: Vec<Variant> = std::iter::once(source).chain(renditions).collect();
        Some(playlist::multivariant(&self.manifest_id, &variants))
    }

    /// The media playlist of a rendition; `None` for one that is not there.
    pub(super) fn media(&self, rendition: &str, now: Instant) -> Option<String> {
        let (_, format) = self.rendition(rendition)?;
        let mut state = self.state();
        state.timeline.settle(now);
        let window = state.timeline.window()?;
        // an encoder begins each with a keyframe; of the source it is only known that
        // there is one somewhere
        let independent = rendition != SOURCE;
        Some(playlist::media(
            &self.manifest_id,
            rendition,
            format,
            independent,
            &window,
        ))
    }

    /// A file of a rendition, with its container.
    pub(super) fn file(&self, rendition: &str, file: &str) -> Option<(Bytes, Format)> {
        let (index, format) = self.rendition(rendition)?;
        let (name, extension) = file.rsplit_once('.')?;
        if extension != format.extension() {
            return None;
        }
        Some((self.state().timeline.file(name, index)?, format))
    }

    /// Place among a segment's files, and container.
    fn rendition(&self, name: &str) -> Option<(usize, Format)> {
        if name == SOURCE {
            return Some((0, self.format));
        }
        let index = self
            .profiles
            .iter()
            .position(|profile| profile.name == name)?;
        Some((index + 1, self.profiles.get(index)?.format))
    }

    pub(super) fn report(&self, now: Instant) -> StreamReport {
        let state = self.state();
        let names = self.profiles.iter().map(|profile| profile.name.clone());
        StreamReport {
            manifest_id: self.manifest_id.clone(),
            playlist: format!("/stream/{}", playlist::file_name(&self.manifest_id)),
            renditions: std::iter::once(SOURCE.to_owned()).chain(names).collect(),
            segments: state.timeline.count(),
            live: state.ended.is_none(),
            seconds: now.saturating_duration_since(self.started).as_secs(),
        }
    }
}

#[cfg(test)]
mod tests;

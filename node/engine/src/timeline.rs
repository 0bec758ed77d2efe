//! Repairs of timestamps on the way in and out. Pure.

use std::time::Duration;

use livepeer_ffmpeg::Rational;
use livepeer_media::{Clip, Shown};

use crate::plan::Keyframes;

/// Gives every decoded frame a presentation time that increases.
#[derive(Debug, Default)]
pub(crate) struct PtsRepair {
    last: Option<i64>,
}

impl PtsRepair {
    /// The time of the next frame: its own; or, missing, one frame after the last; or, going
    /// backwards, one tick after the last.
    pub(crate) fn next(&mut self, pts: Option<i64>, last_duration: i64) -> i64 {
        let next = match (pts, self.last) {
            (Some(pts), None) => pts,
            (None, None) => 0,
            (Some(pts), Some(last)) if pts > last => pts,
            (Some(_), Some(last)) => last.saturating_add(1),
            (None, Some(last)) => last.saturating_add(last_duration.max(1)),
        };
        self.last = Some(next);
        next
    }
}

/// Keeps decoding times of one output stream increasing, from a floor on.
#[derive(Debug)]
pub(crate) struct DtsGuard {
    floor: i64,
}

impl DtsGuard {
    pub(crate) fn new(floor: i64) -> Self {
        Self { floor }
    }

    /// Decoding and presentation time to write for a packet.
    pub(crate) fn next(&mut self, dts: Option<i64>, pts: Option<i64>) -> (i64, i64) {
        let dts = dts.or(pts).unwrap_or(self.floor.max(0)).max(self.floor);
        self.floor = dts.saturating_add(1);
        (dts, pts.unwrap_or(dts).max(dts))
    }
}

/// Tells which frames are asked to be keyframes.
#[derive(Debug)]
pub(crate) struct KeyframeClock {
    rule: Keyframes,
    time_base: Rational,
    frames: u64,
    last: Option<i64>,
}

impl KeyframeClock {
    pub(crate) fn new(rule: Keyframes, time_base: Rational) -> Self {
        Self {
            rule,
            time_base,
            frames: 0,
            last: None,
        }
    }

    /// Whether the frame of that time is to be a keyframe. Call it once for every frame.
    pub(crate) fn is_due(&mut self, pts: i64) -> bool {
        let due = match (self.rule, self.last) {
            (_, None) | (Keyframes::EveryFrame, _) => true,
            (Keyframes::EveryFrames(frames), _) => self.frames.is_multiple_of(frames.max(1)),
            (Keyframes::Every(gop), Some(last)) => {
                pts.saturating_sub(last) >= ticks(gop, self.time_base)
            }
        };
        self.frames += 1;
        if due {
            self.last = Some(pts);
        }
        due
    }
}

/// A window of the source, in ticks of its video stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    from: i64,
    to: Option<i64>,
}

/// Where a frame or packet stands to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Before,
    /// Inside, at this time of the rendition.
    Inside(i64),
    After,
}

impl Window {
    /// The window of a clip in a stream that starts at `start`.
    pub(crate) fn new(clip: Clip, start: i64, time_base: Rational) -> Self {
        let to = (!clip.to.is_zero()).then(|| start.saturating_add(ticks(clip.to, time_base)));
        Self {
            from: start.saturating_add(ticks(clip.from, time_base)),
            to,
        }
    }

    pub(crate) fn place(&self, pts: i64) -> Placed {
        if pts < self.from {
            Placed::Before
        } else if self.to.is_some_and(|to| pts >= to) {
            Placed::After
        } else {
            Placed::Inside(pts - self.from)
        }
    }

    /// Start of the window: what becomes time zero.
    pub(crate) fn start(&self) -> i64 {
        self.from
    }
}

/// When the pictures of a segment are shown, from their times in any order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    ends: Option<(i64, i64)>,
    pictures: i64,
}

impl Span {
    pub(crate) fn add(&mut self, pts: Option<i64>) {
        let Some(pts) = pts else { return };
        let (first, last) = self.ends.unwrap_or((pts, pts));
        self.ends = Some((first.min(pts), last.max(pts)));
        self.pictures += 1;
    }

    /// From the first to where the next would be, at the usual distance; of one picture alone
    /// nobody knows how long it is shown.
    pub(crate) fn shown(&self) -> Option<Shown> {
        let (from, last) = self.ends?;
        if self.pictures < 2 {
            return None;
        }
        let usual = last.saturating_sub(from) / (self.pictures - 1);
        Some(Shown {
            from,
            until: last.saturating_add(usual),
        })
    }
}

/// Ticks of a time base in a span of time.
pub(crate) fn ticks(span: Duration, time_base: Rational) -> i64 {
    if !time_base.is_positive() {
        return 0;
    }
    let ticks = span.as_micros() * u128::from(time_base.den.unsigned_abs())
        / (u128::from(time_base.num.unsigned_abs()) * 1_000_000);
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TS: Rational = Rational::new(1, 90_000);

    #[test]
    fn a_missing_time_is_one_frame_later_and_a_backward_one_a_tick() {
        let mut repair = PtsRepair::default();
        let times = [Some(100), None, Some(50), Some(9000)];
        let repaired: Vec<_> = times.map(|pts| repair.next(pts, 3600)).into();
        assert_eq!(repaired, [100, 3700, 3701, 9000]);
    }

    #[test]
    fn decoding_times_never_repeat_and_never_start_below_zero() {
        let mut guard = DtsGuard::new(0);
        let packets = [(-7200, 0), (-3600, 10_800), (0, 3600), (0, 7200)];
        let written: Vec<_> = packets
            .map(|(dts, pts)| guard.next(Some(dts), Some(pts)))
            .into();
        assert_eq!(written, [(0, 0), (1, 10_800), (2, 3600), (3, 7200)]);
    }

    #[test]
    fn keyframes_come_by_count_or_by_time() {
        let due = |rule, times: &[i64]| {
            let mut clock = KeyframeClock::new(rule, TS);
            times
                .iter()
                .map(|&pts| clock.is_due(pts))
                .collect::<Vec<_>>()
        };
        assert_eq!(due(Keyframes::EveryFrame, &[5, 6]), [true, true]);
        assert_eq!(
            due(Keyframes::EveryFrames(2), &[5, 6, 7]),
            [true, false, true]
        );
        let second = Keyframes::Every(Duration::from_secs(1));
        assert_eq!(
            due(second, &[5, 90_004, 90_005, 90_006]),
            [true, false, true, false]
        );
    }

    #[test]
    fn pictures_are_shown_until_the_next_would_be() {
        let shown = |times: &[Option<i64>]| {
            let mut span = Span::default();
            times.iter().for_each(|&pts| span.add(pts));
            span.shown().map(|shown| (shown.from, shown.until))
        };
        let reordered = [Some(3600), Some(14_400), Some(7200), None, Some(10_800)];
        assert_eq!(shown(&reordered), Some((3600, 18_000)));
        assert_eq!(shown(&[Some(1), None]), None);
        assert!(shown(&[Some(i64::MIN), Some(i64::MAX)]).is_some());
    }

    #[test]
    fn a_window_starts_at_the_first_frame_and_moves_times_to_zero() {
        let clip = Clip {
            from: Duration::from_secs(1),
            to: Duration::from_secs(3),
        };
        let window = Window::new(clip, 1000, TS);
        assert_eq!(window.place(90_999), Placed::Before);
        assert_eq!(window.place(91_000), Placed::Inside(0));
        assert_eq!(window.place(271_000), Placed::After);
    }
}

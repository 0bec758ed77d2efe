//! Where MPEG-TS's clock wraps: times of one file that go on across it. Pure.
//!
//! A time is 33 bits of 90 kHz and begins again after 26.5 hours. What libavformat makes of it
//! depends on the first time of a file (`update_wrap_reference` in its `demux.c`): in the last
//! minute before the wrap it counts from the wrap, so that times are below zero. Muxers cannot
//! say those, and whoever cuts them off at zero loses them all. A whole turn more says the same
//! on the wire: times then go on above 2^33, of which a muxer writes the low 33 bits.

/// Ticks until the clock begins again.
const TURN: i64 = 1 << 33;

/// What libavformat takes for near the wrap: 60 s.
const NEAR: i64 = 60 * 90_000;

/// Places the times of one file.
#[derive(Debug)]
pub(crate) struct Wrap {
    /// Some of the file's times are before the wrap and, as libavformat tells them, below zero
    /// or above what comes later.
    crossed: bool,
    begun: bool,
}

impl Wrap {
    /// Of a file whose streams start at these times.
    pub(crate) fn new(starts: impl IntoIterator<Item = i64>) -> Self {
        let (mut before, mut after, mut below) = (false, false, false);
        for start in starts {
            below |= start < 0;
            before |= start >= TURN - NEAR;
            after |= (0..NEAR).contains(&start);
        }
        // libavformat does not bring streams together where one begins before the wrap and the
        // file's first packet is of one that begins after it.
        Self {
            crossed: below || before && after,
            begun: false,
        }
    }

    /// Tells the time of the file's first packet, which may be decoded before the wrap although
    /// every stream starts, and is shown, after it. Later calls change nothing.
    pub(crate) fn begin(&mut self, first: i64) {
        self.crossed |= !self.begun && first < 0;
        self.begun = true;
    }

    /// A time, so that those of the file go on.
    pub(crate) fn place(&self, time: i64) -> i64 {
        if self.crossed && time < TURN - NEAR {
            time.saturating_add(TURN)
        } else {
            time
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(starts: &[i64], times: &[i64]) -> Vec<i64> {
        let mut wrap = Wrap::new(starts.iter().copied());
        wrap.begin(times[0]);
        times.iter().map(|&time| wrap.place(time)).collect()
    }

    #[test]
    fn times_counted_from_the_wrap_go_on_across_it() {
        assert_eq!(
            placed(&[-7200, 1000], &[-7200, -3600, 0, 3600]),
            [TURN - 7200, TURN - 3600, TURN, TURN + 3600]
        );
        assert_eq!(placed(&[], &[-1, 0]), [TURN - 1, TURN]);
    }

    #[test]
    fn a_first_picture_that_only_is_decoded_before_the_wrap_keeps_its_distance() {
        assert_eq!(placed(&[0, 500], &[-7200, 0]), [TURN - 7200, TURN]);
    }

    #[test]
    fn streams_on_both_sides_of_the_wrap_are_brought_together() {
        assert_eq!(
            placed(&[100, TURN - 1000], &[100, TURN - 1000, 920]),
            [TURN + 100, TURN - 1000, TURN + 920]
        );
    }

    #[test]
    fn other_times_stay_as_they_are() {
        for times in [
            [0, 3600, -1],
            [NEAR, TURN - NEAR, 5],
            [TURN - NEAR - 1, TURN - 1, TURN + 1],
        ] {
            assert_eq!(placed(&times[..1], &times), times);
        }
        assert_eq!(placed(&[TURN - 1], &[i64::MAX]), [i64::MAX]);
    }
}

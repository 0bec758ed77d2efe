//! Whether a segment's timestamps go on where those of the segment before ended. Pure.
//!
//! Where they do not, players must be told (RFC 8216 §4.3.2.3): they would wait for pictures
//! that never come, or jump. An encoder that is started again begins anew while its pusher
//! counts on, and so does a clip that is pushed in a loop.

use livepeer_media::Shown;

/// MPEG-TS counts to this and begins anew, every 26.5 hours (ISO/IEC 13818-1 §2.4.3.7):
/// that is no jump.
const WRAP: i64 = 1 << 33;
/// How far from the end of one segment the next may begin, in ticks: half a second. Pictures
/// that an encoder dropped make a hole that players go over by themselves, and the end is
/// reckoned from the usual distance of pictures.
const TOLERANCE: i64 = 45_000;

/// Whether `next` begins where `before` ended. A clock that begins anew with each segment is
/// a whole segment off: of short ones no more than half is tolerated.
pub(super) fn goes_on(before: Shown, next: Shown) -> bool {
    let long = before.until.saturating_sub(before.from).max(0);
    let off = next.from.wrapping_sub(before.until).rem_euclid(WRAP);
    off.min(WRAP - off) <= TOLERANCE.min(long / 2)
}

#[cfg(test)]
mod tests {
    use super::{TOLERANCE, WRAP, goes_on};
    use livepeer_media::Shown;

    const TWO_SECONDS: i64 = 180_000;

    fn shown(from: i64) -> Shown {
        Shown {
            from,
            until: from + TWO_SECONDS,
        }
    }

    #[test]
    fn what_begins_near_the_end_of_the_one_before_goes_on() {
        let begins = |off| goes_on(shown(0), shown(TWO_SECONDS + off));
        assert!(begins(0) && begins(TOLERANCE) && begins(-TOLERANCE));
        assert!(!begins(TOLERANCE + 1) && !begins(-TOLERANCE - 1));
        assert!(!begins(-TWO_SECONDS), "each segment on a clock of its own");
    }

    #[test]
    fn the_end_of_the_clock_is_no_jump() {
        let last = shown(WRAP - TWO_SECONDS / 2);
        // as a demuxer gives it: counted on, or not
        assert!(goes_on(last, shown(last.until)));
        assert!(goes_on(last, shown(last.until - WRAP)));
        assert!(goes_on(shown(-TWO_SECONDS), shown(0)));
        assert!(!goes_on(last, shown(0)));
    }

    #[test]
    fn short_segments_on_clocks_of_their_own_are_told_from_those_on_one() {
        let short = |from| Shown {
            from,
            until: from + 18_000,
        };
        assert!(goes_on(short(0), short(18_000)));
        assert!(!goes_on(short(0), short(0)));
    }

    #[test]
    fn any_times_can_be_compared() {
        let ends = [i64::MIN, -1, 0, 1, i64::MAX];
        for (from, until) in ends.into_iter().flat_map(|from| ends.map(|to| (from, to))) {
            let any = Shown { from, until };
            goes_on(any, shown(0));
            goes_on(shown(0), any);
        }
    }
}

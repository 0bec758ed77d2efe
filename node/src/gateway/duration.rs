//! How long a segment is: what its client says, what was measured, and which is believed.
//! Pure.
//!
//! Orchestrators are told what the client says. For playlists the measure counts, since
//! clients are often wrong, but a jump of the clock inside a segment is measured too, as
//! minutes of segment; and a target duration never becomes less again.

use std::time::Duration;

use axum::http::StatusCode;
use livepeer_media::Probe;

use super::refusal::Refusal;

/// Duration of a segment of which nothing is known (go-livepeer).
const DEFAULT_MS: u32 = 2000;
/// Longest segment.
const MOST_MS: u32 = 300_000;
/// How often what the client says a measure may be and is believed: some clients say two
/// seconds of every segment.
const STRETCH: u32 = 10;
/// A measure up to this is always believed: whole groups of pictures are that long, and
/// some clients say seconds where milliseconds are asked for.
const USUAL_MS: u32 = 30_000;

/// `Content-Duration`, in milliseconds; what is no number counts as not said.
pub(super) fn parse(text: Option<&str>) -> Result<Option<u32>, Refusal> {
    let Some(millis) = text.and_then(|text| text.parse::<i64>().ok()) else {
        return Ok(None);
    };
    match u32::try_from(millis) {
        Ok(millis) if millis <= MOST_MS => Ok(Some(millis).filter(|millis| *millis > 0)),
        Ok(_) | Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "invalid duration",
        )),
    }
}

/// What orchestrators are told, in milliseconds: what the client says, or else the measure.
pub(super) fn told_ms(said_ms: Option<u32>, probe: Option<&Probe>) -> u32 {
    let measured = || u32::try_from(measured(probe)?.as_millis()).ok();
    let told = said_ms.or_else(measured);
    told.filter(|millis| *millis > 0).unwrap_or(DEFAULT_MS)
}

/// The measured duration, where a segment can be so long.
pub(super) fn measured(probe: Option<&Probe>) -> Option<Duration> {
    let measured = probe?.duration;
    (measured > Duration::ZERO && measured <= millis(MOST_MS)).then_some(measured)
}

/// What playlists say: the measure, unless it is far from what orchestrators are told.
pub(super) fn played(told_ms: u32, probe: Option<&Probe>) -> Duration {
    let most = millis(told_ms.saturating_mul(STRETCH).max(USUAL_MS));
    measured(probe)
        .filter(|measured| *measured <= most)
        .unwrap_or(millis(told_ms))
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use livepeer_media::Probe;

    use super::{parse, played, told_ms};

    fn probe(millis: u64) -> Probe {
        Probe {
            format: "mpegts".into(),
            video: None,
            audio: None,
            duration: Duration::from_millis(millis),
            keyframe: true,
            shown: None,
        }
    }

    #[test]
    fn what_the_client_says_is_bounded_and_may_be_missing() {
        let said = |text| parse(Some(text)).map_err(|refusal| refusal.status.as_u16());
        assert_eq!(said("1960"), Ok(Some(1960)));
        assert_eq!((said("0"), said("x")), (Ok(None), Ok(None)));
        assert_eq!(said("300000"), Ok(Some(300_000)));
        assert_eq!((said("-1"), said("300001")), (Err(500), Err(500)));
    }

    #[test]
    fn orchestrators_are_told_what_the_client_says_or_else_the_measure() {
        assert_eq!(told_ms(Some(1960), Some(&probe(4000))), 1960);
        assert_eq!(told_ms(None, Some(&probe(4000))), 4000);
        assert_eq!(told_ms(None, Some(&probe(300_001))), 2000);
        assert_eq!(
            (told_ms(None, Some(&probe(0))), told_ms(None, None)),
            (2000, 2000)
        );
    }

    #[test]
    fn playlists_have_the_measure_unless_the_clock_jumped_inside_the_segment() {
        let millis = |told, measured| played(told, Some(&probe(measured))).as_millis();
        assert_eq!(millis(2000, 4000), 4000, "a client that is wrong");
        assert_eq!(millis(2, 10_000), 10_000, "said in seconds");
        assert_eq!(millis(60_000, 65_000), 65_000, "long segments");
        assert_eq!(millis(2000, 240_000), 2000, "a jump of minutes");
        assert_eq!(millis(120_000, 95_443_000), 120_000, "the clock's end");
        assert_eq!(millis(2000, 0), 2000);
        assert_eq!(played(1960, None), Duration::from_millis(1960));
    }
}

//! Which orchestrator gets a segment: a stream stays where it is served in time, and
//! moves when it is not (go-livepeer `server/broadcast.go`, `server/selection.go`).
//!
//! 1. the last one, while it keeps up;
//! 2. one that served this stream well before, the quickest first;
//! 3. one that this stream does not know, least burdened first;
//! 4. the last one even if it is behind, then the least slow of the known;
//! 5. one that is draining; 6. one that is full, by its last word; 7. one that failed lately,
//!    fewest failures first.
//!
//! Pure: state and time come in.

use std::time::Duration;

/// A score up to this means: faster than real time.
pub(super) const REAL_TIME: f64 = 1.0;
/// Shortest time that a segment in flight may take before its session counts as
/// behind; very short segments would flap otherwise.
const PATIENCE: Duration = Duration::from_millis(1500);

/// An orchestrator that a segment might go to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Candidate {
    /// The stream's last segment went there.
    pub(super) last: bool,
    /// Time per second of segment, over the last one; `None` before the first.
    pub(super) score: Option<f64>,
    /// Age and duration of the oldest segment there now.
    pub(super) oldest_in_flight: Option<(Duration, Duration)>,
    /// It has asked for its streams to go elsewhere, or takes no new ones.
    pub(super) draining: bool,
    /// It said last that every session is taken, and this stream has none there.
    pub(super) full: bool,
    /// Failures for which it is avoided now; 0 when it is not.
    pub(super) penalty: u32,
    /// Streams of this gateway there.
    pub(super) streams: u32,
    /// How long it took to answer last.
    pub(super) latency: Duration,
}

/// The index of the best candidate.
pub(super) fn select(candidates: &[Candidate]) -> Option<usize> {
    let ranked = candidates.iter().enumerate();
    ranked
        .min_by(|(_, one), (_, other)| rank(one).total_cmp(&rank(other)))
        .map(|(index, _)| index)
}

/// Order of preference: a class, then what decides within it.
#[derive(Debug, Clone, Copy)]
struct Rank {
    class: u32,
    first: f64,
    second: f64,
}

impl Rank {
    fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.class
            .cmp(&other.class)
            .then(self.first.total_cmp(&other.first))
            .then(self.second.total_cmp(&other.second))
    }
}

fn rank(candidate: &Candidate) -> Rank {
    let latency = candidate.latency.as_secs_f64();
    let score = candidate.score.unwrap_or(f64::INFINITY);
    let burden = f64::from(candidate.streams);
    let (class, first, second) = if candidate.penalty > 0 {
        (7, f64::from(candidate.penalty), latency)
    } else if candidate.full {
        (6, burden, latency)
    } else if candidate.draining {
        (5, burden, latency)
    } else if candidate.last && keeps_up(candidate) {
        (1, 0.0, 0.0)
    } else if !candidate.last && score <= REAL_TIME {
        (2, score, latency)
    } else if candidate.score.is_none() && candidate.oldest_in_flight.is_none() {
        (3, burden, latency)
    } else {
        (
            4,
            if candidate.last {
                score.min(2.0 * REAL_TIME)
            } else {
                score
            },
            latency,
        )
    };
    Rank {
        class,
        first,
        second,
    }
}

/// With work in flight: the oldest is not overdue. Without: the last one was in time.
fn keeps_up(candidate: &Candidate) -> bool {
    match candidate.oldest_in_flight {
        Some((age, duration)) => age < duration.max(PATIENCE),
        None => candidate.score.is_some_and(|score| score <= REAL_TIME),
    }
}

/// The score of a segment that took `took`: go-livepeer's latency score.
pub(super) fn score(took: Duration, segment: Duration) -> f64 {
    took.as_secs_f64() / segment.max(PATIENCE).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Candidate, score, select};

    fn known(score: f64) -> Candidate {
        Candidate {
            score: Some(score),
            ..Candidate::default()
        }
    }

    fn last(score: f64) -> Candidate {
        Candidate {
            last: true,
            ..known(score)
        }
    }

    #[test]
    fn a_stream_stays_where_it_is_served_in_time() {
        assert_eq!(
            select(&[known(0.1), last(1.0), Candidate::default()]),
            Some(1)
        );
    }

    #[test]
    fn a_stream_leaves_who_is_slower_than_real_time() {
        assert_eq!(
            select(&[last(1.01), known(0.9), Candidate::default()]),
            Some(1)
        );
        assert_eq!(select(&[last(1.01), Candidate::default()]), Some(1));
        assert_eq!(select(&[last(1.5), known(1.2)]), Some(1));
        assert_eq!(select(&[last(1.1), known(1.2)]), Some(0));
    }

    #[test]
    fn several_in_flight_go_to_the_same_one_until_the_oldest_is_overdue() {
        let mut busy = last(0.5);
        busy.oldest_in_flight = Some((Duration::from_millis(1900), Duration::from_secs(2)));
        assert_eq!(select(&[known(0.1), busy.clone()]), Some(1));
        busy.oldest_in_flight = Some((Duration::from_millis(2000), Duration::from_secs(2)));
        assert_eq!(select(&[known(0.1), busy.clone()]), Some(0));
        busy.oldest_in_flight = Some((Duration::from_millis(1400), Duration::from_millis(100)));
        assert_eq!(
            select(&[known(0.1), busy]),
            Some(1),
            "short segments get 1.5 s"
        );
    }

    #[test]
    fn new_streams_spread_over_orchestrators_and_then_go_by_latency() {
        let idle = |streams, millis| Candidate {
            streams,
            latency: Duration::from_millis(millis),
            ..Candidate::default()
        };
        assert_eq!(select(&[idle(1, 1), idle(0, 9), idle(0, 5)]), Some(2));
    }

    #[test]
    fn draining_and_failing_ones_are_the_last_resort() {
        let draining = Candidate {
            draining: true,
            ..last(0.1)
        };
        let failing = |penalty| Candidate {
            penalty,
            ..last(0.1)
        };
        assert_eq!(select(&[draining.clone(), known(3.0)]), Some(1));
        assert_eq!(select(&[failing(1), draining]), Some(1));
        assert_eq!(select(&[failing(2), failing(1)]), Some(1));
        assert_eq!(select(&[failing(2)]), Some(0));
        assert_eq!(select(&[]), None);
    }

    #[test]
    fn a_full_one_is_asked_after_those_that_may_have_room_and_before_one_that_fails() {
        let full = Candidate {
            full: true,
            ..Candidate::default()
        };
        let busy = Candidate {
            streams: 9,
            latency: Duration::from_secs(1),
            ..Candidate::default()
        };
        let draining = Candidate {
            draining: true,
            ..Candidate::default()
        };
        let failing = Candidate {
            penalty: 1,
            ..last(0.1)
        };
        assert_eq!(select(&[full.clone(), busy]), Some(1));
        assert_eq!(select(&[full.clone(), draining]), Some(1));
        assert_eq!(select(&[failing, full]), Some(1));
    }

    // latency threshold edges: server/broadcast_test.go
    #[test]
    fn the_score_is_time_by_duration_with_a_floor() {
        let seconds = Duration::from_secs;
        assert!((score(seconds(2), seconds(2)) - 1.0).abs() < 1e-9);
        assert!((score(seconds(3), seconds(1)) - 2.0).abs() < 1e-9);
    }
}

//! Streams that kill workers. Pure: the clock comes in as an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{JobError, Kind};

/// Workers that a stream may take with it.
const MOST_DEATHS: u32 = 3;

/// How long a stream's deaths count, and how long it stays out after the last one.
const KEPT: Duration = Duration::from_secs(600);

/// Streams remembered. At the bound the one with the oldest death is forgotten: an attacker who
/// opens more streams than this pays for every death with a session.
const MOST_STREAMS: usize = 1024;

/// Deaths by stream.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    streams: HashMap<String, Deaths>,
}

#[derive(Debug)]
struct Deaths {
    count: u32,
    last: Instant,
}

impl Quarantine {
    /// Refuses a stream that killed too many workers.
    pub(super) fn check(&self, stream: &str, now: Instant) -> Result<(), JobError> {
        match self.streams.get(stream) {
            Some(deaths)
                if deaths.count >= MOST_DEATHS && now.duration_since(deaths.last) < KEPT =>
            {
                Err(quarantined())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a death; an error when it was one too many.
    pub(super) fn record(&mut self, stream: &str, now: Instant) -> Result<(), JobError> {
        self.streams
            .retain(|_, deaths| now.duration_since(deaths.last) < KEPT);
        if self.streams.len() >= MOST_STREAMS && !self.streams.contains_key(stream) {
            let oldest = self
                .streams
                .iter()
                .min_by_key(|(_, deaths)| deaths.last)
                .map(|(stream, _)| stream.clone());
            if let Some(oldest) = oldest {
                self.streams.remove(&oldest);
            }
        }
        let deaths = self.streams.entry(stream.to_owned()).or_insert(Deaths {
            count: 0,
            last: now,
        });
        deaths.count += 1;
        deaths.last = now;
        self.check(stream, now)
    }
}

/// The text is one after which gateways do not send the segment to the next orchestrator, whose
/// workers it would kill too.
fn quarantined() -> JobError {
    JobError::new(Kind::Quarantined, "TranscoderInvalidVideo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_third_death_quarantines_a_stream_and_time_forgives_it() {
        let mut quarantine = Quarantine::default();
        assert!(quarantine.record("a", Instant::now()).is_ok());
        assert!(quarantine.record("a", Instant::now()).is_ok());
        let error = quarantine.record("a", Instant::now()).unwrap_err();
        assert!(error.is_input_fault());
        assert!(quarantine.check("a", Instant::now()).is_err());
        assert!(quarantine.check("b", Instant::now()).is_ok());
        tokio::time::advance(KEPT).await;
        assert!(quarantine.check("a", Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_streams_remembered_is_bounded() {
        let mut quarantine = Quarantine::default();
        for stream in 0..MOST_STREAMS + 10 {
            let _ = quarantine.record(&stream.to_string(), Instant::now());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(quarantine.streams.len(), MOST_STREAMS);
        assert!(!quarantine.streams.contains_key("0"));
    }
}

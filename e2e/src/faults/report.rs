//! What a fault cost: lost segments and added delay. Pure, but for decoding what came.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::SEGMENT;
use super::live::RENDITIONS;
use crate::stream::{Reply, clip, look};

/// The least that is waited for a segment beyond the fault-free time.
const LEAST: Duration = Duration::from_secs(4);

/// How long segments take when nothing is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    pub p50: Duration,
    pub p99: Duration,
}

impl Baseline {
    /// Of segments that all came back whole; the first is left out, since connections
    /// are made for it.
    pub fn of(replies: &[Reply]) -> Result<Self> {
        let mut times = Vec::new();
        for reply in replies {
            ensure!(
                reply.is_complete(RENDITIONS),
                "segment {} without a fault: {} {:?}",
                reply.seq,
                reply.status,
                reply.error
            );
            if reply.seq > 0 {
                times.push(reply.took);
            }
        }
        times.sort();
        Ok(Self {
            p50: percentile(&times, 50).context("no segments")?,
            p99: percentile(&times, 99).context("no segments")?,
        })
    }
}

/// Of one fault.
#[derive(Debug, Clone)]
pub struct Cost {
    /// Each lost segment, and why.
    pub lost: Vec<String>,
    /// What the slowest segment took beyond the usual.
    pub added: Duration,
}

impl Cost {
    /// Judges the segments that were under way or sent after the fault.
    pub async fn of(window: &[Reply], baseline: &Baseline) -> Result<Self> {
        let limit = baseline.p99 + LEAST.max(SEGMENT * 2);
        let mut lost = Vec::new();
        let mut added = Duration::ZERO;
        for reply in window {
            added = added.max(reply.took.saturating_sub(baseline.p50));
            let why = if !reply.is_complete(RENDITIONS) {
                let parts = reply.renditions.len();
                Some(format!(
                    "{} {:?}, {parts} renditions",
                    reply.status, reply.error
                ))
            } else if reply.took > limit {
                Some("too late".to_owned())
            } else {
                undecodable(reply).await?
            };
            if let Some(why) = why {
                let took = reply.took.as_secs_f32();
                lost.push(format!("segment {} after {took:.2} s: {why}", reply.seq));
            }
        }
        Ok(Self { lost, added })
    }
}

/// Why a complete reply is no use, if it is not.
async fn undecodable(reply: &Reply) -> Result<Option<String>> {
    let folder = tempfile::tempdir()?;
    for rendition in &reply.renditions {
        let path = folder.path().join("rendition.ts");
        tokio::fs::write(&path, &rendition.data).await?;
        match look::video(&path).await {
            Ok(video) if video.frames == clip::SEGMENT_FRAMES => {}
            Ok(video) => {
                return Ok(Some(format!(
                    "{} has {} frames",
                    rendition.name, video.frames
                )));
            }
            Err(error) => return Ok(Some(format!("{}: {error:#}", rendition.name))),
        }
    }
    Ok(None)
}

/// The value below which `percent` of the sorted `values` lie.
pub(super) fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let last = values.len().checked_sub(1)?;
    values.get((last * percent).div_ceil(100)).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;
    use std::time::Duration;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=5).map(Duration::from_secs).collect();
        assert_eq!(percentile(&values, 50), Some(Duration::from_secs(3)));
        assert_eq!(percentile(&values, 99), Some(Duration::from_secs(5)));
        assert_eq!(percentile(&[], 50), None);
    }
}

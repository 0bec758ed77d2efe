//! One attempt at a job: what goes to a worker, what comes back.

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{JobError, Kind};
use crate::job::{Rendition, Transcoded};
use crate::message::{Counts, Outcome, Work};

/// Work on its way to a slot.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Answers with another number are late, and dropped.
    pub(super) id: u64,
    pub(super) work: Work,
    /// Copied when a worker is free, so that what waits is held once.
    pub(super) source: Option<Bytes>,
    pub(super) deadline: Instant,
    /// Closed when the caller no longer waits, which cancels the attempt.
    pub(super) reply: oneshot::Sender<Ended>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    Finished(Finished),
    Failed(JobError),
    /// The worker is gone, or stands still. At fault is the job if the worker crashed, hung or outgrew its
    /// memory; not if something outside killed it.
    WorkerLost {
        at_fault: bool,
        reason: String,
    },
    Stopped,
}

/// A worker's answer with the outputs that it wrote.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) outputs: Vec<Bytes>,
}

/// Joins counts and data; a worker that counts other outputs than it was given is not believed.
pub(super) fn transcoded(counts: Counts, outputs: Vec<Bytes>) -> Result<Transcoded, JobError> {
    if counts.outputs.len() != outputs.len() {
        return Err(JobError::new(
            Kind::Transcode,
            "the worker counted other outputs than it was given",
        ));
    }
    let renditions = counts
        .outputs
        .into_iter()
        .zip(outputs)
        .map(|((frames, pixels), data)| Rendition {
            data,
            frames,
            pixels,
        })
        .collect();
    Ok(Transcoded {
        renditions,
        decoded_frames: counts.decoded_frames,
        decoded_pixels: counts.decoded_pixels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_other_outputs_are_not_believed() {
        let counts = Counts {
            outputs: vec![(1, 1)],
            ..Counts::default()
        };
        assert!(transcoded(counts, vec![]).is_err());
    }
}

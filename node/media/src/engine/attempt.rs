//! One attempt at a job: what goes to a worker, what comes back.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{JobError, Kind};
use crate::job::{Rendition, Transcoded};
use crate::message::{Counts, MAX_OUTPUT_BYTES, Outcome, Work};

/// Work on its way to a slot.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Answers with another number are late, and dropped.
    pub(super) id: u64,
    pub(super) work: Work,
    pub(super) source: Option<SealedSource>,
    pub(super) deadline: Instant,
    /// Closed when the caller no longer waits, which cancels the attempt.
    pub(super) reply: oneshot::Sender<Ended>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    Finished(Finished),
    Failed(JobError),
    /// The worker is gone. At fault is the job if the worker crashed, hung or outgrew its
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

/// A segment in memory that nobody can change any more, shared by attempts.
#[derive(Clone, Debug)]
pub(super) struct SealedSource(Arc<OwnedFd>);

impl SealedSource {
    /// Copies the segment, once for all attempts, off the async threads.
    pub(super) async fn new(source: Bytes) -> Result<Self, JobError> {
        tokio::task::spawn_blocking(move || seal(&source))
            .await
            .map_err(|_| JobError::stopped())?
            .map_err(|error| memory_fault("cannot hold the source", &error))
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}

fn seal(source: &Bytes) -> std::io::Result<SealedSource> {
    let memory = memfd_create(
        "livepeer-source",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut file = File::from(memory);
    file.write_all(source)?;
    file.rewind()?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(SealedSource(Arc::new(file.into())))
}

/// Empty memory for a rendition.
pub(super) fn output() -> Result<OwnedFd, JobError> {
    memfd_create("livepeer-output", MemfdFlags::CLOEXEC)
        .map_err(|error| memory_fault("cannot make an output", &error.into()))
}

/// Copies what a worker wrote out of its reach, off the async threads.
pub(super) async fn read_outputs(outputs: Vec<OwnedFd>) -> Result<Vec<Bytes>, JobError> {
    tokio::task::spawn_blocking(move || outputs.into_iter().map(read_output).collect())
        .await
        .map_err(|_| JobError::stopped())?
}

fn read_output(output: OwnedFd) -> Result<Bytes, JobError> {
    let failed = |error: std::io::Error| memory_fault("cannot read an output", &error);
    let size = rustix::fs::fstat(output.as_fd())
        .map_err(|error| failed(error.into()))?
        .st_size;
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if size > MAX_OUTPUT_BYTES {
        return Err(JobError::new(Kind::Transcode, "a rendition is too large"));
    }
    let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
    // By position: the worker shares the file offset, and may still hold the descriptor.
    File::from(output)
        .read_exact_at(&mut data, 0)
        .map_err(failed)?;
    Ok(Bytes::from(data))
}

/// No fault of the job, so not for the caller's eyes.
fn memory_fault(what: &str, error: &std::io::Error) -> JobError {
    tracing::warn!(%error, "{what}");
    JobError::busy()
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

    #[tokio::test]
    async fn a_sealed_source_cannot_be_written_through_its_descriptor() {
        let source = SealedSource::new(Bytes::from_static(b"segment"))
            .await
            .unwrap();
        let copy = File::from(source.descriptor().try_clone().unwrap());
        assert!(copy.write_all_at(b"x", 0).is_err());
        assert!(copy.set_len(0).is_err());
    }

    #[test]
    fn counts_of_other_outputs_are_not_believed() {
        let counts = Counts {
            outputs: vec![(1, 1)],
            ..Counts::default()
        };
        assert!(transcoded(counts, vec![]).is_err());
    }
}

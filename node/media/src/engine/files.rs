//! The memory files of one job: the sealed source that its worker reads, and the outputs that it
//! writes. The kernel charges them to the container and to no process, so neither the worker's
//! limits nor its resident size tell of them: they have a budget of their own.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};

use crate::budget::{Budget, Held};
use crate::error::{JobError, Kind};
use crate::message::MAX_OUTPUT_BYTES;

/// Unit of `st_blocks`, whatever the file system's blocks are (stat(3type)).
const STAT_BLOCK_BYTES: u64 = 512;

/// What a job reads and writes, and its share of the engine's budget.
#[derive(Debug)]
pub(super) struct Files {
    source: Option<OwnedFd>,
    outputs: Vec<OwnedFd>,
    source_bytes: u64,
    /// The source, and the outputs as far as they were accounted for.
    held: Held,
}

/// Why a job got no files, or may not write on.
#[derive(Debug)]
pub(super) enum FilesError {
    /// The budget is spent.
    NoRoom,
    Failed(JobError),
}

impl Files {
    /// Copies the source, off the async threads, and makes that many outputs.
    pub(super) async fn make(
        source: Option<Bytes>,
        outputs: usize,
        budget: &Budget,
    ) -> Result<Self, FilesError> {
        let source_bytes = source.as_ref().map_or(0, Bytes::len) as u64;
        let held = budget.take(source_bytes).ok_or(FilesError::NoRoom)?;
        let source = match source {
            Some(source) => Some(seal_off_thread(source).await.map_err(FilesError::Failed)?),
            None => None,
        };
        let outputs = (0..outputs)
            .map(|_| output())
            .collect::<Result<_, _>>()
            .map_err(FilesError::Failed)?;
        Ok(Self {
            source,
            outputs,
            source_bytes,
            held,
        })
    }

    /// The source if there is one, then the outputs.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let source = self.source.iter();
        source.chain(&self.outputs).map(AsFd::as_fd).collect()
    }

    /// Takes from the budget what the outputs have grown by.
    pub(super) fn account(&mut self) -> Result<(), FilesError> {
        let mut bytes = self.source_bytes;
        for output in &self.outputs {
            let (_, taken) = size(output).map_err(FilesError::Failed)?;
            bytes = bytes.saturating_add(taken);
        }
        let more = bytes.saturating_sub(self.held.bytes());
        match self.held.grow(more) {
            true => Ok(()),
            false => Err(FilesError::NoRoom),
        }
    }

    /// Copies what a worker wrote out of its reach, off the async threads. It counts in the
    /// budget until its last reference is dropped.
    pub(super) async fn read(mut self) -> Result<Vec<Bytes>, FilesError> {
        self.account()?;
        let Self {
            source,
            outputs,
            source_bytes: _,
            held,
        } = self;
        drop(source);
        tokio::task::spawn_blocking(move || read_all(outputs, held))
            .await
            .map_err(|_| FilesError::Failed(JobError::stopped()))?
            .map_err(FilesError::Failed)
    }
}

/// One after the other, so that no more than one of them is held twice.
fn read_all(outputs: Vec<OwnedFd>, mut held: Held) -> Result<Vec<Bytes>, JobError> {
    let mut all = Vec::with_capacity(outputs.len());
    for output in outputs {
        let data = read(output)?;
        all.push(held.split(data.len() as u64).seal(data));
    }
    Ok(all)
}

fn read(output: OwnedFd) -> Result<Vec<u8>, JobError> {
    let (length, _) = size(&output)?;
    if length > MAX_OUTPUT_BYTES {
        return Err(JobError::new(Kind::Transcode, "a rendition is too large"));
    }
    let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
    // By position: the worker shares the file offset, and may still hold the descriptor.
    File::from(output)
        .read_exact_at(&mut data, 0)
        .map_err(|error| fault("cannot read an output", &error))?;
    Ok(data)
}

/// Length of a file, and the bytes that it takes: no less, and more if it was given room beyond.
fn size(file: &OwnedFd) -> Result<(u64, u64), JobError> {
    let stat = fstat(file).map_err(|error| fault("cannot look at an output", &error.into()))?;
    let length = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(u64::MAX);
    let taken = length.max(blocks.saturating_mul(STAT_BLOCK_BYTES));
    Ok((length, taken))
}

async fn seal_off_thread(source: Bytes) -> Result<OwnedFd, JobError> {
    tokio::task::spawn_blocking(move || seal(&source))
        .await
        .map_err(|_| JobError::stopped())?
        .map_err(|error| fault("cannot hold the source", &error))
}

/// A segment in memory that nobody can change any more.
fn seal(source: &Bytes) -> std::io::Result<OwnedFd> {
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
    Ok(file.into())
}

/// Empty memory for a rendition.
fn output() -> Result<OwnedFd, JobError> {
    memfd_create("livepeer-output", MemfdFlags::CLOEXEC)
        .map_err(|error| fault("cannot make an output", &error.into()))
}

/// No fault of the job, so not for the caller's eyes.
fn fault(what: &str, error: &std::io::Error) -> JobError {
    tracing::warn!(%error, "{what}");
    JobError::busy()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Larger than a page, of which memory files are made.
    const WRITTEN: usize = 1 << 20;

    fn write(files: &Files, output: usize) {
        let file = File::from(files.outputs[output].try_clone().unwrap());
        file.write_all_at(&vec![7; WRITTEN], 0).unwrap();
    }

    #[tokio::test]
    async fn a_sealed_source_cannot_be_written_through_its_descriptor() {
        let source = Some(Bytes::from_static(b"segment"));
        let files = Files::make(source, 0, &Budget::new(7)).await.unwrap();
        let copy = File::from(files.source.unwrap());
        assert!(copy.write_all_at(b"x", 0).is_err());
        assert!(copy.set_len(0).is_err());
    }

    #[tokio::test]
    async fn a_source_for_which_there_is_no_room_is_not_copied() {
        let source = Some(Bytes::from_static(b"segment"));
        let budget = Budget::new(6);
        let refused = Files::make(source, 1, &budget).await;
        assert!(matches!(refused, Err(FilesError::NoRoom)));
        assert_eq!((budget.used(), budget.refused()), (0, 1));
    }

    #[tokio::test]
    async fn outputs_count_as_they_grow_and_stop_at_the_budget() {
        let budget = Budget::new(WRITTEN as u64 * 3 / 2);
        let mut files = Files::make(None, 2, &budget).await.unwrap();
        write(&files, 0);
        files.account().unwrap();
        assert_eq!(budget.used(), WRITTEN as u64);
        write(&files, 1);
        assert!(matches!(files.account(), Err(FilesError::NoRoom)));
        drop(files);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_was_read_counts_until_it_is_dropped() {
        let budget = Budget::new(4 * WRITTEN as u64);
        let source = Some(Bytes::from(vec![1; WRITTEN]));
        let files = Files::make(source, 2, &budget).await.unwrap();
        write(&files, 1);
        let read = files.read().await.unwrap();
        assert_eq!((read[0].len(), read[1].len()), (0, WRITTEN));
        assert_eq!(budget.used(), WRITTEN as u64);
        drop(read);
        assert_eq!(budget.used(), 0);
    }
}

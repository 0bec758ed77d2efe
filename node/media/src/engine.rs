//! The supervisor: owns the worker processes, hands them jobs, survives their deaths.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::config::{DeviceStatus, EngineConfig};
use crate::error::JobError;
use crate::job::{Probe, TranscodeJob, Transcoded};

/// Why an engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot start {program}")]
    Spawn {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the worker did not report ready: {0}")]
    NotReady(String),
}

/// A pool of worker processes. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cancel: CancellationToken,
    device: DeviceStatus,
    capacity: usize,
}

impl Engine {
    /// Starts the workers and runs the self-test.
    pub async fn start(
        config: EngineConfig,
        cancel: CancellationToken,
    ) -> Result<Engine, EngineError> {
        let shared = Arc::new(Shared {
            cancel,
            device: DeviceStatus::Cpu,
            capacity: config.capacity.unwrap_or(1),
        });
        Ok(Engine { shared })
    }

    /// Transcodes a segment. Dropping the future cancels the job.
    pub async fn transcode(&self, job: TranscodeJob) -> Result<Transcoded, JobError> {
        crate::profile::validate_all(&job.profiles)?;
        Err(JobError::stopped())
    }

    /// Tells what a segment holds.
    pub async fn probe(&self, _source: Bytes) -> Result<Probe, JobError> {
        Err(JobError::stopped())
    }

    /// Sessions at once; 0 while the device is unusable.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// What became of the device asked for.
    pub fn device_status(&self) -> DeviceStatus {
        self.shared.device.clone()
    }

    /// Kills and reaps the workers; jobs still running end with `TranscoderStopped`.
    pub async fn stop(self) {
        self.shared.cancel.cancel();
    }
}

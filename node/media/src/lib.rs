//! Transcoding jobs and the supervisor of the worker processes that run them.
//!
//! A role asks [`Engine`] for renditions of a segment; the engine hands the job to a
//! `livepeer-engine` process over a message boundary and brings the result back. libav is
//! linked by that program alone: this crate, and so every role, maps none of it.
//!
//! - [`budget`]: how many bytes are held at once, also by roles
//! - [`profile`]: what is asked for; presets; the checks made before any work
//! - [`size`]: how large a rendition of a source becomes
//! - [`job`]: one segment in, renditions and counts out
//! - [`error`]: failures, with the texts that go-livepeer peers match on
//! - [`config`]: how an engine is set up, and what became of its device
//! - [`engine`]: the supervisor
//! - [`message`]: what passes between supervisor and worker

pub mod budget;
pub mod config;
pub mod engine;
pub mod error;
pub mod job;
pub mod message;
pub mod profile;
pub mod size;

pub use config::{Device, DeviceStatus, EngineConfig};
pub use engine::{Engine, EngineError};
pub use error::JobError;
pub use job::{AudioInfo, Clip, Probe, Rendition, Shown, TranscodeJob, Transcoded, VideoInfo};
pub use profile::{Codec, Format, Gop, H264Profile, Profile};
pub use size::rendition_size;

//! A stream as a user has it: a clip cut into segments, pushed over HTTP, looked at
//! with ffmpeg and ffprobe. Knows no Kubernetes; the same code drives the demo, the
//! faults and the tests.

pub mod clip;
pub mod look;
pub mod push;
pub mod viewer;

pub use clip::Clip;
pub use push::{Pusher, Reply};
pub use viewer::Viewer;

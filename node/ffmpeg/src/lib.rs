//! Safe, owned wrappers over libav: the only unsafe code of the project.
//!
//! Built on ffmpeg-next, whose bindings (`ffi`), contexts and stream I/O are used as they are;
//! where its types copy what we want to share, or leave on "auto" what we set, a type here owns
//! the libav object instead. Rules: one owner per pointer, freed in `Drop`; errors are values;
//! threads are always given, never left to libav's choice; input comes from and output goes to a
//! Rust stream, never a path or an address.
//!
//! This crate knows nothing of profiles, jobs or processes. It wraps what the engine uses, not
//! all that libav can do.
#![allow(unsafe_code, reason = "FFI")]

pub mod decoder;
pub mod device;
pub mod encoder;
pub mod error;
pub mod filter;
pub mod frame;
pub mod input;
pub mod output;
pub mod packet;
pub mod process;
mod wrap;

pub use decoder::Decoder;
pub use device::CudaDevice;
pub use encoder::{Encoder, EncoderSettings};
pub use error::Error;
pub use filter::{FilterGraph, VideoSource};
pub use frame::Frame;
pub use input::{Input, Media, StreamInfo};
pub use output::{Container, CopiedStream, Output};
pub use packet::Packet;

/// A fraction: a time base (seconds a tick) or a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rational {
    pub num: i32,
    pub den: i32,
}

impl Rational {
    pub const fn new(num: i32, den: i32) -> Self {
        Self { num, den }
    }

    /// Whether it is a number above zero.
    pub fn is_positive(self) -> bool {
        self.num > 0 && self.den > 0
    }

    pub fn inverse(self) -> Self {
        Self::new(self.den, self.num)
    }

    /// The nearest fraction of which neither part is above `most`; zero when it is too small.
    pub fn reduced(num: i64, den: i64, most: i32) -> Self {
        let mut near = Self::new(0, 1);
        // SAFETY: plain arithmetic on values; both results are written.
        unsafe {
            ffmpeg_next::ffi::av_reduce(
                &raw mut near.num,
                &raw mut near.den,
                num,
                den,
                i64::from(most),
            );
        }
        near
    }

    pub fn to_f64(self) -> f64 {
        if self.den == 0 {
            0.0
        } else {
            f64::from(self.num) / f64::from(self.den)
        }
    }
}

impl From<ffmpeg_next::ffi::AVRational> for Rational {
    fn from(value: ffmpeg_next::ffi::AVRational) -> Self {
        Self::new(value.num, value.den)
    }
}

impl From<Rational> for ffmpeg_next::ffi::AVRational {
    fn from(value: Rational) -> Self {
        Self {
            num: value.num,
            den: value.den,
        }
    }
}

/// What a decoder, filter or encoder has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The frame or packet was filled.
    Ready,
    /// Nothing yet: feed it first.
    NeedsInput,
    /// Drained to the end.
    End,
}

/// Converts `value` ticks of `from` into ticks of `to`, to the nearest.
pub fn rescale(value: i64, from: Rational, to: Rational) -> i64 {
    // SAFETY: plain arithmetic on values.
    unsafe { ffmpeg_next::ffi::av_rescale_q(value, from.into(), to.into()) }
}

/// Silences libav: what matters comes back as error values, and its log would repeat hostile
/// input.
pub fn silence_log() {
    // SAFETY: sets one global integer.
    unsafe { ffmpeg_next::ffi::av_log_set_level(ffmpeg_next::ffi::AV_LOG_QUIET) }
}

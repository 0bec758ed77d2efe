//! libav's error codes as a Rust error. The text is `av_strerror`'s, which peers match on.

use std::ffi::{CStr, c_int};
use std::fmt;

use ffmpeg_next::ffi;

use crate::Received;

/// A negative return value of libav.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(c_int);

impl Error {
    pub const END: Self = Self(ffi::AVERROR_EOF);
    pub const INVALID_DATA: Self = Self(ffi::AVERROR_INVALIDDATA);
    pub const DECODER_NOT_FOUND: Self = Self(ffi::AVERROR_DECODER_NOT_FOUND);
    pub const ENCODER_NOT_FOUND: Self = Self(ffi::AVERROR_ENCODER_NOT_FOUND);
    pub const INVALID_ARGUMENT: Self = Self(ffi::AVERROR(ffi::EINVAL));
    pub const NO_MEMORY: Self = Self(ffi::AVERROR(ffi::ENOMEM));
    const AGAIN: Self = Self(ffi::AVERROR(ffi::EAGAIN));
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ffi::AV_ERROR_MAX_STRING_SIZE];
        // SAFETY: the buffer is as long as stated, and av_strerror always ends it with a zero.
        let text = unsafe {
            ffi::av_strerror(self.0, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr())
        };
        f.write_str(&text.to_string_lossy())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}, {self})", self.0)
    }
}

impl std::error::Error for Error {}

impl From<ffmpeg_next::Error> for Error {
    fn from(error: ffmpeg_next::Error) -> Self {
        match error {
            // ffmpeg-next maps POSIX codes to themselves, not to libav's negated form.
            ffmpeg_next::Error::Other { errno } => Self(ffi::AVERROR(errno)),
            other => Self(other.into()),
        }
    }
}

/// The value, or the error that a negative one stands for.
pub(crate) fn check(value: c_int) -> Result<c_int, Error> {
    if value < 0 {
        Err(Error(value))
    } else {
        Ok(value)
    }
}

/// Sorts the answer of a `receive` call.
pub(crate) fn received(value: c_int) -> Result<Received, Error> {
    match check(value) {
        Ok(_) => Ok(Received::Ready),
        Err(Error::AGAIN) => Ok(Received::NeedsInput),
        Err(Error::END) => Ok(Received::End),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_ones_that_peers_match_on() {
        assert_eq!(Error::DECODER_NOT_FOUND.to_string(), "Decoder not found");
        assert_eq!(Error::ENCODER_NOT_FOUND.to_string(), "Encoder not found");
        assert_eq!(Error::INVALID_ARGUMENT.to_string(), "Invalid argument");
    }
}

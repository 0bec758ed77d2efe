//! A decoded picture, reference-counted by libav.

use std::ptr::NonNull;

use ffmpeg_next::ffi;

use crate::Rational;
use crate::error::{Error, check};

/// Owns one `AVFrame`; the picture behind it may be shared with other frames, so nothing here
/// writes to it.
pub struct Frame(NonNull<ffi::AVFrame>);

// SAFETY: the frame has one owner; its buffers' counts are atomic and their bytes only read.
unsafe impl Send for Frame {}

impl Frame {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: allocates; null is checked.
        let frame = unsafe { ffi::av_frame_alloc() };
        NonNull::new(frame).map(Self).ok_or(Error::NO_MEMORY)
    }

    /// A picture of that size, of undefined content, in the encoders' common format.
    pub fn blank(width: u32, height: u32) -> Result<Self, Error> {
        let mut frame = Self::new()?;
        let side = |value: u32| i32::try_from(value).map_err(|_| Error::INVALID_ARGUMENT);
        let raw = frame.raw_mut();
        raw.width = side(width)?;
        raw.height = side(height)?;
        raw.format = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32;
        // SAFETY: size and format are set; libav allocates buffers that the frame owns.
        check(unsafe { ffi::av_frame_get_buffer(frame.0.as_ptr(), 0) })?;
        Ok(frame)
    }

    /// Another frame over the same picture.
    pub fn share(&self) -> Result<Self, Error> {
        let copy = Self::new()?;
        // SAFETY: both are valid frames; the picture is counted, not copied.
        check(unsafe { ffi::av_frame_ref(copy.0.as_ptr(), self.0.as_ptr()) })?;
        Ok(copy)
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::AVFrame {
        self.0.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut ffi::AVFrame {
        self.0.as_ptr()
    }

    pub(crate) fn raw(&self) -> &ffi::AVFrame {
        // SAFETY: valid for as long as self, which is borrowed.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut ffi::AVFrame {
        // SAFETY: valid for as long as self, which is borrowed alone.
        unsafe { self.0.as_mut() }
    }

    pub fn width(&self) -> u32 {
        u32::try_from(self.raw().width).unwrap_or(0)
    }

    pub fn height(&self) -> u32 {
        u32::try_from(self.raw().height).unwrap_or(0)
    }

    /// libav's number of the pixel format; comparable, otherwise opaque.
    pub fn format(&self) -> i32 {
        self.raw().format
    }

    /// Width to height of a sample; not positive when unknown.
    pub fn sample_aspect(&self) -> Rational {
        self.raw().sample_aspect_ratio.into()
    }

    pub fn pts(&self) -> Option<i64> {
        Some(self.raw().pts).filter(|&pts| pts != ffi::AV_NOPTS_VALUE)
    }

    pub fn set_pts(&mut self, pts: i64) {
        self.raw_mut().pts = pts;
    }

    /// The decoder's best guess of the presentation time.
    pub fn best_effort_pts(&self) -> Option<i64> {
        Some(self.raw().best_effort_timestamp).filter(|&pts| pts != ffi::AV_NOPTS_VALUE)
    }

    /// How long it is shown, in ticks of its stream; 0 when unknown.
    pub fn duration(&self) -> i64 {
        self.raw().pkt_duration.max(0)
    }

    /// Asks the encoder for a keyframe here, or leaves the choice to it. A decoded frame still
    /// says what it was in the source, which an encoder would repeat.
    pub fn set_keyframe(&mut self, forced: bool) {
        self.raw_mut().pict_type = if forced {
            ffi::AVPictureType::AV_PICTURE_TYPE_I
        } else {
            ffi::AVPictureType::AV_PICTURE_TYPE_NONE
        };
    }

    /// Lets go of the picture, keeping the frame for the next one.
    pub fn clear(&mut self) {
        // SAFETY: a valid frame, borrowed alone.
        unsafe { ffi::av_frame_unref(self.0.as_ptr()) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut frame = self.0.as_ptr();
        // SAFETY: the only owner; the pointer is not used again.
        unsafe { ffi::av_frame_free(&raw mut frame) }
    }
}

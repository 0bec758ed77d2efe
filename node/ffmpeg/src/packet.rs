//! A piece of a compressed stream, reference-counted by libav.

use std::ptr::NonNull;

use ffmpeg_next::ffi;

use crate::error::{Error, check};
use crate::{Rational, rescale};

/// Owns one `AVPacket`.
pub struct Packet(NonNull<ffi::AVPacket>);

// SAFETY: the packet has one owner; its data buffer's count is atomic.
unsafe impl Send for Packet {}

impl Packet {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: allocates; null is checked.
        let packet = unsafe { ffi::av_packet_alloc() };
        NonNull::new(packet).map(Self).ok_or(Error::NO_MEMORY)
    }

    /// Another packet over the same data.
    pub fn share(&self) -> Result<Self, Error> {
        let copy = Self::new()?;
        // SAFETY: both are valid packets; the data is counted, not copied.
        check(unsafe { ffi::av_packet_ref(copy.0.as_ptr(), self.0.as_ptr()) })?;
        Ok(copy)
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::AVPacket {
        self.0.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut ffi::AVPacket {
        self.0.as_ptr()
    }

    fn raw(&self) -> &ffi::AVPacket {
        // SAFETY: valid for as long as self, which is borrowed.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut ffi::AVPacket {
        // SAFETY: valid for as long as self, which is borrowed alone.
        unsafe { self.0.as_mut() }
    }

    pub fn pts(&self) -> Option<i64> {
        Some(self.raw().pts).filter(|&pts| pts != ffi::AV_NOPTS_VALUE)
    }

    pub fn dts(&self) -> Option<i64> {
        Some(self.raw().dts).filter(|&dts| dts != ffi::AV_NOPTS_VALUE)
    }

    pub fn set_pts(&mut self, pts: i64) {
        self.raw_mut().pts = pts;
    }

    pub fn set_dts(&mut self, dts: i64) {
        self.raw_mut().dts = dts;
    }

    pub fn duration(&self) -> i64 {
        self.raw().duration
    }

    /// Index of the stream that it was read from.
    pub fn stream(&self) -> usize {
        usize::try_from(self.raw().stream_index).unwrap_or(usize::MAX)
    }

    pub(crate) fn set_stream(&mut self, index: i32) {
        let raw = self.raw_mut();
        raw.stream_index = index;
        raw.pos = -1;
    }

    pub fn is_key(&self) -> bool {
        self.raw().flags & ffi::AV_PKT_FLAG_KEY != 0
    }

    pub fn size(&self) -> usize {
        usize::try_from(self.raw().size).unwrap_or(0)
    }

    /// Converts its times from one time base to another.
    pub fn rescale(&mut self, from: Rational, to: Rational) {
        let (pts, dts) = (self.pts(), self.dts());
        let raw = self.raw_mut();
        raw.duration = rescale(raw.duration, from, to);
        if let Some(pts) = pts {
            raw.pts = rescale(pts, from, to);
        }
        if let Some(dts) = dts {
            raw.dts = rescale(dts, from, to);
        }
    }

    /// Lets go of the data, keeping the packet for the next read.
    pub fn clear(&mut self) {
        // SAFETY: a valid packet, borrowed alone.
        unsafe { ffi::av_packet_unref(self.0.as_ptr()) }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let mut packet = self.0.as_ptr();
        // SAFETY: the only owner; the pointer is not used again.
        unsafe { ffi::av_packet_free(&raw mut packet) }
    }
}

//! A video decoder.

use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use crate::error::{Error, check, received};
use crate::{CudaDevice, Frame, Input, Packet, Received};

/// Owns one open `AVCodecContext`.
pub struct Decoder(NonNull<ffi::AVCodecContext>);

// SAFETY: one owner; libav's own threads are its private matter.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Opens a decoder for a stream, with that many threads, on a device if given.
    pub fn open(
        input: &Input,
        stream: usize,
        threads: u32,
        device: Option<&CudaDevice>,
    ) -> Result<Self, Error> {
        let stream = input.stream_ptr(stream)?;
        // SAFETY: the stream belongs to the open input; codecpar is never null.
        let parameters = unsafe { (*stream).codecpar };
        // SAFETY: as above; find_decoder only looks up.
        let codec = unsafe { ffi::avcodec_find_decoder((*parameters).codec_id) };
        if codec.is_null() {
            return Err(Error::DECODER_NOT_FOUND);
        }
        // SAFETY: the codec was found; null is checked.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        let decoder = Self(NonNull::new(context).ok_or(Error::NO_MEMORY)?);
        // SAFETY: the context is new and owned by `decoder`, which frees it on every way out.
        unsafe {
            check(ffi::avcodec_parameters_to_context(context, parameters))?;
            (*context).pkt_timebase = (*stream).time_base;
            (*context).thread_count = i32::try_from(threads.max(1)).unwrap_or(1);
            if let Some(device) = device {
                // The default get_format picks the device's format once this is set.
                (*context).hw_device_ctx = device.share()?;
            }
            check(ffi::avcodec_open2(context, codec, ptr::null_mut()))?;
        }
        Ok(decoder)
    }

    pub fn send(&mut self, packet: &Packet) -> Result<(), Error> {
        // SAFETY: both valid; libav references the packet, it does not change it.
        check(unsafe { ffi::avcodec_send_packet(self.0.as_ptr(), packet.as_ptr()) }).map(drop)
    }

    /// No more packets will come.
    pub fn finish(&mut self) -> Result<(), Error> {
        // SAFETY: a null packet starts draining.
        check(unsafe { ffi::avcodec_send_packet(self.0.as_ptr(), ptr::null()) }).map(drop)
    }

    pub fn receive(&mut self, frame: &mut Frame) -> Result<Received, Error> {
        // SAFETY: both valid and borrowed alone; libav clears the frame first.
        received(unsafe { ffi::avcodec_receive_frame(self.0.as_ptr(), frame.as_mut_ptr()) })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let mut context = self.0.as_ptr();
        // SAFETY: the only owner; the pointer is not used again.
        unsafe { ffi::avcodec_free_context(&raw mut context) }
    }
}

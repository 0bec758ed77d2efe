//! A video encoder.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use crate::error::{Error, check, received};
use crate::{FilterGraph, Frame, Packet, Rational, Received};

/// How an encoder is opened. Size, pixel format and device come from the graph that feeds it.
#[derive(Clone, Debug)]
pub struct EncoderSettings {
    /// libav's encoder name: `libx264`, `h264_nvenc`.
    pub codec: &'static str,
    pub frame_rate: Rational,
    /// Width to height of a sample; `None` says nothing about it.
    pub sample_aspect: Option<Rational>,
    pub bit_rate: i64,
    /// Maximum rate and size of the rate control buffer.
    pub max_rate: i64,
    /// Frames between keyframes; `None` is the encoder's default.
    pub gop: Option<i32>,
    /// Fewest frames between keyframes; `None` is the encoder's default.
    pub keyint_min: Option<i32>,
    pub max_b_frames: i32,
    pub threads: u32,
    /// Parameter sets in the container's header, not in the stream.
    pub global_header: bool,
    /// Private options of the encoder.
    pub options: Vec<(&'static str, String)>,
}

/// Owns one open `AVCodecContext`.
pub struct Encoder(NonNull<ffi::AVCodecContext>);

// SAFETY: one owner; libav's own threads are its private matter.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Opens an encoder for what `source` puts out.
    pub fn open(source: &FilterGraph, settings: &EncoderSettings) -> Result<Self, Error> {
        let name = CString::new(settings.codec).map_err(|_| Error::INVALID_ARGUMENT)?;
        // SAFETY: a valid string; only looks up.
        let codec = unsafe { ffi::avcodec_find_encoder_by_name(name.as_ptr()) };
        if codec.is_null() {
            return Err(Error::ENCODER_NOT_FOUND);
        }
        // SAFETY: the codec was found; null is checked.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        let encoder = Self(NonNull::new(context).ok_or(Error::NO_MEMORY)?);
        // SAFETY: the context is new, and owned by `encoder`, which frees it on every way out.
        let fields = unsafe { &mut *context };
        fields.width = source.width();
        fields.height = source.height();
        fields.pix_fmt = source.pixel_format();
        fields.time_base = source.time_base().into();
        fields.framerate = settings.frame_rate.into();
        if let Some(aspect) = settings.sample_aspect {
            fields.sample_aspect_ratio = aspect.into();
        }
        fields.bit_rate = settings.bit_rate;
        fields.rc_max_rate = settings.max_rate;
        fields.rc_min_rate = settings.max_rate;
        fields.rc_buffer_size =
            i32::try_from(settings.max_rate).map_err(|_| Error::INVALID_ARGUMENT)?;
        fields.max_b_frames = settings.max_b_frames;
        fields.thread_count = i32::try_from(settings.threads.max(1)).unwrap_or(1);
        if let Some(gop) = settings.gop {
            fields.gop_size = gop;
        }
        if let Some(keyint_min) = settings.keyint_min {
            fields.keyint_min = keyint_min;
        }
        if settings.global_header {
            fields.flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
        }
        // SAFETY: the sink's frames context, if any, is referenced and then owned by the context.
        unsafe {
            let frames = ffi::av_buffersink_get_hw_frames_ctx(source.sink());
            if !frames.is_null() {
                fields.hw_frames_ctx = ffi::av_buffer_ref(frames);
            }
        }
        for (key, value) in &settings.options {
            let key = CString::new(*key).map_err(|_| Error::INVALID_ARGUMENT)?;
            let value = CString::new(value.as_str()).map_err(|_| Error::INVALID_ARGUMENT)?;
            // SAFETY: priv_data was allocated with the context for this codec's options.
            check(unsafe {
                ffi::av_opt_set((*context).priv_data, key.as_ptr(), value.as_ptr(), 0)
            })?;
        }
        // SAFETY: set up just above with the codec that it was allocated for.
        check(unsafe { ffi::avcodec_open2(context, codec, ptr::null_mut()) })?;
        Ok(encoder)
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::AVCodecContext {
        self.0.as_ptr()
    }

    pub fn width(&self) -> u32 {
        // SAFETY: reads an integer of a valid context.
        u32::try_from(unsafe { self.0.as_ref() }.width).unwrap_or(0)
    }

    pub fn height(&self) -> u32 {
        // SAFETY: as above.
        u32::try_from(unsafe { self.0.as_ref() }.height).unwrap_or(0)
    }

    pub fn time_base(&self) -> Rational {
        // SAFETY: as above.
        unsafe { self.0.as_ref() }.time_base.into()
    }

    pub fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        // SAFETY: both valid; libav references the frame, it does not change it.
        check(unsafe { ffi::avcodec_send_frame(self.0.as_ptr(), frame.as_ptr()) }).map(drop)
    }

    /// No more frames will come.
    pub fn finish(&mut self) -> Result<(), Error> {
        // SAFETY: a null frame starts draining.
        check(unsafe { ffi::avcodec_send_frame(self.0.as_ptr(), ptr::null()) }).map(drop)
    }

    pub fn receive(&mut self, packet: &mut Packet) -> Result<Received, Error> {
        // SAFETY: both valid and borrowed alone; libav clears the packet first.
        received(unsafe { ffi::avcodec_receive_packet(self.0.as_ptr(), packet.as_mut_ptr()) })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let mut context = self.0.as_ptr();
        // SAFETY: the only owner; the pointer is not used again.
        unsafe { ffi::avcodec_free_context(&raw mut context) }
    }
}

//! A container written to a Rust stream.

use std::io::{Seek, Write};
use std::ptr;

use ffmpeg_next::Dictionary;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Output as Context, StreamIo};

use crate::error::{Error, check};
use crate::{Encoder, Input, Packet, Rational};

/// Bytes handed to the stream at a time.
const WRITE_BYTES: usize = 256 * 1024;

/// Containers that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    MpegTs,
    Mp4,
}

impl Container {
    fn name(self) -> &'static str {
        match self {
            Self::MpegTs => "mpegts",
            Self::Mp4 => "mp4",
        }
    }
}

/// An open container: add streams, write the header, packets, the trailer.
pub struct Output(Context);

impl Output {
    pub fn new(
        container: Container,
        stream: impl Write + Seek + Send + 'static,
    ) -> Result<Self, Error> {
        let io = StreamIo::from_write_seek_with_capacity(stream, WRITE_BYTES)?;
        let context = ffmpeg_next::format::output_to_stream(io, None, Some(container.name()))?;
        Ok(Self(context))
    }

    /// Whether encoders for this container must put parameter sets into its header.
    pub fn wants_global_header(&self) -> bool {
        // SAFETY: an output context has its muxer, a static description.
        unsafe { (*(*self.0.as_ptr()).oformat).flags & ffi::AVFMT_GLOBALHEADER != 0 }
    }

    pub fn set_metadata(&mut self, metadata: &[(&str, &str)]) {
        let mut dictionary = Dictionary::new();
        for (key, value) in metadata {
            // A zero byte would panic in ffmpeg-next; it has no meaning in a container.
            dictionary.set(key, &value.replace('\0', ""));
        }
        self.0.set_metadata(dictionary);
    }

    fn add_stream(&mut self) -> Result<*mut ffi::AVStream, Error> {
        // SAFETY: the context is borrowed alone; null is checked.
        let stream = unsafe { ffi::avformat_new_stream(self.0.as_mut_ptr(), ptr::null()) };
        if stream.is_null() {
            Err(Error::NO_MEMORY)
        } else {
            Ok(stream)
        }
    }

    /// Adds a stream that an encoder fills; tells its index.
    pub fn add_encoded(&mut self, encoder: &Encoder, frame_rate: Rational) -> Result<usize, Error> {
        let stream = self.add_stream()?;
        // SAFETY: a stream of this context, just made; the encoder is open.
        unsafe {
            check(ffi::avcodec_parameters_from_context(
                (*stream).codecpar,
                encoder.as_ptr(),
            ))?;
            (*stream).time_base = encoder.time_base().into();
            (*stream).avg_frame_rate = frame_rate.into();
            (*stream).sample_aspect_ratio = (*(*stream).codecpar).sample_aspect_ratio;
            usize::try_from((*stream).index).map_err(|_| Error::INVALID_ARGUMENT)
        }
    }

    /// Adds a stream that an input's packets are copied into; tells its index.
    pub fn add_copy(&mut self, input: &CopiedStream) -> Result<usize, Error> {
        let stream = self.add_stream()?;
        // SAFETY: a stream of this context, just made; the parameters are owned by `input`.
        unsafe {
            check(ffi::avcodec_parameters_copy(
                (*stream).codecpar,
                input.parameters,
            ))?;
            // The tag is the source container's; the muxer picks its own.
            (*(*stream).codecpar).codec_tag = 0;
            (*stream).time_base = input.time_base.into();
            usize::try_from((*stream).index).map_err(|_| Error::INVALID_ARGUMENT)
        }
    }

    /// Writes the header; streams have their final time bases afterwards.
    pub fn write_header(&mut self, options: &[(&str, &str)]) -> Result<(), Error> {
        let mut dictionary = Dictionary::new();
        for (key, value) in options {
            dictionary.set(key, value);
        }
        self.0.write_header_with(dictionary)?;
        Ok(())
    }

    /// Time base of a stream's packets; final after the header.
    pub fn time_base(&self, stream: usize) -> Result<Rational, Error> {
        // SAFETY: the index is checked against the context's own count.
        unsafe {
            let context = self.0.as_ptr();
            if stream >= (*context).nb_streams as usize {
                return Err(Error::INVALID_ARGUMENT);
            }
            Ok((**(*context).streams.add(stream)).time_base.into())
        }
    }

    /// Writes a packet in its place by dts; takes its data.
    pub fn write(&mut self, stream: usize, packet: &mut Packet) -> Result<(), Error> {
        packet.set_stream(i32::try_from(stream).map_err(|_| Error::INVALID_ARGUMENT)?);
        // SAFETY: both valid and borrowed alone; libav takes the packet's reference and leaves
        // it empty.
        check(unsafe { ffi::av_interleaved_write_frame(self.0.as_mut_ptr(), packet.as_mut_ptr()) })
            .map(drop)
    }

    /// Writes what is queued, and the trailer.
    pub fn finish(mut self) -> Result<(), Error> {
        self.0.write_trailer()?;
        Ok(())
    }
}

/// A stream of an input as a muxer needs it, independent of that input's life.
pub struct CopiedStream {
    parameters: *mut ffi::AVCodecParameters,
    time_base: Rational,
}

// SAFETY: the parameters have one owner and are only read.
unsafe impl Send for CopiedStream {}
// SAFETY: nothing changes them after `of`.
unsafe impl Sync for CopiedStream {}

impl CopiedStream {
    pub fn of(input: &Input, stream: usize) -> Result<Self, Error> {
        let stream = input.stream_ptr(stream)?;
        // SAFETY: allocates; null is checked.
        let parameters = unsafe { ffi::avcodec_parameters_alloc() };
        if parameters.is_null() {
            return Err(Error::NO_MEMORY);
        }
        // SAFETY: the stream belongs to the open input.
        let time_base = unsafe { (*stream).time_base }.into();
        let copied = Self {
            parameters,
            time_base,
        };
        // SAFETY: both valid; codecpar of a stream is never null.
        check(unsafe { ffi::avcodec_parameters_copy(copied.parameters, (*stream).codecpar) })?;
        Ok(copied)
    }

    pub fn time_base(&self) -> Rational {
        self.time_base
    }
}

impl Drop for CopiedStream {
    fn drop(&mut self) {
        // SAFETY: the only owner; the pointer is not used again.
        unsafe { ffi::avcodec_parameters_free(&raw mut self.parameters) }
    }
}

//! A container read from a Rust stream.

use std::ffi::CStr;
use std::io::{Read, Seek};
use std::ptr;
use std::time::Duration;

use ffmpeg_next::Dictionary;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Input as Context, StreamIo};

use crate::error::{Error, check};
use crate::wrap::Wrap;
use crate::{Packet, Rational};

/// Containers that are opened: the wire's two. Every other demuxer of libav is attack surface.
const CONTAINERS: &str = "mpegts,mov,mp4,m4a,3gp,3g2,mj2";

/// Bytes asked of the stream at a time: fewer calls than libavformat's 32 KiB.
const READ_BYTES: usize = 256 * 1024;

/// Kind of stream that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Video,
    Audio,
}

/// What the container and the first frames tell of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    pub index: usize,
    /// libav's codec name: `h264`, `aac`.
    pub codec: String,
    pub width: u32,
    pub height: u32,
    /// `None` when no frame told.
    pub pixel_format: Option<String>,
    pub time_base: Rational,
    /// Guessed; not positive when unknown.
    pub frame_rate: Rational,
    /// Width to height of a sample by the container, which goes before what frames say; not
    /// positive when it does not tell.
    pub sample_aspect: Rational,
    pub sample_rate: u32,
    pub channels: u32,
}

/// An open container.
pub struct Input {
    context: Context,
    /// Of MPEG-TS, whose clock wraps.
    wrap: Option<Wrap>,
}

impl Input {
    /// Opens a container and reads as far as its streams are known.
    pub fn open(stream: impl Read + Seek + Send + 'static) -> Result<Self, Error> {
        let io = StreamIo::from_read_seek_with_capacity(stream, READ_BYTES)?;
        let mut options = Dictionary::new();
        options.set("format_whitelist", CONTAINERS);
        let context = ffmpeg_next::format::input_from_stream(io, None, Some(options))?;
        let mut input = Self {
            context,
            wrap: None,
        };
        if input.format_name() == "mpegts" {
            input.wrap = Some(Wrap::new(input.starts()));
        }
        Ok(input)
    }

    /// Where its streams start, those that have told so.
    fn starts(&self) -> Vec<i64> {
        (0..)
            .map_while(|index| self.stream_ptr(index).ok())
            // SAFETY: a stream of this open context.
            .map(|stream| unsafe { (*stream).start_time })
            .filter(|&start| start != ffi::AV_NOPTS_VALUE)
            .collect()
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::AVFormatContext {
        // SAFETY: only hands out the pointer; users say why their use is sound.
        unsafe { self.context.as_ptr() }
    }

    pub(crate) fn stream_ptr(&self, index: usize) -> Result<*mut ffi::AVStream, Error> {
        let context = self.as_ptr();
        // SAFETY: the context is open; the index is checked against its own count.
        unsafe {
            if index >= (*context).nb_streams as usize {
                return Err(Error::INVALID_ARGUMENT);
            }
            Ok(*(*context).streams.add(index))
        }
    }

    /// Demuxer's name.
    pub fn format_name(&self) -> String {
        // SAFETY: an open input has its demuxer, whose name is a static string.
        unsafe { text((*(*self.as_ptr()).iformat).name) }
    }

    /// Length that the container tells; zero when it does not.
    pub fn duration(&self) -> Duration {
        // SAFETY: reads an integer of an open context.
        let micros = unsafe { (*self.as_ptr()).duration };
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The stream of a kind that libav would show.
    pub fn best(&self, media: Media) -> Option<StreamInfo> {
        let media = match media {
            Media::Video => ffi::AVMediaType::AVMEDIA_TYPE_VIDEO,
            Media::Audio => ffi::AVMediaType::AVMEDIA_TYPE_AUDIO,
        };
        // SAFETY: the context is open; libav does not change it here, whatever its signature.
        let index = unsafe {
            ffi::av_find_best_stream(self.as_ptr().cast_mut(), media, -1, -1, ptr::null_mut(), 0)
        };
        let index = usize::try_from(index).ok()?;
        self.info(index).ok()
    }

    fn info(&self, index: usize) -> Result<StreamInfo, Error> {
        let stream = self.stream_ptr(index)?;
        // SAFETY: stream_ptr gave a stream of this open context; codecpar is never null.
        unsafe {
            let parameters = &*(*stream).codecpar;
            let format = match parameters.codec_type {
                ffi::AVMediaType::AVMEDIA_TYPE_VIDEO => pixel_format_name(parameters.format),
                _ => None,
            };
            let rate = ffi::av_guess_frame_rate(self.as_ptr().cast_mut(), stream, ptr::null_mut());
            Ok(StreamInfo {
                index,
                codec: text(ffi::avcodec_get_name(parameters.codec_id)),
                width: u32::try_from(parameters.width).unwrap_or(0),
                height: u32::try_from(parameters.height).unwrap_or(0),
                pixel_format: format,
                time_base: (*stream).time_base.into(),
                frame_rate: rate.into(),
                sample_aspect: (*stream).sample_aspect_ratio.into(),
                sample_rate: u32::try_from(parameters.sample_rate).unwrap_or(0),
                channels: u32::try_from(parameters.ch_layout.nb_channels).unwrap_or(0),
            })
        }
    }

    /// Drops packets of every stream but these while demuxing.
    pub fn keep_only(&mut self, indexes: &[usize]) {
        let mut index = 0;
        while let Ok(stream) = self.stream_ptr(index) {
            if !indexes.contains(&index) {
                // SAFETY: a stream of this open context, which is borrowed alone.
                unsafe { (*stream).discard = ffi::AVDiscard::AVDISCARD_ALL };
            }
            index += 1;
        }
    }

    /// Reads the next packet of any kept stream; false at the end. Unlike ffmpeg-next's
    /// iterator, this tells of invalid data. Times of MPEG-TS go on where its clock wraps.
    pub fn read(&mut self, packet: &mut Packet) -> Result<bool, Error> {
        packet.clear();
        // SAFETY: context and packet are valid and borrowed alone.
        match check(unsafe { ffi::av_read_frame(self.context.as_mut_ptr(), packet.as_mut_ptr()) }) {
            Ok(_) => {
                self.unwrap_times(packet);
                Ok(true)
            }
            Err(Error::END) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unwrap_times(&mut self, packet: &mut Packet) {
        let Some(wrap) = &mut self.wrap else { return };
        let (pts, dts) = (packet.pts(), packet.dts());
        if let Some(first) = dts.or(pts) {
            wrap.begin(first);
        }
        if let Some(pts) = pts {
            packet.set_pts(wrap.place(pts));
        }
        if let Some(dts) = dts {
            packet.set_dts(wrap.place(dts));
        }
    }
}

/// libav's name of a pixel format number, `None` for "unknown".
fn pixel_format_name(format: i32) -> Option<String> {
    if format < 0 || format >= ffi::AVPixelFormat::AV_PIX_FMT_NB as i32 {
        return None;
    }
    // SAFETY: the number is one of libav's own, checked against its range just above; the same
    // library that declared the enum filled the field.
    let name =
        unsafe { ffi::av_get_pix_fmt_name(std::mem::transmute::<i32, ffi::AVPixelFormat>(format)) };
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, a static string of libav.
    Some(unsafe { text(name) })
}

/// # Safety
/// `value` points to a zero-terminated string.
unsafe fn text(value: *const std::ffi::c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(value) }
        .to_string_lossy()
        .into_owned()
}

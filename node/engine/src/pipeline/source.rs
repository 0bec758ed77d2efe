//! The decoder's side of a job: demux, decode, repair times, hand out.

use std::fs::File;
use std::io::Seek;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use livepeer_ffmpeg::{
    CopiedStream, Decoder, Error, Frame, Input, Media, Packet, Rational, Received, StreamInfo,
    rescale,
};
use livepeer_media::{Clip, JobError};

use super::{Control, Hardware, Item, SourceInfo, broadcast, fault};
use crate::timeline::{Placed, PtsRepair, Window};

/// Longest segment, by what its container says (lpms `MaxDuration`).
const MAX_DURATION: Duration = Duration::from_secs(300);

/// Decoders that are opened: the wire's codecs. Anything else is attack surface.
const CODECS: &[&str] = &["h264", "hevc", "vp8", "vp9"];

/// Packets in a row that the demuxer may fail to read before the rest is given up.
const MOST_READ_FAILURES: u32 = 64;

/// An open source with the streams that are used.
pub(super) struct Source {
    input: Input,
    video: StreamInfo,
    audio: Option<StreamInfo>,
}

/// What was decoded.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) frames: u64,
    pub(super) pixels: u64,
}

impl Source {
    pub(super) fn open(mut file: File) -> Result<Self, JobError> {
        // A first attempt may have left the shared file position anywhere.
        file.rewind()
            .map_err(|error| JobError::from_text(format!("cannot read the source: {error}")))?;
        let mut input = Input::open(file).map_err(|error| match error {
            Error::NO_MEMORY => fault(error),
            _ => JobError::input("TranscoderInvalidVideo"),
        })?;
        let video = input
            .best(Media::Video)
            .ok_or_else(|| JobError::input("TranscoderInvalidVideo"))?;
        if !CODECS.contains(&video.codec.as_str()) {
            return Err(JobError::input("Unsupported input codec"));
        }
        if input.duration() > MAX_DURATION {
            return Err(JobError::from_text("TranscoderInvalidDuration"));
        }
        let audio = input.best(Media::Audio);
        let kept: Vec<usize> = [Some(&video), audio.as_ref()]
            .into_iter()
            .flatten()
            .map(|stream| stream.index)
            .collect();
        input.keep_only(&kept);
        Ok(Self {
            input,
            video,
            audio,
        })
    }

    pub(super) fn info(&self) -> Result<SourceInfo, JobError> {
        let audio = match &self.audio {
            // A stream that the container announces but never fills cannot be muxed.
            Some(audio) if audio.sample_rate > 0 => {
                Some(CopiedStream::of(&self.input, audio.index).map_err(fault)?)
            }
            _ => None,
        };
        Ok(SourceInfo {
            time_base: self.video.time_base,
            frame_rate: self.video.frame_rate,
            sample_aspect: self.video.sample_aspect,
            audio,
        })
    }

    pub(super) fn frame_rate(&self) -> Rational {
        self.video.frame_rate
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.video.width, self.video.height)
    }

    /// Decodes everything and sends it to every rendition.
    pub(super) fn feed(
        &mut self,
        senders: &[SyncSender<Item>],
        clip: Option<Clip>,
        threads: u32,
        hardware: &Hardware,
        control: &Control,
    ) -> Result<Decoded, JobError> {
        if clip.is_some_and(|clip| !clip.to.is_zero() && clip.from >= clip.to) {
            return Err(JobError::from_text("TranscoderInvalidClipConfig"));
        }
        let decoder = Decoder::open(
            &self.input,
            self.video.index,
            threads,
            hardware.device.as_ref(),
        )
        .map_err(fault)?;
        let mut feed = Feed {
            decoder,
            frame: Frame::new().map_err(fault)?,
            senders,
            control,
            clip,
            window: None,
            times: PtsRepair::default(),
            frame_ticks: frame_ticks(&self.video),
            video: &self.video,
            audio: self.audio.as_ref(),
            decoded: Decoded::default(),
        };
        feed.run(&mut self.input)?;
        Ok(feed.decoded)
    }
}

/// Ticks of the stream between two frames, as far as known.
fn frame_ticks(video: &StreamInfo) -> i64 {
    if video.frame_rate.is_positive() {
        rescale(1, video.frame_rate.inverse(), video.time_base)
    } else {
        0
    }
}

/// A source being decoded.
struct Feed<'a> {
    decoder: Decoder,
    frame: Frame,
    senders: &'a [SyncSender<Item>],
    control: &'a Control,
    clip: Option<Clip>,
    /// Known from the first frame on.
    window: Option<Window>,
    times: PtsRepair,
    frame_ticks: i64,
    video: &'a StreamInfo,
    audio: Option<&'a StreamInfo>,
    decoded: Decoded,
}

impl Feed<'_> {
    fn run(&mut self, input: &mut Input) -> Result<(), JobError> {
        let mut packet = Packet::new().map_err(fault)?;
        let (mut pictures, mut keyframe) = (false, false);
        let mut failures = 0;
        loop {
            self.control.check()?;
            match input.read(&mut packet) {
                Ok(true) => failures = 0,
                Ok(false) => break,
                Err(Error::NO_MEMORY) => return Err(fault(Error::NO_MEMORY)),
                // A segment that was cut off or damaged still gives what can be read.
                Err(_) if failures < MOST_READ_FAILURES => {
                    failures += 1;
                    continue;
                }
                Err(_) => break,
            }
            if packet.stream() == self.video.index {
                pictures = true;
                keyframe |= packet.is_key();
                self.decode(&packet)?;
            } else if self
                .audio
                .is_some_and(|audio| packet.stream() == audio.index)
            {
                self.pass_audio(&packet)?;
            }
        }
        if !pictures {
            return Err(JobError::input("TranscoderInvalidVideo"));
        }
        if !keyframe {
            return Err(JobError::input("No keyframes in input"));
        }
        tolerate(self.decoder.finish())?;
        self.drain()?;
        if self.decoded.frames == 0 {
            return Err(JobError::input("TranscoderInvalidVideo"));
        }
        Ok(())
    }

    fn decode(&mut self, packet: &Packet) -> Result<(), JobError> {
        tolerate(self.decoder.send(packet))?;
        self.drain()
    }

    /// Hands out every frame that the decoder has.
    fn drain(&mut self) -> Result<(), JobError> {
        loop {
            match self.decoder.receive(&mut self.frame) {
                Ok(Received::Ready) => self.pass_picture()?,
                Ok(Received::NeedsInput | Received::End) => return Ok(()),
                Err(Error::NO_MEMORY) => return Err(fault(Error::NO_MEMORY)),
                // Damage inside the segment: the frames around it still count.
                Err(_) => return Ok(()),
            }
        }
    }

    fn pass_picture(&mut self) -> Result<(), JobError> {
        let ticks = match self.frame.duration() {
            0 => self.frame_ticks,
            ticks => ticks,
        };
        let pts = self.times.next(self.frame.best_effort_pts(), ticks);
        self.decoded.frames += 1;
        self.decoded.pixels += u64::from(self.frame.width()) * u64::from(self.frame.height());
        self.control.decoded.fetch_add(1, Ordering::Relaxed);
        self.control.step();
        let pts = match self.clip {
            None => pts,
            Some(clip) => {
                let start = pts;
                let window = self
                    .window
                    .get_or_insert_with(|| Window::new(clip, start, self.video.time_base));
                match window.place(pts) {
                    Placed::Inside(pts) => pts,
                    Placed::Before | Placed::After => return Ok(()),
                }
            }
        };
        self.frame.set_pts(pts);
        let frame = &self.frame;
        self.send(|| frame.share().map(Item::Picture).map_err(fault))
    }

    /// Audio goes through as it is; with a window, what is inside of it and after its first
    /// picture.
    fn pass_audio(&mut self, packet: &Packet) -> Result<(), JobError> {
        let shift = match (self.clip, &self.window, self.audio) {
            (None, _, _) => None,
            (Some(_), Some(window), Some(audio)) => {
                let Some(pts) = packet.pts() else {
                    return Ok(());
                };
                let in_video = rescale(pts, audio.time_base, self.video.time_base);
                match window.place(in_video) {
                    Placed::Inside(_) => Some(rescale(
                        window.start(),
                        self.video.time_base,
                        audio.time_base,
                    )),
                    Placed::Before | Placed::After => return Ok(()),
                }
            }
            (Some(_), _, _) => return Ok(()),
        };
        self.send(|| {
            let mut copy = packet.share().map_err(fault)?;
            if let Some(shift) = shift {
                let (pts, dts) = (copy.pts(), copy.dts());
                if let Some(pts) = pts {
                    copy.set_pts(pts - shift);
                }
                if let Some(dts) = dts {
                    copy.set_dts(dts - shift);
                }
            }
            Ok(Item::Audio(copy))
        })
    }

    fn send(&self, item: impl Fn() -> Result<Item, JobError>) -> Result<(), JobError> {
        self.control.check()?;
        if broadcast(self.senders, item)? {
            Ok(())
        } else {
            // Whoever ended early says why.
            Err(JobError::stopped())
        }
    }
}

/// Lets damage pass; a lack of memory is not damage.
fn tolerate(result: Result<(), Error>) -> Result<(), JobError> {
    match result {
        Err(Error::NO_MEMORY) => Err(fault(Error::NO_MEMORY)),
        Ok(()) | Err(_) => Ok(()),
    }
}

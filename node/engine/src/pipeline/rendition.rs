//! One rendition: scale, convert the frame rate, encode, mux.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use livepeer_ffmpeg::{
    Container, Encoder, EncoderSettings, FilterGraph, Frame, Output, Packet, Rational, Received,
    VideoSource, rescale,
};
use livepeer_media::{Format, JobError, Profile};

use super::bounded::BoundedFile;
use super::{Control, Item, SourceInfo, faststart, fault};
use crate::plan::{self, Route};
use crate::timeline::{DtsGuard, KeyframeClock};

/// Encoded frames for each decoded one before it is a runaway (lpms's number): a gap of hours in
/// a hostile segment would be filled with frames.
const RUNAWAY_FACTOR: u64 = 25;

/// What one rendition is made of.
pub(super) struct Task<'a> {
    pub(super) profile: &'a Profile,
    pub(super) metadata: &'a str,
    pub(super) source: &'a SourceInfo,
    pub(super) route: Route,
    pub(super) scale_threads: u32,
    pub(super) encode_threads: u32,
    pub(super) control: &'a Control,
}

impl Task<'_> {
    /// Consumes items until the source ends; tells frames and pixels.
    pub(super) fn run(self, items: Receiver<Item>, file: File) -> Result<(u64, u64), JobError> {
        let output = BoundedFile::new(&file)?;
        let mut rendition = Rendition::new(self, output)?;
        for item in items {
            rendition.task.control.check()?;
            match item {
                Item::Picture(frame) => rendition.picture(&frame)?,
                Item::Audio(packet) => rendition.audio(packet)?,
            }
        }
        rendition.task.control.check()?;
        let format = rendition.task.profile.format;
        let counts = rendition.finish()?;
        match format {
            Format::MpegTs => {}
            Format::Mp4 => faststart::rewrite(file)?,
        }
        Ok(counts)
    }

    /// A sample's width to height in a rendition of that size.
    fn sample_aspect(&self, frame: &Frame, size: (u32, u32)) -> Option<Rational> {
        let source = match self.source.sample_aspect {
            told if told.is_positive() => told,
            _ => frame.sample_aspect(),
        };
        plan::sample_aspect(source, (frame.width(), frame.height()), size)
    }
}

/// Filters and encoder for one size of source frames.
struct Chain {
    graph: FilterGraph,
    encoder: Encoder,
    /// What the graph was built for.
    width: u32,
    height: u32,
    format: i32,
    /// What the encoder was told.
    sample_aspect: Option<Rational>,
}

/// The muxer, before and after its header.
enum Muxer {
    /// Audio that came before the first picture, which tells the streams.
    Waiting {
        output: Output,
        audio: Vec<Packet>,
    },
    Open(Streams),
}

/// An open muxer and where its streams stand.
struct Streams {
    output: Output,
    video: usize,
    audio: Option<usize>,
    video_dts: DtsGuard,
    audio_dts: DtsGuard,
}

struct Rendition<'a> {
    task: Task<'a>,
    chain: Option<Chain>,
    /// `None` only while a state replaces another.
    muxer: Option<Muxer>,
    keyframes: Option<KeyframeClock>,
    filtered: Frame,
    encoded: Packet,
    /// Where the last picture stops being shown, in the source's ticks.
    end: i64,
    frames: u64,
    pixels: u64,
}

impl<'a> Rendition<'a> {
    fn new(task: Task<'a>, file: BoundedFile) -> Result<Self, JobError> {
        let container = match task.profile.format {
            Format::MpegTs => Container::MpegTs,
            Format::Mp4 => Container::Mp4,
        };
        let mut output = Output::new(container, file).map_err(fault)?;
        match task.profile.format {
            Format::MpegTs => output.set_metadata(&[("service_provider", task.metadata)]),
            Format::Mp4 => {
                output.set_metadata(&[("comment", &format!("Processed by {}", task.metadata))]);
            }
        }
        Ok(Self {
            task,
            chain: None,
            muxer: Some(Muxer::Waiting {
                output,
                audio: Vec::new(),
            }),
            keyframes: None,
            filtered: Frame::new().map_err(fault)?,
            encoded: Packet::new().map_err(fault)?,
            end: 0,
            frames: 0,
            pixels: 0,
        })
    }

    fn picture(&mut self, frame: &Frame) -> Result<(), JobError> {
        let same = self.chain.as_ref().is_some_and(|chain| {
            let size = (chain.encoder.width(), chain.encoder.height());
            (chain.width, chain.height, chain.format)
                == (frame.width(), frame.height(), frame.format())
                && chain.sample_aspect == self.task.sample_aspect(frame, size)
        });
        if !same {
            // The source changed its size or shape: finish what the old encoder holds, then a new one.
            self.drain()?;
            self.open_chain(frame)?;
        }
        let pts = frame.pts().unwrap_or(self.end);
        let shown = match frame.duration() {
            0 => self.task.source.frame_rate.is_positive().then(|| {
                let frame = self.task.source.frame_rate.inverse();
                rescale(1, frame, self.task.source.time_base)
            }),
            ticks => Some(ticks),
        };
        self.end = pts.saturating_add(shown.unwrap_or(1));
        if let Some(chain) = &mut self.chain {
            chain.graph.push(frame).map_err(fault)?;
        }
        self.encode_filtered()
    }

    fn open_chain(&mut self, frame: &Frame) -> Result<(), JobError> {
        let Task {
            profile,
            source,
            route,
            ..
        } = self.task;
        let size = livepeer_media::rendition_size(
            (frame.width(), frame.height()),
            (profile.width, profile.height),
        );
        let graph = FilterGraph::video(
            VideoSource {
                like: frame,
                time_base: source.time_base,
                frame_rate: source.frame_rate,
            },
            &plan::filters(profile, size, route),
            self.task.scale_threads,
        )
        .map_err(|_| JobError::input("Error initializing filtergraph"))?;
        let global_header = match &self.muxer {
            Some(Muxer::Waiting { output, .. }) => output.wants_global_header(),
            Some(Muxer::Open(streams)) => streams.output.wants_global_header(),
            None => false,
        };
        let sample_aspect = self.task.sample_aspect(frame, size);
        let settings = EncoderSettings {
            sample_aspect,
            ..plan::encoder(
                profile,
                source.frame_rate,
                self.task.encode_threads,
                global_header,
                route,
            )
        };
        let encoder = Encoder::open(&graph, &settings).map_err(fault)?;
        self.keyframes = Some(KeyframeClock::new(
            plan::keyframes(profile),
            graph.time_base(),
        ));
        let begin = rescale(
            frame.pts().unwrap_or(0),
            source.time_base,
            plan::MPEG_TS_TICK,
        );
        self.open_muxer(&encoder, settings.frame_rate, begin)?;
        self.chain = Some(Chain {
            graph,
            encoder,
            width: frame.width(),
            height: frame.height(),
            format: frame.format(),
            sample_aspect,
        });
        Ok(())
    }

    fn open_muxer(
        &mut self,
        encoder: &Encoder,
        frame_rate: Rational,
        begin: i64,
    ) -> Result<(), JobError> {
        let (mut output, waiting) = match self.muxer.take() {
            Some(Muxer::Waiting { output, audio }) => (output, audio),
            open => {
                self.muxer = open;
                return Ok(());
            }
        };
        let video = output.add_encoded(encoder, frame_rate).map_err(fault)?;
        let audio = match &self.task.source.audio {
            Some(stream) => Some(output.add_copy(stream).map_err(fault)?),
            None => None,
        };
        let muxing = plan::muxing(self.task.profile.format, begin);
        output.write_header(muxing.options).map_err(fault)?;
        self.muxer = Some(Muxer::Open(Streams {
            output,
            video,
            audio,
            video_dts: DtsGuard::new(muxing.video_floor),
            audio_dts: DtsGuard::new(muxing.audio_floor),
        }));
        for packet in waiting {
            self.audio(packet)?;
        }
        Ok(())
    }

    fn audio(&mut self, mut packet: Packet) -> Result<(), JobError> {
        let Some(source) = &self.task.source.audio else {
            return Ok(());
        };
        match &mut self.muxer {
            Some(Muxer::Waiting { audio, .. }) => {
                audio.push(packet);
                Ok(())
            }
            Some(Muxer::Open(streams)) => {
                let Some(index) = streams.audio else {
                    return Ok(());
                };
                let time_base = streams.output.time_base(index).map_err(fault)?;
                packet.rescale(source.time_base(), time_base);
                let (dts, pts) = streams.audio_dts.next(packet.dts(), packet.pts());
                packet.set_dts(dts);
                packet.set_pts(pts);
                streams.output.write(index, &mut packet).map_err(fault)
            }
            None => Ok(()),
        }
    }

    /// Encodes what the filters have ready.
    fn encode_filtered(&mut self) -> Result<(), JobError> {
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        loop {
            match chain.graph.pull(&mut self.filtered).map_err(fault)? {
                Received::Ready => {}
                Received::NeedsInput | Received::End => return Ok(()),
            }
            self.task.control.check()?;
            let pts = self.filtered.pts().unwrap_or(0);
            let due = self
                .keyframes
                .as_mut()
                .is_some_and(|keyframes| keyframes.is_due(pts));
            self.filtered.set_keyframe(due);
            chain.encoder.send(&self.filtered).map_err(fault)?;
            self.task.control.step();
            self.frames += 1;
            self.pixels += u64::from(chain.encoder.width()) * u64::from(chain.encoder.height());
            let decoded = self.task.control.decoded.load(Ordering::Relaxed);
            if self.frames > decoded.saturating_mul(RUNAWAY_FACTOR) {
                return Err(JobError::input("Encoded frames runaway"));
            }
            write_encoded(chain, &mut self.encoded, &mut self.muxer, self.task.control)?;
        }
    }

    /// Empties filters and encoder for good.
    fn drain(&mut self) -> Result<(), JobError> {
        if let Some(chain) = &mut self.chain {
            chain.graph.finish(self.end).map_err(fault)?;
        }
        self.encode_filtered()?;
        if let Some(mut chain) = self.chain.take() {
            chain.encoder.finish().map_err(fault)?;
            write_encoded(
                &mut chain,
                &mut self.encoded,
                &mut self.muxer,
                self.task.control,
            )?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, u64), JobError> {
        self.drain()?;
        match self.muxer.take() {
            Some(Muxer::Open(streams)) => streams.output.finish().map_err(fault)?,
            Some(Muxer::Waiting { .. }) | None => {
                return Err(JobError::input("TranscoderInvalidVideo"));
            }
        }
        Ok((self.frames, self.pixels))
    }
}

/// Writes every packet that the encoder has ready.
fn write_encoded(
    chain: &mut Chain,
    packet: &mut Packet,
    muxer: &mut Option<Muxer>,
    control: &Control,
) -> Result<(), JobError> {
    let Some(Muxer::Open(streams)) = muxer else {
        return Ok(());
    };
    let to = streams.output.time_base(streams.video).map_err(fault)?;
    let from = chain.encoder.time_base();
    while chain.encoder.receive(packet).map_err(fault)? == Received::Ready {
        control.check()?;
        control.step();
        packet.rescale(from, to);
        let (dts, pts) = streams.video_dts.next(packet.dts(), packet.pts());
        packet.set_dts(dts);
        packet.set_pts(pts);
        streams.output.write(streams.video, packet).map_err(fault)?;
    }
    Ok(())
}

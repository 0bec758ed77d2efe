//! What a segment holds, without decoding it.

use std::fs::File;
use std::io::Seek;

use livepeer_ffmpeg::{Error, Input, Media, Packet};
use livepeer_media::{AudioInfo, JobError, Probe, VideoInfo};

use super::{Control, fault};
use crate::timeline::Span;

/// Reads a segment's headers and counts its packets.
pub(crate) fn probe(mut file: File, control: &Control) -> Result<Probe, JobError> {
    file.rewind()
        .map_err(|error| JobError::from_text(format!("cannot read the source: {error}")))?;
    let mut input = Input::open(file).map_err(|error| match error {
        Error::NO_MEMORY => fault(error),
        _ => JobError::input("TranscoderInvalidVideo"),
    })?;
    let video = input.best(Media::Video);
    let audio = input.best(Media::Audio);
    let (mut pictures, mut sounds, mut keyframe) = (0, 0, false);
    let mut span = Span::default();
    let mut packet = Packet::new().map_err(fault)?;
    // Damage ends the count; what was read before it stands.
    while let Ok(true) = input.read(&mut packet) {
        control.check()?;
        control.step();
        if video
            .as_ref()
            .is_some_and(|video| video.index == packet.stream())
        {
            pictures += 1;
            keyframe |= packet.is_key();
            span.add(packet.pts());
        } else if audio
            .as_ref()
            .is_some_and(|audio| audio.index == packet.stream())
        {
            sounds += 1;
        }
    }
    let format = input.format_name();
    // its clock has ticks of 90 kHz
    let shown = span.shown().filter(|_| format == "mpegts");
    Ok(Probe {
        format,
        shown,
        duration: input.duration(),
        keyframe,
        video: video.map(|video| VideoInfo {
            codec: video.codec,
            width: video.width,
            height: video.height,
            pixel_format: video.pixel_format,
            fps: video.frame_rate.to_f64(),
            packets: pictures,
        }),
        audio: audio.map(|audio| AudioInfo {
            codec: audio.codec,
            sample_rate: audio.sample_rate,
            channels: audio.channels,
            packets: sounds,
        }),
    })
}

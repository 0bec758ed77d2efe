//! From a profile and a source to filters and encoder settings. Pure.
//!
//! The rules are lpms's (`ffmpeg/ffmpeg.go`), since gateways compare counts and names: bit rate,
//! maximum rate and rate buffer are one number; the first frame of a segment is a keyframe. Of
//! the size: `livepeer_media::size`.

use std::time::Duration;

use livepeer_ffmpeg::{EncoderSettings, Rational};
use livepeer_media::{Format, Gop, H264Profile, Profile};

/// Frames between keyframes when the profile does not say: x264's default, here made explicit.
const DEFAULT_GOP_FRAMES: u64 = 250;

/// x264's "infinite": keyframes come where they are asked for and nowhere else, so that they
/// are aligned across renditions. A scene cut then becomes an I frame that is no keyframe.
const KEYINT_INFINITE: i32 = 1 << 30;

/// How full x264 takes its rate buffer to be when a segment begins: as full as it leaves it in
/// a long run (`clip_qscale` in x264's ratecontrol.c). Its default of 0.9 is a credit that a
/// long run has once and a segment each time: renditions of 2 s came out 2 to 4 % larger.
///
/// Each segment keeps to a buffer that begins so; nobody tells it how full the one before left
/// it. Where that was less, it may take up to 0.8 s of the rate that a decoder, whose buffer of
/// one second was full at the first picture, does not have, and the next one may again. Joined
/// segments of the benchmark's clip, and of a picture that turns into noise and back between two
/// of them, never do: `tests/it/rate.rs`.
const BUFFER_AT_START: &str = "vbv-init=0.8";

/// Where frames are and who encodes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Decode, scale and encode on the CPU.
    Cpu,
    /// All three on the device.
    Nvenc,
    /// Decode and scale on the device, encode on the CPU: cards without an encoder.
    CudaToCpu,
}

/// Filters from a decoded frame to what the encoder takes.
pub(crate) fn filters(profile: &Profile, size: (u32, u32), route: Route) -> String {
    let (width, height) = size;
    let mut chain = match route {
        Route::Cpu => format!("scale=w={width}:h={height}:flags=bicubic"),
        Route::Nvenc | Route::CudaToCpu => {
            format!("scale_cuda=w={width}:h={height}:format=yuv420p:interp_algo=bicubic")
        }
    };
    match route {
        Route::Cpu => chain.push_str(",format=yuv420p"),
        Route::Nvenc => {}
        Route::CudaToCpu => chain.push_str(",hwdownload,format=yuv420p"),
    }
    if profile.fps > 0 {
        // After scaling on purpose: repeated frames are not scaled again.
        chain.push_str(&format!(",fps={}/{}", profile.fps, profile.fps_den));
    }
    chain
}

/// When the encoder is asked for a keyframe, apart from the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyframes {
    EveryFrame,
    EveryFrames(u64),
    /// By time, where frames may come at any rate.
    Every(Duration),
}

pub(crate) fn keyframes(profile: &Profile) -> Keyframes {
    match profile.gop {
        Gop::Intra => Keyframes::EveryFrame,
        Gop::Every(gop) if gop.is_zero() => Keyframes::EveryFrames(DEFAULT_GOP_FRAMES),
        Gop::Every(gop) if profile.fps > 0 => {
            // lpms forgets the denominator here (2 s at 30000/1001 became 60000 frames).
            let frames = gop.as_millis() * u128::from(profile.fps)
                / (u128::from(profile.fps_den.max(1)) * 1000);
            Keyframes::EveryFrames(u64::try_from(frames).unwrap_or(u64::MAX).max(1))
        }
        Gop::Every(gop) => Keyframes::Every(gop),
        Gop::Default => Keyframes::EveryFrames(DEFAULT_GOP_FRAMES),
    }
}

/// Largest part of a sample's width to height that x264's wrapper takes as it is. H.264 has 16
/// bits for each (Rec. ITU-T H.264, E.2.1).
const ASPECT_PART: i32 = 4096;

/// A sample's width to height in a rendition, so that it is shown in the source's shape: the
/// size's rule keeps the shape of the pixels' grid, which is another where samples are not
/// square. `None` for those that are, or of which nobody says; lpms never says.
pub(crate) fn sample_aspect(
    source: Rational,
    from: (u32, u32),
    to: (u32, u32),
) -> Option<Rational> {
    if !source.is_positive() || source.num == source.den {
        return None;
    }
    let part = |side: i32, one: u32, other: u32| {
        i64::from(side)
            .checked_mul(i64::from(one))?
            .checked_mul(i64::from(other))
    };
    let width = part(source.num, from.0, to.1)?;
    let height = part(source.den, from.1, to.0)?;
    Some(Rational::reduced(width, height, ASPECT_PART)).filter(|aspect| aspect.is_positive())
}

/// Settings of the encoder of a rendition.
pub(crate) fn encoder(
    profile: &Profile,
    source_rate: Rational,
    threads: u32,
    global_header: bool,
    route: Route,
) -> EncoderSettings {
    let frame_rate = frame_rate(profile, source_rate);
    let bit_rate = i64::from(profile.bitrate);
    let mut options = vec![
        ("preset", "medium".to_owned()),
        ("forced-idr", "1".to_owned()),
    ];
    if route != Route::Nvenc {
        options.push(("x264-params", BUFFER_AT_START.to_owned()));
    }
    if let Some(name) = profile_name(profile.h264_profile) {
        options.push(("profile", name.to_owned()));
    }
    let intra = profile.gop == Gop::Intra;
    let (codec, gop, keyint_min) = match route {
        Route::Nvenc => (
            "h264_nvenc",
            Some(if intra { 0 } else { i32::MAX / 2 }),
            None,
        ),
        Route::Cpu | Route::CudaToCpu if intra => ("libx264", Some(1), None),
        Route::Cpu | Route::CudaToCpu => ("libx264", Some(KEYINT_INFINITE), Some(KEYINT_INFINITE)),
    };
    if profile.quality > 0 {
        match route {
            Route::Nvenc => {
                options.push(("cq", profile.quality.saturating_add(7).min(51).to_string()))
            }
            Route::Cpu | Route::CudaToCpu => {
                options.push(("crf", profile.quality.min(51).to_string()))
            }
        }
    }
    EncoderSettings {
        codec,
        frame_rate,
        sample_aspect: None,
        bit_rate,
        max_rate: bit_rate,
        gop,
        keyint_min,
        max_b_frames: b_frames(profile, route),
        threads,
        global_header,
        options,
    }
}

/// Frames per second that the encoder is told to expect.
pub(crate) fn frame_rate(profile: &Profile, source_rate: Rational) -> Rational {
    if profile.fps > 0 {
        let part = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Rational::new(part(profile.fps), part(profile.fps_den))
    } else if source_rate.is_positive() {
        source_rate
    } else {
        // Only rate control looks at it when frames carry their own times.
        Rational::new(30, 1)
    }
}

/// The unit of MPEG-TS's times.
pub(crate) const MPEG_TS_TICK: Rational = Rational::new(1, 90_000);

/// By how much MPEG-TS is sent ahead of its decoding times: its clock reference is earlier by
/// that, and audio frames of up to half of it share a PES packet. A packet for each frame would
/// cost a small rendition 3 % of its bytes. Only the first frame of a packet has a time of its
/// own: behind a hole of less than 0.2 s the others come early until the next.
const AHEAD_MICROS: &str = "400000";
/// The same in ticks.
const AHEAD: i64 = 36_000;

/// Pictures from here on, in ticks, have room for [`AHEAD`] before them. A stream's first may
/// not, and is written as it comes; between the two the clock references step back once.
const ROOM_FROM: i64 = 90_000;

/// How a container is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Muxing {
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// The least decoding times that it can say.
    pub(crate) video_floor: i64,
    pub(crate) audio_floor: i64,
}

/// Of a segment whose first picture is at `begin`, in [`MPEG_TS_TICK`]s.
pub(crate) fn muxing(format: Format, begin: i64) -> Muxing {
    match format {
        // The source's times as they are: no start at 1.4 s, no shift when below zero, which
        // MPEG-TS cannot say.
        Format::MpegTs if begin >= ROOM_FROM => Muxing {
            options: &[
                ("mpegts_copyts", "1"),
                ("avoid_negative_ts", "disabled"),
                ("max_delay", AHEAD_MICROS),
            ],
            // The clock is the video's: a frame that is decoded long before it is shown must
            // not take it below zero.
            video_floor: AHEAD,
            audio_floor: 0,
        },
        Format::MpegTs => Muxing {
            options: &[("mpegts_copyts", "1"), ("avoid_negative_ts", "disabled")],
            video_floor: 0,
            audio_floor: 0,
        },
        Format::Mp4 => Muxing {
            options: &[],
            video_floor: i64::MIN,
            audio_floor: i64::MIN,
        },
    }
}

fn profile_name(profile: H264Profile) -> Option<&'static str> {
    match profile {
        H264Profile::Default => None,
        H264Profile::Baseline => Some("baseline"),
        H264Profile::Main => Some("main"),
        H264Profile::High | H264Profile::ConstrainedHigh => Some("high"),
    }
}

fn b_frames(profile: &Profile, route: Route) -> i32 {
    if profile.gop == Gop::Intra {
        return 0;
    }
    match (profile.h264_profile, route) {
        (H264Profile::Baseline | H264Profile::ConstrainedHigh, _) => 0,
        (_, Route::Nvenc) if profile.fps == 0 => 0,
        (H264Profile::Default, Route::Nvenc) => 0,
        (H264Profile::Default | H264Profile::Main | H264Profile::High, _) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile::preset("P240p30fps16x9").unwrap()
    }

    #[test]
    fn the_frame_rate_filter_comes_after_scaling() {
        let profile = Profile {
            fps: 30000,
            fps_den: 1001,
            ..profile()
        };
        assert_eq!(
            filters(&profile, (426, 240), Route::Cpu),
            "scale=w=426:h=240:flags=bicubic,format=yuv420p,fps=30000/1001"
        );
    }

    #[test]
    fn passthrough_has_no_frame_rate_filter() {
        let profile = Profile {
            fps: 0,
            ..profile()
        };
        assert!(!filters(&profile, (426, 240), Route::Cpu).contains("fps"));
    }

    #[test]
    fn a_gop_in_seconds_counts_frames_with_the_denominator() {
        let profile = Profile {
            fps: 30000,
            fps_den: 1001,
            gop: Gop::Every(Duration::from_secs(2)),
            ..profile()
        };
        assert_eq!(keyframes(&profile), Keyframes::EveryFrames(59));
    }

    #[test]
    fn samples_that_are_not_square_keep_the_shape_of_the_picture() {
        let aspect = |num, den, from, to| {
            sample_aspect(Rational::new(num, den), from, to).map(|one| (one.num, one.den))
        };
        let dvd = (720, 480);
        assert_eq!(aspect(32, 27, dvd, (640, 426)), Some((71, 60)));
        assert_eq!(aspect(32, 27, (480, 720), (284, 426)), Some((32, 27)));
        for (num, den) in [(1, 1), (7, 7), (0, 1), (0, 0), (-32, 27)] {
            assert_eq!(aspect(num, den, dvd, (426, 284)), None);
        }
        assert_eq!(aspect(1, i32::MAX, dvd, (426, 284)), None);
        assert!(aspect(i32::MAX, 2, (u32::MAX, 2), (2, u32::MAX)).is_none());
    }

    #[test]
    fn rate_and_buffer_are_the_profiles_bit_rate() {
        let settings = encoder(&profile(), Rational::new(25, 1), 1, false, Route::Cpu);
        assert_eq!((settings.bit_rate, settings.max_rate), (600_000, 600_000));
        assert_eq!(settings.frame_rate, Rational::new(30, 1));
    }

    #[test]
    fn only_x264_is_told_of_its_buffer() {
        for route in [Route::Cpu, Route::CudaToCpu, Route::Nvenc] {
            let settings = encoder(&profile(), Rational::new(25, 1), 1, false, route);
            let told = settings
                .options
                .iter()
                .any(|(key, value)| *key == "x264-params" && value == BUFFER_AT_START);
            assert_eq!(told, settings.codec == "libx264", "{route:?}");
        }
    }

    #[test]
    fn baseline_and_constrained_high_have_no_b_frames() {
        for (h264_profile, expected) in [
            (H264Profile::Default, 3),
            (H264Profile::Baseline, 0),
            (H264Profile::Main, 3),
            (H264Profile::High, 3),
            (H264Profile::ConstrainedHigh, 0),
        ] {
            let profile = Profile {
                h264_profile,
                ..profile()
            };
            let settings = encoder(&profile, Rational::new(25, 1), 1, false, Route::Cpu);
            assert_eq!(settings.max_b_frames, expected, "{h264_profile:?}");
        }
    }
}

//! The text of playlists, by RFC 8216. Pure.
//!
//! Numbers are right where go-livepeer's are not: every segment keeps its media
//! sequence number, removed discontinuities are counted, the target duration holds
//! for each entry, and a stream that is over says so.
//!
//! Left out: `CODECS`. A wrong list stops a player and a missing one does not, and
//! what the encoder chose stands in the segments alone.

use std::fmt::Write as _;
use std::time::Duration;

use livepeer_media::Format;

/// One rendition in a multivariant playlist.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) struct Variant {
    pub(in crate::gateway) name: String,
    /// Peak bits a second.
    pub(in crate::gateway) bandwidth: u64,
    pub(in crate::gateway) resolution: Option<(u32, u32)>,
    pub(in crate::gateway) frame_rate: Option<f64>,
}

/// One segment in a media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Entry {
    /// File name without extension.
    pub(in crate::gateway) name: String,
    pub(in crate::gateway) duration: Duration,
    /// Its timestamps do not continue those of the entry before.
    pub(in crate::gateway) discontinuity: bool,
}

/// A window of a rendition's segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Window {
    pub(in crate::gateway) entries: Vec<Entry>,
    /// Number of the first entry, counted from the stream's first segment.
    pub(in crate::gateway) media_sequence: u64,
    /// Discontinuities before the first entry.
    pub(in crate::gateway) discontinuity_sequence: u64,
    pub(in crate::gateway) target_seconds: u64,
    /// No segment will follow.
    pub(in crate::gateway) ended: bool,
}

/// The playlist of a stream's renditions, the source first. That segments are
/// independent cannot stand here: it would be said of the source as well.
pub(in crate::gateway) fn multivariant(manifest_id: &str, variants: &[Variant]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    let stream = encode_path_part(manifest_id);
    for variant in variants {
        let Variant {
            name,
            bandwidth,
            resolution,
            frame_rate,
        } = variant;
        text.push_str("#EXT-X-STREAM-INF:");
        push(
            &mut text,
            format_args!("PROGRAM-ID=0,BANDWIDTH={bandwidth}"),
        );
        if let Some((width, height)) = resolution {
            push(&mut text, format_args!(",RESOLUTION={width}x{height}"));
        }
        if let Some(rate) = frame_rate {
            push(&mut text, format_args!(",FRAME-RATE={rate:.3}"));
        }
        push(
            &mut text,
            format_args!("\n{stream}/{}.m3u8\n", encode_path_part(name)),
        );
    }
    text
}

/// The playlist of one rendition. `independent`: each of its segments can be decoded
/// without those before it.
pub(in crate::gateway) fn media(
    manifest_id: &str,
    rendition: &str,
    format: Format,
    independent: bool,
    window: &Window,
) -> String {
    let Window {
        entries,
        media_sequence,
        discontinuity_sequence,
        target_seconds,
        ended,
    } = window;
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    if independent {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    push(
        &mut text,
        format_args!("#EXT-X-MEDIA-SEQUENCE:{media_sequence}\n"),
    );
    if *discontinuity_sequence > 0 {
        let tag = format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}\n");
        push(&mut text, tag);
    }
    push(
        &mut text,
        format_args!("#EXT-X-TARGETDURATION:{target_seconds}\n"),
    );
    let stream = encode_path_part(manifest_id);
    let rendition = encode_path_part(rendition);
    for entry in entries {
        if entry.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let seconds = entry.duration.as_secs_f64();
        let file = format_args!("{}.{}", entry.name, format.extension());
        push(
            &mut text,
            format_args!("#EXTINF:{seconds:.3},\n/stream/{stream}/{rendition}/{file}\n"),
        );
    }
    if *ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// File name of a stream's multivariant playlist, as it stands in a URL.
pub(in crate::gateway) fn file_name(manifest_id: &str) -> String {
    format!("{}.m3u8", encode_path_part(manifest_id))
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes any text");
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode_path_part(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            push(&mut text, format_args!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Entry, Variant, Window, media, multivariant};
    use livepeer_media::Format;

    #[test]
    fn a_multivariant_playlist_lists_each_rendition_with_what_is_known() {
        let variants = [
            Variant {
                name: "source".into(),
                bandwidth: 4_100_000,
                resolution: Some((1280, 720)),
                frame_rate: Some(25.0),
            },
            Variant {
                name: "P240p30fps16x9".into(),
                bandwidth: 600_000,
                resolution: None,
                frame_rate: None,
            },
        ];
        assert_eq!(
            multivariant("my show", &variants),
            "#EXTM3U\n#EXT-X-VERSION:3\n\
             #EXT-X-STREAM-INF:PROGRAM-ID=0,BANDWIDTH=4100000,RESOLUTION=1280x720,FRAME-RATE=25.000\n\
             my%20show/source.m3u8\n\
             #EXT-X-STREAM-INF:PROGRAM-ID=0,BANDWIDTH=600000\n\
             my%20show/P240p30fps16x9.m3u8\n"
        );
    }

    #[test]
    fn a_media_playlist_has_exactly_this_text() {
        let entry = |name: &str, millis, discontinuity| Entry {
            name: name.into(),
            duration: Duration::from_millis(millis),
            discontinuity,
        };
        let window = Window {
            entries: vec![entry("7", 2000, false), entry("9", 1960, true)],
            media_sequence: 3,
            discontinuity_sequence: 1,
            target_seconds: 2,
            ended: true,
        };
        let rest = "#EXT-X-MEDIA-SEQUENCE:3\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n\
             #EXT-X-TARGETDURATION:2\n\
             #EXTINF:2.000,\n/stream/hello/source/7.ts\n\
             #EXT-X-DISCONTINUITY\n#EXTINF:1.960,\n/stream/hello/source/9.ts\n\
             #EXT-X-ENDLIST\n";
        let text = |independent| media("hello", "source", Format::MpegTs, independent, &window);
        let head = "#EXTM3U\n#EXT-X-VERSION:3\n";
        assert_eq!(text(false), format!("{head}{rest}"));
        let claim = "#EXT-X-INDEPENDENT-SEGMENTS\n";
        assert_eq!(text(true), format!("{head}{claim}{rest}"));
    }
}

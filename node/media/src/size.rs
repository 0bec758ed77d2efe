//! How large a rendition becomes. Pure. The engine makes it so, and playlists announce it
//! so.
//!
//! The rule is lpms's (`ffmpeg/ffmpeg.go`), since peers compare sizes: the larger side of the
//! profile goes to the larger side of the source.

/// Smallest and largest width and height of H.264 renditions, from NVIDIA's encoders; lpms
/// applies them to software too, so that any transcoder answers with the same size.
const WIDTHS: (u32, u32) = (146, 4096);
const HEIGHTS: (u32, u32) = (50, 4096);

/// Width and height of a rendition of a source of size `source`.
pub fn rendition_size(source: (u32, u32), target: (u32, u32)) -> (u32, u32) {
    let wanted = target
        .0
        .clamp(WIDTHS.0, WIDTHS.1)
        .max(target.1.clamp(HEIGHTS.0, HEIGHTS.1))
        & !1;
    let landscape = source.0 >= source.1;
    let (long, short, least) = if landscape {
        (source.0, source.1, HEIGHTS.0)
    } else {
        (source.1, source.0, WIDTHS.0)
    };
    let mut size = (wanted, nearest_even(wanted, short, long));
    if size.1 < least {
        size = (nearest_even(least, long, short), least);
    }
    if landscape { size } else { (size.1, size.0) }
}

/// `value * numerator / denominator`, to the nearest even number.
fn nearest_even(value: u32, numerator: u32, denominator: u32) -> u32 {
    let halves = u64::from(value) * u64::from(numerator);
    let denominator = u64::from(denominator.max(1)) * 2;
    u32::try_from((halves + denominator / 2) / denominator * 2).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_lpms_for_its_own_table() {
        // lpms ffmpeg_test.go, TestTranscoder_Resolution: source, target, rendition.
        let table = [
            ((150, 200), (0, 250), (188, 250)),
            ((200, 300), (0, 427), (284, 426)),
            ((200, 300), (426, 0), (284, 426)),
            ((123, 456), (0, 426), (146, 542)),
            ((200, 300), (0, 428), (286, 428)),
            ((400, 456), (0, 40), (146, 166)),
            ((456, 123), (426, 0), (426, 114)),
            ((456, 123), (0, 301), (300, 80)),
            ((456, 400), (100, 0), (146, 128)),
            ((500, 100), (0, 200), (250, 50)),
            ((456, 120), (0, 400), (400, 106)),
            ((123, 123), (426, 0), (426, 426)),
            ((1280, 720), (426, 240), (426, 240)),
        ];
        for (source, target, expected) in table {
            assert_eq!(
                rendition_size(source, target),
                expected,
                "{source:?} to {target:?}"
            );
        }
    }

    #[test]
    fn a_portrait_source_turns_the_profile_round() {
        assert_eq!(rendition_size((720, 1280), (640, 360)), (360, 640));
    }
}

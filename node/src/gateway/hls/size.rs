//! How large a rendition becomes, for `RESOLUTION` in playlists: the engine's size
//! rule (gateway-media §7.2.4, lpms `ffmpeg/encoder.c`) as plain arithmetic, so that a
//! portrait source is not announced as landscape. The engine decides; this only says.

/// Limits of H.264 encoders: width and height, least and most.
const WIDTH: (u32, u32) = (146, 4096);
const HEIGHT: (u32, u32) = (50, 4096);

/// Size of a rendition asked for as `target`, of a source of size `source`.
pub(in crate::gateway) fn rendition_size(source: (u32, u32), target: (u32, u32)) -> (u32, u32) {
    let (source_width, source_height) = source;
    if source_width == 0 || source_height == 0 {
        return target;
    }
    // the longer side of the target applies to the longer side of the source
    let longer = target.0.max(target.1).clamp(WIDTH.0, WIDTH.1);
    let landscape = source_width >= source_height;
    let (long, short) = if landscape {
        source
    } else {
        (source_height, source_width)
    };
    let least = if landscape { HEIGHT.0 } else { WIDTH.0 };
    let scaled = u64::from(longer) * u64::from(short) / u64::from(long);
    let mut shorter = u32::try_from(scaled).unwrap_or(u32::MAX);
    let mut longer = longer;
    if shorter < least {
        let grown = u64::from(least) * u64::from(long) / u64::from(short);
        shorter = least;
        longer = u32::try_from(grown).unwrap_or(u32::MAX).min(WIDTH.1);
    }
    let (longer, shorter) = (longer & !1, shorter & !1);
    if landscape {
        (longer, shorter)
    } else {
        (shorter, longer)
    }
}

#[cfg(test)]
mod tests {
    use super::rendition_size;

    // lpms ffmpeg tests, the resolution table (source, target, result)
    #[test]
    fn sizes_are_those_that_the_engine_makes() {
        for (source, target, result) in [
            ((150, 200), (0, 250), (188, 250)),
            ((200, 300), (0, 427), (284, 426)),
            ((200, 300), (426, 0), (284, 426)),
            ((123, 456), (0, 426), (146, 542)),
            ((200, 300), (0, 428), (286, 428)),
            ((456, 123), (426, 0), (426, 114)),
            ((456, 123), (0, 301), (300, 80)),
            ((500, 100), (0, 200), (250, 50)),
            ((456, 120), (0, 400), (400, 106)),
            ((123, 123), (426, 0), (426, 426)),
            ((1280, 720), (426, 240), (426, 240)),
            ((720, 1280), (426, 240), (240, 426)),
        ] {
            let got = rendition_size(source, target);
            let near = |a: u32, b: u32| a.abs_diff(b) <= 2;
            assert!(
                near(got.0, result.0) && near(got.1, result.1),
                "{source:?} -> {target:?}: {got:?}, not {result:?}"
            );
        }
    }
}

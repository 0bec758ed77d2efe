//! From the path of a push to a manifest id and a sequence number.
//!
//! `/live/{manifestID}[/..]/{seq}.{ts|mp4}`, by the rules of go-livepeer
//! (`server/mediaserver.go`, `parseManifestID`, and `core/streamdata.go`), one thing
//! excepted: it removes the text `live/` wherever it stands, so that a stream called
//! `a-live/` loses part of its name. Here only a leading `live/` or `stream/` goes.

use livepeer_media::Format;

/// Longest manifest id: it becomes a path part of playlists and a field of every
/// request to an orchestrator.
const MAX_MANIFEST_ID_BYTES: usize = 256;

/// Where a pushed segment belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PushPath {
    pub(super) manifest_id: String,
    /// The file's name as a number; 0 when it is none.
    pub(super) seq: u64,
    pub(super) format: Format,
}

/// What is wrong with a path; the texts are go-livepeer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("ignoring file extension: {0}")]
    Extension(String),
    #[error("Bad URL")]
    NoManifestId,
}

/// Reads the path of a push. `path` begins with `/live/`.
pub(super) fn parse(path: &str) -> Result<PushPath, PathError> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (name, extension) = match file.rsplit_once('.') {
        Some((name, extension)) => (name, extension),
        None => (file, ""),
    };
    let format = match extension {
        "ts" => Format::MpegTs,
        "mp4" => Format::Mp4,
        "" => return Err(PathError::Extension(String::new())),
        other => return Err(PathError::Extension(format!(".{other}"))),
    };
    let manifest_id = manifest_id(&format!("{folder}/{name}"));
    if manifest_id.is_empty() || !is_valid_manifest_id(&manifest_id) {
        return Err(PathError::NoManifestId);
    }
    Ok(PushPath {
        manifest_id,
        seq: name.parse().unwrap_or(0),
        format,
    })
}

/// The first part of a path without extension, the prefix of its kind taken off.
pub(super) fn manifest_id(path: &str) -> String {
    let path = path.trim_start_matches([' ', '/']);
    let path = ["stream/", "live/"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(path);
    let first = path.split('/').next().unwrap_or_default();
    first.to_owned()
}

/// Ids go into headers, URLs and log lines: printable, without what splits those.
pub(super) fn is_valid_manifest_id(id: &str) -> bool {
    let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\' | '?' | '#' | '%' | '"');
    !id.is_empty()
        && id.len() <= MAX_MANIFEST_ID_BYTES
        && id != "."
        && id != ".."
        && !id.contains(forbidden)
}

#[cfg(test)]
mod tests {
    use super::{PathError, manifest_id, parse};
    use livepeer_media::Format;

    #[test]
    fn the_first_part_is_the_stream_and_the_file_is_the_number() {
        for (path, id, seq, format) in [
            ("/live/hello/0.ts", "hello", 0, Format::MpegTs),
            ("/live/hello/17.mp4", "hello", 17, Format::Mp4),
            ("/live/hello/source/17.ts", "hello", 17, Format::MpegTs),
            ("/live/seg.ts", "seg", 0, Format::MpegTs),
            ("/live/12.ts", "12", 12, Format::MpegTs),
            ("/live/hello/-1.ts", "hello", 0, Format::MpegTs),
            ("/live/hello/1.5.ts", "hello", 0, Format::MpegTs),
            ("/live/a.b/3.ts", "a.b", 3, Format::MpegTs),
        ] {
            let parsed = parse(path).unwrap();
            assert_eq!(
                (parsed.manifest_id.as_str(), parsed.seq, parsed.format),
                (id, seq, format),
                "{path}"
            );
        }
    }

    // server/push_test.go: FileExtensionError, EmptyURL
    #[test]
    fn other_extensions_and_empty_ids_are_refused_with_the_texts_of_the_wire() {
        let refused = |path| parse(path).unwrap_err().to_string();
        assert_eq!(refused("/live/a/0.m3u8"), "ignoring file extension: .m3u8");
        assert_eq!(refused("/live/a/0"), "ignoring file extension: ");
        assert_eq!(refused("/live/.ts"), "Bad URL");
        assert_eq!(refused("/live//.ts"), "Bad URL");
        assert_eq!(parse("/live/../0.ts"), Err(PathError::NoManifestId));
        assert_eq!(parse("/live/a\n/0.ts"), Err(PathError::NoManifestId));
    }

    // server/mediaserver_test.go: TestParseManifestID, TestCleanStreamPrefix
    #[test]
    fn prefixes_of_either_kind_are_taken_off_once() {
        for (path, id) in [
            ("", ""),
            ("/", ""),
            ("live", "live"),
            ("/live/a/b", "a"),
            ("stream/a", "a"),
            ("//stream/a/b/c", "a"),
            ("a/live/b", "a"),
            ("/stream/stream/stream", "stream"),
        ] {
            assert_eq!(manifest_id(path), id, "{path}");
        }
    }

    #[test]
    fn any_text_is_answered_without_a_panic() {
        for path in [
            "/live/é/0.ts",
            "/live/%00/0.ts",
            "/",
            "",
            "....",
            "/live/🎈.ts",
        ] {
            let _ = parse(path);
        }
    }
}

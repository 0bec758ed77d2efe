//! `/stream/...` over HTTP: playlists and segments, with go-livepeer's headers
//! (lpms `vidplayer/player.go`), one excepted: playlists of a live stream may not be
//! kept by caches for 5 s, which would stall a player that reloads every 2.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use livepeer_media::Format;
use tokio::time::Instant;

use crate::gateway::App;
use crate::gateway::server::Waiting;

const PLAYLIST_TYPE: &str = "application/x-mpegURL";
const PLAYLIST_CACHE: &str = "no-cache";
const SEGMENT_CACHE: &str = "max-age=5";

/// Any origin may play, as go-livepeer lets it.
const OPEN: [(HeaderName, HeaderValue); 2] = [
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Content-Length"),
    ),
];

/// `/stream/{manifestID}.m3u8`
pub(in crate::gateway) async fn multivariant(
    State(app): State<Arc<App>>,
    Path(file): Path<String>,
) -> Response {
    let text = file
        .strip_suffix(".m3u8")
        .and_then(|manifest_id| app.streams.get(manifest_id)?.multivariant(Instant::now()));
    playlist(text)
}

/// `/stream/{manifestID}/{rendition}.m3u8`
pub(in crate::gateway) async fn media(
    State(app): State<Arc<App>>,
    Path((manifest_id, file)): Path<(String, String)>,
) -> Response {
    let text = file.strip_suffix(".m3u8").and_then(|rendition| {
        app.streams
            .get(&manifest_id)?
            .media(rendition, Instant::now())
    });
    playlist(text)
}

/// `/stream/{manifestID}/{rendition}/{seq}.{ts|mp4}`
pub(in crate::gateway) async fn segment(
    State(app): State<Arc<App>>,
    Extension(Waiting(waiting)): Extension<Waiting>,
    Path((manifest_id, rendition, file)): Path<(String, String, String)>,
) -> Response {
    let found = app
        .streams
        .get(&manifest_id)
        .and_then(|stream| stream.file(&rendition, &file));
    match found {
        Some((data, format)) => {
            let content_type = match format {
                Format::MpegTs => "video/mp2t",
                Format::Mp4 => "video/mp4",
            };
            let headers = [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, SEGMENT_CACHE),
            ];
            (OPEN, headers, waiting.begin().with_bytes(data)).into_response()
        }
        None => not_found(),
    }
}

fn playlist(text: Option<String>) -> Response {
    match text {
        Some(text) => {
            let headers = [
                (header::CONTENT_TYPE, PLAYLIST_TYPE),
                (header::CACHE_CONTROL, PLAYLIST_CACHE),
            ];
            (OPEN, headers, text).into_response()
        }
        None => not_found(),
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, OPEN, "ErrNotFound\n").into_response()
}

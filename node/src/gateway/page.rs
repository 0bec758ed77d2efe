//! The `/` page: lists the streams of this gateway and plays them. Everything it needs
//! is in the program, so it works without any other network.
//!
//! hls.js, Apache-2.0, is `dist/hls.light.min.js` of its npm package, and names its version
//! itself; `e2e/setup/hls-js.sh` compares it and its licence with the package.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::Instant;

use super::App;
use super::stream::StreamReport;

/// Nothing but what is served here: no inline script, no other host. hls.js runs its
/// demuxer in a worker from a blob and feeds the video element through another.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The page's parts change with the program only.
const ASSET_CACHE: &str = "max-age=3600";

/// Most streams in one answer of `/api/streams`; the page is for a person.
const MAX_LISTED: usize = 200;

pub(super) fn routes() -> Router<Arc<App>> {
    let script = "text/javascript; charset=utf-8";
    let plain = "text/plain; charset=utf-8";
    Router::new()
        .route("/", get(index))
        .route("/api/streams", get(streams))
        .route(
            "/page.css",
            get(|| asset("text/css; charset=utf-8", include_bytes!("page/page.css"))),
        )
        .route(
            "/page.js",
            get(move || asset(script, include_bytes!("page/page.js"))),
        )
        .route(
            "/hls.light.min.js",
            get(move || asset(script, include_bytes!("page/hls.light.min.js"))),
        )
        .route(
            "/hls.js-LICENSE",
            get(move || asset(plain, include_bytes!("page/hls.js-LICENSE"))),
        )
}

async fn index() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, include_str!("page/index.html")).into_response()
}

async fn asset(content_type: &'static str, bytes: &'static [u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(ASSET_CACHE)),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, bytes).into_response()
}

/// `GET /api/streams`.
#[derive(Debug, Serialize)]
struct Listing {
    streams: Vec<StreamReport>,
}

async fn streams(State(app): State<Arc<App>>) -> Response {
    let now = Instant::now();
    let all = app.streams.all();
    let streams = all
        .iter()
        .map(|stream| stream.report(now))
        .filter(StreamReport::is_playable)
        .take(MAX_LISTED)
        .collect();
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(Listing { streams }),
    )
        .into_response()
}

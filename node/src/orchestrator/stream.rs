//! `GET /stream/...`: results for gateways, sources for transcoders. No credential, as
//! on the wire: a session's id is what a reader must know.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use livepeer_media::Format;

use super::Shared;
use super::refusal::Refusal;

pub(crate) async fn stream(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let data = shared
        .store
        .get(&path)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "ErrNotFound"))?;
    let kind = if path.ends_with(".mp4") {
        Format::Mp4.mime()
    } else {
        Format::MpegTs.mime()
    };
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    Ok((kind, data).into_response())
}

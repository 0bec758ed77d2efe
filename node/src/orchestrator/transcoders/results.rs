//! What transcoders send back: `POST /transcodeResults`, with go-livepeer's order of
//! checks and statuses (`server/ot_rpc.go`); and `POST /transcoderDraining`, ours alone.
//!
//! A result for a task that nobody waits for is answered 200, as on the wire, and
//! dropped without being kept in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use livepeer_proto::headers;
use multer::{Constraints, Multipart, SizeLimit};
use tokio::time::Instant;

use super::Transcoders;
use super::plan::TaskId;
use super::registry::{MemberId, Willing};
use super::tasks::Event;
use crate::body::{self, Buffer, NoRoom};
use crate::orchestrator::Shared;
use crate::orchestrator::backend::{Output, Rendition};
use crate::orchestrator::metrics::ResultKind;
use crate::orchestrator::refusal::Refusal;
use crate::orchestrator::server::PeerAddr;

/// Renditions of one result; lpms makes no more (`Too many outputs`).
const MAX_PARTS: usize = 10;
/// Longest time for a result to arrive: it holds bytes of the budget meanwhile, wanted
/// or not. Ten times what a live segment's renditions take on a slow line.
const UPLOAD_TIME: Duration = Duration::from_secs(60);
/// Longest error text kept.
const MAX_ERROR_BYTES: u64 = 4096;
/// Header of [`draining`]: which registration.
pub(crate) const REGISTRATION: &str = "Livepeer-Registration";

/// The owner of the credential in the headers.
fn authorize(transcoders: &Transcoders, request: &Request) -> Result<String, Refusal> {
    let headers = request.headers();
    let protocol = headers
        .get(header::AUTHORIZATION)
        .map(http::HeaderValue::as_bytes);
    let secret = headers
        .get(headers::CREDENTIALS)
        .map_or(&b""[..], http::HeaderValue::as_bytes);
    let owner = transcoders
        .credentials
        .owner_of_result(secret, Instant::now());
    match owner {
        Some(owner) if protocol == Some(headers::TRANSCODER_PROTOCOL.as_bytes()) => Ok(owner),
        Some(_) | None => {
            let address = request
                .extensions()
                .get::<PeerAddr>()
                .map(|peer| peer.0.to_string());
            transcoders.refuse("result", address.as_deref());
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized"))
        }
    }
}

/// `POST /transcodeResults`.
pub(crate) async fn transcode_results(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<&'static str, Refusal> {
    let transcoders = shared.transcoders()?;
    let owner = authorize(transcoders, &request)?;
    let (parts, body) = request.into_parts();
    let content = ContentType::parse(&parts.headers).ok_or_else(|| {
        Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported content type",
        )
    })?;
    let task: TaskId = number(&parts.headers, headers::TASK_ID)
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "Invalid Task ID"))?;
    if !transcoders.tasks.is_open(task, &owner) {
        transcoders.metrics.result(ResultKind::Late);
        tracing::info!(task, credential = owner, "late or unknown result dropped");
        // a transcoder that goes on sending is cut off with the handler
        let _ = tokio::time::timeout(UPLOAD_TIME, discard(body.into_data_stream())).await;
        return Ok("OK");
    }
    let read = tokio::time::timeout(UPLOAD_TIME, read(&shared, &parts.headers, content, body))
        .await
        .unwrap_or_else(|_| Err(Refusal::internal("the result was not sent in time")));
    match read {
        Ok(event) => {
            finish(transcoders, task, event);
            Ok("OK")
        }
        // whatever is wrong with it, the segment goes to another at once; what broke off
        // may be sent again, and still counts if it is here first
        Err(refusal) => {
            finish(transcoders, task, Event::Unusable(refusal.text.clone()));
            Err(refusal)
        }
    }
}

/// What a result says.
async fn read(
    shared: &Shared,
    head: &HeaderMap,
    content: ContentType,
    body: Body,
) -> Result<Event, Refusal> {
    if content.media == headers::TRANSCODING_ERROR {
        return Ok(Event::Failed(error_text(shared, body).await?));
    }
    let decoded_pixels: u64 = number(head, headers::PIXELS)
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "Invalid Pixels"))?;
    let (true, Some(boundary)) = (content.media == "multipart/mixed", content.boundary) else {
        // as on the wire: taken, and dropped
        return Ok(Event::Unusable(format!("content type {}", content.media)));
    };
    let renditions = renditions(shared, body.into_data_stream(), boundary).await?;
    Ok(Event::Done(Output {
        renditions,
        decoded_pixels,
    }))
}

/// Passes the event on; a segment that ended meanwhile makes it a late one.
fn finish(transcoders: &Transcoders, task: TaskId, event: Event) {
    let kind = match &event {
        Event::Done(_) => ResultKind::Done,
        Event::Failed(_) => ResultKind::Failed,
        Event::Unusable(_) | Event::Lost => ResultKind::Unusable,
    };
    let waited_for = match event {
        Event::Unusable(reason) => transcoders.tasks.give_up(task, reason),
        event @ (Event::Done(_) | Event::Failed(_) | Event::Lost) => {
            transcoders.tasks.finish(task, event)
        }
    };
    transcoders
        .metrics
        .result(if waited_for { kind } else { ResultKind::Late });
}

async fn error_text(shared: &Shared, body: Body) -> Result<String, Refusal> {
    let chunks = body.into_data_stream();
    let text = body::read(chunks, None, MAX_ERROR_BYTES, &shared.budget)
        .await
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(String::from_utf8_lossy(&text.bytes).trim().to_owned())
}

/// Reads the parts. One with `Pixels` is a rendition; others, perceptual hashes, are
/// not asked for and skipped.
async fn renditions(
    shared: &Shared,
    chunks: BodyDataStream,
    boundary: String,
) -> Result<Vec<Rendition>, Refusal> {
    let limit = SizeLimit::new().per_field(headers::MAX_SEGMENT_BYTES);
    let constraints = Constraints::new().size_limit(limit);
    let mut parts = Multipart::with_constraints(end_later(chunks), boundary, constraints);
    let broken = |error: multer::Error| Refusal::internal(chain(&error));
    let mut renditions = Vec::new();
    while let Some(mut part) = parts.next_field().await.map_err(broken)? {
        if !part.headers().contains_key(headers::PIXELS) {
            while part.chunk().await.map_err(broken)?.is_some() {}
            continue;
        }
        let pixels = number(part.headers(), headers::PIXELS)
            .ok_or_else(|| Refusal::internal("invalid pixels of a part"))?;
        let length = number(part.headers(), header::CONTENT_LENGTH.as_str());
        let unread = |error| match error {
            NoRoom::OverBudget => Refusal::over_budget(),
            NoRoom::TooLarge(_) => Refusal::internal(error.to_string()),
        };
        let mut data = Buffer::new(
            length,
            headers::MAX_SEGMENT_BYTES,
            body::SEGMENT,
            &shared.budget,
        )
        .map_err(unread)?;
        while let Some(chunk) = part.chunk().await.map_err(broken)? {
            data.push(&chunk).map_err(unread)?;
        }
        renditions.push(Rendition {
            data: data.seal(),
            pixels,
        });
        if renditions.len() > MAX_PARTS {
            return Err(Refusal::internal("too many parts"));
        }
    }
    Ok(renditions)
}

/// The stream, whose end is not seen in the same poll as what came last. multer 3.1 looks twice
/// for the first boundary: all of a body that comes between the two looks, end included, counts
/// as one without a boundary.
fn end_later<T>(chunks: impl Stream<Item = T>) -> impl Stream<Item = T> {
    let pause = stream::once(tokio::task::yield_now());
    chunks.chain(pause.filter_map(|()| std::future::ready(None)))
}

/// Reads to the end without keeping: over HTTP/2 an early answer would reset a
/// go-livepeer transcoder's upload, and it would log an error.
async fn discard(mut chunks: BodyDataStream) {
    let mut left = headers::MAX_SEGMENT_BYTES;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(Bytes::len(&chunk) as u64);
        if left == 0 {
            return;
        }
    }
}

/// `POST /transcoderDraining`: a transcoder of ours tells that it will stop, so that
/// its sessions move before it does.
pub(crate) async fn draining(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Refusal> {
    let transcoders = shared.transcoders()?;
    let owner = authorize(transcoders, &request)?;
    let registration = number(request.headers(), REGISTRATION).map(MemberId);
    let willing = match request
        .headers()
        .get(headers::DRAINING)
        .map(http::HeaderValue::as_bytes)
    {
        Some(b"soon") => Some(Willing::AsLastResort),
        Some(b"now") => Some(Willing::No),
        Some(_) | None => None,
    };
    let (Some(id), Some(willing)) = (registration, willing) else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "which registration, and how soon?",
        ));
    };
    if !transcoders.drain(id, &owner, willing) {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no such registration"));
    }
    tracing::info!(credential = owner, ?willing, "transcoder drains");
    Ok("OK".into_response())
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A media type and the parameter that matters here.
#[derive(Debug, PartialEq, Eq)]
struct ContentType {
    media: String,
    boundary: Option<String>,
}

impl ContentType {
    fn parse(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let (kind, subtype) = media.split_once('/')?;
        if kind.is_empty() || subtype.is_empty() || media.contains(char::is_whitespace) {
            return None;
        }
        let boundary = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
            .map(|(_, value)| value.trim_matches('"').to_owned())
            .filter(|value| !value.is_empty());
        Some(Self { media, boundary })
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Poll;

    use super::{ContentType, end_later};
    use bytes::Bytes;
    use futures::stream;
    use http::{HeaderMap, HeaderValue, header};
    use multer::Multipart;

    fn parse(text: &'static str) -> Option<ContentType> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
        ContentType::parse(&headers)
    }

    #[test]
    fn content_types_are_read_as_go_livepeer_writes_them() {
        let parsed = parse("multipart/mixed; boundary=17b336b6e6ae0dfd4d02").unwrap();
        assert_eq!(parsed.boundary.as_deref(), Some("17b336b6e6ae0dfd4d02"));
        assert_eq!(parse("livepeer/transcoding-error").unwrap().boundary, None);
        for broken in ["", "/", "text", "text /plain", ";boundary=x"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[tokio::test]
    async fn a_result_that_comes_at_once_after_a_moment_is_read() {
        let mut body = Some(Bytes::from_static(
            b"--b\r\nPixels: 7\r\n\r\nit\r\n--b--\r\n",
        ));
        let mut looked = false;
        let chunks = stream::poll_fn(move |context| {
            if std::mem::replace(&mut looked, true) {
                Poll::Ready(body.take().map(Ok::<_, Infallible>))
            } else {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        });
        let mut parts = Multipart::new(end_later(chunks), "b");
        let part = parts.next_field().await.unwrap().expect("one part");
        assert_eq!(part.bytes().await.unwrap(), "it");
        assert!(parts.next_field().await.unwrap().is_none());
    }
}

//! `POST /segment` and `/payment`: the life of one segment on an orchestrator.
//!
//! Everything that can be said by a status is checked first; then 200 goes out before
//! the work begins, since gateways wait for headers only a short while, and what
//! happens later is in the body (go-livepeer `server/segment_rpc.go`).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use livepeer_media::error::is_non_retryable;
use livepeer_proto::errors;
use livepeer_proto::headers::{self, MAX_SEGMENT_BYTES};
use livepeer_proto::net::{self, transcode_result};
use prost::Message;
use tokio::time::Instant;

use super::Shared;
use super::backend::{Output, Work};
use super::checks::{self, Checked};
use super::metrics::Outcome;
use super::refusal::Refusal;
use super::sessions::{AdmitError, Place};
use crate::body::{self, BodyError, NoRoom, Received};
use crate::fetch::FetchError;

/// Taken off the caller's deadline, so that our answer is there before it gives up.
const ANSWER_MARGIN: Duration = Duration::from_millis(300);
/// Longest URL in place of a segment.
const MAX_URL_BYTES: u64 = 8192;

/// `POST /segment`.
pub(crate) async fn segment(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrived = Instant::now();
    let received = receive(&shared, request, arrived).await;
    let mut response = match received {
        Ok(segment) => {
            let shared = Arc::clone(&shared);
            let work =
                async move { Ok::<_, std::convert::Infallible>(segment.answer(&shared).await) };
            Response::new(Body::from_stream(futures::stream::once(work)))
        }
        Err(refusal) => {
            shared.metrics.segment(Outcome::Refused);
            tracing::debug!(
                status = refusal.status.as_u16(),
                text = refusal.text,
                "segment refused"
            );
            refusal.into_response()
        }
    };
    if shared.is_stopping() {
        response
            .headers_mut()
            .insert(headers::DRAINING, HeaderValue::from_static("1"));
    }
    response
}

/// `POST /payment`: tickets without a segment. Off-chain there is nothing to credit.
pub(crate) async fn payment(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Vec<u8>, Refusal> {
    let checked = check(&shared, &headers)?;
    let result = net::PaymentResult {
        info: Some(shared.info(checked.token)),
    };
    Ok(result.encode_to_vec())
}

fn check(shared: &Shared, headers: &HeaderMap) -> Result<Checked, Refusal> {
    checks::check(
        headers,
        &shared.capabilities(),
        &shared.tokens,
        super::unix_now(),
    )
}

/// A segment that is wholly here.
struct Segment {
    checked: Checked,
    place: Place,
    source: Received,
    deadline: Instant,
}

/// Frees what the attempts at a segment took for a session that ended under way: nobody
/// would end it again.
struct Ended<'a> {
    shared: &'a Shared,
    session: &'a str,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if !self.shared.sessions.knows(self.session) {
            self.shared.backend.end_session(self.session);
        }
    }
}

/// Steps 1 to 13: everything before the status.
async fn receive(shared: &Shared, request: Request, arrived: Instant) -> Result<Segment, Refusal> {
    let (parts, body) = request.into_parts();
    let checked = check(shared, &parts.headers)?;
    let limit = if shared.is_closed() {
        0
    } else {
        shared.session_limit()
    };
    let place = shared
        .sessions
        .admit(&checked.token.session_id, limit, arrived)
        .map_err(|error| match error {
            AdmitError::Capped => Refusal::forbidden(error.to_string()),
            AdmitError::Busy => Refusal::busy(error.to_string()),
        })?;
    let deadline = arrived + checked.asked.deadline().saturating_sub(ANSWER_MARGIN);
    let read = read_source(shared, &parts.headers, body);
    let source = tokio::time::timeout_at(deadline, read)
        .await
        .map_err(|_| Refusal::internal("Internal Server Error"))??;
    if checked.data.hash.as_ref() != source.hash {
        return Err(Refusal::forbidden("Forbidden"));
    }
    Ok(Segment {
        checked,
        place,
        source,
        deadline,
    })
}

async fn read_source(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, Refusal> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let by_url = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)
        == Some(headers::SEGMENT_URI.as_bytes());
    let limit = if by_url {
        MAX_URL_BYTES
    } else {
        MAX_SEGMENT_BYTES
    };
    let read = body::read(body.into_data_stream(), length, limit, &shared.sources)
        .await
        .map_err(|error| unread(&error))?;
    if !by_url {
        return Ok(read);
    }
    let url = String::from_utf8_lossy(&read.bytes);
    shared
        .fetcher
        .fetch(url.trim(), &shared.sources)
        .await
        .map_err(|error| {
            tracing::debug!(%error, "segment cannot be fetched");
            match error {
                FetchError::Body(BodyError::NoRoom(NoRoom::OverBudget)) => Refusal::over_budget(),
                FetchError::Body(
                    BodyError::NoRoom(NoRoom::TooLarge(_)) | BodyError::Slow | BodyError::Broken(_),
                )
                | FetchError::Url
                | FetchError::Private
                | FetchError::Status(_)
                | FetchError::Transport(_) => {
                    Refusal::new(http::StatusCode::BAD_REQUEST, "BadRequest")
                }
            }
        })
}

fn unread(error: &BodyError) -> Refusal {
    tracing::debug!(%error, "segment not read");
    match error {
        BodyError::NoRoom(NoRoom::OverBudget) => Refusal::over_budget(),
        BodyError::NoRoom(NoRoom::TooLarge(_)) | BodyError::Slow | BodyError::Broken(_) => {
            Refusal::internal("Internal Server Error")
        }
    }
}

impl Segment {
    /// Step 15: the body of the reply.
    async fn answer(mut self, shared: &Shared) -> Bytes {
        let began = Instant::now();
        let result = self.transcode(shared).await;
        let (session, seq) = (&self.checked.token.session_id, self.checked.data.seq);
        let result = match result {
            Ok(output) => {
                let pixels = output.renditions.iter().map(|one| one.pixels).sum();
                shared
                    .metrics
                    .done(began.elapsed(), output.decoded_pixels, pixels);
                tracing::debug!(
                    session_id = session,
                    seq,
                    seconds = began.elapsed().as_secs_f64(),
                    "segment done"
                );
                transcode_result::Result::Data(self.store(shared, output))
            }
            Err(text) => {
                let input = is_non_retryable(&text);
                shared.metrics.segment(if input {
                    Outcome::InputFault
                } else {
                    Outcome::Failed
                });
                tracing::warn!(session_id = session, seq, reason = text, "segment failed");
                transcode_result::Result::Error(text)
            }
        };
        let token = shared.tokens.renew(self.checked.token, super::unix_now());
        let reply = net::TranscodeResult {
            seq,
            result: Some(result),
            info: Some(shared.info(token)),
        };
        reply.encode_to_vec().into()
    }

    async fn transcode(&mut self, shared: &Shared) -> Result<Output, String> {
        let turn = tokio::time::timeout_at(self.deadline, self.place.turn());
        let _turn = turn
            .await
            .map_err(|_| errors::ORCHESTRATOR_BUSY.to_owned())?;
        let began = Instant::now();
        let session = &self.checked.token.session_id;
        let name = format!("{}.tempfile", self.checked.data.seq);
        let _lent = shared.store.lend(session, &name, self.source.bytes.clone());
        let _ended = Ended { shared, session };
        let work = Work {
            session,
            data: &self.checked.data,
            asked: &self.checked.asked,
            source: self.source.bytes.clone(),
            source_url: &shared.url_for_transcoders(session, &name),
            deadline: self.deadline,
            usual: self.place.usual(),
        };
        let output = tokio::select! {
            done = tokio::time::timeout_at(self.deadline, shared.backend.transcode(&work)) => {
                done.map_err(|_| errors::TRANSCODER_TIMEOUT.to_owned())??
            }
            () = shared.stop.cancelled() => return Err(errors::TRANSCODER_STOPPED.to_owned()),
        };
        self.place.took(began.elapsed());
        Ok(output)
    }

    /// Keeps the renditions for the gateway and tells where they are.
    fn store(&self, shared: &Shared, output: Output) -> net::TranscodeData {
        let session = &self.checked.token.session_id;
        let segments = output
            .renditions
            .into_iter()
            .zip(&self.checked.asked.profiles)
            .map(|(rendition, profile)| {
                let name = format!("{}.{}", self.checked.data.seq, profile.format.extension());
                shared
                    .store
                    .insert(session, &profile.name, &name, rendition.data);
                net::TranscodedSegmentData {
                    url: shared.url_for_gateways(session, &profile.name, &name),
                    pixels: i64::try_from(rendition.pixels).unwrap_or(i64::MAX),
                    perceptual_hash_url: String::new(),
                }
            })
            .collect();
        // ended under way: nobody fetches them, and nobody would end it again
        if !shared.sessions.knows(session) {
            shared.store.end(session);
        }
        net::TranscodeData {
            segments,
            sig: Vec::new(),
        }
    }
}

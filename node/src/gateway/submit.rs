//! One segment to one orchestrator: `POST /segment`, its reply, the renditions.
//!
//! The wire is go-livepeer's (`server/segment_rpc.go`): status 200 and headers come
//! before the work, errors of the work come inside the body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use livepeer_proto::{headers, net};
use prost::Message;
use reqwest::{Client, Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::SubmitError;
use super::orchestrators::chain;
use super::rendition;
use livepeer_media::budget::Budget;

/// Largest reply to `/segment`: ten results and an `OrchestratorInfo` are a few
/// kilobytes; capabilities of AI nodes may be more.
const MAX_REPLY_BYTES: usize = 1 << 20;
/// Largest error text that is read.
const MAX_ERROR_BYTES: usize = 4096;
/// Shortest time for renditions to be fetched in (go-livepeer: 4 s).
const MIN_FETCH_TIME: Duration = Duration::from_secs(4);

/// How long a segment may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// Until the response's headers: the upload and the orchestrator's checks.
    pub(super) headers: Duration,
    /// Until the reply is complete.
    pub(super) reply: Duration,
    /// Until the renditions are here, after the reply.
    pub(super) fetch: Duration,
}

impl Timeouts {
    /// Those of go-livepeer (`server/segment_rpc.go`).
    pub(super) fn of(segment: Duration, multiplier: u32) -> Self {
        let multiplier = multiplier.max(1);
        Self {
            headers: (segment / 2).max(Duration::from_secs(2)) * multiplier,
            reply: (segment * 4).max(Duration::from_secs(8)) * multiplier,
            fetch: segment.max(MIN_FETCH_TIME) * multiplier,
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// In the order of the profiles.
    pub(super) renditions: Vec<Bytes>,
    /// Fresh facts about the orchestrator, same session.
    pub(super) info: Option<net::OrchestratorInfo>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: Result<Answer, SubmitError>,
    /// Whether the orchestrator asked for the stream to go elsewhere; `None` without an
    /// answer.
    pub(super) draining: Option<bool>,
}

/// A segment on its way to an orchestrator.
pub(super) struct Submission<'a> {
    pub(super) http: &'a Client,
    pub(super) budget: &'a Budget,
    /// Where the settings have it.
    pub(super) uri: &'a str,
    pub(super) info: &'a net::OrchestratorInfo,
    pub(super) segment: net::SegData,
    pub(super) body: Bytes,
    /// The most bytes of each rendition.
    pub(super) limits: &'a [u64],
    pub(super) timeouts: Timeouts,
}

impl Submission<'_> {
    /// Sends it and brings every rendition back, or none.
    pub(super) async fn run(self) -> Ended {
        let started = Instant::now();
        match self.post().await {
            Ok(response) => Ended {
                draining: Some(response.headers().contains_key(headers::DRAINING)),
                result: self.follow(response, started).await,
            },
            Err(error) => Ended {
                draining: None,
                result: Err(error),
            },
        }
    }

    /// From the head of the response to the renditions.
    async fn follow(&self, response: Response, started: Instant) -> Result<Answer, SubmitError> {
        let response = self.accepted(response).await?;
        let reply_by = started + self.timeouts.reply;
        let reply = timeout_at(reply_by, read_reply(response))
            .await
            .map_err(|_| SubmitError::ReplyTimeout(self.timeouts.reply))??;
        let (urls, info) = parse_reply(reply, self.limits.len())?;
        let homes = [self.info.transcoder.as_str(), self.uri];
        let urls = urls.iter().map(|url| rendition::address(url, homes));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        let fetches = urls
            .iter()
            .zip(self.limits)
            .map(|(url, limit)| rendition::fetch(self.http, self.budget, url, *limit));
        let renditions = timeout(self.timeouts.fetch, futures::future::try_join_all(fetches))
            .await
            .map_err(|_| SubmitError::Rendition("timed out".to_owned()))??;
        Ok(Answer { renditions, info })
    }

    async fn post(&self) -> Result<Response, SubmitError> {
        let url = format!("{}/segment", self.info.transcoder.trim_end_matches('/'));
        let request = self
            .http
            .post(url)
            .header(headers::SEGMENT, headers::encode(&self.segment))
            .header(headers::PAYMENT, "")
            .header(reqwest::header::CONTENT_TYPE, headers::VIDEO_MPEG_TS)
            .body(self.body.clone());
        timeout(self.timeouts.headers, request.send())
            .await
            .map_err(|_| SubmitError::HeaderTimeout(self.timeouts.headers))?
            .map_err(|error| SubmitError::Connection(chain(&error)))
    }

    async fn accepted(&self, response: Response) -> Result<Response, SubmitError> {
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let text = match timeout(self.timeouts.headers, read(response, MAX_ERROR_BYTES)).await {
            Ok(Ok(body)) => String::from_utf8_lossy(&body).trim().to_owned(),
            Ok(Err(_)) | Err(_) => String::new(),
        };
        Err(SubmitError::Status { status, text })
    }
}

async fn read_reply(response: Response) -> Result<net::TranscodeResult, SubmitError> {
    let body = read(response, MAX_REPLY_BYTES).await?;
    net::TranscodeResult::decode(body).map_err(|error| SubmitError::Reply(error.to_string()))
}

/// A small body, whole; a larger one is an error.
async fn read(mut response: Response, limit: usize) -> Result<Bytes, SubmitError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| SubmitError::Connection(chain(&error)))?
    {
        if body.len() + chunk.len() > limit {
            return Err(SubmitError::Reply(format!("more than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Addresses of the renditions, one a profile.
fn parse_reply(
    reply: net::TranscodeResult,
    renditions: usize,
) -> Result<(Vec<String>, Option<net::OrchestratorInfo>), SubmitError> {
    use net::transcode_result::Result as Outcome;
    match reply.result {
        Some(Outcome::Data(data)) if data.segments.len() == renditions => {
            let urls = data.segments.into_iter().map(|segment| segment.url);
            Ok((urls.collect(), reply.info))
        }
        // go-livepeer drops a rendition whose upload failed without a word
        Some(Outcome::Data(data)) => Err(SubmitError::Reply(format!(
            "{} renditions of {renditions}",
            data.segments.len()
        ))),
        Some(Outcome::Error(text)) => Err(SubmitError::Transcode(text)),
        None => Err(SubmitError::Reply("UnknownResponse".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use livepeer_proto::{headers, net};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::{Submission, SubmitError, Timeouts, parse_reply};
    use crate::gateway::orchestrators::Orchestrators;
    use livepeer_media::budget::Budget;

    #[test]
    fn timeouts_are_those_of_the_wire() {
        let short = Timeouts::of(Duration::from_secs(2), 1);
        assert_eq!(short.headers, Duration::from_secs(2));
        assert_eq!(short.reply, Duration::from_secs(8));
        let long = Timeouts::of(Duration::from_secs(10), 2);
        assert_eq!(long.headers, Duration::from_secs(10));
        assert_eq!(long.reply, Duration::from_secs(80));
    }

    #[tokio::test]
    async fn an_orchestrator_that_drains_says_so_on_a_failure_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let refuse = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let name = headers::DRAINING;
            let head = format!("HTTP/1.1 503 Busy\r\n{name}: 1\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
        };
        let orchestrators = Orchestrators::new().unwrap();
        let submission = Submission {
            http: orchestrators.http(),
            budget: &Budget::new(0),
            uri: &uri,
            info: &net::OrchestratorInfo {
                transcoder: uri.clone(),
                ..net::OrchestratorInfo::default()
            },
            segment: net::SegData::default(),
            body: Bytes::new(),
            limits: &[],
            timeouts: Timeouts::of(Duration::from_secs(2), 1),
        };
        let (ended, ()) = tokio::join!(submission.run(), refuse);
        assert_eq!(ended.draining, Some(true));
        assert!(matches!(
            ended.result,
            Err(SubmitError::Status { status: 503, .. })
        ));
    }

    #[test]
    fn a_reply_has_every_rendition_or_is_an_error() {
        use net::transcode_result::Result as Outcome;
        let reply = |result| net::TranscodeResult {
            seq: 1,
            result,
            info: None,
        };
        let data = |urls: &[&str]| {
            Some(Outcome::Data(net::TranscodeData {
                segments: urls
                    .iter()
                    .map(|url| net::TranscodedSegmentData {
                        url: (*url).to_owned(),
                        ..net::TranscodedSegmentData::default()
                    })
                    .collect(),
                sig: Vec::new(),
            }))
        };
        assert_eq!(
            parse_reply(reply(data(&["a", "b"])), 2).unwrap().0,
            ["a", "b"]
        );
        assert!(matches!(
            parse_reply(reply(data(&["a"])), 2),
            Err(SubmitError::Reply(_))
        ));
        assert!(matches!(
            parse_reply(reply(None), 2),
            Err(SubmitError::Reply(_))
        ));
        let error = parse_reply(
            reply(Some(Outcome::Error("No keyframes in input".into()))),
            2,
        );
        assert_eq!(error.unwrap_err().to_string(), "No keyframes in input");
    }
}

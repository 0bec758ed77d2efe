//! One task: fetch the source, transcode it, send the result.

use std::sync::Arc;

use livepeer_media::error::is_non_retryable;
use livepeer_media::{Engine, Profile, Rendition, TranscodeJob};
use livepeer_proto::net::NotifySegment;
use livepeer_proto::{capabilities, errors, net};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::{Metrics, Outcome};
use super::sessions::Sessions;
use super::upload::{Part, TaskResult, Uploader};
use crate::body::{BodyError, NoRoom};
use crate::fetch::{FetchError, Fetcher};
use crate::segdata::{Asked, WIRE_VERSION};
use livepeer_media::budget::Budget;

/// What a task needs; cheap to clone.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) engine: Engine,
    pub(crate) fetcher: Fetcher,
    pub(crate) uploader: Uploader,
    pub(crate) budget: Budget,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Metrics,
    /// What we registered with.
    pub(crate) capabilities: Arc<net::Capabilities>,
    pub(crate) stop: CancellationToken,
    /// Who waits for the tasks.
    pub(crate) tasks: TaskTracker,
}

impl Worker {
    /// Does the task and sends what came of it. `secret` is the one we registered with.
    pub(crate) async fn run(self, notice: NotifySegment, secret: Arc<str>) {
        let began = Instant::now();
        let task = notice.task_id;
        let session = session_of(&notice).to_owned();
        let seq = notice.seg_data.as_ref().map_or(0, |data| data.seq);
        let _working = self.sessions.work(&session);
        let result = tokio::select! {
            result = self.transcode(&notice) => match result {
                Ok(result) => result,
                Err(text) => TaskResult::Failed(text),
            },
            // the connection ends with us, which says it all
            () = self.stop.cancelled() => return,
        };
        let outcome = match &result {
            TaskResult::Done {
                parts,
                decoded_pixels,
            } => {
                tracing::debug!(
                    session_id = session,
                    seq,
                    task,
                    renditions = parts.len(),
                    decoded_pixels,
                    seconds = began.elapsed().as_secs_f64(),
                    "segment done"
                );
                Outcome::Done
            }
            TaskResult::Failed(text) => {
                tracing::warn!(
                    session_id = session,
                    seq,
                    task,
                    reason = text,
                    "segment failed"
                );
                if is_non_retryable(text) {
                    Outcome::InputFault
                } else {
                    Outcome::Failed
                }
            }
        };
        self.metrics.task(outcome, began.elapsed());
        if let Err(error) = self.uploader.send(&secret, task, &result).await {
            self.metrics.undelivered();
            tracing::warn!(session_id = session, seq, task, %error, "result not delivered");
        }
    }

    /// The error is the text for the orchestrator.
    async fn transcode(&self, notice: &NotifySegment) -> Result<TaskResult, String> {
        let data = notice.seg_data.as_ref().ok_or(errors::EMPTY_SEG_DATA)?;
        if let Some(job) = &data.capabilities
            && capabilities::compatible(job, &self.capabilities).is_err()
        {
            return Err(errors::INCOMPATIBLE_CAPABILITIES.to_owned());
        }
        let asked = Asked::parse(data).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + asked.deadline();
        let source = self
            .fetcher
            .fetch(&notice.url, &self.budget)
            .await
            .map_err(|error| {
                tracing::warn!(task = notice.task_id, %error, "source not fetched");
                unfetched(&error)
            })?;
        let job = TranscodeJob {
            stream: session_of(notice).to_owned(),
            profiles: asked.profiles.clone(),
            source: source.bytes.clone(),
            duration: asked.duration,
            metadata: format!("Livepeer Transcoder {WIRE_VERSION} ({})", notice.orch_id),
            clip: asked.clip,
            deadline: deadline.saturating_duration_since(Instant::now()),
        };
        let done = self
            .engine
            .transcode(job)
            .await
            .map_err(|error| error.to_string())?;
        Ok(TaskResult::Done {
            decoded_pixels: done.decoded_pixels,
            parts: parts(done.renditions, &asked.profiles)?,
        })
    }
}

/// A part for each profile that was asked for; the error is the wire's.
fn parts(renditions: Vec<Rendition>, profiles: &[Profile]) -> Result<Vec<Part>, &'static str> {
    if renditions.len() != profiles.len() {
        return Err(errors::PROFILE_MISMATCH);
    }
    let part = |(rendition, profile): (Rendition, &Profile)| Part {
        format: profile.format,
        pixels: rendition.pixels,
        data: rendition.data,
    };
    Ok(renditions.into_iter().zip(profiles).map(part).collect())
}

/// What the orchestrator is told when the source could not be fetched. Nothing is known
/// about the segment then, and the words must not be taken for its own fault.
fn unfetched(error: &FetchError) -> &'static str {
    match error {
        FetchError::Body(BodyError::NoRoom(NoRoom::OverBudget)) => errors::TRANSCODER_BUSY,
        FetchError::Body(
            BodyError::NoRoom(NoRoom::TooLarge(_)) | BodyError::Slow | BodyError::Broken(_),
        )
        | FetchError::Url
        | FetchError::Private
        | FetchError::Status(_)
        | FetchError::Transport(_) => errors::TRANSCODER_UNAVAILABLE,
    }
}

/// The session that a notice is about; empty when it does not say.
pub(crate) fn session_of(notice: &NotifySegment) -> &str {
    notice
        .seg_data
        .as_ref()
        .and_then(|data| data.auth_token.as_ref())
        .map_or("", |token| token.session_id.as_str())
}

/// Whether a notice says that a session is over rather than bringing a segment.
pub(crate) fn is_teardown(notice: &NotifySegment) -> bool {
    notice.url.is_empty() && !session_of(notice).is_empty()
}

#[cfg(test)]
mod tests {
    use super::{is_teardown, parts, session_of};
    use bytes::Bytes;
    use livepeer_media::{Format, Profile, Rendition};
    use livepeer_proto::net::{AuthToken, NotifySegment, SegData};

    #[test]
    fn a_notice_without_url_but_with_a_session_is_a_teardown() {
        let mut notice = NotifySegment {
            seg_data: Some(SegData {
                auth_token: Some(AuthToken {
                    session_id: "5c".to_owned(),
                    ..AuthToken::default()
                }),
                ..SegData::default()
            }),
            ..NotifySegment::default()
        };
        assert_eq!(session_of(&notice), "5c");
        assert!(is_teardown(&notice));
        notice.url = "https://o/stream/5c/1.tempfile".to_owned();
        assert!(!is_teardown(&notice));
        assert!(!is_teardown(&NotifySegment::default()));
    }

    #[test]
    fn another_number_of_renditions_than_asked_for_is_refused_with_the_words_of_the_wire() {
        let profile = Profile::preset("P240p30fps16x9").unwrap();
        let mp4 = Profile {
            format: Format::Mp4,
            ..profile.clone()
        };
        let rendition = Rendition {
            data: Bytes::from_static(b"a rendition"),
            frames: 50,
            pixels: 7,
        };
        let both = [profile, mp4];
        for count in [0, 1, 3] {
            let refused = parts(vec![rendition.clone(); count], &both);
            assert_eq!(refused.unwrap_err(), "segment / profile mismatch");
        }
        let parts = parts(vec![rendition; 2], &both).unwrap();
        let of: Vec<_> = parts
            .iter()
            .map(|part| (part.format, part.pixels))
            .collect();
        assert_eq!(of, [(Format::MpegTs, 7), (Format::Mp4, 7)]);
    }
}

//! Results on their way to the orchestrator: `POST /transcodeResults` over HTTP/2, with
//! go-livepeer's headers and parts (`server/ot_rpc.go`).

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header;
use livepeer_media::Format;
use livepeer_proto::{dial, headers};
use url::Url;

/// Tries of one upload. A broken connection, or an orchestrator that could not read
/// it, may be better the next time.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest time for one try: an orchestrator that takes a result and never answers must
/// not hold us up when we are told to stop.
const TRY_TIME: Duration = Duration::from_secs(60);
/// Bytes of one HTTP/2 stream on their way: a rendition in one go.
const WINDOW: u32 = 2 << 20;

/// Why a result did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the orchestrator answered {0}")]
    Status(http::StatusCode),
    #[error("cannot reach the orchestrator")]
    Transport(#[from] reqwest::Error),
}

/// A rendition to send.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) format: Format,
    pub(crate) pixels: u64,
    pub(crate) data: Bytes,
}

/// What a task came to.
#[derive(Debug, Clone)]
pub(crate) enum TaskResult {
    Done {
        decoded_pixels: u64,
        parts: Vec<Part>,
    },
    Failed(String),
}

/// Sends results; keeps its connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Uploader {
    client: reqwest::Client,
    results: Url,
    draining: Url,
    health: Url,
}

impl Uploader {
    /// For the orchestrator at `uri`.
    pub(crate) fn new(uri: &Url) -> Self {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(dial::client_config(&[b"h2"]))
            .http2_prior_knowledge()
            .http2_initial_stream_window_size(WINDOW)
            .http2_keep_alive_interval(dial::PING_INTERVAL)
            .http2_keep_alive_timeout(dial::PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .pool_idle_timeout(None)
            .connect_timeout(dial::CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("the options are constant and do not contradict");
        let at = |path: &str| {
            let mut url = uri.clone();
            url.set_path(path);
            url
        };
        Self {
            client,
            results: at("/transcodeResults"),
            draining: at("/transcoderDraining"),
            health: at("/healthz"),
        }
    }

    /// Sends a result, again if need be, until it is taken or refused.
    pub(crate) async fn send(
        &self,
        secret: &str,
        task: i64,
        result: &TaskResult,
    ) -> Result<(), UploadError> {
        let mut tries = 1;
        loop {
            match self.send_once(secret, task, result).await {
                Ok(()) => return Ok(()),
                Err(UploadError::Status(status)) if status.is_client_error() => {
                    return Err(UploadError::Status(status));
                }
                Err(error) if tries >= TRIES => return Err(error),
                Err(error) => tracing::debug!(task, %error, tries, "result is sent again"),
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn send_once(
        &self,
        secret: &str,
        task: i64,
        result: &TaskResult,
    ) -> Result<(), UploadError> {
        let request = self
            .client
            .post(self.results.clone())
            .timeout(TRY_TIME)
            .header(header::AUTHORIZATION, headers::TRANSCODER_PROTOCOL)
            .header(headers::CREDENTIALS, secret)
            .header(headers::TASK_ID, task);
        let request = match result {
            TaskResult::Failed(text) => request
                .header(headers::PIXELS, 0)
                .header(header::CONTENT_TYPE, headers::TRANSCODING_ERROR)
                .body(text.clone()),
            TaskResult::Done {
                decoded_pixels,
                parts,
            } => {
                let boundary = hex::encode(rand::random::<[u8; 10]>());
                let chunks = multipart(&boundary, parts);
                let length: usize = chunks.iter().map(Bytes::len).sum();
                let chunks = chunks.into_iter().map(Ok::<_, std::convert::Infallible>);
                request
                    .header(headers::PIXELS, *decoded_pixels)
                    .header(
                        header::CONTENT_TYPE,
                        format!("multipart/mixed; boundary={boundary}"),
                    )
                    .header(header::CONTENT_LENGTH, length)
                    .body(reqwest::Body::wrap_stream(stream::iter(chunks)))
            }
        };
        let status = request.send().await?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(UploadError::Status(status))
        }
    }

    /// Makes the connection before the first result: the orchestrator may be on its way
    /// out by then, and take no new ones.
    pub(crate) async fn connect(&self) {
        let asked = self.client.get(self.health.clone());
        let answered = asked.timeout(dial::CONNECT_TIMEOUT).send().await;
        if let Err(error) = answered {
            tracing::debug!(%error, "no connection for results yet");
        }
    }

    /// Tells an orchestrator of ours that registration `id` drains; another's answers
    /// 404, and that is fine.
    pub(crate) async fn announce_drain(&self, secret: &str, id: &str, soon: bool) -> bool {
        let sent = self
            .client
            .post(self.draining.clone())
            .header(header::AUTHORIZATION, headers::TRANSCODER_PROTOCOL)
            .header(headers::CREDENTIALS, secret)
            .header("Livepeer-Registration", id)
            .header(headers::DRAINING, if soon { "soon" } else { "now" })
            .timeout(dial::CONNECT_TIMEOUT)
            .send()
            .await;
        sent.is_ok_and(|response| response.status().is_success())
    }
}

/// The body in pieces; the renditions themselves are not copied.
fn multipart(boundary: &str, parts: &[Part]) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(parts.len() * 2 + 1);
    for (at, part) in parts.iter().enumerate() {
        let separator = if at == 0 { "" } else { "\r\n" };
        let head = format!(
            "{separator}--{boundary}\r\nContent-Length: {}\r\nContent-Type: {}\r\nPixels: {}\r\n\r\n",
            part.data.len(),
            part.format.mime(),
            part.pixels,
        );
        chunks.push(Bytes::from(head));
        chunks.push(part.data.clone());
    }
    chunks.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    chunks
}

#[cfg(test)]
mod tests {
    use super::{Part, multipart};
    use bytes::Bytes;
    use futures::stream;
    use livepeer_media::Format;
    use multer::Multipart;

    #[tokio::test]
    async fn parts_are_those_of_go_livepeer_and_read_back() {
        let parts = [(Format::MpegTs, "one"), (Format::Mp4, "two")].map(|(format, text)| Part {
            format,
            pixels: 7,
            data: Bytes::from_static(text.as_bytes()),
        });
        let body = multipart("17b336b6e6ae0dfd4d02", &parts).concat();
        let text = String::from_utf8(body).unwrap();
        assert_eq!(
            text,
            "--17b336b6e6ae0dfd4d02\r\nContent-Length: 3\r\nContent-Type: video/mp2t\r\nPixels: 7\r\n\r\none\
             \r\n--17b336b6e6ae0dfd4d02\r\nContent-Length: 3\r\nContent-Type: video/mp4\r\nPixels: 7\r\n\r\ntwo\
             \r\n--17b336b6e6ae0dfd4d02--\r\n"
        );
        let chunks = stream::iter([Ok::<_, std::io::Error>(Bytes::from(text))]);
        let mut read = Multipart::new(chunks, "17b336b6e6ae0dfd4d02");
        let first = read.next_field().await.unwrap().unwrap();
        assert_eq!(first.headers()["pixels"], "7");
        assert_eq!(first.bytes().await.unwrap(), "one");
    }
}

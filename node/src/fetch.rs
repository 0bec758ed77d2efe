//! GET of a segment from a peer: HTTP/1.1, certificates unseen, as go-livepeer's
//! `drivers/local.go` and `server/ot_rpc.go` do it. A transcoder fetches its sources
//! so, and an orchestrator what a `/segment` body only names, on the public Internet.

mod public;

use std::sync::Arc;
use std::time::Duration;

use livepeer_proto::dial;
use livepeer_proto::headers::MAX_SEGMENT_BYTES;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::body::{self, BodyError, Received};
use livepeer_media::budget::Budget;

/// Before the second try, when the first one's connection failed.
const PAUSE: Duration = Duration::from_millis(100);
/// For the whole GET (go-livepeer: the `http.Client` of `core/os.go`).
const TIMEOUT: Duration = Duration::from_secs(4);
/// Under the time after which peers close idle connections (go-livepeer: 10 min,
/// this project: 2 min).
const IDLE: Duration = Duration::from_secs(60);

/// Why there is no segment.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("invalid segment url")]
    Url,
    #[error("the segment's url leads to no public address")]
    Private,
    /// The status line, as go-livepeer's error has it.
    #[error("{0}")]
    Status(http::StatusCode),
    #[error("cannot fetch the segment: {0}")]
    Transport(String),
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl FetchError {
    /// Whether it was the connection, which the next one may be without.
    fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Body(BodyError::Broken(_)) => true,
            Self::Url | Self::Private | Self::Status(_) => false,
            Self::Body(BodyError::NoRoom(_) | BodyError::Slow) => false,
        }
    }
}

/// A client that keeps its connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    public: bool,
}

/// Takes any address.
impl Default for Fetcher {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Fetcher {
    /// Takes public addresses only: for what anybody may name.
    #[must_use]
    pub fn public() -> Self {
        Self::new(true)
    }

    fn new(public: bool) -> Self {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(dial::client_config(&[b"http/1.1"]))
            .http1_only()
            .connect_timeout(dial::CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let builder = if public {
            // whoever names the hosts may name a thousand
            let builder = builder.pool_max_idle_per_host(0);
            builder.dns_resolver(Arc::new(public::PublicNames))
        } else {
            builder
        };
        let client = builder
            .build()
            .expect("the options are constant and do not contradict");
        Self { client, public }
    }

    /// Fetches the segment at `url`; once more when a connection fails early.
    pub async fn fetch(&self, url: &str, budget: &Budget) -> Result<Received, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Url);
        }
        if self.public && !public::may_be_public(&url) {
            return Err(FetchError::Private);
        }
        let began = Instant::now();
        match self.fetch_once(url.clone(), budget).await {
            // one that took long has used up the time of the second
            Err(error) if error.is_of_the_connection() && began.elapsed() < TIMEOUT / 2 => {
                tracing::debug!(%error, "segment is fetched again");
                sleep(PAUSE).await;
                self.fetch_once(url, budget).await
            }
            result => result,
        }
    }

    async fn fetch_once(&self, url: Url, budget: &Budget) -> Result<Received, FetchError> {
        let response = self
            .client
            .get(url)
            .send()
            .await
            .map_err(|error| FetchError::Transport(chain(&error)))?;
        if response.status() != http::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let length = response.content_length();
        Ok(body::read(response.bytes_stream(), length, MAX_SEGMENT_BYTES, budget).await?)
    }
}

/// reqwest prints only "error sending request"; the cause says why.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(next) = cause {
        text = next.to_string();
        cause = next.source();
    }
    if text.is_empty() {
        "no answer in time".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Fetcher;
    use livepeer_media::budget::Budget;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_that_fails_is_tried_once_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/1.ts", listener.local_addr().unwrap());
        let serve = async {
            // gone before a word is said, then in the middle of the segment
            for said in ["", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nseg"] {
                for said in [said, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsegment"] {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = stream.read(&mut [0; 1000]).await.unwrap();
                    stream.write_all(said.as_bytes()).await.unwrap();
                }
            }
        };
        let fetch = async {
            for _ in 0..2 {
                let got = Fetcher::default().fetch(&url, &Budget::new(1 << 20)).await;
                assert_eq!(got.unwrap().bytes, b"segment".as_slice());
            }
        };
        tokio::join!(serve, fetch);
    }
}

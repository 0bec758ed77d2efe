//! GET of a segment from a peer: HTTP/1.1, certificates unseen, as go-livepeer's
//! `drivers/local.go` and `server/ot_rpc.go` do it. A transcoder fetches its sources
//! so, and an orchestrator what a `/segment` body only names.

use std::time::Duration;

use livepeer_proto::dial;
use livepeer_proto::headers::MAX_SEGMENT_BYTES;
use url::Url;

use crate::body::{self, BodyError, Received};
use crate::budget::Budget;

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
    /// The status line, as go-livepeer's error has it.
    #[error("{0}")]
    Status(http::StatusCode),
    #[error("cannot fetch the segment: {0}")]
    Transport(String),
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// A client that keeps its connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
}

impl Default for Fetcher {
    fn default() -> Self {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(dial::client_config(&[b"http/1.1"]))
            .http1_only()
            .connect_timeout(dial::CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("the options are constant and do not contradict");
        Self { client }
    }
}

impl Fetcher {
    /// Fetches the segment at `url`.
    pub async fn fetch(&self, url: &str, budget: &Budget) -> Result<Received, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Url);
        }
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

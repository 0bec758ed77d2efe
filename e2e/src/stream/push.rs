//! Pushes segments to a gateway, as a recorder in the field does: one `PUT` a
//! segment, renditions in the multipart reply. A segment is sent once; only a refused
//! connection is tried again (design §5, "a segment is lost").

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::time::Instant;

/// What a profile's part of a reply held.
#[derive(Debug, Clone)]
pub struct Rendition {
    /// The `Rendition-Name` header.
    pub name: String,
    pub data: Bytes,
}

/// How one push ended.
#[derive(Debug, Clone)]
pub struct Reply {
    pub seq: usize,
    pub sent_bytes: usize,
    /// From the first byte sent to the last byte of the reply.
    pub took: Duration,
    /// 0 when no answer came at all.
    pub status: u16,
    pub renditions: Vec<Rendition>,
    /// The text of an error, from the gateway or from the connection.
    pub error: Option<String>,
}

impl Reply {
    /// Every rendition that was asked for came, none of them empty.
    #[must_use]
    pub fn is_complete(&self, renditions: usize) -> bool {
        self.status == 200
            && self.error.is_none()
            && self.renditions.len() == renditions
            && self
                .renditions
                .iter()
                .all(|rendition| !rendition.data.is_empty())
    }
}

/// Pushes to one gateway.
#[derive(Debug, Clone)]
pub struct Pusher {
    client: reqwest::Client,
    /// `http://127.0.0.1:9935`
    gateway: String,
    /// Value of `Livepeer-Transcode-Configuration`, when the stream has its own.
    configuration: Option<String>,
    token: Option<String>,
}

/// Tries of a refused connection: a gateway that restarts is away for a moment.
const CONNECT_TRIES: u32 = 20;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// No reply is waited for longer; far above any deadline of the gateway.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

impl Pusher {
    /// For the gateway at `http://host:port`.
    pub fn new(gateway: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(REPLY_TIMEOUT)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self {
            client,
            gateway: gateway.trim_end_matches('/').to_owned(),
            configuration: None,
            token: None,
        })
    }

    /// Every push carries these profiles: a JSON array with go-livepeer's keys.
    #[must_use]
    pub fn with_profiles(mut self, profiles: &serde_json::Value) -> Self {
        self.configuration = Some(serde_json::json!({ "profiles": profiles }).to_string());
        self
    }

    /// Every push carries this token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Pushes one segment and reads the whole reply.
    pub async fn push(&self, stream: &str, seq: usize, data: Bytes, length: Duration) -> Reply {
        let started = Instant::now();
        let mut reply = Reply {
            seq,
            sent_bytes: data.len(),
            took: Duration::ZERO,
            status: 0,
            renditions: Vec::new(),
            error: None,
        };
        match self.exchange(stream, seq, data, length).await {
            Ok((status, Ok(renditions))) => {
                reply.status = status;
                reply.renditions = renditions;
            }
            Ok((status, Err(error))) => {
                reply.status = status;
                reply.error = Some(error.to_string());
            }
            Err(error) => reply.error = Some(format!("{error:#}")),
        }
        reply.took = started.elapsed();
        reply
    }

    /// The status, and the renditions or the text of the refusal.
    async fn exchange(
        &self,
        stream: &str,
        seq: usize,
        data: Bytes,
        length: Duration,
    ) -> anyhow::Result<(u16, anyhow::Result<Vec<Rendition>>)> {
        let mut tries = 0;
        let response = loop {
            match self.request(stream, seq, data.clone(), length).send().await {
                Err(error) if error.is_connect() && tries < CONNECT_TRIES => {
                    tries += 1;
                    tokio::time::sleep(CONNECT_PAUSE).await;
                }
                other => break other?,
            }
        };
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type");
        let boundary = kind
            .and_then(|kind| {
                kind.to_str()
                    .ok()?
                    .strip_prefix("multipart/mixed; boundary=")
            })
            .map(str::to_owned);
        Ok((
            status,
            match boundary {
                Some(boundary) if status == 200 => parts(response, boundary).await,
                _ => match response.text().await {
                    Ok(text) if status == 200 && text.is_empty() => Ok(Vec::new()),
                    Ok(text) => Err(anyhow::anyhow!("{status} {}", text.trim())),
                    Err(error) => Err(error.into()),
                },
            },
        ))
    }

    fn request(
        &self,
        stream: &str,
        seq: usize,
        data: Bytes,
        length: Duration,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}/live/{stream}/{seq}.ts", self.gateway);
        let mut request = self
            .client
            .put(url)
            .header("Accept", "multipart/mixed")
            .header("Content-Duration", length.as_millis().to_string())
            .header("Content-Resolution", "1280x720")
            .body(data);
        if let Some(configuration) = &self.configuration {
            request = request.header("Livepeer-Transcode-Configuration", configuration);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request
    }
}

async fn parts(response: reqwest::Response, boundary: String) -> anyhow::Result<Vec<Rendition>> {
    let body = response.bytes_stream().map_err(std::io::Error::other);
    let mut parts = multer::Multipart::new(body, boundary);
    let mut renditions = Vec::new();
    while let Some(part) = parts.next_field().await? {
        let name = part
            .headers()
            .get("Rendition-Name")
            .and_then(|name| name.to_str().ok())
            .context("a part without Rendition-Name")?
            .to_owned();
        let data = part.bytes().await?;
        renditions.push(Rendition { name, data });
    }
    Ok(renditions)
}

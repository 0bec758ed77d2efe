//! Pushes a clip's segments to a gateway, one after another, and judges each reply:
//! multipart, every rendition there, each decoding to as many frames as its source.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::stream;
use tokio::time::Instant;

use crate::clip::{SEGMENT_MS, Segment};
use crate::decode::decode;
use crate::profiles::Profile;

/// How long a reply may take: what a gateway itself grants three attempts of a
/// 2 s segment (3 × 8 s), and a margin for a loaded machine.
const REPLY: Duration = Duration::from_secs(40);

/// What became of one segment.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) sequence: usize,
    pub(crate) took: Duration,
    /// Bytes of all renditions, or what was wrong.
    pub(crate) verdict: Result<usize>,
}

/// One rendition of a reply.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) data: Bytes,
}

/// A stream that segments are pushed to.
pub(crate) struct Stream<'a> {
    pub(crate) client: reqwest::Client,
    /// `http://host:port/live/<id>`
    pub(crate) url: String,
    pub(crate) profiles: &'a [Profile],
    /// Where renditions lie while they are decoded.
    pub(crate) scratch: &'a Path,
}

impl Stream<'_> {
    /// Pushes one segment and judges the reply.
    pub(crate) async fn push(&self, segment: &Segment) -> Outcome {
        let started = Instant::now();
        let reply = self.renditions(segment).await;
        let took = started.elapsed();
        let verdict = match reply {
            Ok(parts) => judge(&parts, segment, self.profiles, self.scratch).await,
            Err(error) => Err(error),
        };
        Outcome {
            sequence: segment.sequence,
            took,
            verdict,
        }
    }

    /// Pushes what cannot be transcoded; anything but 422 is an error. Returns the reason
    /// that the gateway gave.
    pub(crate) async fn push_refused(&self, sequence: usize, data: Bytes) -> Result<String> {
        let reply = self.send(sequence, data).await?;
        let status = reply.status();
        let reason = reply.text().await.context("read the reply")?;
        let reason = reason.trim();
        ensure!(status.as_u16() == 422, "status {status}: {reason}");
        Ok(reason.to_owned())
    }

    async fn renditions(&self, segment: &Segment) -> Result<Vec<Part>> {
        let reply = self.send(segment.sequence, segment.data.clone()).await?;
        let status = reply.status();
        let kind = reply
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = reply.bytes().await.context("read the reply")?;
        ensure!(
            status.as_u16() == 200,
            "status {status}: {}",
            String::from_utf8_lossy(&body).trim()
        );
        split(&kind, body).await
    }

    async fn send(&self, sequence: usize, data: Bytes) -> Result<reqwest::Response> {
        self.client
            .post(format!("{}/{sequence}.ts", self.url))
            .header("Accept", "multipart/mixed")
            .header("Content-Duration", SEGMENT_MS.to_string())
            .header("Content-Resolution", "1280x720")
            .timeout(REPLY)
            .body(data)
            .send()
            .await
            .context("push")
    }
}

/// The parts of a multipart reply.
async fn split(kind: &str, body: Bytes) -> Result<Vec<Part>> {
    let boundary = kind
        .strip_prefix("multipart/mixed; boundary=")
        .with_context(|| format!("reply of type {kind:?}"))?;
    let whole = stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut fields = multer::Multipart::new(whole, boundary);
    let mut parts = Vec::new();
    while let Some(field) = fields.next_field().await.context("multipart")? {
        let text = |name: &str| {
            let value = field.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let name = text("rendition-name").context("a part without Rendition-Name")?;
        let content_type = text("content-type").context("a part without Content-Type")?;
        let length = text("content-length").context("a part without Content-Length")?;
        let data = field.bytes().await.context("a part's body")?;
        ensure!(
            length == data.len().to_string(),
            "part {name} says {length} bytes and has {}",
            data.len()
        );
        parts.push(Part {
            name,
            content_type,
            data,
        });
    }
    Ok(parts)
}

/// What is wrong with a reply, or the bytes of its renditions.
async fn judge(
    parts: &[Part],
    segment: &Segment,
    profiles: &[Profile],
    scratch: &Path,
) -> Result<usize> {
    ensure!(
        parts.len() == profiles.len(),
        "{} renditions of {}",
        parts.len(),
        profiles.len()
    );
    let mut bytes = 0;
    for (part, profile) in parts.iter().zip(profiles) {
        let file = format!("{}_{}.ts", profile.name, segment.sequence);
        ensure!(
            part.name == profile.name,
            "{} where {} should be",
            part.name,
            profile.name
        );
        ensure!(
            part.content_type == format!("video/mp2t; name=\"{file}\""),
            "{} has type {}",
            part.name,
            part.content_type
        );
        let path = scratch.join(&file);
        tokio::fs::write(&path, &part.data).await?;
        let got = decode(&path)
            .await
            .with_context(|| format!("decode {file}"))?;
        ensure!(
            (got.width, got.height) == (profile.width, profile.height),
            "{file} is {}x{}",
            got.width,
            got.height
        );
        ensure!(
            got.frames == segment.decoded.frames,
            "{file} has {} frames, its source {}",
            got.frames,
            segment.decoded.frames
        );
        ensure!(
            got.audio_packets == segment.decoded.audio_packets,
            "{file} has {} audio packets, its source {}",
            got.audio_packets,
            segment.decoded.audio_packets
        );
        tokio::fs::remove_file(&path).await?;
        bytes += part.data.len();
    }
    Ok(bytes)
}

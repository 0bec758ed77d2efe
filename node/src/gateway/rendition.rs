//! One rendition, from the orchestrator that made it: where it may lie, how large it
//! may be, and its bytes.
//!
//! Of what an orchestrator says nothing is believed. An address that is not its own may
//! be anything that this process can reach, and whatever answers there would be
//! published. The byte budget grows with what arrives, not with what is announced, and
//! who sends more than the profile can explain has failed.

use std::time::Duration;

use bytes::Bytes;
use livepeer_media::Profile;
use livepeer_proto::headers::MAX_SEGMENT_BYTES;
use reqwest::{Client, StatusCode};
use url::Url;

use super::fault::SubmitError;
use super::orchestrators::chain;
use crate::body::{Buffer, Growth, NoRoom};
use livepeer_media::budget::Budget;

/// The smallest rendition that can be one (go-livepeer `ZeroSegments`).
const MIN_BYTES: usize = 25;
/// How often its bit rate a rendition may need: encoders overshoot in short segments,
/// and some clients claim a shorter duration than there is.
const OVERSHOOT: u64 = 4;
/// Least bits a second that a limit counts on: what no quantiser brings below a tiny
/// bit rate.
const LEAST_RATE: u64 = 4_000_000;
/// How often the source's size a rendition may have on top of that: its sound, which is
/// copied, and the packets of its container.
const SOURCE_SIZES: u64 = 2;
/// On top of all: the first pictures of a short segment.
const SPARE: u64 = 4 << 20;
/// Nothing is taken on an orchestrator's word. The first piece is that of a small
/// rendition: a segment has several, fetched side by side.
const GROWTH: Growth = Growth {
    trusted: 0,
    step: 256 << 10,
};

/// The most bytes that a rendition as `profile` asks for it may have. Generous: it
/// keeps one orchestrator from taking all memory, and judges no encoder.
pub(super) fn most_bytes(profile: &Profile, plays: Duration, source: u64) -> u64 {
    let rate = u64::from(profile.bitrate).max(LEAST_RATE);
    let millis = u64::try_from(plays.as_millis()).unwrap_or(u64::MAX);
    let pictures = (rate / 8).saturating_mul(millis) / 1000;
    pictures
        .saturating_mul(OVERSHOOT)
        .saturating_add(source.saturating_mul(SOURCE_SIZES))
        .saturating_add(SPARE)
        .min(MAX_SEGMENT_BYTES)
}

/// The address of a rendition, if it lies with the orchestrator at one of `homes`:
/// same scheme, host and port. go-livepeer puts renditions under the service address
/// that it also names as `transcoder`. A store of its own (`-objectStore`) is not followed:
/// any address would have to do, and be kept from what only this process reaches; who
/// announces one is not used at all (`orchestrators::client`).
pub(super) fn address(url: &str, homes: [&str; 2]) -> Result<Url, SubmitError> {
    let url =
        Url::parse(url).map_err(|_| SubmitError::Rendition(format!("`{url}` is no address")))?;
    let at_home = |home: &str| Url::parse(home).is_ok_and(|home| home.origin() == url.origin());
    if homes.into_iter().any(at_home) {
        Ok(url)
    } else {
        let origin = url.origin().ascii_serialization();
        Err(SubmitError::Rendition(format!(
            "`{origin}` is somebody else"
        )))
    }
}

/// Fetches one of at most `limit` bytes. It stays where it is for a while: a connection
/// that breaks costs a second request, not the work.
pub(super) async fn fetch(
    http: &Client,
    budget: &Budget,
    url: &Url,
    limit: u64,
) -> Result<Bytes, SubmitError> {
    match fetch_once(http, budget, url, limit).await {
        Err(SubmitError::Connection(reason)) => {
            tracing::debug!(%url, reason, "rendition is fetched again");
            fetch_once(http, budget, url, limit).await
        }
        result => result,
    }
}

/// Takes the bytes from the budget before they are kept.
async fn fetch_once(
    http: &Client,
    budget: &Budget,
    url: &Url,
    limit: u64,
) -> Result<Bytes, SubmitError> {
    let failed = |error: reqwest::Error| SubmitError::Connection(chain(&error));
    let mut response = http.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(SubmitError::Rendition(response.status().to_string()));
    }
    let unread = |error| match error {
        NoRoom::TooLarge(limit) => SubmitError::Rendition(format!("more than {limit} bytes")),
        NoRoom::OverBudget => SubmitError::Budget,
    };
    let length = response.content_length();
    let mut body = Buffer::new(length, limit, GROWTH, budget).map_err(unread)?;
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.push(&chunk).map_err(unread)?;
    }
    if body.len() < MIN_BYTES {
        return Err(SubmitError::Rendition(format!("only {} bytes", body.len())));
    }
    Ok(body.seal())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use livepeer_media::Profile;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::{MAX_SEGMENT_BYTES, address, fetch, most_bytes};
    use crate::gateway::fault::SubmitError;
    use crate::gateway::orchestrators::Orchestrators;
    use livepeer_media::budget::Budget;

    const WHOLE: &str = "a rendition of more than twenty-five bytes";
    const BUDGET: u64 = 1 << 20;

    /// Fetches one of at most `limit` bytes from an orchestrator that announces
    /// `length` bytes and sends these, a connection each.
    async fn fetched(limit: u64, length: u64, sent: &[&str]) -> Result<Bytes, SubmitError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let url = url.parse().unwrap();
        let serve = async {
            for sent in sent {
                let (mut stream, _) = listener.accept().await.unwrap();
                let asked = stream.read(&mut [0; 1024]).await.unwrap();
                assert!(asked > 0);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{sent}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let orchestrators = Orchestrators::new().unwrap();
        let budget = Budget::new(BUDGET);
        let (fetched, ()) = tokio::join!(fetch(orchestrators.http(), &budget, &url, limit), serve);
        fetched
    }

    #[tokio::test]
    async fn a_rendition_whose_connection_breaks_is_fetched_again() {
        let length = WHOLE.len() as u64;
        let fetched = fetched(length, length, &[&WHOLE[..7], WHOLE]).await;
        assert_eq!(fetched.unwrap(), WHOLE);
    }

    #[tokio::test]
    async fn more_than_the_limit_is_the_orchestrators_fault() {
        let refused = fetched(BUDGET, BUDGET * 2, &[""]).await;
        assert!(matches!(refused, Err(SubmitError::Rendition(_))));
    }

    #[tokio::test]
    async fn bytes_that_are_only_announced_take_nothing_from_the_budget() {
        let broken = fetched(BUDGET * 4, BUDGET * 2, &[WHOLE, WHOLE]).await;
        assert!(matches!(broken, Err(SubmitError::Connection(_))));
    }

    #[test]
    fn renditions_are_fetched_from_their_orchestrator_and_from_nobody_else() {
        let homes = ["https://o.example:8935", "https://10.0.0.1:8935"];
        let allowed = |url: &str| address(url, homes).is_ok();
        assert!(allowed(
            "https://o.example:8935/stream/s/P240p30fps16x9/0.ts"
        ));
        assert!(allowed(
            "https://10.0.0.1:8935/stream/s/P240p30fps16x9/0.ts"
        ));
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://o.example:8935/0.ts",
            "https://o.example/0.ts",
            "https://o.example:8935@10.0.0.2:8935/0.ts",
            "file:///etc/passwd",
            "/stream/s/0.ts",
            "",
        ] {
            assert!(!allowed(url), "{url}");
        }
    }

    #[test]
    fn a_limit_leaves_room_for_any_honest_encoder() {
        let profile = Profile::preset("P240p30fps16x9").unwrap();
        let two = Duration::from_secs(2);
        let limit = most_bytes(&profile, two, 1_000_000);
        assert_eq!(limit, 4_000_000 + 2_000_000 + (4 << 20));
        let hour = Duration::from_secs(3600);
        assert_eq!(most_bytes(&profile, hour, u64::MAX), MAX_SEGMENT_BYTES);
    }
}

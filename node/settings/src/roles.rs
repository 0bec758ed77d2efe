//! The settings of each role. Every field has a default, so that
//! `livepeer-node all` runs with no file at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::address;
use crate::profile::ProfileSettings;

/// Bodies that a role may hold at once, in bytes: three of the largest segment
/// (300,000,000 bytes, video-wire §7) and room for their renditions. Beyond it: 503.
pub const DEFAULT_MAX_BUFFERED_BYTES: u64 = 1_200_000_000;

/// `[gateway]`: takes streams in, has them transcoded, serves them as HLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// HTTP push, playlists and the page.
    #[serde(deserialize_with = "address::deserialize")]
    pub http_addr: SocketAddr,
    /// Orchestrators to use, `https://host:port`. Live.
    pub orchestrators: Vec<Url>,
    /// What to ask for when a push does not say. Live.
    pub profiles: Vec<ProfileSettings>,
    /// File with the token that a push must carry as `Authorization: Bearer <token>`.
    /// Absent: anyone may push. Re-read when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingest_token_file: Option<PathBuf>,
    /// Budget of bytes for all segments and renditions in flight.
    pub max_buffered_bytes: u64,
    /// Streams at once. Live.
    pub max_streams: u32,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            http_addr: loopback(9935),
            orchestrators: vec![orchestrator_on_loopback()],
            profiles: ["P240p30fps16x9", "P360p30fps16x9"]
                .map(ProfileSettings::preset)
                .to_vec(),
            ingest_token_file: None,
            max_buffered_bytes: DEFAULT_MAX_BUFFERED_BYTES,
            max_streams: 100,
        }
    }
}

/// Who does the transcoding of an orchestrator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transcoding {
    /// The orchestrator's own engine.
    Embedded,
    /// Transcoders that register with it.
    #[default]
    Pools,
}

/// `[orchestrator]`: sells transcoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrchestratorSettings {
    /// gRPC and HTTPS for gateways and transcoders, on one port.
    #[serde(deserialize_with = "address::deserialize")]
    pub addr: SocketAddr,
    /// What gateways are told to use. Absent: `https://` and `addr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_uri: Option<Url>,
    /// What transcoders fetch sources from: an address inside the cluster.
    /// Absent: the service URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcoder_uri: Option<Url>,
    pub transcoding: Transcoding,
    /// Sessions at once; absent: the sum of what its transcoders offer. Live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// A folder with one file a credential that a transcoder may present: the
    /// file's name says whose, its content is the secret. Re-read when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_dir: Option<PathBuf>,
    /// Keeps the certificate and the key of auth tokens over a restart, so that
    /// sessions survive it. Absent: both are new at every start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// A gateway may send a URL in place of a segment. Absent or false: it must lead to the
    /// public Internet, or anybody could have the orchestrator ask for what lies in its own
    /// network. True where gateways keep segments there.
    pub private_sources: bool,
    /// Budget of bytes for all segments and renditions in flight.
    pub max_buffered_bytes: u64,
}

impl Default for OrchestratorSettings {
    fn default() -> Self {
        Self {
            addr: loopback(8935),
            service_uri: None,
            transcoder_uri: None,
            transcoding: Transcoding::Pools,
            max_sessions: None,
            credentials_dir: None,
            data_dir: None,
            private_sources: false,
            max_buffered_bytes: DEFAULT_MAX_BUFFERED_BYTES,
        }
    }
}

impl OrchestratorSettings {
    /// What gateways are told to use.
    #[must_use]
    pub fn public_uri(&self) -> Url {
        self.service_uri.clone().unwrap_or_else(|| {
            Url::parse(&format!("https://{}", self.addr))
                .expect("a socket address is a valid authority")
        })
    }
}

/// `[transcoder]`: works for one orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranscoderSettings {
    /// Where to register, `https://host:port`.
    pub orchestrator: Url,
    /// File with the secret to register with. Re-read before each try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_file: Option<PathBuf>,
    /// Sessions at once; absent: what the self-test measured. Live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// Budget of bytes for all segments in flight.
    pub max_buffered_bytes: u64,
}

impl Default for TranscoderSettings {
    fn default() -> Self {
        Self {
            orchestrator: orchestrator_on_loopback(),
            credential_file: None,
            max_sessions: None,
            max_buffered_bytes: DEFAULT_MAX_BUFFERED_BYTES,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn orchestrator_on_loopback() -> Url {
    Url::parse("https://127.0.0.1:8935").expect("a literal URL")
}

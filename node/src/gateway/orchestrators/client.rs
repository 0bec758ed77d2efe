//! Calls to an orchestrator's gRPC service.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use livepeer_proto::capabilities;
use livepeer_proto::net::orchestrator_client::OrchestratorClient;
use livepeer_proto::{dial, errors, headers, net};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use url::Url;

use super::lack;

/// Longest time to wait for `GetOrchestrator` (go-livepeer: a refresh gets 2.5 s).
const INFO_TIMEOUT: Duration = Duration::from_millis(2500);
/// Telling an orchestrator that a session is over is a courtesy: it forgets sessions
/// by itself after 70 s.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Characters of what an orchestrator says that are told to people.
const MAX_TOLD: usize = 256;
/// Address of an off-chain gateway.
const NO_ADDRESS: [u8; 20] = [0; 20];

/// Why an orchestrator gave no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum InfoError {
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("did not answer within {}s", INFO_TIMEOUT.as_secs_f32())]
    Timeout,
    /// It opens no session now; how many it has, if it says so.
    #[error("{}", capped(*.0))]
    Capped(Option<Load>),
    /// It was told to stop: it opens no session any more.
    #[error("{DRAINING}")]
    Draining,
    #[error("refused: {0}")]
    Refused(String),
    #[error("takes no work itself")]
    NoTranscoder,
    /// Nobody else is to read the segments, nor to say where they go.
    #[error("takes segments at `{0}`, which is no address of the form https://host:port")]
    NotHttps(String),
    /// It announces an object store, where its renditions would be: nothing is fetched from
    /// there (`rendition::address`), so no segment need be tried.
    #[error("keeps renditions in an object store, from which none is fetched")]
    ForeignStore,
    /// It cannot do the job.
    #[error("{0}")]
    Capabilities(String),
}

/// Sessions that an orchestrator has, and could have at once, by its own word;
/// go-livepeer's give none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Load {
    pub(in crate::gateway) sessions: u32,
    pub(in crate::gateway) capacity: u32,
}

impl Load {
    fn of(metadata: &MetadataMap) -> Option<Self> {
        let number = |name| metadata.get(name)?.to_str().ok()?.parse().ok();
        Some(Self {
            sessions: number(headers::SESSIONS)?,
            capacity: number(headers::CAPACITY)?,
        })
    }

    /// Nobody transcodes for it.
    pub(super) fn is_deserted(self) -> bool {
        self.capacity == 0
    }
}

/// What is said of an orchestrator for which nobody transcodes.
pub(super) const DESERTED: &str = "has no transcoder connected";

/// What is said of an orchestrator that finishes what it has.
pub(super) const DRAINING: &str = "is draining: takes no new streams";

fn capped(load: Option<Load>) -> String {
    match load {
        None => "every session is taken".to_owned(),
        Some(load) if load.is_deserted() => DESERTED.to_owned(),
        Some(Load { sessions, capacity }) => {
            format!("every session is taken: {sessions} of {capacity}")
        }
    }
}

/// What an orchestrator answered.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) info: net::OrchestratorInfo,
    pub(super) load: Option<Load>,
}

/// A connection that is made when it is first needed, and again after it broke.
#[derive(Debug)]
pub(super) struct Rpc {
    uri: String,
    client: Mutex<Option<OrchestratorClient<Channel>>>,
}

impl Rpc {
    pub(super) fn new(uri: String) -> Self {
        Self {
            uri,
            client: Mutex::default(),
        }
    }

    async fn client(&self) -> Result<OrchestratorClient<Channel>, InfoError> {
        let kept = self.slot().clone();
        if let Some(client) = kept {
            return Ok(client);
        }
        let channel = dial::connect(&self.uri)
            .await
            .map_err(|error| InfoError::Unreachable(chain(&error)))?;
        let client = OrchestratorClient::new(channel);
        *self.slot() = Some(client.clone());
        Ok(client)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<OrchestratorClient<Channel>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `GetOrchestrator`: a new session, if the orchestrator can do the job.
    pub(super) async fn fetch_info(&self, job: &net::Capabilities) -> Result<Offer, InfoError> {
        let request = net::OrchestratorRequest {
            address: NO_ADDRESS.to_vec(),
            capabilities: Some(job.clone()),
            ..net::OrchestratorRequest::default()
        };
        let call = async {
            let mut client = self.client().await?;
            let answer = client.get_orchestrator(request).await;
            let answer = answer.map_err(|status| self.refused(&status))?;
            Ok::<_, InfoError>(Offer {
                load: Load::of(answer.metadata()),
                info: answer.into_inner(),
            })
        };
        let offer = match tokio::time::timeout(INFO_TIMEOUT, call).await {
            Ok(result) => result?,
            Err(_) => {
                *self.slot() = None;
                return Err(InfoError::Timeout);
            }
        };
        check(job, &offer.info)?;
        Ok(offer)
    }

    /// A broken connection is not kept: the next call makes a new one.
    fn refused(&self, status: &tonic::Status) -> InfoError {
        let text = status.message();
        if text.contains(errors::ORCHESTRATOR_CAPPED) {
            let metadata = status.metadata();
            return if metadata.contains_key(headers::DRAINING) {
                InfoError::Draining
            } else {
                InfoError::Capped(Load::of(metadata))
            };
        }
        // every refusal of an orchestrator has this code (`server/rpc.go`)
        let is_transport = std::error::Error::source(status).is_some();
        if status.code() == tonic::Code::Unknown && !is_transport {
            return InfoError::Refused(text.to_owned());
        }
        *self.slot() = None;
        InfoError::Unreachable(chain(status))
    }

    /// `EndTranscodingSession`; whether it arrives does not matter to anyone here.
    pub(super) async fn end_session(&self, token: net::AuthToken) {
        let request = net::EndTranscodingSessionRequest {
            auth_token: Some(token),
        };
        let call = async {
            let mut client = self.client().await.ok()?;
            client.end_transcoding_session(request).await.ok()
        };
        if !matches!(tokio::time::timeout(END_TIMEOUT, call).await, Ok(Some(_))) {
            tracing::debug!(orchestrator = self.uri, "a session's end could not be told");
        }
    }
}

/// Whether the one that answered can do the job.
fn check(job: &net::Capabilities, info: &net::OrchestratorInfo) -> Result<(), InfoError> {
    if info.transcoder.is_empty() {
        return Err(InfoError::NoTranscoder);
    }
    let at = Url::parse(&info.transcoder).ok();
    if !at.is_some_and(|at| at.scheme() == "https" && at.host().is_some()) {
        let told = info.transcoder.chars().take(MAX_TOLD);
        return Err(InfoError::NotHttps(told.collect()));
    }
    // only who has one says so (go-livepeer `server/rpc.go`)
    if !info.storage.is_empty() {
        return Err(InfoError::ForeignStore);
    }
    // one that names no capabilities lacks the auth token, which each job needs
    let offered = info.capabilities.clone().unwrap_or_default();
    capabilities::compatible(job, &offered)
        .map_err(|mismatch| InfoError::Capabilities(lack::text(mismatch, job, &offered)))
}

/// An error and its causes on one line, none of them twice.
pub(in crate::gateway) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{InfoError, Load, Rpc, check};
    use livepeer_proto::capabilities::{message, software};
    use livepeer_proto::{headers, net};

    #[test]
    fn who_takes_no_work_or_lacks_a_capability_is_not_used() {
        let job = message(&software(), 1, "");
        let mut info = net::OrchestratorInfo::default();
        assert_eq!(check(&job, &info), Err(InfoError::NoTranscoder));
        for elsewhere in ["http://o:1", "o:1", "https://", "file:///o"] {
            info.transcoder = elsewhere.into();
            let told = InfoError::NotHttps(elsewhere.into());
            assert_eq!(check(&job, &info), Err(told));
        }
        info.transcoder = "o".repeat(1 << 20);
        let told = check(&job, &info).unwrap_err().to_string();
        assert!(told.len() < 400, "{}", told.len());
        info.transcoder = "https://o:1".into();
        assert!(matches!(
            check(&job, &info),
            Err(InfoError::Capabilities(_))
        ));
        info.capabilities = Some(message(&software(), 1, "0.9.1"));
        assert_eq!(check(&job, &info), Ok(()));
        info.storage = vec![net::OsInfo::default()];
        assert_eq!(check(&job, &info), Err(InfoError::ForeignStore));
    }

    #[tokio::test]
    async fn a_full_orchestrator_is_told_from_one_that_refuses() {
        let rpc = Rpc::new("https://127.0.0.1:1".into());
        let mut full = tonic::Status::unknown("Invalid orchestrator request: OrchestratorCapped");
        assert_eq!(rpc.refused(&full), InfoError::Capped(None));
        for (sessions, capacity, said) in [
            (1, 1, "every session is taken: 1 of 1"),
            (0, 0, "has no transcoder connected"),
        ] {
            let metadata = full.metadata_mut();
            metadata.insert(headers::SESSIONS, sessions.into());
            metadata.insert(headers::CAPACITY, capacity.into());
            let refused = rpc.refused(&full);
            let load = Load { sessions, capacity };
            assert_eq!(refused, InfoError::Capped(Some(load)));
            assert_eq!(refused.to_string(), said);
        }
        full.metadata_mut().insert(headers::DRAINING, 1.into());
        assert_eq!(rpc.refused(&full), InfoError::Draining);
        let other = rpc.refused(&tonic::Status::unknown("authentication failed: x"));
        assert_eq!(other, InfoError::Refused("authentication failed: x".into()));
        let gone = rpc.refused(&tonic::Status::unavailable("connection reset"));
        assert!(matches!(gone, InfoError::Unreachable(_)));
    }

    #[tokio::test]
    async fn nobody_listening_is_unreachable() {
        let rpc = Rpc::new("https://127.0.0.1:1".into());
        let error = rpc
            .fetch_info(&net::Capabilities::default())
            .await
            .unwrap_err();
        assert!(matches!(error, InfoError::Unreachable(_)), "{error}");
    }
}

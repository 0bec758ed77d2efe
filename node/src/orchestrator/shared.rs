//! What the requests of an orchestrator share.

use std::sync::Arc;

use livepeer_proto::capabilities::{self, BitString};
use livepeer_proto::net;
use livepeer_settings::status::RegisteredTranscoder;
use livepeer_settings::{OrchestratorSettings, Settings};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::backend::Backend;
use super::metrics::Metrics;
use super::refusal::Refusal;
use super::sessions::Sessions;
use super::store::Store;
use super::tokens::Tokens;
use super::transcoders::Transcoders;
use crate::device;
use crate::fetch::Fetcher;
use crate::health::Health;
use crate::lifecycle::{Lifecycle, Phase};
use crate::process::Process;
use crate::segdata::WIRE_VERSION;
use livepeer_media::budget::Budget;

/// The part of the byte budget that results may keep while they wait to be fetched.
const STORE_DIVISOR: u64 = 4;
/// Eighths of the byte budget that sources may take: anybody may send one. What the store
/// leaves of the rest is for results on their way.
const SOURCES_EIGHTHS: u64 = 5;

/// One orchestrator.
pub(crate) struct Shared {
    /// As gateways are told, without a trailing slash.
    pub(crate) service_uri: String,
    service_base: Url,
    transcoder_base: Url,
    pub(crate) tokens: Tokens,
    pub(crate) sessions: Sessions,
    pub(crate) store: Store,
    pub(crate) budget: Budget,
    /// The part of `budget` that segments may take.
    pub(crate) sources: Budget,
    pub(crate) backend: Backend,
    pub(crate) fetcher: Fetcher,
    pub(crate) metrics: Metrics,
    settings: watch::Receiver<Arc<Settings>>,
    lifecycle: Lifecycle,
    /// Cancelled when work must be cut off.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(
        process: &Process,
        settings: OrchestratorSettings,
        token_key: [u8; 32],
        backend: Backend,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let service_base = settings.public_uri();
        let kept = settings.max_buffered_bytes / STORE_DIVISOR;
        let budget = Budget::new(settings.max_buffered_bytes);
        Self {
            service_uri: service_base.as_str().trim_end_matches('/').to_owned(),
            transcoder_base: settings
                .transcoder_uri
                .unwrap_or_else(|| service_base.clone()),
            service_base,
            tokens: Tokens::new(token_key),
            sessions: Sessions::default(),
            store: Store::new(kept),
            sources: budget.part(settings.max_buffered_bytes / 8 * SOURCES_EIGHTHS),
            budget,
            backend,
            fetcher: if settings.private_sources {
                Fetcher::default()
            } else {
                Fetcher::public()
            },
            metrics,
            settings: process.settings.clone(),
            lifecycle: process.lifecycle.clone(),
            stop,
        }
    }

    /// Told to stop: gateways had better move on.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lifecycle.phase() >= Phase::LameDuck
    }

    /// Takes no new sessions.
    pub(crate) fn is_closed(&self) -> bool {
        self.lifecycle.phase() >= Phase::Draining
    }

    /// Sessions at once: as set, else what the work can be done by.
    pub(crate) fn session_limit(&self) -> u32 {
        let set = self.settings.borrow().orchestrator.max_sessions;
        set.unwrap_or_else(|| self.backend.admission_capacity())
    }

    /// Sessions that it has, and could have at once: none without anybody to transcode,
    /// whatever is set.
    pub(crate) fn load(&self) -> (u32, u32) {
        let capacity = self.backend.admission_capacity();
        let set = self.settings.borrow().orchestrator.max_sessions;
        let capacity = set.map_or(capacity, |set| set.min(capacity));
        (self.sessions.count(), capacity)
    }

    /// The offer to a gateway that holds `token`.
    pub(crate) fn info(&self, token: net::AuthToken) -> net::OrchestratorInfo {
        net::OrchestratorInfo {
            transcoder: self.service_uri.clone(),
            // off-chain: the zero address
            address: vec![0; 20],
            capabilities: Some(self.capabilities()),
            auth_token: Some(token),
            ..net::OrchestratorInfo::default()
        }
    }

    /// What it can do: what every node of ours can, and what registered ones add.
    pub(crate) fn capabilities(&self) -> net::Capabilities {
        let mut bits = capabilities::software();
        if let Backend::Pools(transcoders) = &self.backend {
            let added: BitString = transcoders.abilities();
            added.bits().for_each(|bit| bits.insert(bit));
        }
        capabilities::message(&bits, self.backend.capacity().max(1), WIRE_VERSION)
    }

    /// The transcoders, when it has no engine of its own.
    pub(crate) fn transcoders(&self) -> Result<&Transcoders, Refusal> {
        match &self.backend {
            Backend::Pools(transcoders) => Ok(transcoders),
            Backend::Embedded(_) => Err(Refusal::new(
                http::StatusCode::NOT_FOUND,
                "404 page not found",
            )),
        }
    }

    /// Ends a session, as its gateway asked.
    pub(crate) fn end_session(&self, session: &str) {
        self.sessions.end(session);
        self.free(session);
    }

    /// Ends those that have been idle for too long and returns their ids.
    pub(crate) fn end_idle_sessions(&self, now: Instant, draining: bool) -> Vec<String> {
        let free = |session: &str| self.free(session);
        self.sessions.sweep(now, draining, free)
    }

    /// Frees all that a session has.
    fn free(&self, session: &str) {
        self.store.end(session);
        self.backend.end_session(session);
    }

    /// Where a gateway fetches a rendition.
    pub(crate) fn url_for_gateways(&self, session: &str, profile: &str, name: &str) -> String {
        build_url(&self.service_base, &[session, profile, name])
    }

    /// Where a transcoder fetches a source.
    pub(crate) fn url_for_transcoders(&self, session: &str, name: &str) -> String {
        build_url(&self.transcoder_base, &[session, name])
    }

    /// Fills in our part of `/status` and reports what is ready.
    pub(crate) fn report(self: &Arc<Self>, health: &Health) {
        health.set("listener", Ok(()));
        if let Some(device) = self.backend.device() {
            health.set("engine", device::ready(&device));
        }
        let shared = Arc::clone(self);
        health.report(move |status| {
            status.sessions = shared.sessions.count();
            status.capacity = match shared.settings.borrow().orchestrator.max_sessions {
                Some(limit) => limit.min(shared.backend.capacity()),
                None => shared.backend.capacity(),
            };
            status.device = shared.backend.device().as_ref().map(device::report);
            if let Backend::Pools(transcoders) = &shared.backend {
                status.transcoders = transcoders
                    .registered()
                    .into_iter()
                    .map(|one| RegisteredTranscoder {
                        credential: one.owner,
                        address: one.address,
                        sessions: one.sessions,
                        capacity: one.capacity,
                    })
                    .collect();
            }
        });
    }

    pub(crate) fn update_metrics(&self) {
        let metrics = &self.metrics;
        metrics.sessions.set(u64::from(self.sessions.count()));
        metrics.capacity.set(u64::from(self.backend.capacity()));
        metrics.bytes_in_flight.set(self.budget.used());
        metrics.bytes_stored.set(self.store.bytes());
        if let Backend::Pools(transcoders) = &self.backend {
            metrics
                .transcoders
                .set(transcoders.registered().len() as u64);
        }
    }
}

/// `<base>/stream/<parts>`, each part escaped.
fn build_url(base: &Url, parts: &[&str]) -> String {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("stream").extend(parts);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::build_url;
    use url::Url;

    #[test]
    fn urls_are_those_of_the_wire_and_escape_odd_names() {
        let base = Url::parse("https://o.example:8935").unwrap();
        assert_eq!(
            build_url(&base, &["5c", "P240p30fps16x9", "7.ts"]),
            "https://o.example:8935/stream/5c/P240p30fps16x9/7.ts"
        );
        assert_eq!(
            build_url(&base, &["5c", "a b/c", "7.ts"]),
            "https://o.example:8935/stream/5c/a%20b%2Fc/7.ts"
        );
    }
}

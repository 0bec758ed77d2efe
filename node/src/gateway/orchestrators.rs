//! The orchestrators of the settings, and how each of them stands.
//!
//! Each is asked every few seconds, so that a dead one is known before a segment goes
//! there; a segment that finds one dead says so and it is asked again at once. The
//! list is live: what leaves it is used no more from the next segment on.
//!
//! Not here: which of them gets a segment (`select`) and what a stream remembers of
//! them (`session`).

mod client;
mod lack;
mod orchestrator;
mod standing;

use std::sync::{Arc, Mutex, PoisonError};

use livepeer_proto::dial;
use livepeer_settings::Settings;
use livepeer_settings::status::OrchestratorReport;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::health::Health;

use client::Load;
pub(super) use client::{InfoError, chain};
pub(super) use orchestrator::Orchestrator;

/// Port of an orchestrator whose address names none (go-livepeer `-orchAddr`).
const DEFAULT_PORT: u16 = 8935;
/// Flow-control window of one segment or rendition on HTTP/2: as much as is under way
/// at 1 GB/s and 8 ms. The default of 64 KiB would halt after every few packets.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for a whole connection, over all streams.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Response headers: go-livepeer accepts 1 MB, and so do we.
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// What is said when nobody transcodes for any of them.
pub(super) const ALL_DESERTED: &str = "no orchestrator has a transcoder connected";
/// The component in `/readyz`.
pub(super) const COMPONENT: &str = "orchestrators";

/// All orchestrators; clones share them.
#[derive(Clone)]
pub(super) struct Orchestrators {
    known: Arc<Mutex<Vec<Arc<Orchestrator>>>>,
    changed: Arc<Notify>,
    http: reqwest::Client,
}

impl Orchestrators {
    /// None yet; [`Orchestrators::follow`] fills the list.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let tls = dial::client_config(&[b"h2", b"http/1.1"]);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(dial::CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(dial::PING_INTERVAL)
            .http2_keep_alive_timeout(dial::PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .build()?;
        Ok(Self {
            known: Arc::default(),
            changed: Arc::default(),
            http,
        })
    }

    /// For segments and renditions.
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// All of the list, in its order.
    pub(super) fn all(&self) -> Vec<Arc<Orchestrator>> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks those that cannot be used again, now.
    pub(super) fn recheck(&self) {
        for orchestrator in self.all() {
            if orchestrator.is_in_trouble() {
                orchestrator.wake();
            }
        }
    }

    /// For `/status`.
    pub(super) fn report(&self) -> Vec<OrchestratorReport> {
        self.all()
            .iter()
            .map(|orchestrator| orchestrator.report())
            .collect()
    }

    /// Keeps the list as the settings have it, and every standing fresh, until `stop`.
    pub(super) async fn follow(
        self,
        mut settings: watch::Receiver<Arc<Settings>>,
        health: Health,
        stop: CancellationToken,
    ) {
        let mut watches = JoinSet::new();
        loop {
            let uris: Vec<String> = settings
                .borrow_and_update()
                .gateway
                .orchestrators
                .iter()
                .map(address)
                .collect();
            self.replace(&uris, &mut watches);
            self.tell(&health);
            loop {
                tokio::select! {
                    () = self.changed.notified() => self.tell(&health),
                    changed = settings.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => {
                            stop.cancelled().await;
                            watches.shutdown().await;
                            return;
                        }
                    },
                    Some(_) = watches.join_next() => {}
                    () = stop.cancelled() => {
                        watches.shutdown().await;
                        return;
                    }
                }
            }
        }
    }

    /// Starts watching the new ones of `uris` and stops watching those that left.
    fn replace(&self, uris: &[String], watches: &mut JoinSet<()>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *known);
        for uri in uris {
            if known.iter().any(|orchestrator| orchestrator.uri() == uri) {
                continue;
            }
            let kept = old.iter().find(|orchestrator| orchestrator.uri() == uri);
            known.push(kept.map_or_else(
                || {
                    let new = Arc::new(Orchestrator::new(uri.clone(), Arc::clone(&self.changed)));
                    watches.spawn(Arc::clone(&new).watch());
                    new
                },
                Arc::clone,
            ));
        }
        for orchestrator in old {
            if !uris.iter().any(|uri| uri == orchestrator.uri()) {
                orchestrator.remove();
            }
        }
    }

    /// One that answers is enough to serve: without anybody to transcode the pushers are
    /// told so, and a pod that is replaced meanwhile has its successor.
    fn tell(&self, health: &Health) {
        if self.all().iter().any(|one| one.answers()) {
            health.meet(COMPONENT);
        }
        health.set_dependency(COMPONENT, self.verdict());
    }

    /// Whether nobody transcodes for any of them.
    pub(super) fn all_deserted(&self) -> bool {
        let all = self.all();
        !all.is_empty() && all.iter().all(|orchestrator| orchestrator.is_deserted())
    }

    /// That none of them opens a session, in words; where all are full, with how many
    /// sessions that is.
    pub(super) fn fullness(&self) -> String {
        let mut there = self.all();
        there.retain(|one| one.answers());
        let any = |holds: fn(&Orchestrator) -> bool| there.iter().any(|one| holds(one));
        let why = [
            (any(Orchestrator::is_full), "full"),
            (any(Orchestrator::is_draining), "draining"),
            (any(Orchestrator::is_deserted), "without a transcoder"),
        ];
        let why: Vec<_> = why
            .into_iter()
            .filter_map(|(holds, word)| holds.then_some(word))
            .collect();
        let loads: Option<Vec<Load>> = self.all().iter().map(|one| one.load()).collect();
        match (why.as_slice(), loads) {
            (["draining"], _) => {
                "every orchestrator is draining and takes no new streams".to_owned()
            }
            (["full"], Some(loads)) => {
                let sum = |of: fn(&Load) -> u32| loads.iter().map(of).fold(0, u32::saturating_add);
                let (sessions, capacity) = (sum(|load| load.sessions), sum(|load| load.capacity));
                format!("every orchestrator is full: {sessions} of {capacity} sessions are taken")
            }
            (["without a transcoder"], _) => ALL_DESERTED.to_owned(),
            // they may have changed since
            ([], _) => "every orchestrator is full".to_owned(),
            (why, _) => format!("every orchestrator is {}", why.join(" or ")),
        }
    }

    /// Ready means that at least one of them can be used.
    fn verdict(&self) -> Result<(), String> {
        let reports = self.report();
        if reports.iter().any(|report| report.usable) {
            return Ok(());
        }
        if reports.is_empty() {
            return Err("no orchestrator is configured".to_owned());
        }
        let reasons: Vec<String> = reports
            .iter()
            .map(|report| format!("{}: {}", report.uri, report.reason))
            .collect();
        Err(reasons.join("; "))
    }
}

/// `https://host:port`, as peers append paths to it.
fn address(uri: &Url) -> String {
    let host = uri.host_str().unwrap_or_default();
    let port = uri.port().unwrap_or(DEFAULT_PORT);
    format!("{}://{host}:{port}", uri.scheme())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Orchestrators, address};
    use crate::cli::Arguments;
    use crate::health::Health;
    use crate::lifecycle::Lifecycle;
    use crate::orchestrator::Orchestrator;
    use crate::process::Process;
    use crate::{logging, reload};
    use clap::Parser as _;
    use livepeer_settings::{LogLevel, Role, Settings};
    use tokio::sync::watch;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    const LOOK: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Waits until what `health` says holds.
    async fn until(health: &Health, holds: impl Fn(&[String]) -> bool) {
        let reached = async {
            while !holds(&health.reasons()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{:?}", health.reasons());
    }

    /// An orchestrator on `addr` until it is told to stop. It answers, and has no transcoders.
    async fn orchestrator(addr: SocketAddr, lifecycle: Lifecycle) -> impl Future<Output = ()> {
        let mut settings = Settings::default();
        settings.orchestrator.addr = addr;
        let (_sender, settings) = watch::channel(Arc::new(settings));
        let process = Process {
            settings,
            health: Health::new(Role::Orchestrator, lifecycle.clone()),
            lifecycle,
            beside: 0,
            file: None,
        };
        Orchestrator::start(process, Some("secret"))
            .await
            .unwrap()
            .serve()
    }

    #[test]
    fn an_address_without_a_port_gets_the_usual_one() {
        let of = |text: &str| address(&text.parse().unwrap());
        assert_eq!(of("https://o.example"), "https://o.example:8935");
        assert_eq!(of("https://[::1]:1/"), "https://[::1]:1");
    }

    #[tokio::test]
    async fn the_list_follows_the_settings_and_keeps_who_stays() {
        let orchestrators = Orchestrators::new().unwrap();
        let mut watches = JoinSet::new();
        let uris = |names: &[&str]| -> Vec<String> {
            names
                .iter()
                .map(|name| format!("https://127.0.0.1:{name}"))
                .collect()
        };
        orchestrators.replace(&uris(&["1", "2", "1"]), &mut watches);
        let first = orchestrators.all();
        assert_eq!(first.len(), 2, "one entry an address");
        orchestrators.replace(&uris(&["2", "3"]), &mut watches);
        let second = orchestrators.all();
        assert!(std::sync::Arc::ptr_eq(&first[1], &second[0]));
        assert!(first[0].is_removed() && !second[1].is_removed());
        watches.shutdown().await;
    }

    #[tokio::test]
    async fn without_a_settings_file_readiness_follows_the_orchestrator() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let free = std::net::TcpListener::bind(any).unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);

        let mut settings = Settings::default();
        settings.gateway.orchestrators = vec![format!("https://{addr}").parse().unwrap()];
        let (sender, settings) = watch::channel(Arc::new(settings));
        let stop = CancellationToken::new();
        let health = Health::new(Role::Gateway, Lifecycle::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(reload::follow(
            Arguments::parse_from(["livepeer-node", "gateway"]),
            sender,
            logging::start(LogLevel::Error, false),
            stop.clone(),
        ));
        let orchestrators = Orchestrators::new().unwrap();
        tasks.spawn(orchestrators.follow(settings, health.clone(), stop.clone()));

        let says = |text: &'static str| {
            move |reasons: &[String]| reasons.iter().any(|reason| reason.contains(text))
        };
        until(&health, says("refused")).await;
        let lifecycle = Lifecycle::default();
        tasks.spawn(orchestrator(addr, lifecycle.clone()).await);
        until(&health, says("no transcoder")).await;
        lifecycle.stop_now();
        until(&health, says("refused")).await;
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn without_orchestrators_a_gateway_says_so() {
        let orchestrators = Orchestrators::new().unwrap();
        assert!(orchestrators.verdict().unwrap_err().contains("configured"));
    }
}

//! Faults under a live stream: what each of them costs, in segments and in delay.
//!
//! The network is `config/samples/two-orchestrators-one-gateway.yaml`: two
//! orchestrators, each with its own pool of two transcoders, behind one gateway. A
//! stream of two small renditions runs through it in real time, from before the first
//! fault to after the last. A fault strikes what has the stream, in the middle of a
//! segment's work: the orchestrator's counters say that the work has begun and has not
//! ended. One that came too early or too late is void and done again. What works by way of
//! the API server strikes then, too, and the stream runs until it has worked.
//!
//! Lost is as design §5 has it: the segment's one sending did not bring a complete,
//! decodable reply within max(2 × duration, 4 s) beyond the fault-free p99, or the
//! playlist has a gap. Every segment is judged, also those of a void strike and those
//! sent while what was struck came back.

mod command;
mod live;
mod report;
mod strike;
mod target;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::install;
use crate::network::{Network, STARTS, gateway};
use crate::stream::Clip;
use crate::stream::clip::SEGMENT;
pub use command::report;
use live::Live;
pub use report::{Baseline, Cost};
pub use strike::Fault;
pub use target::Work;

/// Orchestrators of the network.
const ORCHESTRATORS: [&str; 2] = ["north", "south"];
/// The gateway of the network.
const GATEWAY: &str = "live";
/// Transcoders of each pool.
const REPLICAS: u32 = 2;
/// The pods are many and the cores few: more sessions than streams, so that none is
/// refused for want of room while its peer restarts.
const SESSIONS: u32 = 4;
/// Segments without a fault, to compare with.
const BASELINE: usize = 10;
/// Segments after the one that was struck that may still show the fault.
const AFTER: usize = 3;
/// Tries until a fault hits the middle of a segment.
const TRIES: usize = 10;
/// When a fault is to strike, as a share of a segment's usual time.
const MIDDLE: f64 = 0.45;
/// Share of a segment's usual time within which a fault counts.
const COUNTS: std::ops::RangeInclusive<f64> = 0.2..=0.8;

/// A network with a stream through it.
pub struct Faults {
    network: Network,
    /// Namespace of the operator.
    operator: String,
    live: Live,
    baseline: Baseline,
    /// Segments of the stream that were judged.
    judged: usize,
}

impl Faults {
    /// Makes the network in `network`'s namespace and starts the stream. The operator
    /// runs in namespace `operator`.
    pub async fn start(network: Network, operator: &str, clip: &Clip) -> Result<Self> {
        for name in ORCHESTRATORS {
            network.apply("Orchestrator", name, json!({})).await?;
            let pool = json!({
                "orchestrator": {"ref": {"name": name}},
                "replicas": REPLICAS, "maxSessions": SESSIONS,
            });
            network.apply("TranscoderPool", name, pool).await?;
        }
        let spec = gateway(&ORCHESTRATORS);
        network.apply("Gateway", GATEWAY, spec).await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;

        let (pusher, forward) = network.pusher(GATEWAY).await?;
        let mut live = Live::start(pusher, forward, clip);
        live.until(BASELINE).await?;
        let baseline = Baseline::of(&live.replies())?;
        Ok(Self {
            network,
            operator: operator.to_owned(),
            live,
            baseline,
            judged: BASELINE,
        })
    }

    /// How long segments take when nothing is wrong.
    #[must_use]
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Strikes once, in the middle of a segment; what it cost. Returns when everything
    /// is `Ready` again.
    pub async fn strike(&mut self, fault: Fault) -> Result<Cost> {
        let mut lost = Vec::new();
        for _ in 0..TRIES {
            self.live.check_playlists().await?;
            let (hit, cost) = self.strike_somewhere(fault).await?;
            lost.extend(cost.lost);
            if hit {
                let added = cost.added;
                return Ok(Cost { lost, added });
            }
        }
        bail!("{fault:?} never hit the middle of a segment in {TRIES} tries")
    }

    /// Strikes if a segment is under way; whether in its middle, and what it cost.
    async fn strike_somewhere(&mut self, fault: Fault) -> Result<(bool, Cost)> {
        let aim = strike::aim(fault, &self.network, &self.operator).await?;
        let work = Work::watch(&self.network, aim.amid).await?;
        let seq = self.live.next().await?;
        let begun = self
            .live
            .begun(seq)
            .context("a segment that was not sent")?;
        let usual = self.baseline.p50;
        tokio::time::sleep_until(begun + usual.mul_f64(MIDDLE)).await;
        if !work.is_under_way().await? {
            return Ok((false, self.judge(seq).await?));
        }
        let struck = Timestamp::now();
        aim.strike(&self.network).await?;
        let share = begun.elapsed().as_secs_f64() / usual.as_secs_f64();
        aim.worked(&self.network, struck).await?;
        let ends = fault.ends_the_stream();
        let last = if ends {
            seq
        } else {
            self.live.sent() - 1 + AFTER
        };
        self.live.until(last + 1).await?;
        aim.undo(&self.network).await;
        if ends {
            strike::restarted(&self.network, &aim).await?;
        }
        install::ready(&self.network.cluster, &self.network.namespace, STARTS).await?;
        let cost = if ends {
            // what was pushed while the gateway was away is not the fault's
            let cost = self.judge(seq + 1).await?;
            self.live.renew(&self.network, GATEWAY).await?;
            self.judged = 0;
            cost
        } else {
            self.judge(self.live.sent()).await?
        };
        Ok((COUNTS.contains(&share), cost))
    }

    /// What the segments before `end` that were not judged yet cost.
    async fn judge(&mut self, end: usize) -> Result<Cost> {
        self.live.until(end).await?;
        let mut window = self.live.replies();
        window.retain(|reply| (self.judged..end).contains(&reply.seq));
        self.judged = end;
        Cost::of(&window, &self.baseline).await
    }

    /// Ends the stream. What its last segments cost; the playlist has no gap.
    pub async fn finish(mut self) -> Result<Vec<String>> {
        let cost = self.judge(self.live.sent()).await?;
        self.live.check_playlists().await?;
        Ok(cost.lost)
    }
}

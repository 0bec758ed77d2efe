//! Runs combinations of real go-livepeer and our roles, and says whether they work:
//! for each, three processes, 15 segments one after another, every reply judged.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::capture::{Capture, Senders};
use crate::clip::{Clip, SEGMENTS};
use crate::exchange::Role;
use crate::peers::{Addresses, Maker, Peer, Setup};
use crate::profiles::Profile;
use crate::push::Stream;
use crate::record::Recorder;

/// How long a gateway may take to end a stream that nobody pushes to: go-livepeer looks
/// every 60 s for streams idle for 60 s.
const STREAM_END: Duration = Duration::from_secs(130);

/// Who plays which role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combination {
    pub(crate) name: &'static str,
    pub(crate) gateway: Maker,
    pub(crate) orchestrator: Maker,
    pub(crate) transcoder: Maker,
}

/// Every combination that is tried, the two pure ones included.
pub(crate) const COMBINATIONS: [Combination; 6] = {
    use Maker::{Ours, Theirs};
    const fn of(
        name: &'static str,
        gateway: Maker,
        orchestrator: Maker,
        transcoder: Maker,
    ) -> Combination {
        Combination {
            name,
            gateway,
            orchestrator,
            transcoder,
        }
    }
    [
        of("all-theirs", Theirs, Theirs, Theirs),
        of("their-gateway", Theirs, Ours, Ours),
        of("their-orchestrator", Ours, Theirs, Ours),
        of("their-transcoder", Ours, Ours, Theirs),
        of("our-transcoder", Theirs, Theirs, Ours),
        of("all-ours", Ours, Ours, Ours),
    ]
};

/// What a combination showed.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    /// Complete replies, of `SEGMENTS`.
    pub(crate) complete: usize,
    pub(crate) slowest: Duration,
    pub(crate) total: Duration,
    pub(crate) bytes: usize,
    /// Peak resident memory in MiB: gateway, orchestrator, transcoder.
    pub(crate) memory: [u64; 3],
    /// Why a segment without video was refused.
    pub(crate) refusal: String,
    pub(crate) complaints: Vec<String>,
}

impl Report {
    pub(crate) fn passed(&self) -> bool {
        self.complete == SEGMENTS && self.complaints.is_empty()
    }
}

/// Runs one combination with its files under `folder`; with `captures`, a recorder
/// stands before the orchestrator and another before the gateway.
pub(crate) async fn run(
    combination: &Combination,
    setup: &Setup,
    clip: &Clip,
    folder: &Path,
    captures: Option<&Path>,
) -> Result<Report> {
    let folder = folder.join(combination.name);
    fs::create_dir_all(&folder)?;
    let Some(captures) = captures else {
        let addresses = Addresses::choose(None)?;
        let pushed_to = addresses.gateway;
        return run_peers(
            combination,
            setup,
            clip,
            &folder,
            &addresses,
            pushed_to,
            None,
        )
        .await;
    };
    let captures = captures.join(combination.name);
    fs::create_dir_all(&captures)?;
    let capture = Arc::new(Capture::new(captures, combination.senders()));
    let before_orchestrator = TcpListener::bind(("127.0.0.1", 0)).await?;
    let before_gateway = TcpListener::bind(("127.0.0.1", 0)).await?;
    let pushed_to = before_gateway.local_addr()?;
    let addresses = Addresses::choose(Some(before_orchestrator.local_addr()?))?;
    let cancel = CancellationToken::new();
    let stop = cancel.clone().drop_guard();
    let serve = |listener, upstream, tls| {
        let capture = Arc::clone(&capture);
        Recorder {
            upstream,
            tls,
            capture,
        }
        .serve(listener, cancel.clone())
    };
    let peers = async {
        let seen = Some(&*capture);
        let report = run_peers(
            combination,
            setup,
            clip,
            &folder,
            &addresses,
            pushed_to,
            seen,
        )
        .await;
        drop(stop);
        report
    };
    let (report, first, second) = tokio::join!(
        peers,
        serve(before_orchestrator, addresses.orchestrator, true),
        serve(before_gateway, addresses.gateway, false),
    );
    first?;
    second?;
    report
}

async fn run_peers(
    combination: &Combination,
    setup: &Setup,
    clip: &Clip,
    folder: &Path,
    addresses: &Addresses,
    pushed_to: SocketAddr,
    capture: Option<&Capture>,
) -> Result<Report> {
    let start = |role, maker| Peer::start(role, maker, setup, addresses, folder);
    let mut orchestrator = start(Role::Orchestrator, combination.orchestrator)?;
    orchestrator.listens(addresses.orchestrator).await?;
    orchestrator.listens(addresses.orchestrator_admin).await?;
    let transcoder = start(Role::Transcoder, combination.transcoder)?;
    orchestrator
        .has_transcoder(addresses.orchestrator_admin)
        .await?;
    let mut gateway = start(Role::Gateway, combination.gateway)?;
    gateway.listens(addresses.gateway).await?;

    let stream = Stream {
        client: reqwest::Client::builder().http1_only().build()?,
        url: format!("http://{pushed_to}/live/{}", combination.name),
        profiles: setup.profiles,
        scratch: folder,
    };
    let mut report = Report {
        name: combination.name,
        complete: 0,
        slowest: Duration::ZERO,
        total: Duration::ZERO,
        bytes: 0,
        memory: [0; 3],
        refusal: String::new(),
        complaints: Vec::new(),
    };
    for segment in &clip.segments {
        let outcome = stream.push(segment).await;
        report.total += outcome.took;
        report.slowest = report.slowest.max(outcome.took);
        match outcome.verdict {
            Ok(bytes) => {
                report.complete += 1;
                report.bytes += bytes;
            }
            Err(error) => report
                .complaints
                .push(format!("segment {}: {error:#}", outcome.sequence)),
        }
    }
    match refuse_and_go_on(&stream, clip).await {
        Ok(reason) => report.refusal = reason,
        Err(error) => report.complaints.push(format!("{error:#}")),
    }
    if let Some(capture) = capture {
        stream_end(capture).await;
    }
    let peers = [gateway, orchestrator, transcoder];
    report.memory = [0, 1, 2].map(|peer: usize| peers[peer].peak_memory());
    let [gateway, orchestrator, transcoder] = peers;
    // The gateway first: it ends its sessions at the orchestrator. A program's exit
    // status after SIGTERM is its own affair; that it ends is not.
    for peer in [gateway, transcoder, orchestrator] {
        if let Err(error) = peer.stop().await {
            report.complaints.push(format!("{error:#}"));
        }
    }
    Ok(report)
}

/// A segment that is at fault itself, and then a good one: the reason must reach the
/// client over both hops, and cost the stream nothing.
async fn refuse_and_go_on(stream: &Stream<'_>, clip: &Clip) -> Result<String> {
    let reason = stream
        .push_refused(SEGMENTS, clip.without_video.clone())
        .await
        .context("a segment without video")?;
    let mut good = clip.segments[0].clone();
    good.sequence = SEGMENTS + 1;
    let outcome = stream.push(&good).await;
    outcome
        .verdict
        .context("a good segment after one without video")?;
    Ok(reason)
}

/// Waits for the gateway to end the idle stream, whose messages are captured too.
async fn stream_end(capture: &Capture) {
    let deadline = Instant::now() + STREAM_END;
    while !capture.has("end-session-response") && Instant::now() < deadline {
        sleep(Duration::from_millis(200)).await;
    }
    // The teardown reaches the transcoder just after.
    sleep(Duration::from_secs(1)).await;
}

impl Combination {
    fn senders(&self) -> Senders {
        let name = |maker| match maker {
            Maker::Theirs => "go-livepeer-v0.9.1".to_owned(),
            Maker::Ours => concat!("livepeer-node-v", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        Senders {
            gateway: name(self.gateway),
            orchestrator: name(self.orchestrator),
            transcoder: name(self.transcoder),
        }
    }
}

/// The programs of `theirs` and of `ours`, absolute.
pub(crate) fn setup(theirs: &Path, ours: &Path, profiles: &'static [Profile]) -> Result<Setup> {
    let find = |folder: &Path, name: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        path.canonicalize()
            .with_context(|| format!("no {}", path.display()))
    };
    Ok(Setup {
        livepeer: find(theirs, "livepeer")?,
        livepeer_node: find(ours, "livepeer-node")?,
        livepeer_engine: find(ours, "livepeer-engine")?,
        profiles,
    })
}

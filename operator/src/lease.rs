//! Who leads: one replica of the operator reconciles, the others wait.
//!
//! Leadership is a Lease. It ends when another holds it, and also when it could not be
//! renewed for [`RENEWED_WITHIN`]: then another replica may hold it without our knowing.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// Name of the Lease.
pub const LEASE: &str = "livepeer-operator";
/// A leader that is silent this long has lost the Lease.
const DURATION_SECONDS: u64 = 15;
/// The Lease is renewed this long before it would end: every 5 s.
const GRACE_SECONDS: u64 = 10;
/// After the first failed renewal, leadership is given up this long later: before
/// another replica may take the Lease over, with a second for clocks that differ.
const RENEWED_WITHIN: Duration = Duration::from_secs(GRACE_SECONDS - 1);
/// Between tries while the API server is away.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// A try that is neither answered nor refused by then has failed.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// Giving the Lease back at the end is a courtesy; nobody waits longer for it.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Seeks leadership in `namespace` and tells `leads` until cancelled. `client` must fail
/// requests after [`REQUEST_LIMIT`], or a silent API server is not noticed.
pub async fn run(
    client: Client,
    namespace: &str,
    identity: &str,
    leads: watch::Sender<bool>,
    cancel: CancellationToken,
) {
    while !cancel.is_cancelled() {
        let manager = tokio::select! {
            manager = connect(&client, namespace, identity) => manager,
            () = cancel.cancelled() => return,
        };
        // a manager that gave up believes that it leads: the next one asks anew
        tokio::select! {
            () = seek(&manager, &leads) => {}
            () = cancel.cancelled() => {}
        }
        let led = tell(&leads, false);
        if led
            && tokio::time::timeout(RELEASE_LIMIT, manager.release())
                .await
                .is_err()
        {
            tracing::debug!("lease was not given back in time; it ends by itself");
        }
    }
}

/// The manager makes the Lease if it is missing; until the API server answers, tries again.
async fn connect(client: &Client, namespace: &str, identity: &str) -> LeaseManager {
    loop {
        let built = LeaseManagerBuilder::new(client.clone(), LEASE)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await;
        match built {
            Ok(manager) => return manager,
            Err(error) => {
                tracing::warn!(%error, "lease cannot be used yet");
                sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Follows leadership; returns when it can no longer be certain of it.
async fn seek(manager: &LeaseManager, leads: &watch::Sender<bool>) {
    let mut trouble: Option<Trouble> = None;
    loop {
        let changed = match &trouble {
            None => manager.changed().await,
            Some(trouble) => match timeout_at(trouble.ends, manager.changed()).await {
                Ok(changed) => changed,
                Err(_) if trouble.is_over(Instant::now()) => Ok(*leads.borrow()),
                Err(_) => return,
            },
        };
        match changed {
            Ok(now) => {
                trouble = None;
                tell(leads, now);
            }
            Err(error) => {
                tracing::warn!(%error, "lease could not be renewed");
                let now = Instant::now();
                let since = trouble.get_or_insert_with(|| Trouble::since(now));
                since.last = now;
                if now >= since.ends {
                    return;
                }
                sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Renewals that fail.
#[derive(Debug)]
struct Trouble {
    /// When leadership is given up.
    ends: Instant,
    /// The last failure.
    last: Instant,
}

impl Trouble {
    fn since(now: Instant) -> Self {
        Self {
            ends: now + RENEWED_WITHIN,
            last: now,
        }
    }

    /// A try that began after the last failure has had time to fail, and did not.
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.last) > REQUEST_LIMIT + TRY_AGAIN
    }
}

/// Tells whoever listens; returns what was said before.
fn tell(leads: &watch::Sender<bool>, now: bool) -> bool {
    let before = leads.send_replace(now);
    if before != now {
        tracing::info!(leader = now, "leadership changed");
    }
    before
}

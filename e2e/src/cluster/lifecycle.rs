//! `cluster-up` and `cluster-down`: one cluster a machine, one of these commands at a time.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;
use tokio::time::Instant;

use super::control::{self, Request};
use super::keeper::START_DEADLINE;
use super::{br_netfilter, command, daemons, health, paths, sweep, sysctls};

/// Another cluster-up may be at work: as long as it can take, and a little more.
const LOCK_DEADLINE: Duration = Duration::from_secs(300);

/// Takes the machine's lock, waiting for a command that holds it.
async fn lock() -> Result<File> {
    if !rustix::process::geteuid().is_root() {
        bail!("the local cluster needs root: namespaces, mounts, containers");
    }
    if let Some(folder) = Path::new(paths::LOCK).parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(paths::LOCK)?;
    let deadline = Instant::now() + LOCK_DEADLINE;
    health::until(deadline, "the cluster's lock", || {
        let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
        async move { taken.context("another cluster-up or cluster-down is at work") }
    })
    .await?;
    Ok(file)
}

/// Whether a healthy cluster is up.
pub(crate) async fn is_up() -> Result<()> {
    control::ask(&Request::Status).await.map(drop)
}

/// Brings the cluster up; answers `false` if it was up already. `program` is this program,
/// which becomes the keeper.
pub(crate) async fn up(program: &Path) -> Result<bool> {
    let _lock = lock().await?;
    if is_up().await.is_ok() {
        return Ok(false);
    }
    sweep::sweep().await?;
    fs::create_dir_all(paths::state("logs"))?;
    symlink(build_tools().await?, paths::state("tools"))?;
    sysctls::save()?;
    br_netfilter::load().await?;
    sweep::create_cgroups()?;
    let mut keeper = start_keeper(program)?;
    let deadline = Instant::now() + START_DEADLINE;
    let ready = health::until(deadline, "the cluster", || {
        let ended = keeper.try_wait().is_ok_and(|status| status.is_some());
        async move {
            if ended {
                Ok(false)
            } else {
                is_up().await.map(|()| true)
            }
        }
    })
    .await;
    match ready {
        Ok(true) => Ok(true),
        outcome => {
            let log = fs::read_to_string(daemons::log("keeper")).unwrap_or_default();
            let kept = keep_logs();
            sweep::sweep().await?;
            let error = outcome
                .err()
                .map_or_else(String::new, |error| format!("{error:#}: "));
            bail!("the cluster did not come up: {error}{log}(logs: {kept})");
        }
    }
}

/// Takes the cluster down, whatever state it is in.
pub(crate) async fn down() -> Result<()> {
    let _lock = lock().await?;
    sweep::sweep().await
}

/// Builds the tools, or finds them built; the script's last line is their directory.
async fn build_tools() -> Result<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/build-tools.sh");
    let mut build = Command::new("bash");
    build.arg(script).stderr(Stdio::inherit());
    let out = command::output(build).await?;
    let folder = out
        .lines()
        .last()
        .context("build-tools.sh printed nothing")?;
    Ok(PathBuf::from(folder))
}

/// Starts the keeper in a session of its own: an interrupt of the terminal is not for it.
fn start_keeper(program: &Path) -> Result<tokio::process::Child> {
    // A copy, so that a build of the checkout does not replace a running program.
    let copy = paths::state("keeper");
    fs::copy(program, &copy)?;
    let log = File::create(daemons::log("keeper"))?;
    let mut keeper = std::process::Command::new(copy);
    keeper
        .arg("cluster-keeper")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let child = Command::from(keeper).spawn()?;
    let pid = child.id().context("the keeper ended at once")?;
    fs::write(paths::state("keeper.pid"), pid.to_string())?;
    Ok(child)
}

/// Saves the programs' logs from the sweep; answers where.
fn keep_logs() -> String {
    let kept = std::env::temp_dir().join("livepeer-e2e-logs");
    fs::create_dir_all(&kept).ok();
    for entry in fs::read_dir(paths::state("logs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        fs::copy(entry.path(), kept.join(entry.file_name())).ok();
    }
    kept.display().to_string()
}

//! The thread that starts worker processes.
//!
//! A worker asks the kernel to die with its parent, and to the kernel the parent is the thread
//! that started it, not the process. So one thread starts them all, and lives as long as the
//! engine; when it ends, the kernel ends what is left of them.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::oneshot;

use crate::config::{Device, EngineConfig};

/// A started process and our end of its socket.
pub(super) type Started = (Child, OwnedFd);

/// Handle of the thread; dropping it ends the thread and every worker.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: mpsc::SyncSender<oneshot::Sender<io::Result<Started>>>,
}

/// Starts on order at once; every slot may have one.
const MOST_ORDERS: usize = 64;

impl Spawner {
    pub(super) fn start(config: &EngineConfig, memory_limit: u64) -> io::Result<Self> {
        let program = config.program.clone();
        let device = match config.device {
            Device::Cpu => "cpu",
            Device::Nvidia => "nvidia",
        };
        let (orders, taken) = mpsc::sync_channel::<oneshot::Sender<_>>(MOST_ORDERS);
        thread::Builder::new()
            .name("engine-spawner".to_owned())
            .spawn(move || {
                for reply in taken {
                    let mut command = Command::new(&program);
                    command
                        .args(["--device", device])
                        .args(["--memory-limit", &memory_limit.to_string()]);
                    // A caller that left gets no answer; the dropped socket ends the worker.
                    if let Err(Ok((child, socket))) = reply.send(spawn(command)) {
                        drop(socket);
                        reap(child);
                    }
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts a process.
    pub(super) async fn spawn(&self) -> io::Result<Started> {
        let (reply, started) = oneshot::channel();
        self.orders
            .try_send(reply)
            .map_err(|_| io::Error::other("the spawner is gone or overrun"))?;
        started
            .await
            .map_err(|_| io::Error::other("the spawner is gone"))?
    }
}

fn spawn(mut command: Command) -> io::Result<Started> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Ours only: theirs blocks.
    rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
    let child = command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((child, ours))
}

/// Ends a process and takes its status, so that it leaves no zombie.
pub(super) fn reap(mut child: Child) -> Option<std::process::ExitStatus> {
    // Already dead is as good.
    let _ = child.kill();
    child.wait().ok()
}

//! One worker process, seen from outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::spawner::{self, Spawner};
use crate::config::DeviceStatus;
use crate::message::{self, DeviceReport, MessageError, Reply, Request};

/// Time for a worker to load its libraries, open its device and close its sandbox. A cold disk
/// takes seconds; a device's driver too.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot start the program: {0}")]
    Spawn(io::Error),
    #[error("it ended: {0}")]
    Ended(String),
    #[error("it said nothing for {READY_WITHIN:?}")]
    Silent,
    #[error("it sent something else first")]
    NotReady,
}

/// What a worker did.
#[derive(Debug)]
pub(super) enum Event {
    Said(Reply),
    /// It hung up, broke the protocol or ended.
    Gone {
        /// Whether it brought its end on itself.
        crashed: bool,
        reason: String,
    },
}

/// A process with its socket; killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    /// `None` once reaped.
    child: Option<Child>,
    pid: u32,
    /// A socket of whole messages; not really of datagrams, since it knows when its peer ends:
    /// nobody but the process holds the other end.
    socket: UnixDatagram,
}

impl Worker {
    /// Starts a process and waits until it is ready.
    pub(super) async fn start(spawner: &Spawner) -> Result<(Self, DeviceStatus), StartError> {
        let (child, socket) = spawner.spawn().await.map_err(StartError::Spawn)?;
        let mut worker = Self::adopt(child, socket).map_err(StartError::Spawn)?;
        match timeout(READY_WITHIN, worker.next()).await {
            Ok(Event::Said(Reply::Ready { device })) => Ok((worker, device.into())),
            Ok(Event::Said(_)) => Err(StartError::NotReady),
            Ok(Event::Gone { reason, .. }) => Err(StartError::Ended(reason)),
            Err(_) => Err(StartError::Silent),
        }
    }

    fn adopt(child: Child, socket: OwnedFd) -> io::Result<Self> {
        match UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(socket)) {
            Ok(socket) => Ok(Self {
                pid: child.id(),
                child: Some(child),
                socket,
            }),
            Err(error) => {
                spawner::reap(child);
                Err(error)
            }
        }
    }

    /// Sends a request. The socket's buffer holds many: a worker that leaves none free is stuck.
    pub(super) fn send(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), MessageError> {
        message::send(self.socket.as_fd(), request, descriptors)
    }

    /// Waits for the next thing that happens. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        match receive(&self.socket).await {
            Ok(Some(Reply::Fatal { text })) => {
                self.reap().await;
                Event::Gone {
                    crashed: true,
                    reason: text,
                }
            }
            Ok(Some(reply)) => Event::Said(reply),
            Ok(None) => {
                let status = self.reap().await;
                Event::Gone {
                    crashed: status.is_some_and(crashed),
                    reason: status.map_or_else(|| "it ended".to_owned(), |it| it.to_string()),
                }
            }
            Err(error) => Event::Gone {
                crashed: true,
                reason: error.to_string(),
            },
        }
    }

    /// Ends the process, if it has not ended by itself, and takes its status. A process that is
    /// on its way out keeps the status that it had.
    async fn reap(&mut self) -> Option<ExitStatus> {
        let child = self.child.take()?;
        let status = tokio::task::spawn_blocking(move || spawner::reap(child)).await;
        status.ok().flatten()
    }

    /// Bytes of memory in use, if the process still is.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid)).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(pages * page)
    }

    /// CPU time used so far, if the process still is.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        cpu_time(self.pid)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends the process and waits until it is gone.
    pub(super) async fn end(mut self) {
        self.reap().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // A killed process is gone in well under a millisecond of its own.
            spawner::reap(child);
        }
    }
}

/// Whether a process ended by its own doing. `SIGKILL` and `SIGTERM` come from outside: the
/// kernel short of memory, or a person.
fn crashed(status: ExitStatus) -> bool {
    let outside = [Signal::KILL.as_raw(), Signal::TERM.as_raw()];
    !status
        .signal()
        .is_some_and(|signal| outside.contains(&signal))
}

async fn receive(socket: &UnixDatagram) -> Result<Option<Reply>, MessageError> {
    let receive = || match message::receive_plain(socket.as_fd()) {
        // Tells tokio to wait for more.
        Err(error) if error.would_block() => Err(io::ErrorKind::WouldBlock.into()),
        result => Ok(result),
    };
    socket
        .async_io(Interest::READABLE, receive)
        .await
        .unwrap_or(Err(MessageError::Io(rustix::io::Errno::IO)))
}

impl From<DeviceReport> for DeviceStatus {
    fn from(report: DeviceReport) -> Self {
        match report {
            DeviceReport::Cpu => Self::Cpu,
            DeviceReport::Ready { name } => Self::Ready { name },
            DeviceReport::Unusable { reason } => Self::Unusable { reason },
        }
    }
}

/// CPU time that a process has used so far, in all its threads.
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything; user and system time are fields 14 and 15.
    let mut fields = stat.rsplit(") ").next()?.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((user + system) * 1000 / ticks.max(1)))
}

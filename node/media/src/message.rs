//! The boundary between supervisor and worker: messages, and how they travel.
//!
//! One `SOCK_SEQPACKET` socket pair, which keeps messages whole. A message is JSON; source and
//! renditions are file descriptors beside it (`SCM_RIGHTS`), so no picture ever passes through
//! the socket. Only the supervisor sends descriptors; what a worker attaches is discarded.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Kind, MAX_TEXT_BYTES};
use crate::job::{Clip, Probe};
use crate::profile::{MAX_OUTPUTS, Profile};

/// Largest message: ten profiles with the longest names are a third of this.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// Most descriptors of one message: the source and every output.
pub const MAX_DESCRIPTORS: usize = MAX_OUTPUTS + 1;

/// Largest rendition: the wire's limit for a segment.
pub const MAX_OUTPUT_BYTES: u64 = 300_000_000;

/// What the supervisor asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Starts work; one at a time. Descriptors: the source, then one for each output.
    Run { attempt: u64, work: Work },
    /// Ends that attempt early, if it is still the one that runs.
    Cancel { attempt: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Transcode(TranscodeWork),
    Probe,
    /// Try what the sandbox must refuse, and tell what happened.
    CheckSandbox,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TranscodeWork {
    pub profiles: Vec<Profile>,
    pub metadata: String,
    pub clip: Option<Clip>,
    /// Cores that this job may use.
    pub threads: u32,
    /// CPU seconds after which the kernel ends the worker.
    pub cpu_seconds: u64,
}

/// What a worker tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Sandboxed and waiting for work.
    Ready {
        device: DeviceReport,
    },
    /// The attempt moves: frames decoded and encoded so far.
    Progress {
        attempt: u64,
        frames: u64,
    },
    Done {
        attempt: u64,
        outcome: Outcome,
    },
    Failed {
        attempt: u64,
        kind: Kind,
        text: String,
    },
    /// The worker's last words: a panic, or a start that failed.
    Fatal {
        text: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceReport {
    Cpu,
    Ready { name: String },
    Unusable { reason: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Transcoded(Counts),
    Probed(Probe),
    SandboxChecked(Vec<SandboxAttempt>),
}

/// Counts of a transcoded segment; the data is in the output descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub decoded_frames: u64,
    pub decoded_pixels: u64,
    /// Frames and pixels of each output.
    pub outputs: Vec<(u64, u64)>,
}

/// One thing that a sandboxed worker tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxAttempt {
    pub what: String,
    /// The refusal; `None` means that it was allowed.
    pub refused: Option<String>,
}

/// Why a message could not pass.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("socket")]
    Io(#[source] Errno),
    #[error("malformed message")]
    Malformed(#[source] serde_json::Error),
    #[error("message cut off at {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
}

impl MessageError {
    /// True when a non-blocking socket has nothing to read, or no room.
    pub fn would_block(&self) -> bool {
        matches!(self, Self::Io(Errno::AGAIN))
    }
}

/// Sends one message with descriptors.
pub fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), MessageError> {
    let text = serde_json::to_vec(message).map_err(MessageError::Malformed)?;
    if text.len() > MAX_MESSAGE_BYTES || descriptors.len() > MAX_DESCRIPTORS {
        return Err(MessageError::TooLong);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // NOSIGNAL: a dead peer is an error here, not a signal to the process.
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        sendmsg(
            socket.as_fd(),
            &[IoSlice::new(&text)],
            &mut ancillary,
            flags,
        )
    })
    .map(drop)
    .map_err(MessageError::Io)
}

/// Receives one message with its descriptors; `None` when the peer is gone.
pub fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<(T, Vec<OwnedFd>)>, MessageError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let Some(text) = receive_into(socket, &mut ancillary)? else {
        return Ok(None);
    };
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let message = serde_json::from_slice(&text).map_err(MessageError::Malformed)?;
    Ok(Some((message, descriptors)))
}

/// Receives one message; descriptors beside it are never accepted.
pub fn receive_plain<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<T>, MessageError> {
    let mut ancillary = RecvAncillaryBuffer::default();
    let Some(text) = receive_into(socket, &mut ancillary)? else {
        return Ok(None);
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(MessageError::Malformed)
}

fn receive_into(
    socket: BorrowedFd<'_>,
    ancillary: &mut RecvAncillaryBuffer<'_>,
) -> Result<Option<Vec<u8>>, MessageError> {
    let mut text = vec![0; MAX_MESSAGE_BYTES];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut text)],
            ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })
    .map_err(MessageError::Io)?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(MessageError::TooLong);
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    text.truncate(received.bytes);
    Ok(Some(text))
}

/// Cuts a text to what a reply may carry.
pub fn bounded(text: &str) -> String {
    text.chars().take(MAX_TEXT_BYTES / 4).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (left, right) = pair();
        let mut file = File::from(memfd_create("t", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(b"segment").unwrap();
        let request = Request::Run {
            attempt: 7,
            work: Work::Probe,
        };
        send(left.as_fd(), &request, &[file.as_fd()]).unwrap();
        let (received, mut descriptors) = receive::<Request>(right.as_fd()).unwrap().unwrap();
        assert_eq!(received, request);
        let mut copy = File::from(descriptors.remove(0));
        let mut text = String::new();
        copy.rewind().unwrap();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "segment");
    }

    #[test]
    fn descriptors_from_a_worker_are_discarded() {
        let (left, right) = pair();
        let file = memfd_create("t", MemfdFlags::CLOEXEC).unwrap();
        let reply = Reply::Progress {
            attempt: 1,
            frames: 2,
        };
        send(right.as_fd(), &reply, &[file.as_fd()]).unwrap();
        assert_eq!(receive_plain::<Reply>(left.as_fd()).unwrap(), Some(reply));
    }

    #[test]
    fn a_closed_peer_is_the_end_and_not_an_error() {
        let (left, right) = pair();
        drop(right);
        assert_eq!(receive_plain::<Reply>(left.as_fd()).unwrap(), None);
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let (left, right) = pair();
        rustix::net::send(&left, b"{]", SendFlags::empty()).unwrap();
        assert!(matches!(
            receive::<Request>(right.as_fd()),
            Err(MessageError::Malformed(_))
        ));
    }
}

//! Bounds on an accepted connection that the HTTP library does not set: the time until
//! its first bytes, and the time that a peer may leave ours unread.

pub(crate) mod activity;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long bytes of ours may stay unacknowledged, or a peer's window closed. HTTP/2
/// pings find a silent peer sooner; this is for HTTP/1.1, and for a peer that answers
/// pings and reads nothing else.
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// What tells HTTP/2 from HTTP/1.1: its preface (RFC 9113 §3.4). The library reads so
/// many bytes without a clock; a request with a `Host` is longer.
const FIRST_BYTES: usize = 24;

/// Drops a connection whose peer takes nothing for `time`, whatever waits to be written
/// (`TCP_USER_TIMEOUT`; the kernel counts a window that stays closed as well).
pub(crate) fn user_timeout(stream: &TcpStream, time: Duration) -> io::Result<()> {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, millis)?)
}

/// The stream, whose reads fail when after `time` it is still unknown which protocol the
/// peer speaks.
pub(crate) fn first_byte_within<S>(stream: S, time: Duration) -> FirstBytes<S> {
    FirstBytes {
        stream,
        missing: FIRST_BYTES,
        late: Some(Box::pin(sleep(time))),
    }
}

/// A stream whose first bytes have a deadline.
pub(crate) struct FirstBytes<S> {
    stream: S,
    missing: usize,
    /// Until none is missing.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(late) = &mut self.late else {
            return read;
        };
        if read.is_pending() {
            return late
                .as_mut()
                .poll(context)
                .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was sent")));
        }
        let got = buffer.filled().len() - before;
        self.missing = self.missing.saturating_sub(got);
        if self.missing == 0 {
            self.late = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::{first_byte_within, user_timeout};
    use axum::body::Body;
    use hyper::client::conn::http2::{self, SendRequest};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, timeout};

    const TIME: Duration = Duration::from_secs(10);

    /// An HTTP/2 client that is yet to be served: how it asks, what drives it, and its peer's end.
    pub(crate) async fn http2() -> (
        SendRequest<Body>,
        impl Future<Output = hyper::Result<()>>,
        DuplexStream,
    ) {
        let (near, far) = duplex(1 << 16);
        let client = http2::Builder::new(TokioExecutor::new());
        let (requests, driver) = client.handshake(TokioIo::new(near)).await.unwrap();
        (requests, driver, far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_say_what_it_speaks_is_not_waited_for() {
        for said in ["", "P", "PRI * HTTP/2.0"] {
            let (mut peer, stream) = duplex(100);
            peer.write_all(said.as_bytes()).await.unwrap();
            let began = Instant::now();
            let mut stream = first_byte_within(stream, TIME);
            let mut read = Vec::new();
            let error = stream.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(began.elapsed(), TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_said_it_may_pause() {
        let (mut peer, stream) = duplex(100);
        let mut stream = first_byte_within(stream, TIME);
        peer.write_all(b"GET / HTTP/1.1\r\nHost: o\r\n")
            .await
            .unwrap();
        let read = stream.read_exact(&mut [0; 25]).await;
        read.unwrap();
        assert!(timeout(2 * TIME, stream.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn the_kernel_is_told_how_long_bytes_may_stay_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stream = TcpStream::connect(addr).await.unwrap();
        user_timeout(&stream, TIME).unwrap();
        let set = rustix::net::sockopt::tcp_user_timeout(&stream).unwrap();
        assert_eq!(set, 10_000);
    }
}

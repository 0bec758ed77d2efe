//! A body that passes through unchanged, trailers included, while its messages are
//! captured. Nothing is held back: what arrives is handed on at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::capture::Capture;
use crate::exchange::{Leg, Shape, cut_parts, take_grpc_message};

/// Bytes of one body held for the capture: four renditions of a short segment. What
/// is longer passes all the same and is not captured.
const HELD: usize = 32 << 20;

/// The body of one leg of an exchange.
pub(crate) struct Tap {
    body: Incoming,
    capture: Option<Captured>,
}

struct Captured {
    into: Arc<Capture>,
    leg: Leg,
    head: Vec<u8>,
    boundary: Option<String>,
    held: Vec<u8>,
    overflowed: bool,
}

impl Tap {
    /// Passes `body` on and keeps nothing.
    pub(crate) fn transparent(body: Incoming) -> Self {
        Self {
            body,
            capture: None,
        }
    }

    /// Passes `body` on and captures it as its leg says.
    pub(crate) fn new(
        body: Incoming,
        into: Arc<Capture>,
        leg: Leg,
        head: Vec<u8>,
        boundary: Option<String>,
    ) -> Self {
        // A head is whole before its body, which may be empty and never polled.
        if leg.shape == Shape::Head {
            into.save(leg, &head);
            return Self::transparent(body);
        }
        Self {
            body,
            capture: Some(Captured {
                into,
                leg,
                head,
                boundary,
                held: Vec::new(),
                overflowed: false,
            }),
        }
    }
}

impl Captured {
    fn see(&mut self, data: &[u8]) {
        if self.overflowed {
            return;
        }
        if self.held.len() + data.len() > HELD {
            tracing::warn!(what = self.leg.what, "body too long to capture");
            self.overflowed = true;
            self.held = Vec::new();
            return;
        }
        self.held.extend_from_slice(data);
        if self.leg.shape == Shape::Grpc {
            while let Some(message) = take_grpc_message(&mut self.held) {
                self.into.save(self.leg, &message);
            }
        }
    }

    fn finish(mut self) {
        if self.overflowed {
            return;
        }
        match self.leg.shape {
            // Saved already, message by message, or when the head was there.
            Shape::Grpc | Shape::Head => {}
            Shape::Message => self.into.save(self.leg, &self.held),
            Shape::Multipart => {
                let body = cut_parts(self.boundary.as_deref(), &self.held);
                self.head.extend_from_slice(&body);
                self.into.save(self.leg, &self.head);
            }
        }
    }
}

impl Body for Tap {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let (Some(data), Some(capture)) = (frame.data_ref(), self.capture.as_mut())
        {
            capture.see(data);
        }
        let whole = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        if whole && let Some(capture) = self.capture.take() {
            capture.finish();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        // Polled once more at the end, so that the capture is finished.
        self.capture.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

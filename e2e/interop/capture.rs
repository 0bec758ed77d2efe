//! The folder that captured messages are written to, and their names:
//! `<what>[-last]-<from>-to-<to>-<sender>.<bin|http>`, the sender being a program and its
//! version. Bounded: the first and the last of each kind of message are kept.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, request, response};

use crate::exchange::{Leg, Role, Shape};

/// Who sits in each role, as file names say it (`go-livepeer-v0.9.1`).
#[derive(Clone, Debug)]
pub(crate) struct Senders {
    pub(crate) gateway: String,
    pub(crate) orchestrator: String,
    pub(crate) transcoder: String,
}

impl Senders {
    fn name(&self, role: Role) -> &str {
        match role {
            Role::Client => "http-client",
            Role::Gateway => &self.gateway,
            Role::Orchestrator => &self.orchestrator,
            Role::Transcoder => &self.transcoder,
        }
    }
}

/// Writes captures; shared by every connection of a recorder.
#[derive(Debug)]
pub(crate) struct Capture {
    folder: PathBuf,
    senders: Senders,
    seen: Mutex<HashMap<&'static str, usize>>,
}

impl Capture {
    pub(crate) fn new(folder: PathBuf, senders: Senders) -> Self {
        Self {
            folder,
            senders,
            seen: Mutex::default(),
        }
    }

    /// Saves one message of a leg. A disk error is logged: recording never disturbs
    /// the peers.
    pub(crate) fn save(&self, leg: Leg, message: &[u8]) {
        self.save_as(leg.what, leg, message);
    }

    /// Saves a message found inside another, such as the one in a header.
    pub(crate) fn save_as(&self, what: &'static str, leg: Leg, message: &[u8]) {
        let first = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let count = seen.entry(what).or_default();
            *count += 1;
            *count == 1
        };
        let last = if first { "" } else { "-last" };
        let kind = match leg.shape {
            Shape::Grpc | Shape::Message => "bin",
            Shape::Head | Shape::Multipart if what == leg.what => "http",
            // A message out of a head.
            Shape::Head | Shape::Multipart => "bin",
        };
        let name = format!(
            "{what}{last}-{}-to-{}-{}.{kind}",
            leg.from,
            leg.to,
            self.senders.name(leg.from)
        );
        if let Err(error) = std::fs::write(self.folder.join(&name), message) {
            tracing::error!(%name, %error, "cannot write a capture");
        }
    }

    /// Whether a kind of message has been seen.
    pub(crate) fn has(&self, what: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains_key(what)
    }
}

/// A request's head as text, in HTTP/1.1's form whatever it came over.
pub(crate) fn request_head(parts: &request::Parts) -> Vec<u8> {
    let line = format!(
        "{} {} {:?}\r\n",
        parts.method,
        parts.uri.path(),
        parts.version
    );
    head(line, &parts.headers)
}

/// A reply's head as text.
pub(crate) fn reply_head(parts: &response::Parts) -> Vec<u8> {
    head(
        format!("{:?} {}\r\n", parts.version, parts.status.as_u16()),
        &parts.headers,
    )
}

fn head(line: String, headers: &HeaderMap) -> Vec<u8> {
    let mut text = line.into_bytes();
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

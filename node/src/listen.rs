//! Binding a port. One in use is the most common mistake of all: the message has the key,
//! its value, where that comes from, and what to do.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;

/// A setting that is an address to listen on.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    pub key: &'static str,
    pub addr: SocketAddr,
    /// What it is when nobody sets it.
    pub usual: SocketAddr,
    /// The settings file, if there is one.
    pub file: Option<&'a Path>,
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} (key `{key}`, {origin}): {remedy}")]
pub struct ListenError {
    addr: SocketAddr,
    key: &'static str,
    origin: String,
    remedy: &'static str,
    #[source]
    source: io::Error,
}

/// Binds it.
pub async fn bind(setting: Setting<'_>) -> Result<TcpListener, ListenError> {
    TcpListener::bind(setting.addr)
        .await
        .map_err(|source| setting.refused(source))
}

impl Setting<'_> {
    fn refused(self, source: io::Error) -> ListenError {
        let Self {
            key,
            addr,
            usual,
            file,
        } = self;
        let file = file.map(|file| file.display().to_string());
        let origin = match file {
            Some(file) if addr == usual => format!("the default, settings file {file}"),
            Some(file) => format!("from {file}"),
            None => "the default, no --settings given".to_owned(),
        };
        ListenError {
            addr,
            key,
            origin,
            remedy: remedy(source.kind()),
            source,
        }
    }
}

fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "end what listens there, or set another port",
        ErrorKind::AddrNotAvailable => "set an address of this machine",
        ErrorKind::PermissionDenied => "set a port from 1024 up",
        _ => "set another address",
    }
}

//! The wire against messages that real peers sent: captures of go-livepeer v0.9.1 and of
//! our own roles talking to it, recorded by `e2e/interop`. A file's name says what it is,
//! who sent it to whom, and with which program and version.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod golden;
mod heads;
mod ours;
mod segment;
mod session;
mod transcoder;

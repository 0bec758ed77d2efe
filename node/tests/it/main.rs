//! The node as a program: its real binary, its real engine, real clients.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod all;
mod node;
mod refusals;

//! The node as a program: its real binary, its real engine, real clients.
//!
//! Tests that play a peer themselves have threads for it: orchestrators ping peers, also
//! while the test waits for a program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on stops, and says why"
)]

mod all;
mod client;
mod clips;
mod drain;
mod errors;
mod faults;
mod full;
mod listener;
mod node;
mod proxy;
mod push;
mod refusals;
mod results;
mod segment;
mod silent;
mod tasks;
mod wire;

//! The Livepeer node: every role of the data plane in one program.
//!
//! # Layout
//!
//! * `process`, `lifecycle`, `health`, `reload`, `logging`: what every role shares,
//!   from settings to SIGTERM
//! * `budget`: how many bytes of segments a process holds at once
//! * `gateway`, `orchestrator`, `transcoder`: one module a role, each with `run`
//! * `all`: the three of them over loopback

pub mod all;
pub mod budget;
pub mod cli;
pub mod health;
pub mod lifecycle;
pub mod logging;
pub mod process;
pub mod reload;

pub mod gateway;
pub mod orchestrator;
pub mod transcoder;

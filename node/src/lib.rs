//! The Livepeer node: every role of the data plane in one program.
//!
//! # Layout
//!
//! * `process`, `lifecycle`, `health`, `reload`, `logging`: what every role shares,
//!   from settings to SIGTERM
//! * `body`, `fetch`: segments over the network, within a byte budget
//! * `listen`: ports that are had or not; `connection`: how long an accepted connection
//!   may do nothing
//! * `segdata`, `engine_config`, `device`: the wire's and the settings' words in the
//!   engine's terms, and back
//! * `gateway`, `orchestrator`, `transcoder`: one module a role, each with `run`
//! * `all`: the three of them over loopback

pub mod all;
pub mod body;
pub mod cli;
mod connection;
pub mod device;
pub mod engine_config;
pub mod fetch;
pub mod health;
pub mod lifecycle;
pub mod listen;
pub mod logging;
pub mod process;
pub mod reload;
pub mod segdata;

pub mod gateway;
pub mod orchestrator;
pub mod transcoder;

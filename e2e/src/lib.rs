//! The test bench: a real Kubernetes on this machine, as a library for the end-to-end tests
//! and as the commands of `main.rs`.

pub mod cluster;
pub mod demo;
pub mod faults;
pub mod install;
pub mod namespace;
pub mod network;
pub mod stream;

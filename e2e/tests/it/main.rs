//! What of the test bench is tested without its cluster: the scripts around it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod turn;

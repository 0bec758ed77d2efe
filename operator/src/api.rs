//! The custom resources of `livepeer.org/v1alpha1`, one file a kind.
//!
//! Validation and defaults live in the schema (OpenAPI and CEL), there is no webhook.
//! A union is a set of optional members with a CEL rule, never a Rust data enum.

#![allow(
    unreachable_pub,
    reason = "kube's derive repeats each type inside a function"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns repeat their keys; the lint takes them for one attribute"
)]

pub mod exposure;
pub mod gateway;
pub mod gpu;
pub mod node;
pub mod orchestrator;
pub mod pod_template;
pub mod profile;
pub mod quantity;
pub mod reference;
pub mod schema;
pub mod status;
pub mod transcoder_pool;

pub use gateway::Gateway;
pub use orchestrator::Orchestrator;
pub use transcoder_pool::TranscoderPool;

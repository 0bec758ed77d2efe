//! The Livepeer operator: custom resources and the reconcilers that make them true.
//!
//! A reconcile goes fetch → validate → build → apply → status, one file each under the
//! kind's folder; what the kinds share stands beside them.

pub mod admission_cases;
pub mod api;
pub mod apply;
pub mod backoff;
pub mod build;
pub mod client;
pub mod conditions;
pub mod context;
pub mod crds;
pub mod credential;
pub mod departed;
pub mod gateway;
pub mod health;
pub mod kind;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod orchestrator;
pub mod owner;
pub mod pod_problems;
pub mod reason;
pub mod reconcile;
pub mod run;
pub mod scope;
pub mod touch;
pub mod transcoder_pool;
pub mod turns;
pub mod validate;
pub mod watch;

//! The Livepeer operator: custom resources and the reconcilers that make them true.

pub mod admission_cases;
pub mod api;
pub mod crds;
pub mod names;
pub mod reason;

//! Tests of what the repository ships beside the program: definitions, chart, bases,
//! samples. None needs a cluster.

mod definitions;
#[cfg(test)] // its helpers may unwrap, as tests may
mod fields;
mod manifests;

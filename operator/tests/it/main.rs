//! Tests of what the repository ships beside the program: definitions, chart, bases,
//! samples. None needs a cluster.

mod definitions;
mod manifests;

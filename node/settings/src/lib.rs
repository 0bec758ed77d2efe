//! The contract between the operator and the node.
//!
//! The operator renders [`Settings`] into a ConfigMap and reads [`status::NodeStatus`]
//! back from the running node; the node parses the very same types. A field that
//! only one side knows does not compile.
//!
//! Not here: anything that needs a clock, a network or a cluster.

mod address;
pub mod duration;
pub mod load;
pub mod memory;
mod place;
pub mod profile;
pub mod roles;
pub mod settings;
pub mod status;

pub use load::{LoadError, load, parse};
pub use profile::ProfileSettings;
pub use roles::{GatewaySettings, OrchestratorSettings, TranscoderSettings, Transcoding};
pub use settings::{DeviceKind, Drain, EngineSettings, LogLevel, Role, Settings};

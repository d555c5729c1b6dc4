//! x
pub mod headers;
pub mod key;
pub mod policy;
pub mod purge;
pub mod store;
pub mod variant;

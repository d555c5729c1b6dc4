//! x
pub mod headers;
pub mod key;
pub mod policy;
pub mod store;
pub mod variant;

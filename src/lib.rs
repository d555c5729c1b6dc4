//! nearcast: a CDN edge node with GeoDNS in one binary. This library is what the binary and the tests link.

pub mod cli;

pub mod node;

pub mod control;
pub mod dnssec;
pub mod geo;
mod memory;
pub mod prefetch;
pub mod reload;
pub mod state;
pub mod texts;

pub mod admin;

pub mod compact;

//! Whole nodes, in this process or as the real binary, between a scripted origin and clients that see every byte.
#![expect(clippy::unwrap_used, reason = "a test's own mistake may end it")]

mod harness;

mod admin;
mod cache;
mod config;
mod conformance;
mod dns;
mod errors;
mod fill;
mod framing;
mod geo;
mod health;
mod holes;
mod http;
mod keys;
mod life;
mod object;
mod oracle;
mod parts;
mod prefetch;
mod purge;
mod purge_durable;
mod purge_kinds;
mod purge_method;
mod purge_soft;
mod rfc_table;
mod sharing;
mod tls;
mod unsafe_methods;

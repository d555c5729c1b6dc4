//! Whole nodes, in this process or as the real binary, between a scripted origin and clients that see every byte.
#![expect(clippy::unwrap_used, reason = "a test's own mistake may end it")]

mod harness;

mod admin;
mod cache;
mod config;
mod conformance;
mod crash;
mod damage;
mod dns;
mod errors;
mod faults;
mod fill;
mod framing;
mod geo;
mod geo_watch;
mod grid;
mod health;
mod herd;
mod holds;
mod holes;
mod http;
mod keys;
mod life;
mod memory;
mod object;
mod oracle;
mod parts;
mod prefetch;
mod probes;
mod purge;
mod purge_durable;
mod purge_kinds;
mod purge_method;
mod purge_soft;
mod ranges;
mod reach;
mod resume;
mod rfc_table;
mod scan;
mod sharing;
mod tls;
mod unsafe_methods;
mod zones;

//! What both planes of nearcast read: the validated [`config`], the fleet's PoPs, geo data, health verdicts, and the
//! few facilities (clock, metrics, telemetry) that must mean the same everywhere. No listeners live here, except the
//! health prober, which is a client.

pub mod config;

pub mod pop;

pub mod name;
pub mod rtype;

pub mod net;

pub mod geo;

pub mod health;

pub mod bearer;
pub mod clock;
pub mod doh;
pub mod sockets;
pub mod trust;

pub mod lines;
pub mod metrics;
pub mod telemetry;

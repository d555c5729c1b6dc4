//! What HTTP allows: pure functions over headers and times, `now` passed in. No I/O, no clock, no logging.

pub mod control;
pub mod directives;
pub mod freshness;
pub mod groups;
pub mod location;
pub mod range;
pub mod reuse;
pub mod rules;
pub mod storable;
pub mod structured;
pub mod tags;
pub mod validator;

//! The edge: the request's path, in reading order.
//!
//! ```text
//! listener -> tls -> http -> request (which site?) -> keying -> key -> store + variant -> policy (may I serve it?) -- hit -> deliver
//!                                                              `- stale/miss -> collapse -> fill -> origin -> store -'
//! ```

pub mod view;

pub mod listener;
pub mod tls;

pub mod pipeline;
pub mod request;

pub mod canonical;
pub mod forwarding;
pub mod key;
pub mod keying;
pub mod variant;

pub mod policy;

pub mod store;

pub mod fill;
pub mod remembered;

pub mod headers;
pub mod origin;
pub mod pinned;

pub mod purge;

pub mod body;
pub mod cache_status;
pub mod deliver;
pub mod proxy_status;
pub mod refusal;

pub mod question;

pub mod explain;
pub mod inspect;

pub mod access_log;
pub mod metrics;
pub mod track;
pub mod worker;

//! What is asked of a PoP to learn its health.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderName;
use http::uri::Scheme;

use crate::config::{Secret, StatusMatch};

/// How a PoP's health is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Never probed: up unless forced.
    Never,
    /// Each of these is asked, at least one. Either one for each of the PoP's addresses, or a single one for all of them.
    Targets(Vec<Target>),
}

/// One thing that is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address of the PoP that it speaks for; `None`: for the whole PoP.
    pub address: Option<IpAddr>,
    /// A name or an address without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// What is asked there.
    pub question: Arc<Question>,
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it takes a TCP connection.
    Tcp,
    /// What it answers to a GET.
    Http(HttpProbe),
}

/// A GET, and what a good answer to it is.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Over TLS.
    pub tls: Option<TlsProbe>,
    /// What is sent as Host; `None`: where it is sent to.
    pub host: Option<String>,
    /// With the query, if any.
    pub path: String,
    /// Any of these, at least one.
    pub statuses: Vec<StatusMatch>,
    /// Text that must be within the first [`HttpProbe::BODY_MAX`] bytes of the body.
    pub body: Option<String>,
    /// Further fields. Their values may be secrets.
    pub headers: Vec<(HeaderName, Secret)>,
}

impl HttpProbe {
    /// No more of a body is read.
    pub const BODY_MAX: usize = 16 << 10;
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProbe {
    /// The name that is sent (SNI) and that the certificate must have; `None`: the host that is connected to.
    pub name: Option<String>,
    /// Whether the certificate must be good.
    pub verify: bool,
}

impl Target {
    /// `host:port`, with brackets where they are needed.
    pub fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, self.port).to_string(),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

/// As a URL, without what may be secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.question {
            Question::Tcp => write!(f, "tcp://{}", self.authority()),
            Question::Http(probe) => {
                let scheme = if probe.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
                let path = probe.path.split('?').next().unwrap_or_default();
                write!(f, "{scheme}://{}{path}", self.authority())
            }
        }
    }
}

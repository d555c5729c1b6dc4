//! Why there is no answer from an origin, as far as the errors of hyper, TLS and the system tell.

use std::error::Error as StdError;
use std::io;

use thiserror::Error;

use super::connect::ConnectError;
use crate::metrics::Fetched;
use crate::proxy_status::ErrorType;

/// Why there is no answer from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Failure {
    /// Its name has no address.
    #[error("the origin's name has no address")]
    NoName,
    /// Its name had no address in time.
    #[error("the origin's name was not resolved in time")]
    NameTimedOut,
    /// It takes no connections.
    #[error("the origin refused the connection")]
    Refused,
    /// No way leads to its address.
    #[error("there is no route to the origin")]
    Unroutable,
    /// No connection, for another reason.
    #[error("the origin could not be reached")]
    Unreachable,
    /// No connection in time.
    #[error("the origin could not be reached in time")]
    ConnectTimedOut,
    /// Its certificate is not good.
    #[error("the origin's certificate is not good")]
    Certificate,
    /// It refused in TLS.
    #[error("the origin refused in TLS")]
    TlsAlert,
    /// It does not speak TLS as it should.
    #[error("TLS with the origin failed")]
    Tls,
    /// It closed or reset the connection instead of answering.
    #[error("the origin closed the connection without an answer")]
    Closed,
    /// No answer within the time.
    #[error("the origin did not answer in time")]
    TimedOut,
    /// What came was not HTTP, or not an answer to what was asked.
    #[error("the origin's answer was malformed")]
    Broken,
    /// The answer's header is larger than allowed.
    #[error("the header of the origin's answer is larger than the limit")]
    HeaderTooLarge,
    /// The answer has a transfer coding that was not asked for.
    #[error("the origin's answer has a transfer coding that was not asked for")]
    Coding,
    /// Only a part of the answer came, before any of it was passed on.
    #[error("the origin's answer broke off")]
    Incomplete,
    /// The request's own body is larger than allowed.
    #[error("the request's body is larger than the limit")]
    RequestTooLarge,
    /// The client sent nothing of its body for too long.
    #[error("the request's body stalled")]
    RequestStalled,
    /// The client broke its body off.
    #[error("the request's body broke off")]
    RequestBroken,
}

impl Failure {
    /// As the metric counts it; `None` when it is the client's doing.
    pub fn fetched(self) -> Option<Fetched> {
        match self {
            Self::NameTimedOut | Self::ConnectTimedOut | Self::TimedOut => Some(Fetched::TimedOut),
            Self::NoName
            | Self::Refused
            | Self::Unroutable
            | Self::Unreachable
            | Self::Certificate
            | Self::TlsAlert
            | Self::Tls
            | Self::Closed
            | Self::Broken
            | Self::HeaderTooLarge
            | Self::Coding
            | Self::Incomplete => Some(Fetched::Broken),
            Self::RequestTooLarge | Self::RequestStalled | Self::RequestBroken => None,
        }
    }

    /// Whether the origin gave no answer at all, as opposed to one that is not right: then we are "disconnected" from it
    /// (RFC 9111 section 4.2.4) and what is stored may serve though stale.
    pub fn is_disconnected(self) -> bool {
        self.is_unconnected() || matches!(self, Self::Closed | Self::TimedOut)
    }

    /// Whether there was no connection to the origin at all, with TLS where it is spoken: it may be otherwise from elsewhere.
    pub fn is_unconnected(self) -> bool {
        match self {
            Self::NoName
            | Self::NameTimedOut
            | Self::Refused
            | Self::Unroutable
            | Self::Unreachable
            | Self::ConnectTimedOut
            | Self::Certificate
            | Self::TlsAlert
            | Self::Tls => true,
            Self::Closed
            | Self::TimedOut
            | Self::Broken
            | Self::HeaderTooLarge
            | Self::Coding
            | Self::Incomplete
            | Self::RequestTooLarge
            | Self::RequestStalled
            | Self::RequestBroken => false,
        }
    }

    /// As Proxy-Status calls it.
    pub fn error_type(self) -> ErrorType {
        match self {
            Self::NoName => ErrorType::DnsError,
            Self::NameTimedOut => ErrorType::DnsTimeout,
            Self::Refused => ErrorType::ConnectionRefused,
            Self::Unroutable => ErrorType::DestinationIpUnroutable,
            Self::Unreachable => ErrorType::DestinationUnavailable,
            Self::ConnectTimedOut => ErrorType::ConnectionTimeout,
            Self::Certificate => ErrorType::TlsCertificateError,
            Self::TlsAlert => ErrorType::TlsAlertReceived,
            Self::Tls => ErrorType::TlsProtocolError,
            Self::Closed => ErrorType::ConnectionTerminated,
            Self::TimedOut => ErrorType::HttpResponseTimeout,
            Self::Broken => ErrorType::HttpProtocolError,
            Self::HeaderTooLarge => ErrorType::HttpResponseHeaderSectionSize,
            Self::Coding => ErrorType::HttpResponseTransferCoding,
            Self::Incomplete => ErrorType::HttpResponseIncomplete,
            Self::RequestTooLarge | Self::RequestStalled | Self::RequestBroken => ErrorType::HttpRequestError,
        }
    }

    /// What an error on a connection that stands comes down to.
    pub fn of_exchange(error: &hyper::Error) -> Self {
        deepest(Some(error), false)
    }

    /// What an error of connecting comes down to.
    pub(super) fn of_connecting(error: &(dyn StdError + 'static)) -> Self {
        deepest(Some(error), true)
    }

    /// What an error of the client's pool comes down to.
    pub(super) fn of(error: &hyper_util::client::legacy::Error) -> Self {
        deepest(error.source(), error.is_connect())
    }
}

/// The innermost cause that says something decides: hyper only passes most of them on.
fn deepest(mut cause: Option<&(dyn StdError + 'static)>, connecting: bool) -> Failure {
    let mut last = if connecting { Failure::Unreachable } else { Failure::Closed };
    while let Some(error) = cause {
        if let Some(found) = sure(error, connecting) {
            return found;
        }
        last = error.downcast_ref().map_or(last, of_hyper);
        cause = within(error);
    }
    last
}

/// What an error itself says for sure.
fn sure(error: &(dyn StdError + 'static), connecting: bool) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::NoName(_) => Failure::NoName,
            ConnectError::NameTimedOut => Failure::NameTimedOut,
            ConnectError::TimedOut => Failure::ConnectTimedOut,
        });
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Failure::Certificate,
            rustls::Error::AlertReceived(_) => Failure::TlsAlert,
            _ => Failure::Tls,
        });
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        // hyper takes errors of the connection out of these. A stream that the origin reset, and one that it never
        // took, have no answer.
        return Some(if error.is_remote() || error.is_io() { Failure::Closed } else { Failure::Broken });
    }
    error.downcast_ref::<io::Error>().and_then(|error| of_system(error.kind(), connecting))
}

fn of_system(kind: io::ErrorKind, connecting: bool) -> Option<Failure> {
    use io::ErrorKind as Kind;
    match kind {
        Kind::ConnectionRefused => Some(Failure::Refused),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => Some(Failure::Unroutable),
        Kind::TimedOut if connecting => Some(Failure::ConnectTimedOut),
        Kind::TimedOut => Some(Failure::TimedOut),
        // Cut before TLS stood, mostly.
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::UnexpectedEof
            if connecting =>
        {
            Some(Failure::Unreachable)
        }
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::UnexpectedEof => Some(Failure::Closed),
        // Among them the wrapping of other errors.
        _ => None,
    }
}

fn of_hyper(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        Failure::HeaderTooLarge
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Failure::Closed
    } else if error.is_timeout() {
        Failure::TimedOut
    } else {
        Failure::Broken
    }
}

/// The next cause. The source of an I/O error that wraps another is that other's source, so that it would be skipped.
fn within<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::ErrorKind as Kind;
    use rustls::{AlertDescription, CertificateError, Error as TlsError};

    #[derive(Debug, Error)]
    #[error("outer")]
    struct Outer(#[source] Box<dyn StdError + Send + Sync>);

    fn tls(error: TlsError) -> io::Error {
        // As tokio-rustls and hyper-rustls wrap it.
        io::Error::other(io::Error::new(Kind::InvalidData, error))
    }

    #[test]
    fn causes() {
        let alert = TlsError::AlertReceived(AlertDescription::HandshakeFailure);
        let certificate = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        type Row = (&'static str, Box<dyn StdError + Send + Sync>, Failure, Failure);
        let row = |name, error: io::Error, connecting, later| -> Row { (name, Box::new(error), connecting, later) };
        let rows = [
            row("refused", Kind::ConnectionRefused.into(), Failure::Refused, Failure::Refused),
            row("no route", Kind::HostUnreachable.into(), Failure::Unroutable, Failure::Unroutable),
            row("no network", Kind::NetworkUnreachable.into(), Failure::Unroutable, Failure::Unroutable),
            row("the system's timeout", Kind::TimedOut.into(), Failure::ConnectTimedOut, Failure::TimedOut),
            row("reset", Kind::ConnectionReset.into(), Failure::Unreachable, Failure::Closed),
            row("closed under our hands", Kind::BrokenPipe.into(), Failure::Unreachable, Failure::Closed),
            row("cut", Kind::UnexpectedEof.into(), Failure::Unreachable, Failure::Closed),
            row("no address of ours left", Kind::AddrNotAvailable.into(), Failure::Unreachable, Failure::Closed),
            row("a bad certificate", tls(certificate), Failure::Certificate, Failure::Certificate),
            row("no certificate", tls(TlsError::NoCertificatesPresented), Failure::Certificate, Failure::Certificate),
            row("an alert", tls(alert), Failure::TlsAlert, Failure::TlsAlert),
            row("not TLS", tls(TlsError::HandshakeNotComplete), Failure::Tls, Failure::Tls),
            (
                "no name, whatever the system says of it",
                Box::new(ConnectError::NoName(Kind::TimedOut.into())),
                Failure::NoName,
                Failure::NoName,
            ),
            ("a slow name", Box::new(ConnectError::NameTimedOut), Failure::NameTimedOut, Failure::NameTimedOut),
            ("slow", Box::new(ConnectError::TimedOut), Failure::ConnectTimedOut, Failure::ConnectTimedOut),
            ("a reset stream", Box::new(h2::Error::from(h2::Reason::PROTOCOL_ERROR)), Failure::Broken, Failure::Broken),
        ];
        for (name, error, connecting, later) in rows {
            let outer = Outer(Box::new(Outer(error)));
            assert_eq!((deepest(Some(&outer), true), deepest(Some(&outer), false)), (connecting, later), "{name}");
        }
        assert_eq!((deepest(None, true), deepest(None, false)), (Failure::Unreachable, Failure::Closed));
    }
}

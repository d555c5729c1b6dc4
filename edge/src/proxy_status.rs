//! The Proxy-Status field (RFC 9209): why an answer is ours and not the site's.
//!
//! It says no more than the kind of error. The parameters `next-hop` and `details` would tell strangers where origins are and
//! how they fail: "information about the intermediary's configuration and back-end topology can be exposed, allowing
//! attackers to directly target back-end services" (RFC 9209 section 4).

use http::{HeaderName, HeaderValue, StatusCode};

use crate::headers::Identity;

/// The field's name.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The proxy error types that occur here (RFC 9209 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// No address of the origin in time.
    DnsTimeout,
    /// No address of the origin.
    DnsError,
    /// The origin is not to be had, for another reason than those below.
    DestinationUnavailable,
    /// No way leads to the origin's address.
    DestinationIpUnroutable,
    /// The origin takes no connections.
    ConnectionRefused,
    /// The connection ended before the answer did.
    ConnectionTerminated,
    /// No connection in time.
    ConnectionTimeout,
    /// No more connections may be opened to the origin.
    ConnectionLimitReached,
    /// TLS failed.
    TlsProtocolError,
    /// The origin's certificate is not good.
    TlsCertificateError,
    /// The origin refused in TLS.
    TlsAlertReceived,
    /// The request is wrong.
    HttpRequestError,
    /// Not all of the answer came.
    HttpResponseIncomplete,
    /// The answer's header is too large.
    HttpResponseHeaderSectionSize,
    /// The answer's transfer coding cannot be undone.
    HttpResponseTransferCoding,
    /// No answer in time.
    HttpResponseTimeout,
    /// What came was not HTTP.
    HttpProtocolError,
    /// The origin was not to be asked.
    ProxyInternalResponse,
    /// The request came here before.
    ProxyLoopDetected,
}

impl ErrorType {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::DnsTimeout,
        Self::DnsError,
        Self::DestinationUnavailable,
        Self::DestinationIpUnroutable,
        Self::ConnectionRefused,
        Self::ConnectionTerminated,
        Self::ConnectionTimeout,
        Self::ConnectionLimitReached,
        Self::TlsProtocolError,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
        Self::HttpRequestError,
        Self::HttpResponseIncomplete,
        Self::HttpResponseHeaderSectionSize,
        Self::HttpResponseTransferCoding,
        Self::HttpResponseTimeout,
        Self::HttpProtocolError,
        Self::ProxyInternalResponse,
        Self::ProxyLoopDetected,
    ];

    /// Its registered name.
    pub fn token(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::HttpRequestError => "http_request_error",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseTransferCoding => "http_response_transfer_coding",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalResponse => "proxy_internal_response",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }

    /// "When generating an HTTP response containing error, its HTTP status code SHOULD be set to the recommended HTTP status
    /// code" (RFC 9209 section 2.1.1). `None`: whichever suits.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Self::DnsTimeout | Self::ConnectionTimeout | Self::HttpResponseTimeout => Some(StatusCode::GATEWAY_TIMEOUT),
            Self::DestinationUnavailable | Self::ConnectionLimitReached => Some(StatusCode::SERVICE_UNAVAILABLE),
            Self::DnsError
            | Self::DestinationIpUnroutable
            | Self::ConnectionRefused
            | Self::ConnectionTerminated
            | Self::TlsProtocolError
            | Self::TlsCertificateError
            | Self::TlsAlertReceived
            | Self::HttpResponseIncomplete
            | Self::HttpResponseHeaderSectionSize
            | Self::HttpResponseTransferCoding
            | Self::HttpProtocolError
            | Self::ProxyLoopDetected => Some(StatusCode::BAD_GATEWAY),
            Self::HttpRequestError | Self::ProxyInternalResponse => None,
        }
    }

    /// The field's value on an answer of ours: the one member of the list. Its name is `nearcast-<pop>`, a token like
    /// every PoP's name.
    pub fn value(self, identity: &Identity) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("{}; error={}", identity.name, self.token())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfv::{FieldType, List, ListEntry, Parser};

    #[test]
    fn every_value_is_one_member_with_a_token() {
        let identity = Identity::new("nearcast-fra_1", "");
        let mut values = std::collections::HashSet::new();
        for kind in ErrorType::ALL {
            let value = kind.value(&identity).unwrap();
            let list = List::parse(Parser::new(value.as_bytes())).unwrap();
            let [ListEntry::Item(member)] = list.as_slice() else { panic!("{value:?}") };
            assert_eq!(member.bare_item.as_token().unwrap().as_str(), "nearcast-fra_1");
            assert_eq!(member.params["error"].as_token().unwrap().as_str(), kind.token());
            assert_eq!(member.params.len(), 1, "no details for strangers");
            values.insert(value.as_bytes().to_vec());
        }
        assert_eq!(values.len(), ErrorType::ALL.len());
    }
}
